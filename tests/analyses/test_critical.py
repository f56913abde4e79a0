"""Critical tokens: where the sentences of a pair differ, and what a neuron does there in a pass of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from negspace.analyses.atlas.critical import COLUMNS, _differing, critical_tokens
from negspace.errors import ScoreError
from negspace.models.load import load
from negspace.models.model import Model
from negspace.models.taps import tap
from negspace.neurons.neuronset import NeuronSet
from negspace.score.pairs import Encoded
from negspace.text.pairs import Pair, PairSet


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Model:
    return load(str(tiny_model_path))


@pytest.fixture(scope="module")
def neurons(model: Model) -> NeuronSet:
    return NeuronSet.from_indices(model, {0: [2], 1: [5, 60]})


def pairs(*sentences: tuple[str, str]) -> PairSet:
    return PairSet("some", "blimp", tuple(Pair(a, b, "p", "q", at) for at, (a, b) in enumerate(sentences)))


@pytest.mark.parametrize(
    ("good", "bad", "places"),
    [
        ((1, 2, 3, 4), (1, 5, 3, 4), ([1], [1])),
        ((1, 2, 3, 4), (1, 5, 6, 3, 4), ([1], [1, 2])),
        ((1, 2, 3), (1, 3), ([1], [1])),  # what the second lacks: read after the gap
        ((1, 2, 3), (1, 2), ([2], [1])),  # and at its end, before it
        ((1, 2, 2, 3), (1, 2, 3), ([2], [2])),
        ((2, 1), (3, 1), ([0], [0])),
    ],
)
def test_where_they_differ(good, bad, places) -> None:
    assert _differing(Encoded(good, 0), Encoded(bad, 0)) == places
    assert _differing(Encoded(bad, 0), Encoded(good, 0)) == places[::-1]


def test_values_equal_a_pass_of_each_sentence(model: Model, neurons: NeuronSet) -> None:
    given = pairs(
        ("The cat sees the dogs.", "The cat see the dogs."),
        ("The dogs see no cat.", "The dogs sees no cat."),
        ("No dog has ever barked.", "No dog has ever barked."),
        ("The cat sees the dogs.", "The cat sees the cat sees."),
    )
    made = critical_tokens(model, given, neurons)
    assert list(made.columns) == [*COLUMNS, "0.2", "1.5", "1.60"]
    assert set(made["index"]) == {0, 1, 3}  # the third pair is twice the same
    for pair in given:
        ids = [model.tokenizer(sentence).input_ids for sentence in (pair.good, pair.bad)]
        for sentence, mine, places in zip(
            ("good", "bad"), ids, _differing(Encoded(tuple(ids[0]), 0), Encoded(tuple(ids[1]), 0)), strict=True
        ):
            rows = made[(made["index"] == pair.index) & (made["sentence"] == sentence)]
            if pair.good == pair.bad:
                assert rows.empty
                continue
            seen: dict[int, torch.Tensor] = {}
            with torch.no_grad(), tap(model, before=lambda site, a, _, kept=seen: kept.update({site.layer: a.clone()})):
                model.module(torch.tensor([mine]))
            assert rows["number"].tolist() == list(range(len(places)))
            for column, layer, neuron in (("0.2", 0, 2), ("1.5", 1, 5), ("1.60", 1, 60)):
                assert rows[column].tolist() == pytest.approx(seen[layer][0, places, neuron].tolist(), abs=1e-5)


def test_pairs_of_the_same_tokens_only(model: Model, neurons: NeuronSet) -> None:
    with pytest.raises(ScoreError, match="same tokens in every pair"):
        critical_tokens(model, pairs(("The cat.", "The cat.")), neurons)
