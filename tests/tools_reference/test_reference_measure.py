"""The scores of a card are those of the scorers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tools.reference.card import Scores
from tools.reference.measure import measure

from negspace.models.load import load
from negspace.reference import model_path, pairs_path, tasks_path
from negspace.score.pairs import minimal_pairs
from negspace.score.perplexity import perplexity


def test_scores_are_measured_and_written(stories260k_path: Path, tmp_path: Path) -> None:
    text = tmp_path / "story.txt"
    text.write_text("Once upon a time there was a little dog who ran to the big red house. " * 60)
    paradigms = sorted(pairs_path().glob("*.jsonl"))[:1]
    written = measure(stories260k_path, paradigms, [text], tmp_path / "scores.json", limit=8, bundled=False)
    accuracy, words, bits = Scores.model_validate_json(written.read_text()).scores
    model = load(str(stories260k_path))
    expected = minimal_pairs(model, paradigms[0], protocol="lm-eval", limit=8)
    assert accuracy.value == round(expected.accuracy, 4)
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert words.value == round(perplexity(model, str(text)).value, 3)
    made = perplexity(model, str(text))
    assert bits.measure == "bits per byte"
    # A little over four bytes a word, and 512 tokens for all: between one and a few bytes per token.
    assert 1 < math.log2(made.value) / bits.value < 4


def test_bundled_pairs_tasks_and_text_are_measured(stories260k_path: Path, tmp_path: Path) -> None:
    written = measure(stories260k_path, [], [], tmp_path / "scores.json", limit=2)
    scores = Scores.model_validate_json(written.read_text()).scores
    assert [score.data.split(":")[0] for score in scores] == [
        "pairs", *sorted(path.stem for path in tasks_path().glob("*.yaml")), "held_out.txt", "held_out.txt",
    ]  # fmt: skip
    assert [score.chance for score in scores[1:7]] == [0.25, 0.25, 0.5, 0.25, 0.25, 0.25]


def test_bits_per_byte_do_not_depend_on_the_cutting_into_tokens(tmp_path: Path) -> None:
    """By hand: the bits of all predicted tokens over the bytes of the text without each window's first token."""
    text = tmp_path / "story.txt"
    text.write_text("One day the old king went to the sea, and there he saw a great white ship. " * 40)
    bits = Scores.model_validate_json(
        measure(model_path(), [], [text], tmp_path / "scores.json", bundled=False).read_text()
    ).scores[1]
    model = load(model_path())
    made = perplexity(model, str(text))
    ids = model.tokenizer(text.read_text()).input_ids
    size = sum(
        len(model.tokenizer.decode(ids[start + 1 : start + made.window]).encode())
        for start in range(0, made.windows * made.window, made.window)
    )
    assert bits.value == pytest.approx(float(made.nll.mean()) * made.tokens / math.log(2) / size, abs=1e-4)
