"""The log-probability kernel against one plain forward pass a sequence, for models of several kinds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
)

import zoo
from negspace.errors import NonFiniteScore, ScoreError
from negspace.score import logprobs, ways
from negspace.score.logprobs import LogProbs

_SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
_IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}

MODELS: dict[str, tuple[Callable[[], PreTrainedModel], str]] = {
    "gpt_neox": (lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_SHAPE, **_IDS)), "tree"),
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE, **_IDS)), "tree"),
    "mistral": (lambda: MistralForCausalLM(MistralConfig(**_SHAPE, **_IDS, num_key_value_heads=2)), "tree"),
    "gemma2": (
        lambda: Gemma2ForCausalLM(
            Gemma2Config(**_SHAPE, **_IDS, head_dim=8, num_key_value_heads=2, final_logit_softcapping=5.0)
        ),
        "tree",
    ),
    "cohere": (
        lambda: CohereForCausalLM(CohereConfig(**_SHAPE, **_IDS, num_key_value_heads=4, logit_scale=0.25)),
        "tree",
    ),
    "mixtral": (
        lambda: MixtralForCausalLM(MixtralConfig(**_SHAPE, **_IDS, num_local_experts=4, num_key_value_heads=2)),
        "tree",
    ),
    "gpt2": (
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64, **_IDS)),
        "tree",
    ),
    "opt": (
        lambda: OPTForCausalLM(
            OPTConfig(
                vocab_size=61,
                hidden_size=32,
                word_embed_proj_dim=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                ffn_dim=64,
                max_position_embeddings=64,
                **_IDS,
            )
        ),
        "tree",
    ),
    # ALiBi derives positions from the attention mask, which a tree's mask cannot tell it.
    "bloom": (
        lambda: BloomForCausalLM(BloomConfig(vocab_size=61, hidden_size=32, n_layer=2, n_head=4, **_IDS)),
        "buckets",
    ),
}


def _build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return _livelier(MODELS[name][0]().eval())


def _livelier(model: PreTrainedModel) -> PreTrainedModel:
    with torch.no_grad():  # default initialisation is too close to uniform to tell a wrong score from a right one
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model


def _sequences(count: int = 120, seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    stems = [generator.integers(1, 61, 12).tolist() for _ in range(9)]
    out: list[list[int]] = []
    for _ in range(count):
        stem = stems[generator.integers(len(stems))][: generator.integers(0, 12)]
        out.append([0, *stem, *generator.integers(1, 61, generator.integers(0, 7)).tolist()])
    return out


def _plain(model: PreTrainedModel, sequence: list[int]) -> float:
    ids = torch.tensor([sequence])
    with torch.no_grad():
        table = model(input_ids=ids).logits[0].double().log_softmax(-1)
    return float(table[:-1].gather(1, ids[0, 1:, None]).sum())


@pytest.mark.parametrize("name", MODELS)
def test_auto_equals_a_plain_forward_of_each_sequence(name: str) -> None:
    model, sequences = _build(name), _sequences()
    scored = LogProbs(model).score(sequences)
    assert scored.method == MODELS[name][1]
    expected = np.array([_plain(model, sequence) for sequence in sequences])
    np.testing.assert_allclose(scored.total, expected, atol=1e-4, rtol=0)
    assert scored.count.tolist() == [len(sequence) - 1 for sequence in sequences]


@pytest.mark.parametrize("name", ["gpt_neox", "gemma2"])
@pytest.mark.parametrize("method", ["tree", "buckets"])
def test_scores_do_not_depend_on_batching_order_or_neighbours(name: str, method: logprobs.Method) -> None:
    model, sequences = _build(name), _sequences()
    reference = LogProbs(model, method=method).score(sequences).total
    for batch_tokens in (1, 40, 500):
        other = LogProbs(model, method=method, batch_tokens=batch_tokens).score(sequences).total
        np.testing.assert_allclose(other, reference, atol=1e-4, rtol=0)
    order = np.random.default_rng(1).permutation(len(sequences))
    shuffled = LogProbs(model, method=method).score([sequences[i] for i in order]).total
    np.testing.assert_allclose(shuffled, reference[order], atol=1e-4, rtol=0)
    alone = [LogProbs(model, method=method).score([sequence]).total[0] for sequence in sequences[:20]]
    np.testing.assert_allclose(alone, reference[:20], atol=1e-4, rtol=0)


def test_a_model_whose_trees_are_wrong_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = _build("gpt_neox"), _sequences()
    forward = model.forward
    # Position ids dropped: the tree would be run with wrong positions, and must be found out.
    monkeypatch.setattr(model, "forward", lambda position_ids=None, **inputs: forward(**inputs))
    scored = LogProbs(model).score(sequences)
    assert scored.method == "buckets"
    np.testing.assert_allclose(scored.total[:5], [_plain(model, s) for s in sequences[:5]], atol=1e-4)


def test_a_window_that_only_long_sequences_outgrow_is_found_out() -> None:
    torch.manual_seed(0)
    window = MistralConfig(**_SHAPE, **_IDS, num_key_value_heads=2, sliding_window=12)
    model = _livelier(MistralForCausalLM(window).eval())
    generator = np.random.default_rng(0)
    short = [[0, *generator.integers(1, 61, generator.integers(2, 8)).tolist()] for _ in range(400)]
    long = [[0, *generator.integers(1, 61, 40).tolist()] for _ in range(2)]
    assert LogProbs(model).score(short).method == "tree"
    scored = LogProbs(model).score([*short, *long])
    assert scored.method == "buckets"
    expected = [_plain(model, sequence) for sequence in long]
    np.testing.assert_allclose(scored.total[-2:], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ["buckets", "tree"])
def test_coarse_numbers_do_not_hide_what_leaks_between_sequences(method: str) -> None:
    """LFM2's convolutions carry tokens from one sequence of a pack into the next; no layer of the others does."""
    sequences = [[one % 93 + 3 for one in sequence] for sequence in _sequences()]
    for name in ("lfm2", "jamba") if method == "buckets" else ("llama", "qwen3"):
        model = zoo.build(name).to(torch.bfloat16)
        assert LogProbs(model).score(sequences).method == method


def test_a_leak_below_the_tolerance_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_COARSE", 100.0)
    sequences = [[one % 93 + 3 for one in sequence] for sequence in _sequences()]
    for name, method in (("lfm2", "buckets"), ("jamba", "buckets"), ("mixtral", "tree")):
        assert LogProbs(zoo.build(name).to(torch.bfloat16)).score(sequences).method == method


def test_a_model_that_refuses_the_mask_in_whatever_way_runs_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLM asserts that its mask has two dimensions."""
    model, sequences = _build("gpt_neox"), _sequences()
    forward = model.forward

    def strict(attention_mask: torch.Tensor | None = None, **inputs: object) -> object:
        assert attention_mask is None
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", strict)
    scored = LogProbs(model).score(sequences)
    assert scored.method == "buckets"
    np.testing.assert_allclose(scored.total, [_plain(model, one) for one in sequences], atol=1e-4, rtol=0)


def test_the_longest_run_first() -> None:
    lengths: list[int] = []
    model = _build("bloom")
    model.register_forward_pre_hook(
        lambda _, __, inputs: lengths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    LogProbs(model, method="buckets").score(_sequences())
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


@pytest.mark.parametrize("method", ["auto", "tree", "buckets"])
def test_a_token_that_the_model_lacks_is_named(method: logprobs.Method) -> None:
    with pytest.raises(ScoreError, match="token id 61, but the model knows 61 tokens only\nto do: use the tokenizer"):
        LogProbs(_build("gpt_neox"), method=method).score([[0, 60], [0, 61, 2]])


@pytest.mark.parametrize("method", ["auto", "tree", "buckets"])
def test_a_token_that_the_model_reads_but_does_not_predict_is_named(method: logprobs.Method) -> None:
    model = _build("gpt_neox")
    model.set_input_embeddings(torch.nn.Embedding(64, model.get_input_embeddings().weight.shape[1]))
    with pytest.raises(ScoreError, match="token id 63, but the model knows 61 tokens only"):
        LogProbs(model, method=method).score([[0, 60], [0, 63, 2]])


def _branches(prefix: int, count: int, first: int = 1) -> list[list[int]]:
    """Sequences that share a prefix and go on for three tokens each, of which two are read."""
    generator = np.random.default_rng(first)
    stem = [first, *generator.integers(3, 61, prefix - 1).tolist()]
    return [[*stem, *generator.choice(58, 3, replace=False).tolist()] for _ in range(count)]


def _short(count: int) -> list[list[int]]:
    """Sequences of four tokens that share next to nothing, so that their packs hold many small trees."""
    generator = np.random.default_rng(7)
    return [generator.integers(61, 96, 4).tolist() for _ in range(count)]


@pytest.mark.parametrize(
    "sequences",
    [
        pytest.param([one for first in range(1, 21) for one in _branches(20, 38, first)], id="every pack"),
        pytest.param([*_branches(20, 30), *_short(400)], id="a pack that is not the widest"),
        pytest.param([*_branches(20, 30), *_short(400), [2, *range(3, 60)]], id="nor has the longest row"),
    ],
)
def test_a_window_over_nodes_that_only_large_trees_outgrow_is_found_out(sequences: list[list[int]]) -> None:
    """GPT-Neo's local layers see so many nodes back, whatever these are: in a pack, other branches lie between."""
    model = zoo.build("gpt_neo", scale=2.0, window_size=58, max_position_embeddings=512)
    scored = LogProbs(model).score(sequences)
    assert scored.method == "buckets"
    np.testing.assert_allclose(scored.total, [_plain(model, one) for one in sequences], atol=1e-4, rtol=0)
    assert LogProbs(model).score(_short(400)).method == "tree"


def test_packs_of_more_nodes_than_a_table_of_positions_holds_are_found_out() -> None:
    model, sequences = zoo.build("gpt_neo", window_size=500, max_position_embeddings=64), _short(400)
    scored = LogProbs(model).score(sequences)
    assert scored.method == "buckets"
    np.testing.assert_allclose(scored.total, [_plain(model, one) for one in sequences], atol=1e-4, rtol=0)


def test_frequencies_that_follow_the_longest_position_are_those_of_each_sequence_alone() -> None:
    torch.manual_seed(0)
    half = _SHAPE["hidden_size"] // _SHAPE["num_attention_heads"] // 2
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": 20}
    rope |= {"short_factor": [1.0] * half, "long_factor": [4.0] * half}
    model = _livelier(
        Phi3ForCausalLM(Phi3Config(**_SHAPE, **_IDS, original_max_position_embeddings=20, rope_parameters=rope)).eval()
    )
    generator = np.random.default_rng(0)
    sequences = [[0, *generator.integers(1, 61, length).tolist()] for length in (*range(2, 30), 19, 20, 21)]
    scored = LogProbs(model).score(sequences)
    assert scored.method == "buckets"
    np.testing.assert_allclose(scored.total, [_plain(model, one) for one in sequences], atol=1e-4, rtol=0)
    short = [sequence for sequence in sequences if len(sequence) <= 20]
    again = LogProbs(model).score(short)
    assert again.method == "tree"
    np.testing.assert_allclose(again.total, [_plain(model, one) for one in short], atol=1e-4, rtol=0)


def test_a_model_that_looks_at_the_whole_length_is_run_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = _build("gpt_neox"), _sequences()
    forward = model.forward

    def scaled(input_ids: torch.Tensor, **inputs: object) -> object:
        made = forward(input_ids=input_ids, **inputs)
        made.logits = made.logits * (1 + input_ids.shape[1] / 50)
        return made

    monkeypatch.setattr(model, "forward", scaled)
    scored = LogProbs(model).score(sequences)
    assert scored.method == "buckets"
    np.testing.assert_allclose(scored.total, [_plain(model, one) for one in sequences], atol=1e-4, rtol=0)


def test_too_little_memory_for_the_proof_does_not_choose_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _build("gpt_neox")
    forward = model.forward

    def hungry(attention_mask: torch.Tensor | None = None, **inputs: object) -> object:
        if attention_mask is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", hungry)
    with pytest.raises(torch.OutOfMemoryError):
        LogProbs(model).score(_sequences())


def test_what_is_not_finite_in_one_sequence_is_not_laid_to_its_neighbours() -> None:
    model = _build("gpt_neox")
    with torch.no_grad():
        model.gpt_neox.embed_in.weight[60] = float("nan")
    sequences = [[token if token < 60 else 59 for token in one] for one in _sequences()]
    wrong = len(sequences)
    sequences.append([*sequences[0], 60, 5])
    scorer = LogProbs(model, method="tree")
    with pytest.raises(NonFiniteScore, match=f"sequence {wrong} has log-probability nan .and 0 more") as error:
        scorer.score(sequences)
    assert error.value.index == wrong


def test_hooks_of_others_take_effect_and_none_stay_behind() -> None:
    model, sequences = _build("gpt_neox"), _sequences(30)
    before = LogProbs(model).score(sequences).total
    act = model.gpt_neox.layers[0].mlp.act
    handle = act.register_forward_pre_hook(lambda _, args: (args[0].clamp(min=0),))
    changed = LogProbs(model).score(sequences).total
    handle.remove()
    assert np.abs(changed - before).max() > 1e-3
    np.testing.assert_array_equal(LogProbs(model).score(sequences).total, before)
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_the_output_layer_sees_only_positions_that_are_asked_for() -> None:
    model = _build("gpt_neox")
    rows = []
    handle = model.lm_head.register_forward_hook(lambda _, __, out: rows.append(out.shape[-2]))
    LogProbs(model, method="tree").score([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    handle.remove()
    assert rows == [2], "nodes 0 and 0,1 predict something; the three leaves do not"


def test_progress_reaches_its_total() -> None:
    calls: list[tuple[int, int, str]] = []
    LogProbs(_build("llama"), batch_tokens=64).score(_sequences(), progress=lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)


def test_weights_that_are_not_finite_are_an_error_that_names_the_sequence() -> None:
    model = _build("gpt_neox")
    with torch.no_grad():
        model.gpt_neox.embed_in.weight[7] = float("nan")
    with pytest.raises(ScoreError, match="sequence 1 has log-probability nan"):
        LogProbs(model).score([[0, 1, 2], [0, 7, 2]])


def test_an_empty_sequence_is_an_error_and_none_is_nothing() -> None:
    model = _build("gpt_neox")
    with pytest.raises(ScoreError, match="sequence 1 has no tokens"):
        LogProbs(model).score([[0, 1], []])
    assert len(LogProbs(model).score([]).total) == 0
    assert LogProbs(model).score([[3]]).total.tolist() == [0.0]
