"""Scores of SyntaxGym's predictions: a region's surprisal is the difference between two prefixes of its sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from negspace.errors import ScoreError, TextError
from negspace.text.alignment import token_offsets
from negspace.text.formula import ALL, Place
from negspace.text.syntaxgym import Metric, Prediction, Sentence

_BIT = log(2.0)
"""Nats of a bit: formulae are in bits."""
_METRICS = {"mean": np.mean, "median": np.median, "range": np.ptp, "max": np.max, "min": np.min}
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Prefix:
    """Tokens before each sentence."""

    tokens: Tokens = ()
    """The tokens; may be none."""
    spelt: str = ""
    """How a sentence begins that spells them out, where its tokens alone do not tell."""

    def before(self, text: str, own: Iterable[int]) -> tuple[Tokens, bool]:
        """A sentence's tokens with the prefix, never twice; and whether the sentence spells the prefix out itself."""
        ids = tuple(int(token) for token in own)
        written = ids[: len(self.tokens)] == self.tokens and text.lstrip().startswith(self.spelt)
        return (ids if written else (*self.tokens, *ids)), written


@dataclass(frozen=True)
class Region:
    """The tokens of a region, by the prefixes of its sentence that they end."""

    tokens: Tokens
    """The sentence's tokens, those before it included."""
    cuts: tuple[int, ...]
    """Lengths of prefixes: the surprisals of what lies between each two are what the metric is made of."""
    first: int
    """Tokens before the region."""
    stop: int
    """Tokens up to its end."""

    @property
    def prefixes(self) -> list[Tokens]:
        """The prefixes whose log-probabilities are wanted; of a single token there is none."""
        return [self.tokens[:cut] for cut in self.cuts if cut > 1]

    @property
    def scored(self) -> int:
        """Tokens of the region that something precedes."""
        return max(0, self.stop - max(self.first, 1))

    def value(self, metric: Metric, total: Mapping[Tokens, float]) -> float:
        """Its surprisal in bits."""
        totals = [total[self.tokens[:cut]] if cut > 1 else 0.0 for cut in self.cuts]
        if metric == "sum":
            return (totals[0] - totals[-1]) / _BIT
        surprisals = -np.diff(totals) / _BIT
        return float(_METRICS[metric](surprisals))


@dataclass(frozen=True, eq=False)
class Measurable:
    """Predictions whose regions are found in the tokens of their sentences."""

    predictions: tuple[Prediction, ...]
    """The predictions."""
    regions: tuple[Mapping[Place, tuple[Region, ...]], ...]
    """For each prediction the regions that its formula names: one, or all of a sentence."""
    sequences: tuple[Tokens, ...]
    """The distinct prefixes whose log-probabilities are wanted."""

    @property
    def same(self) -> np.ndarray:
        """bool [predictions]: whether the sentences of all conditions are the same tokens up to the regions named."""
        return np.array([_alike(regions) for regions in self.regions], bool)

    def items(self, totals: np.ndarray) -> pd.DataFrame:
        """One row a prediction, from the log-probabilities of `sequences` [float64, nats]: good and bad are the sides
        of the comparison that decides it, in nats, the higher one as predicted first; chance is how often guessing is
        right, NaN where nobody knows."""
        total = dict(zip(self.sequences, totals.tolist(), strict=True))
        rows = []
        for prediction, regions in zip(self.predictions, self.regions, strict=True):
            surprisals = {
                place: sum(region.value(prediction.metric, total) for region in some) for place, some in regions.items()
            }
            sides = prediction.formula.of(surprisals)
            count = sum(region.scored for some in regions.values() for region in some)
            rows.append((sides.good * _BIT, sides.bad * _BIT, count))
        columns = ["good", "bad", "good_tokens"]
        made = pd.DataFrame(rows, columns=columns).astype(
            {"good": np.float64, "bad": np.float64, "good_tokens": np.int64}
        )
        chance = [prediction.formula.chance for prediction in self.predictions]
        return made.assign(bad_tokens=made["good_tokens"], chance=np.array(chance, np.float64))


def _alike(regions: Mapping[Place, tuple[Region, ...]]) -> bool:
    by_condition: dict[str, list[tuple[Tokens, tuple[int, ...]]]] = {}
    for (condition, _), some in sorted(regions.items()):
        by_condition.setdefault(condition, []).extend((one.tokens[: one.stop], one.cuts) for one in some)
    first, *others = by_condition.values()
    return bool(others) and all(other == first for other in others)


def measurable(
    predictions: Sequence[Prediction],
    tokenizer: PreTrainedTokenizerBase,
    prefix: Prefix,
    *,
    context: int | None,
) -> Measurable:
    """Find the regions of predictions in the tokens of their sentences.

    A token belongs to the region of its first character that is no white space; one of white space alone to the region
    after it.

    Args:
        prefix: tokens before each sentence.
        context: longest sequence that the model takes, None if unbounded.

    Raises:
        ScoreError: a slow tokenizer, a region of words without a token of its own or without one that something
            precedes, or a sentence longer than the context.
    """
    encoded: dict[str, tuple[Tokens, np.ndarray]] = {}
    found: list[dict[Place, tuple[Region, ...]]] = []
    for prediction in predictions:
        mine: dict[Place, tuple[Region, ...]] = {}
        for place in sorted(prediction.formula.places):
            sentence = prediction.sentences[place[0]]
            if sentence.text not in encoded:
                encoded[sentence.text] = _encode(sentence.text, tokenizer, prefix)
            tokens, start = encoded[sentence.text]
            asked = f"the score of {prediction}, condition {place[0]}: {sentence.text[:80]!r}"
            if context is not None and len(tokens) > context:
                raise ScoreError(
                    asked, f"{len(tokens)} tokens, but the model takes {context}", "use a model of longer context"
                )
            mine[place] = _regions(sentence, place[1], tokens, start, len(prefix.tokens), prediction.metric, asked)
        found.append(mine)
    wanted = dict.fromkeys(
        sequence for one in found for some in one.values() for region in some for sequence in region.prefixes
    )
    return Measurable(tuple(predictions), tuple(found), tuple(wanted))


def _encode(text: str, tokenizer: PreTrainedTokenizerBase, prefix: Prefix) -> tuple[Tokens, np.ndarray]:
    """Tokens of a sentence after the prefix, and the offset of each of its own tokens' first character."""
    try:
        ids, start, _ = token_offsets(text, tokenizer)
    except TextError as error:
        raise ScoreError("the surprisals of regions", error.found, error.todo) from error
    tokens, written = prefix.before(text, ids)
    return tokens, start[len(prefix.tokens) if written else 0 :]


def _regions(
    sentence: Sentence, number: int, tokens: Tokens, start: np.ndarray, lead: int, metric: Metric, asked: str
) -> tuple[Region, ...]:
    """One region of a sentence, or all."""
    ends = np.array(sentence.ends)
    # How many tokens lie before the end of each region; what a tokenizer puts out of order belongs where it stands.
    of = np.maximum.accumulate(np.searchsorted(ends[:-1], start, side="right"))
    stops = lead + np.searchsorted(of, np.arange(len(ends)), side="right")
    made = []
    for at, (region, content) in enumerate(sentence.regions):
        if number not in (ALL, region):
            continue
        first, stop = int(stops[at - 1]) if at else lead, int(stops[at])
        cuts = (first, stop) if metric == "sum" else tuple(range(first, stop + 1))
        if first == 0 and metric != "sum":
            cuts = cuts[1:]  # nothing precedes the first token: it has no surprisal
        measured = Region(tokens, cuts, first, stop)
        if number != ALL and (measured.scored == 0 and (content or metric != "sum")):
            what = "no token of its own" if first == stop else "nothing before its only token"
            raise ScoreError(
                asked,
                f"region {region} ({content!r}) has {what}",
                "use protocol='lm-eval', which scores a sentence's first token too"
                if first < stop
                else "use a tokenizer that keeps the regions apart, or leave the suite out",
            )
        made.append(measured)
    if number == ALL:
        if not any(region.scored for region in made):
            raise nothing_predicted(asked, len(tokens) - lead, lead, "suite")
        if metric != "sum":
            made = [region for region in made if region.scored]
    return tuple(made)


def nothing_predicted(asked: str, own: int, lead: int, what: str) -> ScoreError:
    """The error for a sentence of so many tokens of its own without one that something precedes."""
    return ScoreError(
        asked,
        f"{own} token(s) with {lead} before them: nothing is predicted",
        f"use protocol='lm-eval', which scores a sentence's first token too, or leave the {what} out",
    )
