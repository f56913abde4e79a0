"""Activity of neurons where the two sentences of a minimal pair differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from negspace.errors import ScoreError
from negspace.experiment.chosen import spread
from negspace.models.model import Model
from negspace.neurons.neuronset import NeuronSet
from negspace.score.pairs import Encoded, Protocol, encode_pairs
from negspace.stats.readings import Batch, Progress, readings
from negspace.text.names import token_names
from negspace.text.pairs import PairSet

ROWS = 64
"""Sentences of one forward pass."""
COLUMNS = {
    "paradigm": "paradigm of the pair",
    "phenomenon": "its phenomenon",
    "index": "its place in the paradigm",
    "sentence": '"good" or "bad"',
    "number": "0 for the first differing token of the sentence, 1 for the next",
    "token": "the token as text",
}
"""Column -> meaning; beside them one column per neuron with its pre-activations."""


def critical_tokens(
    model: Model,
    pairs: PairSet,
    neurons: NeuronSet,
    *,
    protocol: Protocol = "paper",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Pre-activations of chosen neurons at the tokens in which the sentences of minimal pairs differ.

    What differs is what remains when the tokens that both sentences begin with, and those that both end with, are taken
    off. A sentence that only lacks what the other has is read at the token after the gap, or, at its end, before it.
    Pairs whose sentences are the same tokens have no such token and are left out. Sentences of one length run together,
    in batches that depend on the pairs alone.

    Args:
        model: the model.
        pairs: minimal pairs.
        neurons: which neurons.
        protocol: how sentences become tokens; see `minimal_pairs`.
        progress: called as progress(done, total, what).

    Returns:
        One row per differing token, columns as in `COLUMNS`, then one float32 column per neuron, by name; NaN where the
        token did not reach the neuron's expert.

    Raises:
        ScoreError: sentences that cannot be encoded, or no pair of different tokens.
        SelectionError: neurons of another layout.
    """
    neurons.check(model)
    good, bad = encode_pairs(pairs, model.tokenizer, protocol=protocol, context=model.context)
    rows: list[dict[str, Any]] = []
    wanted: dict[tuple[int, ...], dict[int, list[int]]] = {}
    for pair, one, two in zip(pairs.pairs, good, bad, strict=True):
        if one.tokens == two.tokens:
            continue
        for sentence, encoded, places in zip(("good", "bad"), (one, two), _differing(one, two), strict=True):
            for number, place in enumerate(places):
                wanted.setdefault(encoded.tokens, {}).setdefault(place, []).append(len(rows))
                rows.append(
                    {
                        "paradigm": pair.paradigm,
                        "phenomenon": pair.phenomenon,
                        "index": pair.index,
                        "sentence": sentence,
                        "number": number,
                        "token": encoded.tokens[place],
                    }
                )
    if not rows:
        raise ScoreError(
            f"the tokens in which the pairs of {pairs.name} differ",
            "both sentences are the same tokens in every pair",
            "use a tokenizer that tells the sentences apart",
        )
    batches, positions = _batches(wanted)
    values = spread(
        readings(model, batches, neurons.indices, progress=progress, what="reading critical tokens"), len(positions)
    )
    # A token that several pairs share was read once.
    source = np.empty(len(rows), np.int64)
    for position, numbers in enumerate(positions):
        source[numbers] = position
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    names = token_names(model.tokenizer, frame["token"])
    frame["token"] = [names[token] for token in frame["token"]]
    return pd.concat([frame, values.iloc[source].reset_index(drop=True)], axis=1)


def _differing(good: Encoded, bad: Encoded) -> tuple[list[int], list[int]]:
    """Places in both sentences of the tokens in which they differ, at least one in each."""
    a, b = good.tokens, bad.tokens
    short = min(len(a), len(b))
    head = next((at for at in range(short) if a[at] != b[at]), short)
    tail = next((at for at in range(short - head) if a[-1 - at] != b[-1 - at]), short - head)
    spans = []
    for tokens in (a, b):
        places = list(range(head, len(tokens) - tail))
        spans.append(places or [min(head, len(tokens) - 1)])
    return spans[0], spans[1]


def _batches(wanted: Mapping[tuple[int, ...], Mapping[int, list[int]]]) -> tuple[list[Batch], list[list[int]]]:
    """Sentences in batches of one length, and the rows that each read token is for, by the token's number."""
    order = sorted(wanted, key=lambda tokens: (len(tokens), tokens))
    batches: list[Batch] = []
    positions: list[list[int]] = []
    begin = 0
    while begin < len(order):
        length = len(order[begin])
        stop = begin
        while stop < len(order) and stop - begin < ROWS and len(order[stop]) == length:
            stop += 1
        ids = np.array(order[begin:stop], np.int64)
        numbers = np.full(ids.shape, -1, np.int64)
        for line, tokens in enumerate(order[begin:stop]):
            for place in sorted(wanted[tokens]):
                numbers[line, place] = len(positions)
                positions.append(wanted[tokens][place])
        batches.append(Batch(ids, numbers >= 0, numbers))
        begin = stop
    return batches, positions
