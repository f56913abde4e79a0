"""Minimal pairs: how often a model finds the grammatical sentence more probable than the ungrammatical one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from negspace.errors import NonFiniteScore, ScoreError
from negspace.models.model import check_model
from negspace.score.logprobs import LogProbs, Progress, Scored
from negspace.score.predictions import Measurable, Prefix, measurable, nothing_predicted
from negspace.score.prefixes import Forest, forest_of
from negspace.score.ways import Way
from negspace.text.pair_rows import Kind
from negspace.text.pair_sources import PairSource
from negspace.text.pairs import Pair, PairSet, read_pairs
from negspace.text.specials import check_prefix, encode, surround

if TYPE_CHECKING:
    from negspace.models.model import Model

Protocol = Literal["paper", "lm-eval"]
Score = Literal["sum", "mean"]

_SCORE: dict[Kind, Score] = {"blimp": "sum", "tse": "mean", "pairs": "sum"}
GUESS = 0.5
"""Accuracy of guessing which sentence of a pair is the good one."""
_OUTCOMES = ("right", "wrong", "tie", "identical")


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores and outcomes of a set of minimal pairs.

    A pair is right if the grammatical sentence scores strictly higher, a tie if two sentences of different tokens score
    the same (a tie is not right), and identical if both sentences are the same tokens: then there is nothing to prefer,
    and the pair is left out of every accuracy. A prediction of a suite is right if its formula holds, a tie if the two
    sides of the comparison that decides it are the same.
    """

    name: str
    """Name of the set."""
    kind: Kind
    """"blimp", "tse" or "pairs"."""
    hash: str
    """sha256 of the pairs."""
    protocol: Protocol
    """Tokenisation of the sentences."""
    score: Score
    """"sum" of the log-probabilities of a sentence, or their "mean" per scored token; suites have their own metric."""
    items: pd.DataFrame
    """One row per pair: paradigm, phenomenon, language (if any is named), index, good, bad (float64 scores, nats; of a
    prediction the sides of the comparison that decides it, negative surprisals where it compares regions),
    good_tokens, bad_tokens (scored tokens), outcome; where there are predictions chance, how often guessing is right
    (NaN where nobody knows)."""
    notes: tuple[str, ...] = ()
    """Notes on choices made while the pairs were read."""

    @cached_property
    def by_paradigm(self) -> pd.DataFrame:
        """One row per paradigm: paradigm, phenomenon, n, right, ties, identical, accuracy = right / (n - identical)."""
        table = _count(self.items, ["paradigm", "phenomenon"])
        table["accuracy"] = table["right"] / (table["n"] - table["identical"])
        return table

    @cached_property
    def by_phenomenon(self) -> pd.DataFrame:
        """One row per phenomenon: phenomenon, n, right, ties, identical, accuracy = mean over its paradigms."""
        table = _count(self.items, ["phenomenon"])
        means = self.by_paradigm.groupby("phenomenon")["accuracy"].mean()
        table["accuracy"] = means.loc[table["phenomenon"]].to_numpy()
        return table

    @cached_property
    def by_language(self) -> pd.DataFrame:
        """One row a language: language, n, right, ties, identical, accuracy = mean over its paradigms; none unnamed."""
        if "language" not in self.items:
            return pd.DataFrame(columns=["language", "n", "right", "ties", "identical", "accuracy"])
        table = _count(self.items, ["language"])
        by_paradigm = _count(self.items, ["language", "paradigm"])
        by_paradigm["accuracy"] = by_paradigm["right"] / (by_paradigm["n"] - by_paradigm["identical"])
        means = by_paradigm.groupby("language")["accuracy"].mean()
        table["accuracy"] = means.loc[table["language"]].to_numpy()
        return table

    @property
    def accuracy(self) -> float:
        """Mean over paradigms of the paradigms' accuracies, so that large paradigms weigh no more than small ones."""
        return float(self.by_paradigm["accuracy"].mean())

    @property
    def ties(self) -> int:
        """Pairs of different tokens and equal scores."""
        return int((self.items["outcome"] == "tie").sum())

    @property
    def identical(self) -> int:
        """Pairs whose sentences are the same tokens."""
        return int((self.items["outcome"] == "identical").sum())


class Encoded(NamedTuple):
    """A sentence as the model is to see it."""

    tokens: tuple[int, ...]
    """Token ids, those before the sentence included."""
    lead: int
    """Number of first tokens that precede the sentence and are not scored; 0 if none."""


def minimal_pairs(
    model: Model,
    pairs: PairSource | PairSet,
    *,
    columns: Mapping[str, str] | None = None,
    protocol: Protocol = "paper",
    limit: int | None = None,
    score: Score | None = None,
    progress: Progress | None = None,
) -> PairScores:
    """Score minimal pairs.

    Protocols:
        - "paper": the tokenizer's own special tokens. What it puts before a sentence is context; without that the
          sentence's first token is context and is not scored. What it puts after a sentence (some append EOS) is cut
          off, since whether a sentence ends there is no matter of its grammar. A sentence that spells these tokens out
          at its beginning gets them once.
        - "lm-eval": one prefix token, BOS or else EOS, and no other special token, so that every token of the sentence
          is scored: lm-evaluation-harness's log-likelihood of a sentence after an empty context. A sentence that begins
          with the prefix token itself gets no second one. (The harness's own BLiMP task also puts a space before each
          sentence; here sentences stay as they are.)

    A suite of SyntaxGym is scored as it says: the surprisal of a region is the sum (or another metric) over its tokens,
    a token belonging to the region of its first character, and its formula compares them in bits. The protocol says
    what precedes the sentence.

    Args:
        pairs: pairs, or anything that `read_pairs` reads them from.
        columns: which column is which; see `read_pairs`.
        limit: only so many pairs of each paradigm, spread evenly over it.
        score: "sum" or "mean" for pairs; by default as published, the sum for BLiMP and others, the mean per token for
            TSE.
        progress: called with (tokens done, tokens in all, name of the set).

    Raises:
        ModelError: not a model.
        PairsError: the pairs cannot be read.
        ScoreError: no prefix token, a sentence or a region without a scored token or longer than the model's context, a
            paradigm of identical pairs only, or a score that is not finite.
    """
    return score_prepared(
        model, prepare(model, pairs, columns=columns, protocol=protocol, limit=limit, score=score), progress
    )


def score_prepared(
    model: Model,
    prepared: Prepared,
    progress: Progress | None = None,
    *,
    change: Callable[[], AbstractContextManager[object]] = nullcontext,
    ways: dict[bytes, Way] | None = None,
) -> PairScores:
    """Score pairs that were encoded before; see `minimal_pairs`.

    Args:
        model: the model.
        prepared: the pairs.
        progress: see `minimal_pairs`.
        change: opens the condition to score under; how the network is run is settled outside of it.
        ways: see `LogProbs`.
    """
    report = (lambda done, whole, _: progress(done, whole, prepared.pairs.name)) if progress else None
    scorer = LogProbs(model.module, ways=ways)
    scorer.way(prepared.forest)
    try:
        with change():
            scored = scorer.score_forest(prepared.forest, report)
    except NonFiniteScore as error:
        raise prepared.blame(error) from error
    return prepared.scores(scored)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Minimal pairs as token sequences, and what their log-probabilities will mean."""

    pairs: PairSet
    """The pairs."""
    protocol: Protocol
    """Tokenisation of the sentences."""
    score: Score
    """"sum" or "mean"."""
    sentences: tuple[Encoded, ...]
    """The grammatical sentences in the order of the pairs, then the ungrammatical ones."""
    leads: tuple[tuple[int, ...], ...]
    """Distinct token sequences, longer than one token, that stand before sentences."""
    predicted: Measurable
    """The set's predictions, if it has any."""

    @property
    def sequences(self) -> list[tuple[int, ...]]:
        """Return the sequences to score: the sentences, then the leads, then the prefixes that end regions."""
        return [*(sentence.tokens for sentence in self.sentences), *self.leads, *self.predicted.sequences]

    @cached_property
    def forest(self) -> Forest:
        """The same, sorted, with the prefixes that they share."""
        return forest_of(self.sequences)

    @property
    def same(self) -> np.ndarray:
        """bool [pairs and predictions]: whether both sentences of a pair are the same tokens."""
        half = len(self.sentences) // 2
        good, bad = self.sentences[:half], self.sentences[half:]
        pairs = np.array([a.tokens == b.tokens for a, b in zip(good, bad, strict=True)], bool)
        return np.concatenate([pairs, self.predicted.same])

    def scores(self, scored: Scored) -> PairScores:
        """Scores and outcomes from the log-probabilities of `sequences`."""
        half, size = len(self.sentences) // 2, len(self.sentences)
        total, count = scored.total[:size].copy(), scored.count[:size].copy()
        # The kernel scores all tokens but the first; of a longer lead (GLM's has two tokens) the rest is taken out.
        leads = slice(size, size + len(self.leads))
        of_lead = dict(zip(self.leads, zip(scored.total[leads], scored.count[leads], strict=True), strict=True))
        for row, sentence in enumerate(self.sentences):
            if sentence.lead > 1:
                lead_total, lead_count = of_lead[sentence.tokens[: sentence.lead]]
                total[row] -= lead_total
                count[row] -= lead_count
        value = total / count if self.score == "mean" else total
        items = pd.DataFrame(
            {
                "good": value[:half],
                "bad": value[half:],
                "good_tokens": count[:half],
                "bad_tokens": count[half:],
            }
        )
        if self.predicted.predictions:
            predicted = self.predicted.items(scored.total[leads.stop :])
            items = pd.concat([items.assign(chance=GUESS), predicted], ignore_index=True)
        good, bad = items["good"], items["bad"]
        outcome = np.select([self.same, good > bad, good < bad], ["identical", "right", "wrong"], "tie")
        items["outcome"] = pd.Categorical(outcome, categories=_OUTCOMES)
        for name in ("index", "phenomenon", "paradigm"):
            items.insert(0, name, [getattr(pair, name) for pair in self.pairs])
        if any(pair.language for pair in self.pairs):
            items.insert(2, "language", [pair.language for pair in self.pairs])
        pairs = self.pairs
        return PairScores(pairs.name, pairs.kind, pairs.hash, self.protocol, self.score, items, pairs.notes)

    def blame(self, error: NonFiniteScore) -> ScoreError:
        """The kernel's error in terms of the pairs."""
        row, size = error.index, len(self.pairs.pairs)
        if row >= len(self.sentences) + len(self.leads):
            which = f"a region of {self.pairs.name}"
        elif row >= len(self.sentences):
            which = "the tokenizer's own first tokens"
        else:
            kind, pair = ("good", self.pairs.pairs[row]) if row < size else ("bad", self.pairs.pairs[row - size])
            which = f"the {kind} sentence of {pair} in {self.pairs.name}"
        return ScoreError(f"the score of {which}", error.found.partition(" has ")[2], error.todo)


def prepare(
    model: Model,
    pairs: PairSource | PairSet,
    *,
    columns: Mapping[str, str] | None = None,
    protocol: Protocol = "paper",
    limit: int | None = None,
    score: Score | None = None,
) -> Prepared:
    """Encode minimal pairs; arguments and errors as for `minimal_pairs`, but for scores that are not finite."""
    check_model(model, "minimal pairs")
    if protocol not in get_args(Protocol):
        raise ScoreError(f"protocol={protocol!r}", "no such protocol", "use 'paper' or 'lm-eval'")
    if score is not None and score not in get_args(Score):
        raise ScoreError(f"score={score!r}", "no such score", "use 'sum' or 'mean'")
    made = read_pairs(pairs, columns=columns, limit=limit)
    good, bad = encode_pairs(made, model.tokenizer, protocol=protocol, context=model.context)
    sentences = (*good, *bad)
    leads = tuple(sorted({sentence.tokens[: sentence.lead] for sentence in sentences if sentence.lead > 1}))
    probe = next((sentence.text for prediction in made.predictions for sentence in prediction.sentences.values()), None)
    prefix = Prefix() if probe is None else _prefix(model.tokenizer, protocol, probe)
    predicted = measurable(made.predictions, model.tokenizer, prefix, context=model.context)
    prepared = Prepared(made, protocol, score or _SCORE[made.kind], sentences, leads, predicted)
    _check_measurable(made, prepared.same)
    return prepared


def encode_pairs(
    pairs: PairSet, tokenizer: PreTrainedTokenizerBase, *, protocol: Protocol, context: int | None = None
) -> tuple[list[Encoded], list[Encoded]]:
    """Tokens of the grammatical and of the ungrammatical sentences, in the order of the pairs.

    Args:
        protocol: see `minimal_pairs`.
        context: longest sequence that the model takes, None if unbounded.

    Raises:
        ScoreError: no prefix token, or a sentence without a scored token, or longer than the context.
    """
    sentences = list(dict.fromkeys(sentence for pair in pairs.pairs for sentence in (pair.good, pair.bad)))
    if not sentences:
        return [], []
    prefix = _prefix(tokenizer, protocol, sentences[0])
    encoded = {
        sentence: Encoded(prefix.before(sentence, ids)[0], len(prefix.tokens))
        for sentence, ids in zip(sentences, encode(tokenizer, sentences), strict=True)
    }
    if not all(_fits(sequence, context) for sequence in encoded.values()):
        for pair in pairs.pairs:
            for which, sentence in (("good", pair.good), ("bad", pair.bad)):
                _check_length(encoded[sentence], pair, which, sentence, context)
    return [encoded[pair.good] for pair in pairs.pairs], [encoded[pair.bad] for pair in pairs.pairs]


def _prefix(tokenizer: PreTrainedTokenizerBase, protocol: Protocol, probe: str) -> Prefix:
    if protocol == "paper":
        before = surround(tokenizer, probe).before
        # Where BOS stands for unknown words too, one of these at the beginning is no BOS; the harness takes it for one.
        return Prefix(before, str(tokenizer.convert_ids_to_tokens(before[0])) if before else "")
    check_prefix(
        tokenizer,
        "protocol='lm-eval', which prepends BOS or else EOS to each sentence",
        "use protocol='paper', or set the tokenizer's bos_token",
    )
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return Prefix((int(token),))  # type: ignore[arg-type]


def _fits(encoded: Encoded, context: int | None) -> bool:
    length = len(encoded.tokens)
    return length > max(1, encoded.lead) and (context is None or length <= context)


def _check_length(encoded: Encoded, pair: Pair, which: str, sentence: str, context: int | None) -> None:
    asked = f"the score of the {which} sentence of {pair}: {sentence[:80]!r}"
    if len(encoded.tokens) <= max(1, encoded.lead):
        raise nothing_predicted(asked, len(encoded.tokens) - encoded.lead, encoded.lead, "pair")
    if context is not None and len(encoded.tokens) > context:
        raise ScoreError(
            asked,
            f"{len(encoded.tokens)} tokens, but the model takes {context}",
            "leave the pair out, or use a model of longer context",
        )


def _check_measurable(pairs: PairSet, same: np.ndarray) -> None:
    # A paradigm may be one of several languages, each of which has an accuracy for it.
    different = {(pair.paradigm, pair.language) for pair, identical in zip(pairs, same, strict=True) if not identical}
    for paradigm, language in dict.fromkeys((pair.paradigm, pair.language) for pair in pairs):
        if (paradigm, language) not in different:
            raise ScoreError(
                f"the accuracy of {paradigm}{f' ({language})' if language else ''} in {pairs.name}",
                "both sentences are the same tokens in every one of its pairs",
                "leave the paradigm out, raise the limit, or use a tokenizer that tells its sentences apart",
            )


def _count(items: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Pairs, and those of each outcome, for each group."""
    flags = items[by].assign(
        n=1,
        right=items["outcome"] == "right",
        ties=items["outcome"] == "tie",
        identical=items["outcome"] == "identical",
    )
    return flags.groupby(by, as_index=False)[["n", "right", "ties", "identical"]].sum()
