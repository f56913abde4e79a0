"""Forecast of a run's time, from the times of finished cells of each kind and the machine's current speed.

Cells of one kind take about as long for each of their units of work, tokens that the model reads; kinds differ; and
whatever else the machine does slows all of them alike, now more, now less. So

    ln(seconds / units) = cost of the kind + pace at that time + noise

where the pace wanders, and kinds scatter about a common cost, or about what was said of them. All of it is estimated
at once, by least squares with these beliefs as priors: what one kind tells of the pace holds for the others, and a kind
that was never seen costs what the others do, or what was said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Work = Mapping[str, tuple[int, float]]
"""Kind of cells -> how many, and their units of work in all."""

_STRETCH = 60.0
"""Seconds of work, or a twentieth of all that was done if that is more, in which the pace is one."""
_WANDER = 0.15
"""Standard deviation of ln pace from one stretch to the next."""
_APART = 1.0
"""Standard deviation of the kinds' costs, and of the pace of another run, in ln."""
_NOISE, _SHORT = 0.1, 2.0
"""Standard deviation of ln(seconds / units) of long cells; that of cells of so many seconds is twice as large."""
_TRIAL = 0.5
"""Standard deviation of what a trial says in ln: its passes are short, and read no kind of data."""
_EARLY = 0.02
"""A cell of which less than this is done says nothing yet: it may be preparing."""


@dataclass(frozen=True)
class _Ended:
    """A cell that has ended."""

    kind: str
    units: float
    seconds: float
    at: float
    """Seconds of work in this run before its middle; NaN for a cell of an earlier run."""


class Forecast:
    """Learns what cells cost."""

    def __init__(self) -> None:
        self.spent = 0.0
        """Seconds of work in this run."""
        self._ended: list[_Ended] = []
        self._said: dict[str, float] = {}
        self._trial: tuple[float, float] | None = None
        self._known: tuple[tuple[int, object], _Costs] | None = None

    def price(self, kinds: Mapping[str, float]) -> None:
        """Say what a unit of some kinds costs, relative to one of a trial or other kinds; experience corrects it."""
        self._said |= kinds
        self._known = None

    def tried(self, seconds: float) -> None:
        """A trial took so many seconds per unit of work just now."""
        self._trial = (seconds, self.spent)

    def learn(self, kind: str, units: float, seconds: float) -> None:
        """A cell has ended; one without units, which reads nothing, says nothing."""
        if units > 0 and seconds > 0:
            self._ended.append(_Ended(kind, units, seconds, self.spent + seconds / 2))
            self.spent += seconds

    def recall(self, kind: str, units: float, seconds: float) -> None:
        """A cell ended in an earlier run, when the machine may have been slower or faster."""
        if units > 0 and seconds > 0:
            self._ended.append(_Ended(kind, units, seconds, math.nan))

    def seconds(self, kind: str, units: float) -> float:
        """Seconds that work of a kind will take; NaN while nothing is known.

        What makes the machine slower or faster now may last or not: of what it differs from the pace of this run as a
        whole, half is expected to.
        """
        costs = self._costs()
        lasting = math.exp((sum(costs.paces) / len(costs.paces) - costs.paces[-1]) / 2)
        return self._now(kind, units) * lasting

    def _now(self, kind: str, units: float) -> float:
        costs = self._costs()
        return units * costs.of_kind.get(kind, costs.common * self._said.get(kind, 1.0))

    def slower(self, spent: float) -> float:
        """Return the current slowdown relative to an earlier point of the run, given in seconds worked."""
        paces, stretch = self._costs().paces, self._stretch
        return math.exp(paces[-1] - paces[min(int(spent // stretch), len(paces) - 1)])

    def whole(self, work: Work) -> float:
        """Seconds that all of some work will take, one cell after the other; NaN while nothing is known."""
        return sum((self.seconds(kind, units) for kind, (_, units) in work.items() if units), 0.0)

    def cell(self, kind: str, units: float, part: float, elapsed: float) -> float:
        """Seconds that are left of a cell of which a part was done in some seconds."""
        before = self._now(kind, units) * (1 - part)
        if part < _EARLY or elapsed <= 0:
            return before
        now = elapsed / part * (1 - part)
        # The more is done of it, the more its own time says.
        return now if math.isnan(before) else part * now + (1 - part) * before

    @property
    def _stretch(self) -> float:
        return max(_STRETCH, self.spent / 20)

    def _costs(self) -> _Costs:
        state = (len(self._ended), self._trial)
        if self._known is None or self._known[0] != state:
            self._known = state, self._estimate()
        return self._known[1]

    def _estimate(self) -> _Costs:
        if not self._ended:
            return _Costs(math.nan if self._trial is None else self._trial[0], {}, [0.0])
        kinds = sorted({cell.kind for cell in self._ended})
        # Unknown are the common cost, what each kind's differs by, the pace of earlier runs, which is one number, and
        # that of this one, a walk from its start until now.
        begin = 2 + len(kinds)
        now = begin + int(self.spent // self._stretch)
        rows: list[_Row] = []
        for cell in self._ended:
            pace = begin - 1 if math.isnan(cell.at) else begin + int(cell.at // self._stretch)
            noise = _NOISE * math.sqrt(1 + 3 * _SHORT / cell.seconds)
            rows.append(
                ({0: 1.0, 1 + kinds.index(cell.kind): 1.0, pace: 1.0}, math.log(cell.seconds / cell.units), noise)
            )
        if self._trial is not None:
            seconds, at = self._trial
            rows.append(({0: 1.0, begin + int(at // self._stretch): 1.0}, math.log(seconds), _TRIAL))
        rows += [({1 + at: 1.0}, math.log(self._said.get(kind, 1.0)), _APART) for at, kind in enumerate(kinds)]
        rows.append(({begin - 1: 1.0}, 0.0, _APART))
        rows.append(({begin: 1.0}, 0.0, _APART))
        rows += [({pace: -1.0, pace + 1: 1.0}, 0.0, _WANDER) for pace in range(begin, now)]
        made = _solve(rows, now + 1)
        common = float(made[0] + made[now])
        of_kind = {kind: math.exp(common + float(made[1 + at])) for at, kind in enumerate(kinds)}
        return _Costs(math.exp(common), of_kind, made[begin:].tolist())


@dataclass(frozen=True)
class _Costs:
    """What the observations so far say."""

    common: float
    """Seconds a unit now, of a kind that was never seen."""
    of_kind: Mapping[str, float]
    """The same of each kind that was."""
    paces: Sequence[float]
    """ln pace in each stretch of this run, the last one now."""


_Row = tuple[Mapping[int, float], float, float]
"""Of an equation: factor of each unknown that is in it, value, standard deviation."""


def _solve(rows: Sequence[_Row], unknowns: int) -> NDArray[np.float64]:
    """Least squares, each equation weighted by its standard deviation."""
    matrix, values = np.zeros((len(rows), unknowns)), np.zeros(len(rows))
    for number, (places, value, deviation) in enumerate(rows):
        for place, factor in places.items():
            matrix[number, place] = factor / deviation
        values[number] = value / deviation
    return np.asarray(np.linalg.lstsq(matrix, values)[0], np.float64)
