"""Minimal pairs: both protocols against plain forward passes and the harness, outcomes, tables, and refusals."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch

import toy_tokenizers as toys
from negspace.errors import PairsError, ScoreError
from negspace.score.pairs import encode_pairs, minimal_pairs
from negspace.text.pairs import Pair, PairSet, read_pairs

SUBJECTS = ["the dog", "no cat", "a happy bird", "the dog that sees the cat", "The cat"]


def pair_set(kind: str = "blimp", subjects: list[str] = SUBJECTS) -> PairSet:
    """Two paradigms of one phenomenon and one of another, of different sizes, sentences of different lengths."""
    rows = [
        *(("barks", "agreement", f"{subject} barks .", f"{subject} bark .") for subject in subjects),
        *(("sleeps", "agreement", f"{s} sleeps today .", f"{s} sleep today .") for s in subjects[:3]),
        *(("ever", "npi", f"no dog has ever been {x}", f"all dog has ever been {x} today") for x in ("sad", "happy")),
    ]
    counter = {name: itertools.count() for name in ("barks", "sleeps", "ever")}
    pairs = [Pair(good, bad, name, term, next(counter[name])) for name, term, good, bad in rows]
    return PairSet("toy", kind, tuple(sorted(pairs, key=lambda pair: (pair.paradigm, pair.index))))


def expected_scores(model, plain_log_probs, sentences, protocol):
    """Sum and number of scored tokens, sentence by sentence, straight from the definition of the protocol."""
    tokenizer, sums, counts = model.tokenizer, [], []
    for sentence in sentences:
        own = tokenizer(sentence, add_special_tokens=False).input_ids
        if protocol == "lm-eval":
            prefix = [tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id]
            ids, scored = prefix + own, len(own)
        else:
            ids = tokenizer(sentence).input_ids
            if ids[-1] != own[-1]:
                ids = ids[:-1]  # a trailing EOS is not the sentence's
            scored = len(own) if len(ids) > len(own) else len(own) - 1
        sums.append(plain_log_probs(model, ids)[-scored:].sum().item())
        counts.append(scored)
    return np.array(sums), np.array(counts)


@pytest.mark.parametrize("protocol", ["paper", "lm-eval"])
@pytest.mark.parametrize("make", [toys.plain, toys.with_bos, toys.with_both, toys.with_two, toys.without_bos])
@pytest.mark.parametrize("kind", ["gpt_neox", "bloom"])
def test_equals_plain_forward_passes(make_model, plain_log_probs, make, protocol, kind):
    model, pairs = make_model(make(), kind), pair_set()
    for score in ("sum", "mean"):
        items = minimal_pairs(model, pairs, protocol=protocol, score=score).items
        for column in ("good", "bad"):
            sums, counts = expected_scores(model, plain_log_probs, [getattr(pair, column) for pair in pairs], protocol)
            assert (items[f"{column}_tokens"] == counts).all()
            assert np.abs(items[column] - (sums / counts if score == "mean" else sums)).max() < 1e-4
        assert items["good"].dtype == np.float64
        assert ((items["outcome"] == "right") == (items["good"] > items["bad"])).all()


@pytest.mark.parametrize("kind", ["gpt_neox", "llama", "opt", "gemma2", "bloom"])
def test_scores_depend_on_no_neighbour_and_no_order(make_model, kind):
    model, pairs = make_model(toys.with_bos(), kind), pair_set()
    whole = minimal_pairs(model, pairs).items
    for row, pair in enumerate(pairs):
        alone = minimal_pairs(model, PairSet("one", "blimp", (pair,))).items
        assert alone["good"][0] == pytest.approx(whole["good"][row], abs=1e-4)
        assert alone["bad"][0] == pytest.approx(whole["bad"][row], abs=1e-4)
    turned = minimal_pairs(model, PairSet("turned", "blimp", pairs.pairs[::-1])).items[::-1].reset_index(drop=True)
    assert np.abs(turned[["good", "bad"]] - whole[["good", "bad"]]).to_numpy().max() < 1e-4


def test_the_first_token_is_scored_only_if_something_precedes_it(make_model):
    pairs = PairSet("first", "blimp", (Pair("the dog barks", "a dog barks", "p", "x", 0),))
    counts = {}
    for make, protocol in itertools.product((toys.plain, toys.with_bos), ("paper", "lm-eval")):
        items = minimal_pairs(make_model(make()), pairs, protocol=protocol).items
        counts[make.__name__, protocol] = items["good_tokens"][0]
    assert counts == {
        ("plain", "paper"): 2,
        ("plain", "lm-eval"): 3,
        ("with_bos", "paper"): 3,
        ("with_bos", "lm-eval"): 3,
    }


def test_tokens_of_each_habit():
    pairs = PairSet("one", "blimp", (Pair("the dog", "<s> dog", "p", "x", 0),))

    def tokens(tokenizer, protocol):
        return [
            tokenizer.convert_ids_to_tokens(list(side[0].tokens))
            for side in encode_pairs(pairs, tokenizer, protocol=protocol)
        ]

    for protocol in ("paper", "lm-eval"):
        assert tokens(toys.with_both(), protocol) == [["<s>", "the", "dog"], ["<s>", "dog"]]  # never two
    assert tokens(toys.with_two(), "paper")[0] == ["[gMASK]", "<sop>", "the", "dog"]
    assert tokens(toys.with_two(), "lm-eval")[0] == ["<end>", "the", "dog"]
    assert tokens(toys.without_bos(), "lm-eval")[0] == ["<end>", "the", "dog"]
    assert tokens(toys.plain(), "paper")[0] == ["the", "dog"]


def test_a_bos_that_a_sentence_spells_out_is_context():
    """All of those that the tokenizer puts there, and no unknown word that has the BOS for its token."""
    pairs = PairSet("one", "blimp", (Pair(" <s> the dog", "zebra dog", "p", "x", 0),))
    tokenizer = toys.with_bos()
    tokenizer.backend_tokenizer.model.unk_token = "<s>"
    (good,), (bad,) = encode_pairs(pairs, tokenizer, protocol="paper")
    assert (tokenizer.convert_ids_to_tokens(good.tokens), good.lead) == (["<s>", "the", "dog"], 1)
    assert (tokenizer.convert_ids_to_tokens(bad.tokens), bad.lead) == (["<s>", "<s>", "dog"], 1)
    pairs = PairSet("two", "blimp", (Pair("[gMASK] <sop> the dog", "[gMASK] the dog", "p", "x", 0),))
    (good,), (bad,) = encode_pairs(pairs, toys.with_two(), protocol="paper")
    assert (good.lead, bad.lead) == (2, 2)
    assert toys.with_two().convert_ids_to_tokens(good.tokens) == ["[gMASK]", "<sop>", "the", "dog"]
    assert toys.with_two().convert_ids_to_tokens(bad.tokens) == ["[gMASK]", "<sop>", "[gMASK]", "the", "dog"]


@pytest.mark.slow
@pytest.mark.parametrize("make", [toys.plain, toys.with_bos, toys.without_bos])
def test_lm_eval_protocol_equals_the_harness(make_model, make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("lm_eval")
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        model, pairs = make_model(make()), pair_set()
        harness = HFLM(pretrained=model.module, tokenizer=make(), batch_size=4, max_length=64)
        for column in ("good", "bad"):
            requests = [
                Instance(request_type="loglikelihood", doc={}, arguments=("", getattr(pair, column)), idx=index)
                for index, pair in enumerate(pairs)
            ]
            theirs = [value for value, _ in harness.loglikelihood(requests, disable_tqdm=True)]
            ours = minimal_pairs(model, pairs, protocol="lm-eval").items[column]
            assert np.abs(ours - theirs).max() < 1e-4


def test_outcomes_are_told_apart(make_model):
    model = make_model(toys.plain())
    with torch.no_grad():  # a model that finds all words equally probable: sums tell lengths apart, and nothing else
        model.module.get_output_embeddings().weight.zero_()
    pairs = PairSet(
        "told",
        "blimp",
        (
            Pair("the dog barks", "the dog bark today", "a", "x", 0),
            Pair("the dog barks today", "the dog bark", "a", "x", 1),
            Pair("the dog barks", "the dog bark", "a", "x", 2),
            Pair("the dog barks", "the dog barks", "a", "x", 3),
            Pair("the zebra barks", "the gnu barks", "a", "x", 4),  # two unknown words: the same tokens
        ),
    )
    result = minimal_pairs(model, pairs)
    assert result.items["outcome"].tolist() == ["right", "wrong", "tie", "identical", "identical"]
    assert (result.ties, result.identical) == (1, 2)
    assert result.accuracy == pytest.approx(1 / 3)
    row = result.by_phenomenon.iloc[0]
    assert (row["n"], row["right"], row["ties"], row["identical"]) == (5, 1, 1, 2)
    assert minimal_pairs(model, pairs, score="mean").ties == 3


def test_tables_average_over_paradigms(make_model):
    result = minimal_pairs(make_model(toys.plain()), pair_set())
    by_paradigm = result.by_paradigm.set_index("paradigm")
    right = result.items.assign(right=result.items["outcome"] == "right")
    assert by_paradigm["n"].to_dict() == {"barks": 5, "ever": 2, "sleeps": 3}
    assert by_paradigm["right"].to_dict() == right.groupby("paradigm")["right"].sum().to_dict()
    assert by_paradigm["accuracy"].to_dict() == right.groupby("paradigm")["right"].mean().to_dict()
    assert list(result.by_paradigm) == ["paradigm", "phenomenon", "n", "right", "ties", "identical", "accuracy"]
    by_phenomenon = result.by_phenomenon.set_index("phenomenon")
    assert list(by_phenomenon) == ["n", "right", "ties", "identical", "accuracy"]
    assert by_phenomenon["n"].to_dict() == {"agreement": 8, "npi": 2}
    assert by_phenomenon.loc["agreement", "accuracy"] == pytest.approx(
        by_paradigm.loc[["barks", "sleeps"], "accuracy"].mean()
    )
    assert result.accuracy == pytest.approx(by_paradigm["accuracy"].mean())


def test_what_a_result_says_of_itself(make_model):
    model = make_model(toys.plain())
    blimp, tse = minimal_pairs(model, pair_set()), minimal_pairs(model, pair_set("tse"), protocol="lm-eval")
    assert (blimp.score, blimp.protocol, blimp.kind) == ("sum", "paper", "blimp")
    assert (tse.score, tse.protocol, tse.kind) == ("mean", "lm-eval", "tse")
    assert blimp.hash == pair_set().hash != tse.hash
    assert list(blimp.items) == [
        *("paradigm", "phenomenon", "index", "good", "bad", "good_tokens", "bad_tokens", "outcome")
    ]
    limited = minimal_pairs(model, pair_set(), limit=1)
    assert limited.items["index"].tolist() == [0, 0, 0]
    assert limited.hash == pair_set().sample(1).hash


def test_progress_names_the_set(make_model):
    seen = []
    minimal_pairs(make_model(toys.plain()), pair_set(), progress=lambda *step: seen.append(step))
    assert seen
    assert seen[-1][0] == seen[-1][1]
    assert {what for _, _, what in seen} == {"toy"}


def one(good: str, bad: str) -> PairSet:
    return PairSet(
        "toy", "blimp", (Pair("the dog barks", "the dog bark", "agree", "x", 0), Pair(good, bad, "agree", "x", 1))
    )


@pytest.mark.parametrize(
    ("tokenizer", "pairs", "options", "asked", "found", "todo"),
    [
        (toys.bare(), pair_set(), {"protocol": "lm-eval"}, "lm-eval", "neither BOS nor EOS", "protocol='paper'"),
        (
            toys.plain(),
            one("dog", "the cat"),
            {},
            "good sentence of pair 1 of agree",
            "1 token(s)",
            "protocol='lm-eval'",
        ),
        (
            toys.plain(),
            one("the cat " * 33, "cat"),
            {},
            "pair 1 of agree",
            "66 tokens, but the model takes 64",
            "leave",
        ),
        (toys.with_bos(), one("a b", "the " * 64), {}, "bad sentence of pair 1", "65 tokens", "leave the pair out"),
        (
            toys.plain(),
            PairSet("toy", "blimp", (Pair("the dog", "the dog", "same", "x", 0),)),
            {},
            "the accuracy of same in toy",
            "the same tokens in every one",
            "leave the paradigm out",
        ),
        (
            toys.plain(),
            PairSet(
                "toy",
                "pairs",
                (
                    Pair("the dog barks", "the dog bark", "agree", "x", 0, "eng"),
                    Pair("zebra", "gnu", "agree", "x", 1, "nld"),
                ),
            ),
            {"protocol": "lm-eval"},
            "the accuracy of agree (nld) in toy",
            "the same tokens in every one",
            "leave the paradigm out",
        ),
        (toys.plain(), pair_set(), {"protocol": "harness"}, "protocol='harness'", "no such protocol", "'lm-eval'"),
        (toys.plain(), pair_set(), {"score": "median"}, "score='median'", "no such score", "'mean'"),
    ],
)
def test_refusals(make_model, tokenizer, pairs, options, asked, found, todo):
    with pytest.raises(ScoreError) as caught:
        minimal_pairs(make_model(tokenizer), pairs, **options)
    assert asked in caught.value.asked
    assert found in caught.value.found
    assert todo in caught.value.todo


def test_one_token_after_a_bos_is_scored(make_model):
    assert minimal_pairs(make_model(toys.with_bos()), one("dog", "cat")).items["good_tokens"][1] == 1


def test_a_score_that_is_not_finite_is_an_error(make_model):
    model = make_model(toys.plain())
    with torch.no_grad():
        model.module.get_input_embeddings().weight[model.tokenizer.convert_tokens_to_ids("that")] = float("nan")
    with pytest.raises(ScoreError) as caught:
        minimal_pairs(model, pair_set())
    assert "sentence of pair 3 of barks in toy" in caught.value.asked
    assert "nan" in caught.value.found


def test_paths_are_read(make_model, tmp_path):
    with pytest.raises(PairsError, match="no such file"):
        minimal_pairs(make_model(toys.plain()), tmp_path / "absent")
    with pytest.raises(PairsError, match="give limit=1 or more"):
        minimal_pairs(make_model(toys.plain()), pair_set(), limit=0)


@pytest.mark.shared
@pytest.mark.parametrize("protocol", ["paper", "lm-eval"])
def test_real_pairs_on_a_real_model(stories260k, shared_data, plain_log_probs, protocol):
    for name, score in (("blimp", "sum"), ("tse", "mean")):
        result = minimal_pairs(stories260k, shared_data / name, protocol=protocol, limit=2)
        pairs = read_pairs(shared_data / name, limit=2)
        assert (result.score, result.hash, len(result.items)) == (score, pairs.hash, len(pairs))
        assert result.by_phenomenon["n"].sum() == len(pairs)
        some = range(0, len(pairs), 9)
        for column in ("good", "bad"):
            sentences = [getattr(pairs.pairs[row], column) for row in some]
            sums, counts = expected_scores(stories260k, plain_log_probs, sentences, protocol)
            values = sums / counts if score == "mean" else sums
            assert np.abs(result.items[column].to_numpy()[list(some)] - values).max() < 1e-4


@pytest.mark.shared
def test_pickles_score_as_their_jsonl(stories260k, shared_data):
    jsonl = [shared_data / "tse" / f"{name}.jsonl" for name in ("simple_agrmt", "simple_npi_anim")]
    ours = minimal_pairs(stories260k, shared_data / "tse_pickle", limit=20)
    theirs = minimal_pairs(stories260k, jsonl, limit=20)
    assert ours.hash == theirs.hash
    assert ours.items.equals(theirs.items)
