"""The token pairs of the mapping difficulty: which tokens they are, and what a pass keeps of them.

Of a pair whose two tokens have been read, only how far apart they are is kept; of one that is open, the first token's
rows. At no time are more rows held than there are pairs, where the rows of all tokens would be twice as many.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.models.site import Site
from negspace.shelf import Shelf
from negspace.stats.difficulty import Difficulty, difference, difficulty, distance, draw_pairs
from negspace.text.windows import Windows

What = Literal["input", "activation"]
"""Data of a token at a site: the input of the projection, and the pre-activations."""


@dataclass(frozen=True)
class PairSample:
    """The tokens whose inputs and pre-activations are compared for the mapping difficulty, sorted by position."""

    positions: NDArray[np.int64]
    """Position in the windows laid end to end."""
    slots: NDArray[np.int64]
    """Place in the pairs: 2 * pair for the first token of a pair, and one more for the second."""

    @classmethod
    def draw(cls, windows: Windows, pairs: int, seed: int) -> Self:
        """Draw pairs of counted tokens, each token used once."""
        counted = np.flatnonzero(~windows.special.reshape(-1))
        chosen = counted[draw_pairs(len(counted), pairs, seed)].reshape(-1)
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
    """What one pass, or a part of one, knows of the pairs. A site whose inputs cannot be read, and one of routed
    experts, is in none of it."""

    pairs: NDArray[np.int64]
    """[closed] the pairs of which both tokens were read."""
    distances: dict[str, NDArray[np.float64]]
    """Path of a site -> [closed, passes] distance of the inputs, for each pass of a site that is run several times."""
    differences: MutableMapping[str, NDArray[np.float32]]
    """Path of a site -> [closed, passes * width] |difference| of the pre-activations; after a pass, on disk."""
    slots: NDArray[np.int64]
    """[open] places of the tokens whose partner was not read."""
    values: dict[tuple[What, str], NDArray[np.float32]]
    """(what, path of the site) -> their rows, [open, passes * (hidden or width)]."""
    passes: dict[str, int]
    """Path of a site -> how often a forward pass runs it."""

    @property
    def tokens(self) -> int:
        """The number of tokens that were read."""
        return 2 * len(self.pairs) + len(self.slots)

    def difficulty(self, site: Site) -> Difficulty | None:
        """The site's mapping difficulty from all closed pairs, and its data given back; None: it has none.

        Of a site that is run several times, each pass over a pair of tokens makes a pair.
        """
        dx, dy = self.distances.pop(site.path, None), self.differences.pop(site.path, None)
        if dx is None or dy is None:
            return None
        order = np.argsort(self.pairs)
        return difficulty(dx[order].reshape(-1), dy[order].reshape(dx.size, -1))

    def copy(self) -> PairRows:
        """The same, whose data can be given away."""
        return replace(self, distances=dict(self.distances), differences=dict(self.differences))


def join_rows(parts: Sequence[PairRows]) -> PairRows:
    """What several parts of a pass know; pairs that lie across two of them are closed."""
    slots = np.concatenate([part.slots for part in parts])
    values = {
        key: np.concatenate([part.values[key] for part in parts if key in part.values])
        for key in dict.fromkeys(key for part in parts for key in part.values)
    }
    order = np.argsort(slots)
    twins = np.flatnonzero(slots[order][1:] // 2 == slots[order][:-1] // 2)
    first, second = order[twins], order[twins + 1]
    pairs = np.concatenate([*(part.pairs for part in parts), slots[first] // 2])
    passes = {path: times for part in parts for path, times in part.passes.items()}
    # A part may hold closed pairs alone, or open ones.
    distances = {path: [part.distances[path] for part in parts if path in part.distances] for path in passes}
    differences = {path: [part.differences[path] for part in parts if path in part.differences] for path in passes}
    for (what, path), rows in values.items():
        if what == "activation":
            differences[path].append(difference(rows[first], rows[second]))
        else:
            distances[path].append(distance(rows[first], rows[second], passes[path]))
    left = np.setdiff1d(np.arange(len(slots)), np.concatenate([first, second]))
    still = {key: rows[left] for key, rows in values.items()}
    closed = {path: np.concatenate(made) for path, made in distances.items() if made}
    apart = {path: np.concatenate(made) for path, made in differences.items() if made}
    return PairRows(pairs, closed, apart, slots[left], still, passes)


@dataclass(frozen=True)
class _Turn:
    """The paired tokens of one forward pass."""

    rows: torch.Tensor
    """int64, their rows in the pass, laid flat."""
    opening: NDArray[np.int64]
    """Which of them are the first of their pair."""
    into: NDArray[np.int64]
    """Where in the open rows each of these is kept."""
    closing: NDArray[np.int64]
    """Which of them are the second of their pair."""
    partner: NDArray[np.int64]
    """Where in the open rows the first one is."""
    at: slice
    """Places of these pairs among the closed ones."""


class RowKeeper:
    """Compares the paired tokens during a pass.

    Args:
        sample: the tokens.
        cuts: positions between which each forward pass reads, ascending.
    """

    def __init__(self, sample: PairSample, cuts: Sequence[int]) -> None:
        own = sample.within(cuts[0], cuts[-1])
        self._turns: dict[int, _Turn] = {}
        place = {}  # slot -> where its row is kept, while its pair is open
        free: list[int] = []
        used = closed = 0
        pairs: list[int] = []
        for begin, stop in pairwise(cuts):
            here = own.within(begin, stop)
            opening, into, closing, partner = [], [], [], []
            for number, slot in enumerate(here.slots.tolist()):
                if slot ^ 1 in place:
                    closing.append(number)
                    partner.append(place[slot ^ 1])
                    pairs.append(slot // 2)
                    del place[slot ^ 1]
                else:
                    if not free:
                        free, used = [used], used + 1
                    opening.append(number)
                    place[slot] = free.pop()
                    into.append(place[slot])
            # Rows of a pass are written before any is compared: what it closes is free only after it.
            free += partner
            at = slice(closed, closed + len(closing))
            closed = at.stop
            rows = torch.from_numpy(here.positions - begin)
            indices = [np.array(numbers, np.int64) for numbers in (opening, into, closing, partner)]
            self._turns[begin] = _Turn(rows, indices[0], indices[1], indices[2], indices[3], at)
        self._pairs, self._room = np.array(pairs, np.int64), used
        self._left = dict(sorted(place.items()))
        self._turn: _Turn | None = None
        self._held: list[tuple[What, Site, torch.Tensor]] = []
        self._open, self._names = Shelf(), dict[tuple[What, str], str]()
        self._distances: dict[str, NDArray[np.float64]] = {}
        self._differences = Shelf()
        self._passes: dict[str, int] = {}

    def turn(self, begin: int) -> None:
        """Say at which position the next forward pass begins."""
        self._bring_home()
        self._turn = self._turns[begin]

    def keep(self, what: What, site: Site, values: torch.Tensor) -> None:
        """Take the paired tokens' rows of one call."""
        turn = self._turn
        if turn is None or len(turn.rows) == 0:
            return
        flat = values.detach().reshape(-1, values.shape[-1])
        chosen = flat[turn.rows.to(flat.device)].float()
        if chosen.device.type == "cpu" and site.passes == 1:
            self._put(what, site, chosen)
        else:
            self._held.append((what, site, chosen))

    def rows(self) -> PairRows:
        """All that was kept, once the pass is over."""
        self._bring_home()
        slots, at = (np.array(list(some), np.int64) for some in (self._left, self._left.values()))
        values = {key: self._open.read(name, at) for key, name in self._names.items()}
        return PairRows(self._pairs, self._distances, self._differences, slots, values, self._passes)

    def _bring_home(self) -> None:
        """Take what the last forward pass left on the device: once it is over, since each copy waits for the device."""
        calls: dict[tuple[What, str], tuple[Site, list[torch.Tensor]]] = {}
        for what, site, values in self._held:
            calls.setdefault((what, site.path), (site, []))[1].append(values)
        for (what, _), (site, passes) in calls.items():
            self._put(what, site, torch.cat(passes, dim=1) if len(passes) > 1 else passes[0])
        self._held.clear()

    def _put(self, what: What, site: Site, values: torch.Tensor) -> None:
        """Keep the rows of the tokens that open a pair, and compare those that close one."""
        turn, rows, path = self._turn, values.cpu().numpy(), site.path
        assert turn is not None
        name = f"{what} {path}"
        if name not in self._open:
            self._open[name], self._names[what, path] = np.zeros((self._room, rows.shape[1]), np.float32), name
            self._passes[path] = site.passes
            if what == "activation":
                self._differences[path] = np.empty((0, rows.shape[1]), np.float32)
            else:
                self._distances[path] = np.zeros((len(self._pairs), site.passes))
        self._open.write(name, turn.into, rows[turn.opening])
        first, second = self._open.read(name, turn.partner), rows[turn.closing]
        if what == "activation":
            self._differences.append(path, difference(first, second))  # in order of the turns
        else:
            self._distances[path][turn.at] = distance(first, second, site.passes)
