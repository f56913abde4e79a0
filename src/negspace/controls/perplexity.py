"""The low-scoring set that does the same damage to perplexity as another set, found in few evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from negspace.errors import SelectionError
from negspace.wording import counted

if TYPE_CHECKING:
    from negspace.models.model import Model
    from negspace.neurons.neuronset import NeuronSet
    from negspace.neurons.scan import Scan
    from negspace.text.windows import Bos

TOLERANCE = 0.01
EVALUATIONS = 8
_OF_RISE = 0.1
_DIGITS = 9
_FIRST = 0.3
_EXPONENT = 1.5


@dataclass(frozen=True)
class Trial:
    """One share that was tried."""

    share: float
    """Share m of the lowest-scoring neurons of each layer."""
    perplexity: float
    """Perplexity under the intervention on them."""
    reused: bool = False
    """True if the value came from an earlier search and cost no evaluation."""


@dataclass(frozen=True)
class Match:
    """The result of a search for a set of equal damage; "cannot be matched" is a valid result."""

    matched: bool
    """True if the set found does the damage of the target within the tolerance and a tenth of the rise."""
    reason: str
    """Why it is (not) matched, one sentence."""
    share: float
    """Share m of the set found; 0 where none was."""
    perplexity: float
    """Perplexity under the intervention on it."""
    target: float
    """Perplexity to be matched."""
    baseline: float
    """Perplexity of the plain model."""
    residual: float
    """perplexity / target - 1."""
    tolerance: float
    """Largest |residual| that counts as matched, if the rise is within a tenth of the target's as well."""
    evaluations: int
    """Perplexity evaluations that the search took."""
    trail: tuple[Trial, ...]
    """Every share considered, in order."""
    neurons: NeuronSet | None = None
    """The set itself; None where the share is 0, where the set is empty, or for a search that knows of shares only."""


def match_perplexity(
    model: Model,
    scan: Scan,
    target: float,
    *,
    text: Any = "wikitext-2",
    zero: str | None = None,
    mode: str | None = None,
    by: str = "wd",
    largest: float = 1.0,
    tolerance: float = TOLERANCE,
    max_evaluations: int = EVALUATIONS,
    baseline: float | None = None,
    window: int | None = None,
    windows: int | None = None,
    bos: Bos = "auto",
    batch: int | None = None,
) -> Match:
    """Find a share m of each layer's lowest-scoring neurons that reaches a perplexity when intervened on.

    Args:
        target: the perplexity to reach, for example that of the ablated top set on the same text.
        text: a text, or windows made before; with `window`, `windows`, `bos` and `batch` as for `perplexity`.
        zero, mode: the intervention, as for `intervene`; without either, the negatives are set to zero.
        by: the score of the scan that says which neurons are low.
        largest: largest share to try; 1 - p keeps the control disjoint from the top share p if every neuron of a site
            has a score of its own. Where some have none, or equal ones, check `len(match.neurons & top) == 0`.
        baseline: the plain model's perplexity, where known; measured otherwise.

    See `find_share` for the search and for what counts as matched.
    """
    from negspace.intervention import intervene
    from negspace.models.model import check_model
    from negspace.neurons.scan import check_scan
    from negspace.score.perplexity import perplexity
    from negspace.text.source import read_text
    from negspace.text.windows import Windows, make_windows

    check_model(model, "a match on perplexity")
    check_scan(scan, "a match on perplexity")
    if mode is None and zero is None:
        zero = "negative"
    # Cut once: every evaluation scores the same tokens, and an iterator of documents can be read but once.
    cut = text
    if not isinstance(text, Windows):
        read = read_text(text, role="perplexity")
        cut = make_windows(read, model.tokenizer, window=window, windows=windows, bos=bos, context=model.context)

    def evaluate(share: float) -> float:
        with intervene(model, scan.bottom(share, by=by), zero=zero, mode=mode, scan=scan):  # type: ignore[arg-type]
            return perplexity(model, cut, batch=batch).value

    plain = perplexity(model, cut, batch=batch).value if baseline is None else baseline
    found = find_share(
        evaluate,
        target=target,
        baseline=plain,
        sizes=[site.size for site in model.sites],
        largest=largest,
        tolerance=tolerance,
        max_evaluations=max_evaluations,
    )
    return replace(found, neurons=scan.bottom(found.share, by=by) if found.share else None)


def find_share(
    evaluate: Callable[[float], float],
    *,
    target: float,
    baseline: float,
    sizes: Sequence[int],
    largest: float = 1.0,
    tolerance: float = TOLERANCE,
    max_evaluations: int = EVALUATIONS,
    known: Sequence[Trial] = (),
    first: float | None = None,
) -> Match:
    """Find a share m whose perplexity reaches a target, in few evaluations of a nearly monotone function.

    Where perplexity rises with m throughout, it is the smallest such share to within the tolerance; where it does not,
    a smaller share may fit too, and finding it would take many evaluations.

    Let r(m) = ln(perplexity(m) / baseline). A share is matched when |perplexity(m) / target - 1| <= tolerance and,
    so that a small rise is not matched by half of it, |r(m) - r_target| <= r_target / 10. A target within the tolerance
    of the baseline is no damage, and nothing is searched. The search brackets the
    target and goes where the monotone cubic through the trials meets it (inverse PCHIP), or to the middle of a bracket
    that two steps have not halved. Shares are tried in whole neurons a layer.

    Args:
        evaluate: perplexity for a share m in (0, 1].
        sizes: neurons of each layer; the widest sets how finely shares can be told apart.
        largest: largest share to try.
        known: shares evaluated before, on the same text and intervention; they narrow the bracket at no cost.
        first: where to begin without these, such as what fitted a set like this one; None: 0.3.

    Raises:
        SelectionError: a share, tolerance, number of evaluations or perplexity out of range.
        ValueError: an evaluation that is not a positive finite number.
    """
    first = _FIRST if first is None else first
    if not 0 < largest <= 1 or tolerance <= 0 or max_evaluations < 1:
        raise SelectionError(
            f"a matched share up to {largest} within {tolerance} in {max_evaluations} evaluations",
            "a number out of range",
            "give 0 < largest <= 1, tolerance > 0 and at least one evaluation",
        )
    if not all(isinstance(value, Real) and math.isfinite(value) and value > 0 for value in (target, baseline)):
        raise SelectionError(
            f"a share that reaches a perplexity of {target}",
            f"a target of {target} and a baseline of {baseline}, one of which is not a perplexity",
            "give the perplexities that `negspace.perplexity` measured: finite and above zero",
        )
    search = _Search(evaluate, target, baseline, max(sizes) - 1, largest, tolerance, max_evaluations, first)
    return search.run(known)


class _Search:
    """State of one search; k counts neurons of the widest layer, y = ln(perplexity / target) is the mismatch."""

    def __init__(
        self,
        evaluate: Callable[[float], float],
        target: float,
        baseline: float,
        steps: int,
        largest: float,
        tolerance: float,
        budget: int,
        first: float,
    ) -> None:
        self.evaluate = evaluate
        self.target, self.baseline, self.tolerance, self.budget = target, baseline, tolerance, budget
        self.steps = max(1, steps)
        self.last = max(1, math.floor(largest * self.steps + 1e-9))
        self.first = first
        self.rise = math.log(target / baseline)
        self.trail: list[Trial] = []
        self.spent = 0
        self.low, self.y_low = 0, -self.rise
        self.high: int | None = None
        self.y_high = math.inf
        self.seen: dict[int, float] = {}
        self.widths: list[int] = []

    def run(self, known: Sequence[Trial]) -> Match:
        if self.target <= self.baseline:
            return self._result(False, "the target is not above the plain model's perplexity: no damage to match")
        if self.target <= self.baseline * (1 + self.tolerance):
            return self._result(
                False, "the target is within the tolerance of the plain model's perplexity: no damage to match"
            )
        for trial in sorted(known, key=lambda trial: trial.share):
            k = round(trial.share * self.steps + 0.499)
            if trial.share > 0 and k <= self.last:
                self._take(k, replace(trial, reused=True))
        while not self._within():
            if self.high is None and self.low >= self.last:
                return self._result(
                    False, f"even the largest share, {self._share(self.last):.4g}, stays below the target"
                )
            if self.high is not None and self.high - self.low <= 1:
                return self._result(False, "one neuron a layer more or less is too large a step to come any closer")
            if self.spent >= self.budget:
                effort = counted(self.spent, "evaluation")
                return self._result(False, f"not within the tolerance and a tenth of the rise after {effort}")
            if self.high is not None:
                self.widths.append(self.high - self.low)
            k = self._next()
            share = self._share(k)
            value = float(self.evaluate(share))
            self.spent += 1
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"perplexity {value} at the share {share}")
            self._take(k, Trial(share, value))
        return self._result(True, "within the tolerance")

    def _take(self, k: int, trial: Trial) -> None:
        """Note a trial and narrow the bracket."""
        y = math.log(trial.perplexity / self.target)
        self.trail.append(trial)
        self.seen[k] = y
        if y >= 0 and (self.high is None or k < self.high):
            self.high, self.y_high = k, y
        if y < 0 and k > self.low and (self.high is None or k < self.high):
            self.low, self.y_low = k, y

    def _next(self) -> int:
        if self.high is None:
            guess = self._extrapolate() if self.low else self.first * self.steps
            # A search that has crept up twice goes to the end, to learn whether the target can be reached at all.
            guess = self.last if self.spent >= 2 else guess
            return max(self.low + 1, min(self.last, round(guess)))
        return max(self.low + 1, min(self.high - 1, round(self._interpolate())))

    def _extrapolate(self) -> float:
        rise = self.rise + self.y_low
        if rise <= 0:
            return 2.0 * self.low
        return 1.1 * self.low * min(4.0, (self.rise / rise) ** (1 / _EXPONENT))

    def _interpolate(self) -> float:
        """Return where the monotone curve through the trials meets the target, or the midpoint if that was slow."""
        assert self.high is not None
        if len(self.widths) >= 3 and self.high - self.low > self.widths[-3] / 2:
            return (self.low + self.high) / 2
        below, above = [(self.low, self.y_low)], [(self.high, self.y_high)]
        points = sorted({0: -self.rise, **self.seen}.items())
        # Only trials that keep the curve monotone count; noise elsewhere must not bend it.
        for k, y in reversed([point for point in points if point[0] < self.low]):
            if y < below[0][1]:
                below.insert(0, (k, y))
        for k, y in (point for point in points if point[0] > self.high):
            if y > above[-1][1]:
                above.append((k, y))
        ks, ys = zip(*below, *above, strict=True)
        # Perplexity may rise a thousandfold towards the end; asinh keeps such trials from straightening the curve.
        return float(PchipInterpolator(np.arcsinh(np.array(ys) / self.rise), ks)(0.0))

    def _share(self, k: int) -> float:
        """A share that selects k neurons of the widest layer: just below k / steps, as a short decimal."""
        return min(1.0, math.floor(k / self.steps * 10**_DIGITS) / 10**_DIGITS)

    def _fits(self, trial: Trial) -> bool:
        mismatch = math.log(trial.perplexity / self.target)
        return abs(trial.perplexity / self.target - 1) <= self.tolerance and abs(mismatch) <= _OF_RISE * self.rise

    def _within(self) -> bool:
        return any(self._fits(trial) for trial in self.trail)

    def _result(self, matched: bool, reason: str) -> Match:
        fitting = [trial for trial in self.trail if self._fits(trial)]
        if fitting:
            best = min(fitting, key=lambda trial: trial.share)
        elif self.trail:
            best = min(self.trail, key=lambda trial: abs(math.log(trial.perplexity / self.target)))
        else:
            best = Trial(0.0, self.baseline)
        return Match(
            matched=matched,
            reason=reason,
            share=best.share,
            perplexity=best.perplexity,
            target=self.target,
            baseline=self.baseline,
            residual=best.perplexity / self.target - 1,
            tolerance=self.tolerance,
            evaluations=self.spent,
            trail=tuple(self.trail),
        )
