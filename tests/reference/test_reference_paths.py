"""Where the bundled material lies, and what is said where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

import negspace.reference as reference
from negspace.errors import ModelError, PairsError, TaggerError, TasksError, TextError


def test_bundled_pairs_and_text_are_there() -> None:
    assert any(reference.pairs_path().glob("*.jsonl"))
    assert reference.text_path().read_text(encoding="utf-8")


def test_the_held_out_text_is_prose_of_several_thousand_words() -> None:
    text = reference.text_path().read_text(encoding="utf-8")
    stories = text.split("\n\n")
    lines = [line for line in text.splitlines() if line]
    assert 8_000 <= len(text.split()) <= 12_000
    assert len(stories) >= 6
    assert len(set(lines)) == len(lines), "a paragraph comes twice"
    assert text.isascii()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("name", ["no-such", "", ".", "../pairs", "gelu/../gelu"])
def test_an_unknown_model_is_explained(name: str) -> None:
    with pytest.raises(ModelError, match="bundled here"):
        reference.model_path(name)


def test_a_bundled_model_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(reference, "_DATA", tmp_path)
    assert reference.model_path("tiny") == folder
    with pytest.raises(ModelError, match="bundled here: tiny"):
        reference.model_path()


def test_the_tagger_is_found_or_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_DATA", tmp_path)
    with pytest.raises(TaggerError, match=r"train one in a checkout of negspace: python -m tools\.reference tagger"):
        reference.tagger_path()
    (tmp_path / "tagger").mkdir()
    (tmp_path / "tagger" / "config.cfg").write_text("")
    assert reference.tagger_path() == tmp_path / "tagger"


def test_missing_pairs_and_text_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_DATA", tmp_path)
    with pytest.raises(PairsError, match="reinstall"):
        reference.pairs_path()
    with pytest.raises(TextError, match="reinstall"):
        reference.text_path()
    with pytest.raises(TasksError, match="reinstall"):
        reference.tasks_path()


def test_a_series_is_in_order_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_DATA", tmp_path)
    with pytest.raises(ModelError, match=r"train --name series"):
        reference.checkpoints()
    for name in ("step0", "step16", "step128", "step4", "stepwise", "other"):
        (tmp_path / "series" / name).mkdir(parents=True)
        (tmp_path / "series" / name / "config.json").write_text("{}")
    (tmp_path / "series" / "step64").mkdir()
    assert reference.checkpoints() == ("step0", "step4", "step16", "step128")
    assert reference.series_path() == tmp_path / "series"
