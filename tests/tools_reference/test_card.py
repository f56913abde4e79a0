"""The model card: every number in it comes from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tools.reference.attribution import credits
from tools.reference.card import render, write
from tools.reference.recipe import RECIPES, SOURCES, Recipe, Source

import negspace.reference
from negspace.errors import RecordError

RECIPE = Recipe(
    width=48, layers=3, heads=2, mlp_width=111, context=77, batch=13, steps=1_000, decay=0.25, seed=9,
    sources=(Source(file="tales.txt", repeats=2.5, licence="CC-BY-9.9"),),
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "model").mkdir(parents=True)
    (folder / "recipe.json").write_text(RECIPE.model_dump_json())
    steps = [*range(0, 1_000, 20), 980, 1_000]
    lines = [
        {"step": step, "tokens": step * 13 * 77, "held_out_loss": 9 - step / 200 + (i == 50)}
        for i, step in enumerate(steps)
    ]
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    weights = {"a": torch.zeros(100, 7, dtype=torch.float16), "b": torch.zeros(23, dtype=torch.float16)}
    save_file(weights, folder / "model" / "model.safetensors")
    (folder / "model" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 1, "c": 2}}}))
    return folder


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.json"
    score = {
        "measure": "BLiMP accuracy",
        "value": 0.61234,
        "low": 0.6,
        "high": 0.63,
        "chance": 0.5,
        "data": "67 paradigms",
    }
    path.write_text(json.dumps({"scores": [score]}))
    return path


def test_the_card_states_what_the_files_hold(run: Path, scores: Path) -> None:
    card = render(run, scores)
    for stated in (
        "# tiny", "GPT-NeoX", "111 neurons a layer", "77 tokens", "723 (input", "3 tokens; token 0",
        "tales.txt | 2.5 | CC-BY-9.9", f"{1_000 * 13 * 77:,}", "1,000 of 13 rows", "constant to step 750",
        "| seed | 9 |", "| 1,000 | 1,001,000 | 4.000 |",
        "| BLiMP accuracy | 0.6123 | 0.6 to 0.63 | 0.5 | 67 paradigms |",
    ):  # fmt: skip
        assert stated in card


def test_the_curve_is_thinned_but_keeps_its_ends(run: Path) -> None:
    card = render(run)
    rows = card.split("nats per token |")[1].split("Repeat it")[0].strip().splitlines()[1:]
    assert len(rows) == 12
    assert rows[0].startswith("| 0 |")
    assert rows[-1].startswith("| 1,000 |")


def test_a_card_without_scores_says_so(run: Path) -> None:
    assert "None was measured" in render(run)


def test_other_models_stand_beside_for_scale(run: Path, scores: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    rows = [
        {"measure": "BLiMP accuracy", "value": 0.5123, "data": "67 paradigms: fewer tokens"},
        {"measure": "another", "value": 0.9, "data": "67 paradigms"},
    ]
    other.write_text(json.dumps({"scores": rows}))
    card = render(run, scores, beside={"little": other})
    assert "| measure | value | 95% interval | chance | little | data | how |" in card
    assert "| BLiMP accuracy | 0.6123 | 0.6 to 0.63 | 0.5 | 0.5123 | 67 paradigms |" in card
    assert "another" not in card


def test_the_card_credits_the_texts_and_tells_the_checkpoints(run: Path) -> None:
    assert "Checkpoints were kept" not in render(run)
    recipe = RECIPES["series"].model_copy(update={"steps": 1_000, "snapshots": 3})
    (run / "recipe.json").write_text(recipe.model_dump_json())
    card = render(run)
    assert "| TinyStories | Ronen Eldan and Yuanzhi Li, 2023 | CDLA-Sharing-1.0 |" in card
    assert card.count("| OneStopEnglish |") == 1
    assert "Checkpoints were kept at the steps 0, 500, 1,000." in card


def test_every_source_is_of_a_known_collection() -> None:
    told = credits(SOURCES)
    assert len(told) == 6
    assert all(by and licence for _, by, licence in told)
    assert credits((Source(file="mine.txt", repeats=1, licence="own"),)) == (("mine.txt", "", "own"),)


def test_the_bundled_data_credit_every_collection() -> None:
    text = (Path(negspace.reference.__file__).parent / "data" / "README.md").read_text(encoding="utf-8")
    for title, _, licence in credits(SOURCES):
        line = next(line for line in text.splitlines() if line.startswith(f"- {title.split(' (')[0]}"))
        assert licence.split(" (")[0] in line


def test_the_card_is_written_whole(run: Path, scores: Path, tmp_path: Path) -> None:
    out = write(run, tmp_path / "README.md", scores, name="gelu")
    assert out.read_text().count("# gelu\n") == 1
    assert list(tmp_path.glob("*.part")) == []


def test_an_unfinished_run_is_refused(run: Path) -> None:
    path = run / "curve.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:5]))
    with pytest.raises(RecordError, match="step 80 of 1000"):
        render(run)


def test_a_broken_curve_names_its_line(run: Path) -> None:
    path = run / "curve.jsonl"
    path.write_text(path.read_text().replace('{"step": 20,', '{"step": "x",', 1))
    with pytest.raises(RecordError, match="line 2 of"):
        render(run)


@pytest.mark.parametrize("name", ["recipe.json", "curve.jsonl", "model/model.safetensors", "model/tokenizer.json"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(RecordError, match=Path(name).name.replace(".", r"\.")):
        render(run)


def test_a_recipe_of_another_shape_is_refused(run: Path) -> None:
    (run / "recipe.json").write_text('{"wdith": 3}')
    with pytest.raises(RecordError, match="wdith"):
        render(run)


def test_malformed_scores_are_refused(run: Path, scores: Path) -> None:
    scores.write_text('{"scores": [{"measure": "x", "value": "much", "data": "y"}]}')
    with pytest.raises(RecordError, match=r"scores\.0\.value"):
        render(run, scores)


def test_a_card_that_cannot_be_written_is_an_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="a path in an existing folder"):
        write(run, tmp_path / "absent" / "README.md")
