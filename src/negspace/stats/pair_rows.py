"""The token pairs of the mapping difficulty: which tokens they are, and what a pass keeps of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.memory import apart
from negspace.models.site import Site
from negspace.stats.difficulty import Difficulty, difficulty, draw_pairs
from negspace.text.windows import Windows

What = Literal["input", "activation"]
"""Data of a token at a site: the input of the projection, and the pre-activations."""


@dataclass(frozen=True)
class PairSample:
    """The tokens whose inputs and pre-activations are kept for the mapping difficulty, sorted by position."""

    positions: NDArray[np.int64]
    """Position in the windows laid end to end."""
    slots: NDArray[np.int64]
    """Position in a sample: pair for the first token of a pair, pairs + pair for the second."""

    @classmethod
    def draw(cls, windows: Windows, pairs: int, seed: int) -> Self:
        """Draw pairs of counted tokens, each token used once."""
        counted = np.flatnonzero(~windows.special.reshape(-1))
        chosen = counted[draw_pairs(len(counted), pairs, seed)].T.reshape(-1)
        slots = np.argsort(chosen, kind="stable")
        return cls(chosen[slots], slots)

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return len(self.slots) // 2

    def within(self, begin: int, stop: int) -> Self:
        """The tokens from position `begin` to below `stop`."""
        some = slice(*np.searchsorted(self.positions, [begin, stop]))
        return type(self)(self.positions[some], self.slots[some])


@dataclass(frozen=True, eq=False)
class PairRows:
    """The paired tokens of one pass, or of a part of one."""

    slots: NDArray[np.int64]
    """[tokens] where each belongs in the sample."""
    values: dict[tuple[What, str], NDArray[np.float32]]
    """(what, path of the site) -> [tokens, hidden or width], in the order of the slots; of a site that is run several
    times, the passes' values one after the other, [tokens, passes * (hidden or width)]. A site whose inputs cannot be
    read, and one of routed experts, has none."""

    def difficulty(self, site: Site) -> Difficulty | None:
        """The site's mapping difficulty from all tokens of all pairs, and its rows given back; None: it has no rows.

        Of a site that is run several times, each pass over a pair of tokens makes a pair.
        """
        x, a = (self.values.pop((what, site.path), None) for what in ("input", "activation"))
        if x is None or a is None:
            return None
        order = np.argsort(self.slots)
        hidden, width = x.shape[1] // site.passes, a.shape[1] // site.passes
        return difficulty(x[order].reshape(2, -1, hidden), a[order].reshape(2, -1, width))


def join_rows(parts: Sequence[PairRows]) -> PairRows:
    """The rows of several parts of a pass, one after the other; a part without any token may lack its sites."""
    held = [part for part in parts if len(part.slots)]
    if not held:
        return PairRows(np.empty(0, np.int64), {})
    values = {key: np.concatenate([part.values[key] for part in held]) for key in held[0].values}
    return PairRows(np.concatenate([part.slots for part in held]), values)


class RowKeeper:
    """Keeps the paired tokens' rows during a pass.

    Args:
        sample: the tokens.
        begin, stop: positions between which the pass reads.
    """

    def __init__(self, sample: PairSample, begin: int, stop: int) -> None:
        self._sample = sample.within(begin, stop)
        self._rows, self._at = torch.empty(0, dtype=torch.int64), 0
        self._held: list[tuple[tuple[What, str], torch.Tensor]] = []
        self._kept: dict[tuple[What, str], NDArray[np.float32]] = {}

    def turn(self, begin: int, stop: int) -> None:
        """Say which positions the next forward pass holds."""
        self._bring_home()
        self._at += len(self._rows)
        self._rows = torch.from_numpy(self._sample.within(begin, stop).positions - begin)

    def keep(self, what: What, site: Site, values: torch.Tensor) -> None:
        """Keep the paired tokens' rows of one call."""
        if len(self._rows) == 0:
            return
        flat = values.detach().reshape(-1, values.shape[-1])
        chosen = flat[self._rows.to(flat.device)].float()
        if chosen.device.type == "cpu" and site.passes == 1:
            self._put((what, site.path), chosen)
        else:
            self._held.append(((what, site.path), chosen))

    def rows(self) -> PairRows:
        """All that was kept, once the pass is over."""
        self._bring_home()
        return PairRows(self._sample.slots, self._kept)

    def _bring_home(self) -> None:
        """Copy to the host what the last forward pass kept: once it is over, since each copy waits for the device."""
        calls: dict[tuple[What, str], list[torch.Tensor]] = {}
        for key, values in self._held:
            calls.setdefault(key, []).append(values)
        for key, passes in calls.items():
            self._put(key, torch.cat(passes, dim=1) if len(passes) > 1 else passes[0])
        self._held.clear()

    def _put(self, key: tuple[What, str], values: torch.Tensor) -> None:
        """Store the rows of a whole forward pass."""
        if key not in self._kept:
            self._kept[key] = apart((len(self._sample.slots), values.shape[1]), np.float32)
        self._kept[key][self._at : self._at + len(values)] = values.cpu().numpy()
