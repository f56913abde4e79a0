"""The scores of a card are those of the scorers."""

from __future__ import annotations

from pathlib import Path

from negspace.models.load import load
from negspace.reference import pairs_path
from negspace.reference.card import Scores
from negspace.reference.measure import measure
from negspace.score.pairs import minimal_pairs
from negspace.score.perplexity import perplexity


def test_scores_are_measured_and_written(stories260k_path: Path, tmp_path: Path) -> None:
    text = tmp_path / "story.txt"
    text.write_text("Once upon a time there was a little dog who ran to the big red house. " * 60)
    paradigms = sorted(pairs_path().glob("*.jsonl"))[:1]
    written = measure(stories260k_path, paradigms, [text], tmp_path / "scores.json", limit=8)
    accuracy, words = Scores.model_validate_json(written.read_text()).scores
    model = load(str(stories260k_path))
    expected = minimal_pairs(model, paradigms[0], protocol="lm-eval", limit=8)
    assert accuracy.value == round(expected.accuracy, 4)
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert words.value == round(perplexity(model, str(text)).value, 3)
