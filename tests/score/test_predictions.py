"""What suites predict, scored: regions against plain forward passes, the formula's outcome, and refusals."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest

import toy_tokenizers as toys
from negspace.errors import ScoreError
from negspace.intervention import intervene
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.score.pairs import minimal_pairs, prepare
from negspace.score.sweep import Condition, sweep_pairs
from negspace.text.pairs import read_pairs

MATCH = ["The dog that sees the cats", "", "barks", "today ."]
MISMATCH = ["The dog that sees the cats", "", "bark", "today ."]


def suite(*formulas: str, conditions=None, **meta) -> dict:
    items = [conditions or {"match": MATCH, "mismatch": MISMATCH}]
    return {
        "meta": {"name": "toy", "metric": "sum", **meta},
        "predictions": [{"type": "formula", "formula": formula} for formula in formulas],
        "items": [
            {
                "item_number": at,
                "conditions": [
                    {
                        "condition_name": name,
                        "regions": [{"region_number": n, "content": text} for n, text in enumerate(regions, start=1)],
                    }
                    for name, regions in item.items()
                ],
            }
            for at, item in enumerate(items, start=1)
        ],
    }


def surprisals(model, plain_log_probs, regions: list[str], protocol: str) -> list[list[float]]:
    """Bits of each token of each region, None where nothing precedes it, straight from the definition."""
    tokenizer = model.tokenizer
    ids = tokenizer("the").input_ids
    lead = ids[: ids.index(tokenizer("the", add_special_tokens=False).input_ids[0])]
    if protocol == "lm-eval":
        lead = [tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id]
    own = [tokenizer(text, add_special_tokens=False).input_ids if text else [] for text in regions]
    bits = -plain_log_probs(model, [*lead, *(token for region in own for token in region)]).numpy() / math.log(2)
    first = [*([] if lead else [float("nan")]), *bits[max(0, len(lead) - 1) :].tolist()]
    cuts = np.cumsum([0, *(len(region) for region in own)])
    return [first[a:b] for a, b in pairwise(cuts)]


@pytest.mark.parametrize("protocol", ["paper", "lm-eval"])
@pytest.mark.parametrize("make", [toys.plain, toys.with_bos, toys.with_two])
@pytest.mark.parametrize("kind", ["gpt_neox", "bloom"])
def test_regions_equal_plain_forward_passes(make_model, plain_log_probs, make, protocol, kind):
    model = make_model(make(), kind)
    formulas = ("(3;%match%) < (3;%mismatch%)", "(*;%match%) > (4;%mismatch%)", "((4;%match%) - (2;%match%)) < 3")
    items = minimal_pairs(model, suite(*formulas), protocol=protocol).items
    match, mismatch = (surprisals(model, plain_log_probs, text, protocol) for text in (MATCH, MISMATCH))
    nats = math.log(2)
    whole = np.nan_to_num(match[0]).sum() + sum(match[2]) + sum(match[3])
    expected = [(-sum(match[2]), -sum(mismatch[2])), (-sum(mismatch[3]), -whole), (-sum(match[3]), -3.0)]
    assert np.allclose(items[["good", "bad"]], np.array(expected) * nats, atol=1e-4)
    assert list(items["paradigm"]) == ["toy 1", "toy 2", "toy 3"]
    assert (items["outcome"] == np.where(items["good"] > items["bad"], "right", "wrong")).all()
    assert items["good_tokens"].tolist()[0] == 2


@pytest.mark.parametrize("metric", ["mean", "median", "range", "max", "min"])
def test_metrics_of_a_region(make_model, plain_log_probs, metric):
    model = make_model(toys.with_bos())
    made = minimal_pairs(model, suite("(1;%match%) < (4;%match%)", metric=metric)).items
    regions = surprisals(model, plain_log_probs, MATCH, "paper")
    of = {"mean": np.mean, "median": np.median, "range": np.ptp, "max": max, "min": min}[metric]
    assert np.allclose(
        made[["good", "bad"]], [[-of(regions[0]) * math.log(2), -of(regions[3]) * math.log(2)]], atol=1e-4
    )


def test_a_pair_is_the_prediction_that_compares_whole_sentences(make_model):
    """The same two sentences as a pair and as a suite differ by the same log-probability."""
    model = make_model(toys.with_bos())
    pair = minimal_pairs(model, [(" ".join(filter(None, MATCH)), " ".join(filter(None, MISMATCH)))]).items.iloc[0]
    whole = minimal_pairs(model, suite("(*;%match%) < (*;%mismatch%)")).items.iloc[0]
    assert np.allclose([whole["good"], whole["bad"]], [pair["good"], pair["bad"]], atol=1e-4)
    assert whole["outcome"] == pair["outcome"]


def test_outcomes_and_tables(make_model):
    model = make_model(toys.with_bos())
    formulas = ("(3;%match%) < (3;%mismatch%)", "(3;%match%) > (3;%mismatch%)", "(3;%match%) = (3;%match%)")
    scores = minimal_pairs(model, suite(*formulas))
    first, second, equal = scores.items["outcome"]
    assert {first, second} == {"right", "wrong"}
    assert equal == "right"
    assert (scores.kind, scores.score, len(scores.by_paradigm)) == ("pairs", "sum", 3)
    assert list(scores.by_phenomenon["phenomenon"]) == ["toy"]
    # Both conditions alike up to the regions compared: nothing can be preferred.
    with pytest.raises(ScoreError, match="both sentences are the same tokens in every one of its pairs"):
        minimal_pairs(model, suite("(1;%match%) < (1;%mismatch%)"))
    # The same surprisal of regions in one sentence is a tie.
    tie = suite("((3;%match%) - (3;%match%)) < ((3;%mismatch%) - (3;%mismatch%))")
    assert list(minimal_pairs(model, tie).items["outcome"]) == ["tie"]


def test_pairs_and_predictions_in_one_set(make_model, tmp_path):
    model = make_model(toys.with_bos())
    (tmp_path / "suite.json").write_text(json.dumps(suite("(3;%match%) < (3;%mismatch%)")))
    (tmp_path / "pairs.csv").write_text("good,bad,language\nthe dog barks .,the dog bark .,eng\n")
    both = minimal_pairs(model, [tmp_path / "pairs.csv", tmp_path / "suite.json"]).items
    alone = [minimal_pairs(model, tmp_path / name).items for name in ("pairs.csv", "suite.json")]
    for row, one in enumerate(alone):
        assert np.allclose(
            both.loc[row, ["good", "bad"]].astype(float), one.loc[0, ["good", "bad"]].astype(float), atol=1e-4
        )
        assert (both.loc[row, ["paradigm", "outcome"]] == one.loc[0, ["paradigm", "outcome"]]).all()
    assert list(both["language"]) == ["eng", ""]


def test_a_sweep_gives_what_each_condition_alone_gives(make_model):
    model = make_model(toys.with_bos())
    some = select.random(Layout.of(model.sites), 0.5, seed=0)
    made = suite("(3;%match%) < (3;%mismatch%)", "(4;%match%) < (4;%mismatch%)")
    conditions = [
        Condition("plain", ("",) * model.layers, nullcontext),
        Condition("zeroed", ("x",) * model.layers, lambda: intervene(model, some, zero="negative")),
    ]
    swept = sweep_pairs(model, prepare(model, made), conditions)
    plain = minimal_pairs(model, made).items
    with intervene(model, some, zero="negative"):
        changed = minimal_pairs(model, made).items
    for found, expected in zip(swept.scores, (plain, changed), strict=True):
        assert found.items.equals(expected)
    assert not plain["good"].equals(changed["good"])


def test_tokens_belong_to_the_region_of_their_first_character(stories260k):
    """Subword tokens that hold the space before a word, on a real tokenizer."""
    conditions = {"a": ["Once upon", "a time", ", there was"], "b": ["Once upon", "the times", ", there was"]}
    prepared = prepare(stories260k, read_pairs(suite("(2;%a%) < (2;%b%)", conditions=conditions)), protocol="lm-eval")
    tokenizer = stories260k.tokenizer
    (regions,) = prepared.predicted.regions
    for (condition, _), (region,) in sorted(regions.items()):
        text = tokenizer.decode(region.tokens[region.first : region.stop]).strip()
        assert text == conditions[condition][1]


def test_an_unknown_word_with_the_token_of_bos_is_no_bos(make_model):
    """As in pairs: BOS stands before it."""
    tokenizer = toys.with_bos()
    tokenizer.backend_tokenizer.model.unk_token = "<s>"
    formula = suite("(*;%a%) < (*;%b%)", conditions={"a": ["zebra", "dog"], "b": ["<s> the", "dog"]})
    (regions,) = prepare(make_model(tokenizer), formula).predicted.regions
    tokens = {place[0]: tokenizer.convert_ids_to_tokens(some[0].tokens) for place, some in regions.items()}
    assert tokens == {"a": ["<s>", "<s>", "dog"], "b": ["<s>", "the", "dog"]}


@pytest.mark.parametrize(
    ("made", "found", "todo"),
    [
        (suite("(1;%a%) < (1;%b%)", conditions={"a": ["the", "dog"], "b": ["a", "dog"]}), "nothing before", "lm-eval"),
        (
            suite("(*;%a%) < (*;%b%)", conditions={"a": ["the"], "b": ["the dog"]}),
            "nothing is predicted",
            "the suite out",
        ),
        (suite("(2;%match%) < (3;%match%)", metric="max"), "has no token of its own", "leave the suite out"),
        (suite("(1;%a%) < (2;%a%)", conditions={"a": ["the dog", "barks " * 70]}), "the model takes 64", "longer"),
    ],
)
def test_refusals(make_model, made, found, todo):
    with pytest.raises(ScoreError) as caught:
        minimal_pairs(make_model(toys.plain()), made)
    assert "item 0 of toy" in caught.value.asked
    assert found in caught.value.found
    assert todo in caught.value.todo
