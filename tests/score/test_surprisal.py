"""Surprisal by token: perplexity's own log-likelihoods, each beside the tags of its word."""

from __future__ import annotations

import numpy as np
import pytest

import toy_tokenizers as toys
from negspace.score.perplexity import perplexity
from negspace.score.surprisal import ITEMS, surprisal
from negspace.text.alignment import align
from negspace.text.source import Text
from negspace.text.tagged import Tagged, make_tagged
from negspace.text.windows import make_windows

STORY = "the dog that sees the cat barks . no bird has ever been sad today , and she sees a happy dog . " * 6


def tagged() -> Tagged:
    """Every other word: those at even places are of the class of their first letter."""
    rows, at = [], 0
    for number, word in enumerate(STORY.split()):
        at = STORY.index(word, at)
        if number % 2 == 0:
            rows.append((at, at + len(word), word[0].upper(), f"dep:{word}", number // 23, 0))
        at += len(word)
    return make_tagged(Text("story", STORY), rows, "gold")


@pytest.mark.parametrize("bos", ["auto", "always"])
def test_every_token_beside_its_tags(make_model, plain_log_probs, bos):
    model, words = make_model(toys.with_bos()), tagged()
    windows = make_windows(words.text, model.tokenizer, window=16, bos=bos)
    items = surprisal(model, align(words, windows, model.tokenizer), batch=3)
    assert list(items.columns) == list(ITEMS)
    assert len(items) == len(windows) * 15
    whole = STORY.split()
    for number, ids in enumerate(windows.tokens):
        mine = items[items["window"] == number]
        assert mine["position"].tolist() == list(range(1, 16))
        assert np.allclose(mine["nll"], -plain_log_probs(model, ids).numpy(), atol=1e-5)
        for (_, row), token in zip(mine.iterrows(), ids[1:], strict=True):
            form = model.tokenizer.convert_ids_to_tokens(int(token))
            assert STORY[row["start"] : row["end"]] == form
            if row["word"] < 0:
                assert (row["upos"], row["dep"]) == ("", "")
            else:
                assert (row["upos"], row["dep"]) == (form[0].upper(), f"dep:{form}")
                assert whole[2 * row["word"]] == form
    assert 0.4 < (items["word"] >= 0).mean() < 0.6
    assert items["word"].max() > items["word"].min() == -1


def test_the_means_are_those_of_perplexity(make_model):
    model, words = make_model(toys.plain(), "llama"), tagged()
    windows = make_windows(words.text, model.tokenizer, window=16)
    steps = []
    items = surprisal(model, align(words, windows, model.tokenizer), progress=lambda *step: steps.append(step))
    assert np.array_equal(items.groupby("window")["nll"].mean(), perplexity(model, windows).nll)
    assert steps[-1] == (len(windows), len(windows), "surprisal")
