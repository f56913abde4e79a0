"""Control sets matched on the size of the change that an ablation makes to the residual stream, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from negspace.controls.residual import FINAL, Where, residual_change
from negspace.controls.sets import growth
from negspace.errors import SelectionError
from negspace.wording import counted

if TYPE_CHECKING:
    from negspace.intervention import Mode, Zero
    from negspace.models.model import Model
    from negspace.neurons.neuronset import NeuronSet
    from negspace.neurons.scan import Scan
    from negspace.text.windows import Bos

TOLERANCE = 0.05
EVALUATIONS = 10
_LEAP = 8.0
_POWER = 0.5


@dataclass(frozen=True)
class LayerMatch:
    """The result of a search in one layer, or for all layers together."""

    layer: int
    """The layer; -1: all together, matched at the end of the stack."""
    matched: bool
    """True if the change is the target's within the tolerance."""
    reason: str
    """Why it is (not) matched, one phrase."""
    neurons: int
    """Neurons taken; 0 where there was nothing to match."""
    available: int
    """Neurons that could be taken."""
    change: float
    """Relative change of the residual stream that they make."""
    target: float
    """The change to be matched."""
    trail: tuple[tuple[int, float], ...]
    """Every (neurons, change) tried, in order."""

    @property
    def residual(self) -> float:
        """change / target - 1; NaN where the target is 0."""
        return self.change / self.target - 1 if self.target else math.nan


@dataclass(frozen=True)
class ResidualMatch:
    """The result of a search for a set with equal change of the residual stream."""

    layers: tuple[LayerMatch, ...]
    """One a layer, in order; a single one where layers were taken together."""
    tolerance: float
    """Largest |residual| that counts as matched."""
    evaluations: int
    """Measurements that the search took; one measures all layers."""
    neurons: NeuronSet | None = None
    """The set; None for a search that knows of counts only, or where nothing was to be matched."""

    @property
    def matched(self) -> bool:
        """True if there is a layer and every one is matched."""
        return bool(self.layers) and all(layer.matched for layer in self.layers)

    @property
    def counts(self) -> dict[int, int]:
        """Layer -> neurons taken."""
        return {layer.layer: layer.neurons for layer in self.layers}


def match_residual(
    model: Model,
    scan: Scan,
    top: NeuronSet,
    *,
    text: Any = "wikitext-2",
    where: Where = "layers",
    by: str | None = "wd",
    seed: int = 0,
    zero: Zero | None = None,
    mode: Mode | None = None,
    tolerance: float = TOLERANCE,
    max_evaluations: int = EVALUATIONS,
    window: int | None = None,
    windows: int | None = 16,
    bos: Bos = "auto",
    batch: int = 1,
) -> ResidualMatch:
    """Find low-scoring neurons whose ablation changes the residual stream by as much as that of another set does.

    Args:
        top: the set to be matched; the control holds none of its neurons. For an empty one there is nothing to match.
        text: a text, or windows made before; with `window`, `windows` and `bos` as for `perplexity`.
        where: "layers": each layer matched on its own, by its own number of neurons; "end": one share of all layers,
            matched on the change after the last layer.
        by: the score of the scan that says which neurons are low; None: in random order.
        seed: of the random order.
        zero, mode: the intervention, as for `intervene`; without either, the negatives are set to zero.
        tolerance: largest |change / target - 1| that counts as matched.
        max_evaluations: most measurements that the search takes.
        batch: windows in one forward pass.

    Returns:
        For each layer whether it is matched, and the set; see `residual_change` for the measure, `find_counts` for the
        search.

    Raises:
        ModelError, SelectionError, TextError, InterventionError: model, sets, text or intervention cannot be used.
    """
    from negspace.models.model import check_model
    from negspace.neurons.neuronset import check_neurons
    from negspace.neurons.scan import check_scan
    from negspace.text.source import read_text
    from negspace.text.windows import Windows, make_windows

    what = "a match on the residual stream"
    check_model(model, what)
    check_neurons(top, what).check(model)
    check_scan(scan, what)
    cut = text
    if not isinstance(text, Windows):
        read = read_text(text, role="perplexity")
        cut = make_windows(read, model.tokenizer, window=window, windows=windows, bos=bos, context=model.context)
    grown = growth(scan, by, exclude=top, seed=seed, layers=top.layers, together=where == "end")

    def change(neurons: NeuronSet) -> dict[int, float]:
        return residual_change(model, neurons, cut, where=where, zero=zero, mode=mode, scan=scan, batch=batch).by_layer

    found = find_counts(
        lambda counts: change(grown.take(counts)),
        targets=change(top),
        available=grown.sizes,
        first=first_counts(top, where),
        tolerance=tolerance,
        max_evaluations=max_evaluations,
    )
    return replace(found, neurons=grown.take(found.counts) if any(found.counts.values()) else None)


def first_counts(top: NeuronSet, where: Where) -> dict[int, int]:
    """Return the start of a search: the set's number of neurons, in each layer or in all."""
    return {FINAL: len(top)} if where == "end" else top.count()


def find_counts(
    evaluate: Callable[[Mapping[int, int]], Mapping[int, float]],
    *,
    targets: Mapping[int, float],
    available: Mapping[int, int],
    first: Mapping[int, int],
    tolerance: float = TOLERANCE,
    max_evaluations: int = EVALUATIONS,
) -> ResidualMatch:
    """Find how many neurons of each layer make a given change, all layers at once, in few measurements.

    Layers do not depend on each other, so that one measurement serves a step of the search in each of them. The change
    grows about as a power of the number of neurons (its square root where they are alike and unrelated): a step goes
    where the power law through the bracket's ends meets the target, or to the middle of a bracket that two steps have
    not halved.

    Args:
        evaluate: changes of layers for numbers of neurons; only layers still searched are asked for.
        targets: layer -> change to reach.
        available: layer -> most neurons to take; none of a layer that is not in it.
        first: layer -> number to try first.

    Raises:
        SelectionError: a tolerance or number of evaluations out of range.
        ValueError: an evaluation that is no finite number, or below zero.
    """
    if tolerance <= 0 or max_evaluations < 1:
        raise SelectionError(
            f"a set matched on the residual stream within {tolerance} in {max_evaluations} evaluations",
            "a number out of range",
            "give tolerance > 0 and at least one evaluation",
        )
    searches = {
        layer: _Search(layer, target, available.get(layer, 0), first[layer], tolerance)
        for layer, target in targets.items()
    }
    spent = 0
    while spent < max_evaluations and (asked := {n: s.next() for n, s in searches.items() if not s.why()}):
        changes = evaluate(asked)
        spent += 1
        for layer, count in asked.items():
            searches[layer].take(count, float(changes[layer]))
    return ResidualMatch(tuple(s.result(spent) for s in searches.values()), tolerance, spent)


class _Search:
    """State of the search in one layer."""

    def __init__(self, layer: int, target: float, available: int, first: int, tolerance: float) -> None:
        self.layer, self.target, self.available, self.tolerance = layer, target, available, tolerance
        self.first = first
        self.trail: list[tuple[int, float]] = []
        self.low, self.low_change = 0, 0.0
        self.high: int | None = None
        self.high_change = math.inf
        self.widths: list[int] = []

    def why(self) -> str:
        """Why the search has ended; empty while it has not."""
        if not self.target:
            return "no change to match"
        if self.trail and self._off(self.best()[1]) <= self.tolerance:
            return "within the tolerance"
        if self.high is None and self.low >= self.available:
            return "even all neurons that could be taken change less"
        if self.high is not None and self.high - self.low <= 1:
            return "one neuron more or less is too large a step to come any closer"
        return ""

    def next(self) -> int:
        """The number to try now."""
        if not self.trail:
            return max(1, min(self.available, self.first))
        if self.high is None:
            grown = _LEAP * self.low
            if self.low_change > 0:
                # A little beyond the guess, so that the target is bracketed.
                grown = min(grown, 1.1 * self.low * (self.target / self.low_change) ** (1 / _POWER))
            # A search that has crept up three times goes to the end, to learn whether the target can be reached.
            grown = self.available if len(self.trail) >= 3 else grown
            return max(self.low + 1, min(self.available, round(grown)))
        self.widths.append(self.high - self.low)
        slow = len(self.widths) >= 3 and self.widths[-1] > self.widths[-3] / 2
        middle = (self.low + self.high) / 2 if slow else self._meet()
        return max(self.low + 1, min(self.high - 1, round(middle)))

    def _meet(self) -> float:
        """Return where a power law through both ends of the bracket meets the target."""
        assert self.high is not None
        low, change = self.low, self.low_change
        if low == 0 or self.high_change <= change:
            return self.high * (self.target / self.high_change) ** (1 / _POWER)
        if change == 0:  # silent up to here
            return (low + self.high) / 2
        part = math.log(self.target / change) / math.log(self.high_change / change)
        return low * (self.high / low) ** part

    def take(self, count: int, change: float) -> None:
        """Note a measurement and narrow the bracket."""
        if not math.isfinite(change) or change < 0:
            raise ValueError(f"a change of {change} for {count} neurons of layer {self.layer}")
        self.trail.append((count, change))
        if change >= self.target:
            if self.high is None or count < self.high:
                self.high, self.high_change = count, change
        elif count > self.low and (self.high is None or count < self.high):
            self.low, self.low_change = count, change

    def best(self) -> tuple[int, float]:
        """Return the trial nearest to the target; of equals, the one with the fewest neurons."""
        return min(self.trail, key=lambda tried: (self._off(tried[1]), tried[0]))

    def result(self, spent: int) -> LayerMatch:
        count, change = self.best() if self.trail and self.target else (0, 0.0)
        reason = self.why() or f"not within the tolerance after {counted(spent, 'evaluation')}"
        matched = reason == "within the tolerance"
        return LayerMatch(self.layer, matched, reason, count, self.available, change, self.target, tuple(self.trail))

    def _off(self, change: float) -> float:
        return abs(change / self.target - 1)
