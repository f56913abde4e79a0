"""Many conditions in one pass over the data: what two of them have in common is run once.

If only layers from L on are changed, what enters layer L is what enters it in the plain model. More generally, two
conditions that change the layers below L alike have the same states there. Sorted by their changes, layer by layer,
conditions form a forest, as sentences do by their words; each runs from the layer in which it first differs from the
one before it, and a batch's states live only as long as a later condition starts from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch

from negspace.errors import NonFiniteScore, ScoreError
from negspace.memory import is_out_of_memory
from negspace.models.resume import Layers
from negspace.score.batch import FAULTS, Batch
from negspace.score.logprobs import LogProbs, Progress
from negspace.score.pairs import PairScores, Prepared
from negspace.score.perplexity import Perplexity, nll_batches, perplexity_of
from negspace.score.ways import Way
from negspace.text.windows import Windows

if TYPE_CHECKING:
    from negspace.models.model import Model

Score = TypeVar("Score")

_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Largest difference from a whole pass, relative to the largest logit, where whole passes differ among themselves."""


@dataclass(frozen=True)
class Condition:
    """One way to change the network."""

    name: str
    """Its name."""
    changes: tuple[str, ...]
    """Change in each decoder layer: equal strings mean equal changes, "" means none."""
    open: Callable[[], AbstractContextManager[Any]]
    """The context in which it is done; may be opened many times."""


@dataclass(frozen=True)
class Run:
    """One forward pass over a batch."""

    serves: tuple[int, ...]
    """The conditions, all of the same changes, that it scores."""
    start: int
    """First layer that it runs."""
    keep: frozenset[int]
    """Boundaries whose states it takes for later runs."""
    live: frozenset[int]
    """Boundaries from which a later run starts; all other states may go."""


@dataclass(frozen=True, eq=False)
class Swept(Generic[Score]):
    """Scores of several conditions, each the same as if it had been scored alone."""

    scores: tuple[Score, ...]
    """One a condition, in their order."""
    share: float
    """Layers run for a batch, divided by those of a whole pass for every condition."""
    notes: tuple[str, ...] = ()
    """Why layers were not shared, if they were not."""


def plan(changes: Sequence[tuple[str, ...]]) -> tuple[Run, ...]:
    """Runs that serve conditions of these changes, in the order in which they must be made."""
    distinct = sorted(set(changes))
    starts = [0, *(_common(one, other) for one, other in itertools.pairwise(distinct))]
    runs = []
    for number, change in enumerate(distinct):
        live, lowest = set(), len(change)
        for start in starts[number + 1 :]:
            lowest = min(lowest, start)
            # A whole pass starts from nothing.
            if start == lowest and start > 0:
                live.add(start)
        serves = tuple(index for index, other in enumerate(changes) if other == change)
        keep = frozenset(boundary for boundary in live if boundary > starts[number])
        runs.append(Run(serves, starts[number], keep, frozenset(live)))
    return tuple(runs)


class Sweep:
    """Runs batches under several conditions.

    Before the first batch is trusted to resumed passes, a little of it is run both ways under every condition: the
    logits must be the same bit for bit, or, where two whole passes are not, as close as those can be. Where they are
    not, or a resumed pass fails, each condition gets whole passes, and `notes` says why.

    Args:
        module: the model.
        conditions: each with as many changes as the model has decoder layers.

    Raises:
        ScoreError: no conditions, or changes for another number of layers.
    """

    def __init__(self, module: Any, conditions: Sequence[Condition]) -> None:
        self.conditions = tuple(conditions)
        self._layers = Layers(module)
        depth = len(self._layers)
        if not conditions or any(len(condition.changes) != depth for condition in conditions):
            raise ScoreError(
                f"a sweep over {len(conditions)} conditions of a model of {depth} layers",
                "no condition, or one that does not say what it does in each layer",
                'give every condition as many changes as there are layers, "" for none',
            )
        self.runs = plan([condition.changes for condition in conditions])
        self.notes: tuple[str, ...] = ()
        self._settled = all(run.start == 0 for run in self.runs)

    @property
    def share(self) -> float:
        """Layers run for a batch, divided by those of a whole pass for every condition."""
        depth = len(self._layers)
        return sum(depth - run.start for run in self.runs) / (depth * len(self.conditions))

    def run(self, batch: Batch) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each condition's values on a batch: (number of the condition, values), in no particular order.

        Raises:
            ScoreError: what reading the logits raises, naming the condition.
        """
        if not self._settled:
            fault = self._fault(batch)
            if fault:
                self.runs = tuple(Run(run.serves, 0, frozenset(), frozenset()) for run in self.runs)
                self.notes = (f"layers common to several conditions were run for each of them: {fault}",)
            self._settled = True
        for serves, values in self._passes(batch.forward, batch.read):
            for number in serves:
                yield number, values

    def _passes(
        self, forward: Callable[[], torch.Tensor], read: Callable[[torch.Tensor], Any]
    ) -> Iterator[tuple[tuple[int, ...], Any]]:
        states: dict[int, Any] = {}
        for run in self.runs:
            state = states[run.start] if run.start else None
            condition = self.conditions[run.serves[0]]
            with condition.open(), self._layers.resumed(run.start, state, run.keep) as kept:
                logits = forward()
            try:
                values = read(logits)
            except ScoreError as error:
                raise _under(condition, error) from error
            del logits
            states = {boundary: (kept if boundary in run.keep else states)[boundary] for boundary in run.live}
            yield run.serves, values

    def _fault(self, batch: Batch) -> str | None:
        """Return the fault of resumed passes on part of a batch; None if there is none."""
        if self._layers.looped:
            return "the model runs its layers several times in a pass, so that none of them is the first to differ"
        passes = self._passes(batch.few, lambda logits: logits)
        for run in self.runs:
            condition = self.conditions[run.serves[0]]
            # The resumed pass comes first: after a whole one, what that left behind in the model could serve it.
            resumed: torch.Tensor | Exception
            try:
                _, resumed = next(passes)
            except FAULTS as error:
                if is_out_of_memory(error):
                    raise  # no sign that the model cannot be resumed
                resumed = error
            # Outside the `try`: a whole pass that fails is no matter of resuming.
            with condition.open():
                whole = batch.few()
            if isinstance(resumed, Exception):
                return f"a pass from layer {run.start} fails ({type(resumed).__name__})"
            if not torch.equal(whole, resumed):
                with condition.open():
                    again = batch.few()
                allowed = _TOLERANCE.get(whole.dtype, 1e-2) * float(whole.abs().max())
                repeatable = torch.equal(whole, again)
                if repeatable or not float((whole - resumed).abs().max()) <= allowed:
                    return f"a pass from layer {run.start} gives other logits than a whole one"
        return None


def sweep_perplexity(
    model: Model,
    windows: Windows,
    conditions: Sequence[Condition],
    *,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Swept[Perplexity]:
    """Perplexity of windows under each condition: `perplexity` of each alone, bit for bit, in fewer layers.

    Args:
        batch: windows in one forward pass; by default as many as `perplexity` takes.
        progress: called with (windows done, windows in all, "perplexity").

    Raises:
        TextError: as `perplexity`.
        ScoreError: as `perplexity`, naming the condition; or conditions of another number of layers.
    """
    sweep = Sweep(model.module, conditions)
    nll = np.empty((len(conditions), len(windows), windows.window - 1))
    with torch.no_grad():
        done = 0
        for part in nll_batches(model, windows, batch=batch):
            for number, values in sweep.run(part):
                nll[number][part.rows] = values
            done += part.done
            if progress:
                progress(done, len(windows), "perplexity")
    scores = []
    for condition, values in zip(conditions, nll, strict=True):
        try:
            scores.append(perplexity_of(values, windows))
        except ScoreError as error:
            raise _under(condition, error) from error
    return Swept(tuple(scores), sweep.share, sweep.notes)


def sweep_pairs(
    model: Model,
    prepared: Prepared,
    conditions: Sequence[Condition],
    *,
    progress: Progress | None = None,
    ways: dict[bytes, Way] | None = None,
) -> Swept[PairScores]:
    """Scores of minimal pairs under each condition: `minimal_pairs` of each alone, bit for bit, in fewer layers.

    Whether sentences may share their prefixes is settled once, on the plain model.

    Args:
        prepared: the pairs, as `prepare` encodes them.
        progress: called with (tokens done, tokens in all, name of the set).
        ways: see `LogProbs`.

    Raises:
        ScoreError: a score that is not finite, naming the condition; or conditions of another number of layers.
    """
    sweep, scorer = Sweep(model.module, conditions), LogProbs(model.module, ways=ways)
    forest = prepared.forest
    totals = np.zeros((len(conditions), len(forest.lengths)))
    with torch.no_grad():
        batches, done, whole = scorer.batches(forest), 0, scorer.tokens(forest)
        for batch in batches:
            for number, values in sweep.run(batch):
                totals[number][batch.rows] = values
            done = min(whole, done + batch.done)
            if progress:
                progress(done, whole, prepared.pairs.name)
    scores = []
    for condition, values in zip(conditions, totals, strict=True):
        try:
            with condition.open():
                values = scorer.finite(forest, values)
            scores.append(prepared.scores(scorer.scored(forest, values)))
        except NonFiniteScore as error:
            raise _under(condition, prepared.blame(error)) from error
    return Swept(tuple(scores), sweep.share, sweep.notes)


def _under(condition: Condition, error: ScoreError) -> ScoreError:
    return ScoreError(f"{condition.name}: {error.asked}", error.found, error.todo)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Leading elements that two tuples of one length share."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
