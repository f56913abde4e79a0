"""Floors: accuracy that may be guessing has nothing to lose, so that no finding on its change holds."""

from __future__ import annotations

import numpy as np

from negspace.experiment.scored import Scored
from negspace.significance import Contrast, above
from negspace.significance.contrast import conclude

_FLOOR = "not shown to be above chance"


def floored(contrast: Contrast, plain: Scored, *sides: Scored, within: bool = False) -> Contrast:
    """The contrast, or the same as one that cannot be judged, where it is of accuracy and none can be lost.

    That is so where the plain model is not shown to be above chance, and where no side of the contrast is. Margins can
    be judged there: a contrast of theirs stays as it is. So does one whose chance is unknown.

    Args:
        contrast: of two conditions on the items of `plain`.
        plain: the plain model's outcomes.
        sides: outcomes under the conditions that are compared; none where the plain model is one of them.
        within: as the contrast was made; see `Nesting.level`.
    """
    if contrast.scale != "points" or contrast.reason or not np.isfinite(plain.chance).all():
        return contrast

    def above_chance(side: Scored) -> bool:
        return above(side.values, plain.nesting, plain.chance, alpha=contrast.alpha, within=within)

    if at_floor(plain, contrast.alpha, within=within):
        reason = f"the plain model's accuracy of {plain.level:.1%} is {_FLOOR}, so its loss cannot be judged; use "
        reason += "pairs or tasks that it can tell"
    elif sides and not any(map(above_chance, sides)):
        reason = f"the accuracy that is left is {_FLOOR}, so no further loss can be judged; ablate fewer neurons"
    else:
        return contrast
    return conclude(contrast.error, contrast.scale, contrast.alpha, reason=reason)


def at_floor(plain: Scored, alpha: float, *, within: bool = False) -> bool:
    """True if the plain model's accuracy is not shown to be above chance; False where chance is unknown, as of
    perplexity.

    Ask this, not the reason of a contrast: one that cannot be judged for want of sets or units gives that reason.

    Args:
        plain: the plain model's outcomes.
        alpha: level of the test.
        within: as for `floored`.
    """
    if not np.isfinite(plain.chance).all():
        return False
    return not above(plain.values, plain.nesting, plain.chance, alpha=alpha, within=within)
