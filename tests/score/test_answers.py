"""Log-likelihoods of answers against one plain forward pass a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

import zoo
from negspace.errors import ScoreError
from negspace.score import logprobs
from negspace.score.answers import Request, answers
from negspace.score.logits import Standing, standings
from negspace.score.logprobs import LogProbs
from negspace.score.ways import Way


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=23,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=96,
    )
    return _lively(GPTNeoXForCausalLM(config))


def _lively(model: PreTrainedModel) -> PreTrainedModel:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model.eval()


def _requests(contexts: int = 30) -> list[Request]:
    """Contexts of 1 to 70 tokens with four answers each of 1 to 5 tokens, some of them the model's likely words."""
    generator = np.random.default_rng(0)
    made: list[Request] = []
    for _ in range(contexts):
        context = generator.integers(0, 23, generator.integers(1, 70)).tolist()
        made += [(context, generator.integers(0, 23, generator.integers(1, 6)).tolist()) for _ in range(4)]
    return made


def _plain(model: PreTrainedModel, request: Request, most: int) -> tuple[float, bool]:
    """The harness's rule: cut at the left, the last token not read; the answer's probability and first choices."""
    context, answer = request
    ids = torch.tensor([[*context, *answer][-(most + 1) :]])
    with torch.no_grad():
        table = model(input_ids=ids[:, :-1]).logits[0].double().log_softmax(-1)[-len(answer) :]
    own = table.gather(1, torch.tensor(answer)[:, None])
    return float(own.sum()), table.argmax(-1).tolist() == list(answer)


@pytest.mark.parametrize("method", ["tree", "buckets", "auto"])
def test_an_answer_is_scored_as_by_itself(model: PreTrainedModel, method: logprobs.Method) -> None:
    requests = _requests()
    for context, _ in requests[::8]:  # the model's own first choices, of one and of two tokens
        with torch.no_grad():
            first = int(model(input_ids=torch.tensor([context])).logits[0, -1].argmax())
            second = int(model(input_ids=torch.tensor([[*context, first]])).logits[0, -1].argmax())
        requests += [(context, [first]), (context, [first, second])]
    seen: list[float] = []
    totals, places = answers(LogProbs(model, method=method, context=60), requests, progress=seen.append)
    expected = [_plain(model, request, 60) for request in requests]
    np.testing.assert_allclose(totals, [value for value, _ in expected], atol=1e-4, rtol=0)
    assert (places == Standing.ABOVE).tolist() == [best for _, best in expected]
    assert set(places.tolist()) == {Standing.BELOW, Standing.ABOVE}
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize("method", ["tree", "buckets"])
def test_a_token_that_is_as_probable_as_another_is_no_first_choice(
    model: PreTrainedModel, method: logprobs.Method
) -> None:
    """Every token is as probable as any other; then one is more so, and another as much as that one."""
    head = model.get_output_embeddings()
    before, context = head.weight.detach().clone(), [4, 5, 6]
    requests: list[Request] = [(context, answer) for answer in ([0], [7], [9], [0, 7], [0, 0], [7, 7], [9, 9], [9, 7])]

    def lifted(*tokens: int) -> list[int]:
        """Standings where some tokens' logits are 1, and all others 0."""
        rise = torch.zeros(len(before))
        rise[list(tokens)] = 1
        hook = head.register_forward_hook(lambda *hooked: hooked[2] + rise)
        try:
            return answers(LogProbs(model, method=method), requests)[1].tolist()
        finally:
            hook.remove()

    below, tied, first, above = Standing
    try:
        with torch.no_grad():
            head.weight.zero_()
        assert lifted() == [first, tied, tied, tied, first, tied, tied, tied]
        assert lifted(9) == [below, below, above, below, below, below, above, below]
        assert lifted(7, 9) == [below, first, tied, below, below, first, tied, tied]
    finally:
        with torch.no_grad():
            head.weight.copy_(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_standings_by_the_definition(dtype: torch.dtype) -> None:
    """Rows of few values, so that many are equal; more targets than are compared at once, and one value that is NaN."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (300, 7), generator=generator).to(dtype)
    logits[3, 2] = float("nan")
    rows, targets = torch.randint(0, 300, (900,), generator=generator), torch.randint(0, 7, (900,), generator=generator)
    rows[0], targets[0] = 3, 2
    found = standings(logits, rows, targets)
    assert found.dtype == torch.int8
    for place, row, target in zip(found.tolist(), logits[rows].tolist(), targets.tolist(), strict=True):
        others = row[:target] + row[target + 1 :]
        if np.isnan(row).any() or row[target] < max(others):
            assert place == Standing.BELOW
        elif row[target] > max(others):
            assert place == Standing.ABOVE
        else:
            assert place == (Standing.TIED if row[target] in row[:target] else Standing.TIED_FIRST)
    assert set(found.tolist()) == set(Standing)


def test_one_sequence_may_be_cut_in_several_ways(model: PreTrainedModel) -> None:
    requests: list[Request] = [([1, 2, 3], [4, 5]), ([1, 2], [3, 4, 5]), ([1, 2, 3], [4, 5]), ([1], [2, 3, 4, 5])]
    totals, places = answers(LogProbs(model), requests)
    expected = [_plain(model, request, 96) for request in requests]
    np.testing.assert_allclose(totals, [value for value, _ in expected], atol=1e-5, rtol=0)
    assert (places == Standing.ABOVE).tolist() == [best for _, best in expected]


def test_a_context_runs_once(model: PreTrainedModel) -> None:
    """Four answers of 5 tokens after 60: 60 + 4 x 4 tokens are read, and 4 x 5 logits are made less those in common."""
    seen: list[torch.Size] = []
    scorer = LogProbs(model, method="tree")
    hook = model.get_output_embeddings().register_forward_hook(lambda *hooked: seen.append(hooked[2].shape))
    requests: list[Request] = [(list(range(20)) * 3, [n, 7, 8, 9, 10]) for n in range(4)]
    try:
        answers(scorer, requests)
    finally:
        hook.remove()
    assert [tuple(shape) for shape in seen] == [(1, 1 + 4 * 4, 23)]


def test_the_way_is_settled_outside_the_condition(model: PreTrainedModel) -> None:
    """What a condition breaks is its scores, not the way to make them; they come back as they are."""
    weight, opened = model.get_output_embeddings().weight, []

    @contextmanager
    def broken() -> Iterator[None]:
        opened.append(True)
        before = weight.detach().clone()
        with torch.no_grad():
            weight[3] = float("nan")
        try:
            yield
        finally:
            with torch.no_grad():
                weight.copy_(before)

    ways: dict[bytes, Way] = {}
    requests = _requests(5)
    totals, places = answers(LogProbs(model, ways=ways), requests, broken)
    assert opened == [True]
    assert [way.method for way in ways.values()] == ["tree"]
    assert np.isnan(totals).all()
    again, _ = answers(LogProbs(model, ways=ways), requests)
    np.testing.assert_allclose(again, [_plain(model, request, 96)[0] for request in requests], atol=1e-4, rtol=0)
    assert len(places) == len(requests)


def test_contexts_beyond_a_window_of_attention_leave_the_others_shared() -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=23,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        sliding_window=30,
    )
    mistral, ways = _lively(MistralForCausalLM(config)), {}
    requests = _requests()
    totals, _ = answers(LogProbs(mistral, ways=ways), requests)
    np.testing.assert_allclose(totals, [_plain(mistral, request, 96)[0] for request in requests], atol=1e-4, rtol=0)
    assert sorted(way.method for way in ways.values()) == ["buckets", "tree"]


def test_a_recurrent_model_is_scored_too() -> None:
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=23, hidden_size=32, num_hidden_layers=2, state_size=4)
    mamba = _lively(MambaForCausalLM(config))
    requests = _requests(4)
    totals, places = answers(LogProbs(mamba), requests)
    expected = [_plain(mamba, request, 96) for request in requests]
    np.testing.assert_allclose(totals, [value for value, _ in expected], atol=1e-3, rtol=0)
    assert (places == Standing.ABOVE).tolist() == [best for _, best in expected]


def test_no_request_has_no_answer(model: PreTrainedModel) -> None:
    totals, places = answers(LogProbs(model), [])
    assert len(totals) == len(places) == 0


@pytest.mark.parametrize("kind", ["gpt2", "opt", "gpt_neo"])
def test_a_request_beyond_the_context_is_cut_to_what_the_model_can_read(kind: str) -> None:
    """Learned positions: one token more than the context cannot be run, and the last token need not be."""
    made, generator = zoo.build(kind), np.random.default_rng(0)
    context = made.config.max_position_embeddings
    requests: list[Request] = [
        (generator.integers(3, 96, length).tolist(), generator.integers(3, 96, answer).tolist())
        for length, answer in ((context - 1, 2), (context, 1), (context + 30, 3), (7, context), (5, 2))
    ]
    totals, places = answers(LogProbs(made, context=context), requests)
    expected = [_plain(made, request, context) for request in requests]
    np.testing.assert_allclose(totals, [value for value, _ in expected], atol=1e-4, rtol=0)
    assert (places == Standing.ABOVE).tolist() == [best for _, best in expected]


@pytest.mark.parametrize(("request_", "part"), [(([1, 2], []), "answer"), (([], [3]), "context")])
def test_an_answer_without_tokens_is_refused(model: PreTrainedModel, request_: Request, part: str) -> None:
    """A sum of nothing is 0, which is above every log-likelihood."""
    with pytest.raises(ScoreError, match=f"answer of request 1\nfound: no token of its own in the {part}: the token"):
        answers(LogProbs(model), [([1], [2]), request_])


def test_an_answer_beyond_the_context_is_refused(model: PreTrainedModel) -> None:
    requests: list[Request] = [([1, 2], [3] * 60), ([1, 2], [3] * 61)]
    assert np.isfinite(answers(LogProbs(model, context=60), requests[:1])[0]).all()
    with pytest.raises(
        ScoreError, match=r"answer of request 1\nfound: 61 tokens, but the model takes 60\nto do: leave"
    ):
        answers(LogProbs(model, context=60), requests)
