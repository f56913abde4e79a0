"""Perplexity equals a plain loop over windows, whatever the batch, and refuses what is not finite."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import toy_tokenizers as toys
from negspace.controls import check_noop, match_perplexity, match_residual, residual_change
from negspace.errors import ScoreError, TextError
from negspace.neurons.scan import scan_windows
from negspace.score import logits
from negspace.score.perplexity import perplexity, token_nll
from negspace.score.surprisal import surprisal
from negspace.text.source import read_text
from negspace.text.windows import make_windows

STORY = "the dog that sees the cat barks . no bird has ever been sad today , and she sees a happy dog . " * 12
KINDS = ["gpt_neox", "llama", "opt", "gemma2", "bloom"]


def plain_windows(tokenizer, window: int) -> list[list[int]]:
    stream = tokenizer(STORY).input_ids
    return [stream[start : start + window] for start in range(0, len(stream) - window + 1, window)]


@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_plain_loop(make_model, plain_log_probs, kind):
    model = make_model(toys.with_bos(), kind)
    expected = [-plain_log_probs(model, ids).mean().item() for ids in plain_windows(model.tokenizer, 24)]
    result = perplexity(model, [STORY], window=24)
    assert result.nll.dtype == np.float64
    assert np.allclose(result.nll, expected, atol=2e-6, rtol=0)
    assert result.value == pytest.approx(math.exp(np.mean(expected)), rel=1e-6)
    assert (result.window, result.windows, result.available, result.tokens) == (24, 11, 11, 11 * 23)
    assert (result.bos, result.text) == ("auto", "1 string")
    assert result.text_hash == read_text([STORY], role="perplexity").hash


def test_equals_transformers_own_loss(make_model):
    model = make_model(toys.plain())
    for ids, nll in zip(plain_windows(model.tokenizer, 32), perplexity(model, [STORY], window=32).nll, strict=True):
        batch = torch.tensor([ids])
        with torch.no_grad():
            assert nll == pytest.approx(model.module(input_ids=batch, labels=batch).loss.item(), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_change_it(make_model, kind):
    model = make_model(toys.plain(), kind)
    alone, together = (perplexity(model, [STORY], window=16, batch=batch) for batch in (1, 100))
    assert np.abs(alone.nll - together.nll).max() < 1e-5
    some = perplexity(model, [STORY], window=16, windows=3)
    assert np.abs(some.nll - alone.nll[:3]).max() < 1e-5
    assert (some.windows, some.available) == (3, alone.available)


def test_chunks_of_logits_do_not_change_it(make_model, monkeypatch):
    model = make_model(toys.plain())
    whole = perplexity(model, [STORY], window=16).nll
    monkeypatch.setattr(logits, "_CHUNK", dict.fromkeys((True, False), 4 * 7 * len(model.tokenizer)))
    assert (perplexity(model, [STORY], window=16).nll == whole).all()


def test_token_nll_has_a_value_for_every_predicted_token(make_model, plain_log_probs):
    model = make_model(toys.with_bos())
    windows = make_windows(read_text([STORY], role="perplexity"), model.tokenizer, window=16)
    nll = token_nll(model, windows, batch=2)
    assert (nll.shape, nll.dtype) == ((len(windows), 15), np.float64)
    assert np.allclose(nll[3], -plain_log_probs(model, windows.tokens[3]).numpy(), atol=1e-5)


def test_bos_always_conditions_every_window(make_model, plain_log_probs):
    model = make_model(toys.with_bos())
    result = perplexity(model, [STORY], window=24, bos="always")
    tokens = model.tokenizer(STORY, add_special_tokens=False).input_ids
    second = [model.tokenizer.bos_token_id, *tokens[23:46]]
    assert result.nll[1] == pytest.approx(-plain_log_probs(model, second).mean().item(), abs=1e-6)
    assert result.bos == "always"
    assert result.windows == len(tokens) // 23


def test_low_precision_is_summed_in_high(make_model):
    model = make_model(toys.plain())
    exact = perplexity(model, [STORY], window=32)
    low = make_model(toys.plain())
    low.module.to(torch.bfloat16)
    coarse = perplexity(low, [STORY], window=32)
    assert np.isfinite(coarse.nll).all()
    assert np.abs(exact.nll - coarse.nll).max() < 0.2
    with torch.no_grad():
        ids = torch.tensor(plain_windows(model.tokenizer, 32)[:1])
        logits = low.module(input_ids=ids).logits
    assert logits.dtype == torch.bfloat16
    expected = torch.nn.functional.cross_entropy(logits[0, :-1].double(), ids[0, 1:])
    assert coarse.nll[0] == pytest.approx(expected.item(), abs=1e-5)


def test_windows_made_before_and_defaults(make_model):
    model = make_model(toys.plain())
    by_default = perplexity(model, [STORY])
    assert by_default.window == 32  # 264 tokens: eight windows of 32, below the context of 64
    assert "since the text has" in by_default.notes[0]
    windows = make_windows(read_text([STORY], role="perplexity"), model.tokenizer, context=model.context)
    given = perplexity(model, windows)
    assert (given.nll == by_default.nll).all()
    assert given.windows_hash == by_default.windows_hash == windows.hash


def test_progress_counts_windows(make_model):
    seen = []
    perplexity(make_model(toys.plain()), [STORY], window=32, batch=3, progress=lambda *step: seen.append(step))
    assert seen == [(3, 8, "perplexity"), (6, 8, "perplexity"), (8, 8, "perplexity")]


def test_nothing_of_the_model_changes(make_model):
    model = make_model(toys.plain())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    perplexity(model, [STORY], window=32)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.module.parameters())
    assert torch.is_grad_enabled()


def test_a_value_that_is_not_finite_names_its_window(make_model):
    model = make_model(toys.plain())
    dog = model.tokenizer.convert_tokens_to_ids("quickly")
    with torch.no_grad():
        model.module.get_input_embeddings().weight[dog] = float("nan")
    text = STORY[: len(STORY) // 2] + "quickly " + STORY
    with pytest.raises(ScoreError) as caught:
        perplexity(model, [text], window=16, batch=3)
    position = 6 * len(STORY.split()) // 12
    assert re.search(rf"nan at token \d+ of window {position // 16} ", caught.value.found)
    assert "dtype" in caught.value.todo


def test_an_endless_perplexity_is_an_error(make_model):
    model = make_model(toys.plain())
    with torch.no_grad():
        model.module.get_output_embeddings().weight.mul_(1e4)
    with pytest.raises(ScoreError, match="whose exponential is not finite"):
        perplexity(model, [STORY], window=16)


def test_a_tokenizer_of_another_model(make_model):
    model = make_model(toys.word_tokenizer(words=["the", "dog"]))
    windows = make_windows(read_text([STORY], role="perplexity"), toys.plain(), window=16)
    with pytest.raises(ScoreError, match=r"the model knows 3 tokens only"):
        perplexity(model, windows)


@pytest.mark.parametrize(
    ("batch", "found"), [(0, "at least 1"), ("2", "whole number"), (1.5, "whole number"), (True, "whole number")]
)
def test_a_batch_that_is_none(make_model, batch, found):
    with pytest.raises(ScoreError, match=found):
        perplexity(make_model(toys.plain()), [STORY], batch=batch)


def test_windows_longer_than_the_context_are_refused_wherever_windows_are_taken(make_model):
    model = make_model(toys.plain())
    long = make_windows(read_text([STORY], role="perplexity"), model.tokenizer, window=model.context + 1)
    just = make_windows(read_text([STORY], role="perplexity"), model.tokenizer, window=model.context)
    scan = scan_windows(model, just)
    for call in (
        lambda windows: perplexity(model, windows),
        lambda windows: token_nll(model, windows),
        lambda windows: surprisal(model, SimpleNamespace(windows=windows)),
        lambda windows: scan_windows(model, windows),
        lambda windows: residual_change(model, scan.top(0.1), windows),
        lambda windows: check_noop(model, scan.top(0.1), windows),
        lambda windows: match_perplexity(model, scan, 100.0, text=windows),
        lambda windows: match_residual(model, scan, scan.top(0.1), text=windows),
    ):
        with pytest.raises(TextError, match=r"on windows of 65 tokens of 1 string\nfound: the model takes at most 64"):
            call(long)
    assert np.isfinite(perplexity(model, just).value)


def test_a_text_shorter_than_the_window(make_model):
    with pytest.raises(TextError, match="the whole text is 2 tokens"):
        perplexity(make_model(toys.plain()), ["the dog"], window=16)
    with pytest.raises(TextError, match="at most 64 tokens"):
        perplexity(make_model(toys.plain()), [STORY], window=65)


@pytest.mark.shared
def test_a_real_model_on_what_it_was_trained_on(stories260k, shared_data, plain_log_probs):
    text = (shared_data / "train_text" / "tinystories_valid_head.txt").read_text(encoding="utf-8")[:60_000]
    result = perplexity(stories260k, [text], window=256, windows=8, bos="always")
    assert 1.2 < result.nll.mean() < 1.6  # documented as about 1.37 nats per token
    assert perplexity(stories260k, shared_data / "wikitext2", windows=4).value > 50
    ids = [stories260k.bos_token_id, *stories260k.tokenizer(text).input_ids[255:510]]
    assert result.nll[1] == pytest.approx(-plain_log_probs(stories260k, ids).mean().item(), abs=1e-5)
