"""Log-likelihoods of answers after their contexts, as benchmark tasks ask for them, by the kernel of minimal pairs.

Requests that share a context run it once, and the output layer sees only positions that predict an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from negspace.errors import ScoreError
from negspace.score.logits import Standing
from negspace.score.logprobs import LogProbs, Progress
from negspace.score.prefixes import build_forest

Request = tuple[Sequence[int], Sequence[int]]
"""Tokens of a context, one at least, and of the answer after it, one at least."""


def answers(
    scorer: LogProbs,
    requests: Sequence[Request],
    change: Callable[[], AbstractContextManager[object]] = nullcontext,
    progress: Callable[[float], None] | None = None,
    name: Callable[[int], str] = "the answer of request {}".format,
) -> tuple[np.ndarray, np.ndarray]:
    """Score answers: (log-likelihoods, float64 [requests], in nats; their standings, int8 [requests]).

    An answer stands above if each of its tokens is the one that the model holds most probable there (it is greedy), and
    is tied if some of them share that place with other tokens and none is below. Log-likelihoods may be other than
    finite.

    Args:
        scorer: scores with the model; what exceeds its context loses its beginning (the last token is not read).
        requests: contexts and answers.
        change: opens the condition to score under; how the network is run is settled outside of it.
        progress: called with the share that is done, 0 to 1.
        name: what an error calls the answer of a request, by its place.

    Raises:
        ScoreError: a context or an answer without tokens, an answer that is longer than the model's context, or a token
            id that the model does not have.
    """
    most = scorer.passes.context
    for place, (context, answer) in enumerate(requests):
        if not context or not answer:
            raise without_tokens(name(place), "answer" if context else "context")
        if most is not None and len(answer) > most:
            raise ScoreError(
                f"the log-likelihood of {name(place)}",
                f"{len(answer)} tokens, but the model takes {most}",
                "leave the item out, or use a model of longer context",
            )
    totals, places = np.zeros(len(requests)), np.full(len(requests), Standing.BELOW, np.int8)
    # One sequence may be cut into context and answer in several ways; a forest holds it once. Sequences that are too
    # long for shared prefixes (a window of attention is shorter) have a forest to themselves, and others still share.
    rounds: list[dict[tuple[int, ...], tuple[int, list[int]]]] = []
    for place, (context, answer) in enumerate(requests):
        tokens = (*context, *answer)
        if most is not None:
            tokens = tokens[-(most + 1) :]
        start, long = len(tokens) - len(answer), len(tokens) > scorer.shareable
        for taken in rounds:
            if long != (len(next(iter(taken))) > scorer.shareable):
                continue
            known = taken.setdefault(tokens, (start, []))
            if known[0] == start:
                known[1].append(place)
                break
        else:
            rounds.append({tokens: (start, [place])})
    whole, before = sum(map(len, rounds)), 0
    for taken in rounds:
        forest = build_forest(list(taken), [start for start, _ in taken.values()])
        scorer.way(forest)
        report = progress and _part(progress, before / whole, len(taken) / whole)
        with change():
            values, found = scorer.values(forest, report, standing=True)
        for row, (_, asking) in zip(forest.where, taken.values(), strict=True):
            totals[asking], places[asking] = values[row], found[row]
        before += len(taken)
    return totals, places


def without_tokens(name: str, part: str) -> ScoreError:
    """The error for an answer that cannot be scored: nothing would be summed, and 0 is above every log-likelihood."""
    return ScoreError(
        f"the log-likelihood of {name}",
        f"no token of its own in the {part}: the tokenizer joins it with its neighbour or drops it",
        "leave the item out, or set a target_delimiter that keeps them apart",
    )


def _part(progress: Callable[[float], None], begin: float, share: float) -> Progress:
    """Progress of a round that begins at some share of the whole and makes up another."""
    return lambda done, whole, _: progress(begin + share * done / max(1, whole))
