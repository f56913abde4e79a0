"""The tagger: training on a tiny treebank gives a pipeline that tags; the card says what was measured."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from tools.reference.__main__ import app
from tools.reference.tagger.card import render
from tools.reference.tagger.recipe import TaggerRecipe
from tools.reference.tagger.train import train, treebank
from typer.testing import CliRunner

import negspace.reference as reference
from negspace.errors import TaggerError, TextError
from negspace.text.conllu import read_conllu
from negspace.text.source import Text
from negspace.text.tagged import tag_text

pytest.importorskip("spacy")

TINY = TaggerRecipe(width=16, depth=1, rows=(50, 50, 50, 50), hidden=16, epochs=30, words=100, dropout=0.0)


def conllu(sentences: int, start: int) -> str:
    nouns, verbs = ["cat", "dog", "bird", "king"], ["sees", "likes", "calls"]
    lines = []
    for number in range(start, start + sentences):
        first, verb, second = nouns[number % 4], verbs[number % 3], nouns[number // 4 % 4]
        rows = [
            ("The", "DET", 2, "det"),
            (first, "NOUN", 3, "nsubj"),
            (verb, "VERB", 0, "root"),
            ("a", "DET", 5, "det"),
            (second, "NOUN", 3, "obj"),
            (".", "PUNCT", 3, "punct"),
        ]
        for at, (form, upos, head, dep) in enumerate(rows, 1):
            space = "SpaceAfter=No" if at == 5 else "_"
            lines.append(f"{at}\t{form}\t_\t{upos}\t_\t_\t{head}\t{dep}\t_\t{space}")
        lines.append("")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    for name, sentences, start in (("train", 90, 0), ("dev", 12, 3), ("test", 12, 7)):
        (folder / f"en_toy-ud-{name}.conllu").write_text(conllu(sentences, start))
    return folder


@pytest.fixture(scope="module")
def trained(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tagger") / "out"
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    said: list[str] = []
    train(TINY, bank, out, say=said.append)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert len(said) == TINY.epochs
    return out


def test_it_learns_and_tags(trained: Path) -> None:
    scores = json.loads((trained / "scores.json").read_text())
    assert scores["words"] == {"train": 540, "dev": 72, "test": 72}
    assert scores["test"]["own words"]["upos"] > 0.95
    assert scores["test"]["gold words"]["uas"] > 0.8
    made = tag_text(Text("t", "The cat likes a bird."), trained)
    assert made.upos.tolist() == ["DET", "NOUN", "VERB", "DET", "NOUN", "PUNCT"]
    assert "root" in made.dep.tolist()
    assert made.tagger == "en_negspace_tagger 1"


def test_no_word_of_the_treebank_is_kept(trained: Path) -> None:
    strings = json.loads((trained / "vocab" / "strings.json").read_text())
    assert {"NOUN", "POS=NOUN", "nsubj"} <= set(strings)
    assert not {"bird", "king", "likes", "Sees"} & set(strings)


def test_the_bundled_one() -> None:
    folder = reference.tagger_path()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 8_000_000
    card = (folder / "README.md").read_text()
    assert card == render(folder)
    assert json.loads((folder / "scores.json").read_text())["test"]["own words"]["upos"] >= 0.9
    made = tag_text(Text("t", "The dogs that chased a red ball were happy. She laughed!"), folder)
    assert made.upos.tolist()[:7] == ["DET", "NOUN", "PRON", "VERB", "DET", "ADJ", "NOUN"]
    assert made.sentence.tolist() == [0] * 10 + [1] * 3
    assert (made.dep == "root").sum() == 2


@pytest.mark.shared
def test_the_bundled_one_is_as_good_as_its_card_says(shared_data: Path) -> None:
    """A few hundred sentences of the test set: the share of words with the gold part of speech."""
    gold = read_conllu(shared_data / "ud_english" / "en_ewt-ud-test.conllu")
    stop = int(gold.end[6000])
    made = tag_text(Text("t", gold.text.text[:stop]), reference.tagger_path())
    tags = dict(zip(zip(made.start.tolist(), made.end.tolist(), strict=True), made.upos.tolist(), strict=True))
    spans = zip(gold.start.tolist(), gold.end.tolist(), gold.upos.tolist(), strict=True)
    right = [tags[a, b] == upos for a, b, upos in spans if b <= stop and (a, b) in tags]
    assert len(right) > 5800
    assert 0.91 < np.mean(right) < 0.97


def test_the_card_says_what_was_measured(trained: Path) -> None:
    scores = json.loads((trained / "scores.json").read_text())["test"]["own words"]
    card = render(trained)
    assert f"| {scores['upos']:.1%} | {scores['uas']:.1%} | {scores['las']:.1%} |" in card
    assert "CC BY-SA 4.0" in card
    assert "en_toy-ud-test.conllu (72 words)" in card


def test_the_command(bank: Path, tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["tagger", "--ud", str(bank), "--out", str(tmp_path / "out"), "--epochs", "1"])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "out" / "README.md").is_file()
    assert "epoch 1" in made.output


def test_what_cannot_be(bank: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(TaggerError, match="something is there already"):
        train(TINY, bank, trained)
    with pytest.raises(TextError, match=r"0 files that end in train\.conllu"):
        treebank(tmp_path)
    with pytest.raises(TaggerError, match="no scores of a training run"):
        render(tmp_path)
    made = CliRunner().invoke(app, ["tagger", "--ud", str(bank), "--out", str(tmp_path / "x"), "--epochs", "0"])
    assert isinstance(made.exception, TaggerError)
    assert "epochs" in made.exception.found


def test_contractions_that_cannot_be_divided_are_refused(bank: Path, tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        content = (
            "1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\t_\tADP\t_\t_\t0\troot\t_\t_\n2\tle\t_\tDET\t_\t_\t1\tdet\t_\t_\n\n"
        )
        (tmp_path / f"fr-{name}.conllu").write_text(content)
    with pytest.raises(TextError, match="its words de, le are no parts of it"):
        train(TINY, tmp_path, tmp_path / "out")
