"""A run's answer to one claim of the paper: holds, does not hold, undecided, or cannot be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from negspace.experiment.words import amount, between, compared, found, nats, points, scope, unit, within

Answer = Literal["holds", "does not hold", "undecided", "cannot be judged"]
Scale = Literal["points", "nats", "nats per token", "ratio", ""]
UNJUDGED: Answer = "cannot be judged"
NAN = float("nan")


@dataclass(frozen=True)
class Claim:
    """A claim and what one run says of it."""

    key: str
    """A name that the same claim has in every run: "ablate", "matched", ..."""
    claim: str
    """The claim in words, as one would write it where it holds."""
    of: str
    """The data that it was tested on: a suite, the text, the tasks; empty if there is no choice."""
    share: float | None
    """Share of neurons; None where it does not depend on one."""
    answer: Answer
    """The run's answer."""
    finding: str
    """The finding that says so: harm, less harm, equivalent within 1.00 points, established, ..."""
    scale: Scale = ""
    """Scale of the numbers: accuracy (0.01 is one point), nats, nats per token, a ratio; empty if the finding contains
    them."""
    estimate: float = NAN
    """The estimate."""
    low: float = NAN
    """Lower end of its interval."""
    high: float = NAN
    """Upper end."""
    reason: str = ""
    """Why it cannot be judged, and what to add."""
    scope: str = ""
    """What alone the answer holds for: phenomena or families, "these 3 families", or the range of a mean; empty where
    it holds for others like these."""

    @property
    def numbers(self) -> str:
        """Estimate and interval in words; empty without."""
        if not np.isfinite(self.estimate) or not self.scale:
            return ""
        if self.scale == "ratio":
            return amount("perplexity", self.estimate, self.low, self.high)
        form = points if self.scale == "points" else nats
        return f"{form(self.estimate)} {self.scale} {between(self.low, self.high, form)}"


PAPERS = "zero_negative"
"""The paper's intervention, which its claims are about."""
RANKING = "wd"
"""The paper's statistic, by which its claims' top sets are ranked."""
_ALWAYS = ("find", "relu")
"""Keys of claims that do not depend on the study's intervention."""
_UNRANKED = ("relu",)
"""Keys of claims that do not depend on what ranks the neurons, nor on the layers that they are chosen from."""


def under(claim: Claim, intervention: str, by: str = RANKING, layers: Sequence[int] | None = None) -> Claim:
    """A claim of a study with an intervention and a ranking, told apart from the same of a study with the paper's.

    Args:
        by: the statistic that ranks the neurons of the claim's sets.
        layers: those from which the sets are chosen; None: all, as in the paper.
    """
    ranking = f"by {by}" if by != RANKING and claim.key not in _UNRANKED else ""
    where = within(layers) if claim.key not in _UNRANKED else ""
    other = intervention if intervention != PAPERS and claim.key not in _ALWAYS else ""
    return replace(claim, of=", ".join(filter(None, (claim.of, ranking, where, other))))


_HARM: Mapping[str, Answer] = {"harm": "holds", "gain": "does not hold", "equivalent": "does not hold"}
_INTACT: Mapping[str, Answer] = {"equivalent": "holds", "harm": "does not hold", "gain": "does not hold"}


def answered(finding: str, *, intact: bool = False) -> Answer:
    """Return the answer that a finding gives to a claim of harm.

    Args:
        intact: whether the claim is that nothing changes.
    """
    if finding == "cannot be judged":
        return "cannot be judged"
    return (_INTACT if intact else _HARM).get(finding, "undecided")


def whole(row: Mapping[str, Any] | pd.Series) -> bool:
    """True if grammar is intact: accuracy hides what margins tell, so that neither scale may lose."""
    on_margins = row.get("nats_finding")
    return row["finding"] == "equivalent" and (on_margins == "equivalent" or not isinstance(on_margins, str))


def harmed(
    key: str, claim: str, of: str, share: float | None, row: Mapping[str, Any], *, intact: bool = False
) -> list[Claim]:
    """The claim that a contrast is harm (or that it is none), on accuracy and on margins.

    Args:
        row: of a table, in the columns of `changes.DIFFERENCE`; of a contrast with another ablation, "against" says so.
        intact: whether the claim is that nothing changes. It holds on neither scale where the other is not intact.
    """
    main: Scale = "ratio" if row["score"] == "perplexity" else "points"
    on_margins = tuple(f"difference_nats{end}" for end in ("", "_low", "_high"))
    scales: tuple[tuple[Scale, str, str, tuple[str, ...]], ...] = (
        (main, of, "", ("difference", "low", "high")),
        (unit(row["score"]), f"{of}, margins", "nats_", on_margins),
    )
    findings = {prefix: row.get(f"{prefix}finding") for _, _, prefix, _ in scales}
    answers: dict[str, Answer] = {
        prefix: answered(one, intact=intact) for prefix, one in findings.items() if isinstance(one, str) and one
    }
    claims = []
    for scale, called, prefix, names in scales:
        if prefix not in answers:
            continue
        answer = answers[prefix]
        finding = str(row["nats_finding"]) if prefix else found(row)
        if answer == "cannot be judged":
            claims.append(Claim(key, claim, called, share, answer, finding, scale, reason=str(row[f"{prefix}reason"])))
            continue
        if intact and answer == "holds" and not whole(row):
            answer = "does not hold" if "does not hold" in answers.values() else "undecided"
        if row.get("against", "plain") != "plain":
            finding = compared(finding)
        value, low, high = (float(row[name]) for name in names)
        claims.append(Claim(key, claim, called, share, answer, finding, scale, value, low, high, scope=scope(row)))
    return claims
