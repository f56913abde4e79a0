"""Passages: spread over the text, tagged as the whole text would be, known by their content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negspace.errors import TaggerError, TextError
from negspace.experiment.passages import COLUMNS, make_passages
from negspace.experiment.tagging import tagged_text
from negspace.models.load import load
from negspace.models.model import Model
from negspace.reference import text_path
from negspace.text.alignment import align
from negspace.text.source import read_text
from negspace.text.windows import make_windows


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Model:
    return load(str(tiny_model_path))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("story") / "story.txt"
    path.write_text(text_path().read_text()[:14_000])
    return path


def test_spread_over_the_text(model: Model, story: Path) -> None:
    made = make_passages(model, str(story), tokens=300, window=64)
    whole = make_windows(read_text(str(story), role="perplexity"), model.tokenizer, window=64)
    assert len(made.windows) == 5
    at = made.tokens["at"].to_numpy().reshape(5, 64)[:, 0]
    assert at.tolist() == [k * len(whole) // 5 for k in range(5)]
    assert (made.windows.tokens == whole.tokens[at]).all()
    assert list(made.tokens.columns) == list(COLUMNS)
    counts = np.bincount(whole.tokens.ravel())
    assert (made.tokens["frequency"] == counts[made.tokens["token"]]).all()
    assert "".join(made.tokens["name"][:64]) == model.tokenizer.decode(whole.tokens[0])


def test_tags_are_those_of_the_whole_text(model: Model, story: Path) -> None:
    """Only the paragraphs at hand are tagged; a tagger that sees no further than a paragraph gives the same tags."""
    made = make_passages(model, str(story), tokens=300, window=64)
    whole = make_windows(read_text(str(story), role="perplexity"), model.tokenizer, window=64)
    aligned = align(tagged_text(str(story)), whole, model.tokenizer)
    at = made.tokens["at"].to_numpy()[::64]
    assert (made.tokens["upos"].to_numpy() != "").mean() > 0.75  # this tokenizer has single spaces for tokens
    same = made.tokens["upos"].to_numpy() == aligned.upos[at].ravel()
    # Lines are tagged one by one here, several together there: the tagger's view of the border differs a little.
    assert same.mean() > 0.97
    assert ((made.tokens["upos"] == "") == (aligned.upos[at].ravel() == "")).all()


def test_all_tokens_of_a_short_text_and_bos(model: Model, story: Path) -> None:
    made = make_passages(model, str(story), tokens=10**6, window=32, bos="always")
    assert len(made.windows) == made.windows.available
    assert made.tokens["special"].to_numpy().reshape(-1, 32)[:, 0].all()
    assert not made.tokens["special"].to_numpy().reshape(-1, 32)[:, 1:].any()
    assert (made.tokens["upos"][made.tokens["special"]] == "").all()
    assert (made.tokens["upos"] != "").mean() > 0.7


def test_the_default_window_is_no_longer_than_256(stories260k, story: Path) -> None:
    assert make_passages(stories260k, str(story), tokens=600).windows.window <= 256


def test_gold_tags(model: Model, tmp_path: Path) -> None:
    line = "{}\t{}\t_\t{}\t_\t_\t{}\t{}\t_\t_\n"
    sentence = line.format(1, "Cats", "NOUN", 2, "nsubj") + line.format(2, "sleep", "VERB", 0, "root") + "\n"
    path = tmp_path / "gold.conllu"
    path.write_text(sentence * 60)
    made = make_passages(model, str(path), tokens=128, window=32)
    assert made.tagger == "gold"
    assert set(made.tokens["upos"]) == {"NOUN", "VERB", ""}  # the last: single spaces
    with pytest.raises(TaggerError, match="gold tags"):
        make_passages(model, str(path), tagger="en_core_web_sm")


def test_the_hash_is_of_the_content(model: Model, story: Path, tmp_path: Path) -> None:
    copy = tmp_path / "another name.txt"
    copy.write_bytes(story.read_bytes())
    one, two = (make_passages(model, str(path), tokens=128, window=64) for path in (story, copy))
    other = make_passages(model, str(story), tokens=192, window=64)
    assert one.hash == two.hash
    assert one.hash != other.hash


def test_refusals(model: Model, story: Path) -> None:
    with pytest.raises(TextError):
        make_passages(model, str(story), window=4096)
    with pytest.raises(TaggerError):
        make_passages(model, str(story), tagger="no_such_pipeline", window=64)


def test_characters_of_several_tokens(model: Model, tmp_path: Path) -> None:
    """The toy tokenizer splits every character beyond ASCII into its bytes."""
    path = tmp_path / "text.txt"
    path.write_text("The naïve café — 猫 sees the dogs.\n" * 20)
    made = make_passages(model, str(path), tokens=10**6, window=64)
    shown = ["".join(part) for part in made.tokens["text"].to_numpy().reshape(-1, 64).tolist()]
    assert len(shown) == 8
    assert all(text in path.read_text() for text in shown)  # one that ends within a character shows it whole
    assert path.read_text().startswith(shown[0])
    assert "猫" not in set(made.tokens["name"])
    rows = made.tokens[made.tokens["text"] == "猫"]
    assert (made.tokens["text"][rows.index[:4] + 1] == "").all()
