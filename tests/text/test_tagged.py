"""Tags of spaCy pipelines: offsets in the text as it is, and a clear refusal of pipelines that lack something."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from negspace.errors import TaggerError, TextError
from negspace.reference import tagger_path, text_path
from negspace.text import tagged as room
from negspace.text.source import Text
from negspace.text.tagged import Tagged, load_tagger, make_tagged, tag_text

spacy = pytest.importorskip("spacy")


@pytest.fixture
def pipeline():
    """A pipeline that tags by rule: capitals are nouns, all else verbs; a sentence ends after a full stop."""
    nlp = spacy.blank("en")

    @spacy.Language.component("by_rule")
    def by_rule(document):
        for token in document:
            token.is_sent_start = token.i == 0 or document[token.i - 1].text == "."
        for token in document:
            token.pos_ = "SPACE" if token.is_space else "NOUN" if token.text[0].isupper() else "VERB"
            token.dep_ = "ROOT" if token.i == 0 else "dep"
        return document

    nlp.add_pipe("by_rule")
    return nlp


TEXT = "The cat's  nap\nends . Dogs bark.\n \n\n Über 🙂 all."


def forms(made: Tagged) -> list[str]:
    return [made.text.text[a:b] for a, b in zip(made.start, made.end, strict=True)]


def test_words_have_their_places_in_the_text(pipeline):
    made = tag_text(Text("story", TEXT), pipeline)
    assert forms(made) == ["The", "cat", "'s", "nap", "ends", ".", "Dogs", "bark", ".", "Über", "🙂", "all", "."]
    assert made.upos.tolist() == ["NOUN" if form[0].isupper() else "VERB" for form in forms(made)]
    assert made.dep.tolist() == ["root"] + ["dep"] * 8 + ["root"] + ["dep"] * 3  # one a paragraph
    assert made.sentence.tolist() == [0] * 6 + [1] * 3 + [2] * 4
    assert made.document.tolist() == [0] * 9 + [1] * 4
    assert made.tagger == "en_pipeline 0.0.0"


def test_long_paragraphs_are_cut_between_words(pipeline, monkeypatch):
    text = Text("story", "Dogs bark . " * 20 + "x" * 70 + "\n\n" + "a b\n" * 20)
    whole = tag_text(text, pipeline)
    monkeypatch.setattr(room, "_LONGEST", 40)
    cut = tag_text(text, pipeline)
    assert forms(cut)[:60] == forms(whole)[:60] == ["Dogs", "bark", "."] * 20
    assert "".join(forms(cut)) == "".join(forms(whole))
    assert (np.diff(cut.document) >= 0).all()
    assert cut.document[-1] > 5


def test_only_paragraphs_that_are_asked_for_are_tagged_and_as_in_the_whole(pipeline):
    whole, begin = tag_text(Text("story", TEXT), pipeline), TEXT.index("Über")
    part = tag_text(Text("story", TEXT), pipeline, 1)
    assert forms(part) == forms(whole)[:9]
    for name in ("start", "end", "upos", "dep", "sentence", "document"):
        assert getattr(part, name).tolist() == getattr(whole, name)[:9].tolist()
    assert len(tag_text(Text("story", TEXT), pipeline, begin)) == 9
    assert len(tag_text(Text("story", TEXT), pipeline, begin + 1)) == len(whole)


def test_a_pipeline_that_was_written_anew_is_loaded_anew(pipeline, tmp_path):
    def written(version: str) -> str:
        nlp = spacy.blank("en")
        nlp.add_pipe("by_rule")
        nlp.meta["version"] = version
        nlp.to_disk(tmp_path / "own")
        return tag_text(Text("story", TEXT), tmp_path / "own").tagger

    assert written("1.0") == "en_pipeline 1.0"
    assert written("2.0") == "en_pipeline 2.0"


def test_a_pipeline_from_a_folder(pipeline, tmp_path):
    blank = spacy.blank("en")
    blank.to_disk(tmp_path / "blank")
    with pytest.raises(TaggerError, match="no universal parts of speech and no dependencies from its components") as e:
        tag_text(Text("story", TEXT), tmp_path / "blank")
    assert "it has none" in e.value.found


def test_a_pipeline_without_a_parser(pipeline):
    @spacy.Language.component("no_parser")
    def no_parser(document):
        for token in document:
            token.pos_ = "X"
        return document

    nlp = spacy.blank("en")
    nlp.add_pipe("no_parser")
    with pytest.raises(TaggerError, match=r"found: no dependencies from its components \(no_parser\)"):
        tag_text(Text("story", TEXT), nlp)


def test_no_such_pipeline(tmp_path):
    with pytest.raises(TaggerError, match="Can't find model 'en_no_such_pipeline'"):
        tag_text(Text("story", TEXT), "en_no_such_pipeline")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TaggerError, match="name an installed spaCy pipeline"):
        tag_text(Text("story", TEXT), str(tmp_path / "folder"))


def test_without_spacy(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(TaggerError, match=r"pip install 'negspace\[pos\]'"):
        tag_text(Text("story", TEXT), "en_core_web_sm")


def test_a_text_without_words(pipeline):
    with pytest.raises(TextError, match="no word"):
        tag_text(Text("blank", " \n\n "), pipeline)


@pytest.mark.parametrize("rows", [[(0, 0)], [(0, 3), (2, 4)], [(3, 4), (0, 1)], [(0, 99)]])
def test_words_that_cannot_be(rows):
    with pytest.raises(ValueError, match="each after the one before it"):
        make_tagged(Text("t", "abcdef"), [(a, b, "X", "dep", 0, 0) for a, b in rows], "gold")


def test_tags_do_not_depend_on_batches(monkeypatch):
    story = text_path().read_text(encoding="utf-8")[:20_000]
    source = Text("story", story.replace(". ", ".\n\n"))
    tagger = load_tagger(tagger_path())  # one that is given loaded tags every text anew
    tags = tag_text(source, tagger)
    assert tags.document[-1] > 40
    for batch in (1, 7):
        monkeypatch.setattr(room, "_BATCH", batch)
        assert tag_text(source, tagger).hash == tags.hash


def test_a_pipeline_by_name_tags_a_paragraph_once(monkeypatch):
    seen: list[str] = []
    tagger = load_tagger(tagger_path())
    pipe = tagger.pipe
    monkeypatch.setattr(
        tagger, "pipe", lambda texts, **given: pipe([seen.append(text) or text for text in texts], **given)
    )
    both, other = "Two dogs bark. A cat sleeps.", "The old ship sank."
    text = Text("story", f"{both}\n\n{other}\n\n{both}")
    anew = tag_text(text, tagger)
    assert seen == [both, other]
    seen.clear()
    room._KNOWN.clear()
    part = tag_text(Text("part", both), tagger_path())
    assert tag_text(text, tagger_path()).hash == anew.hash
    assert seen == [both, other]
    assert part.sentence.tolist() == anew.sentence[: len(part)].tolist() == [0] * 4 + [1] * 4
    assert anew.sentence[-1] == 4
    assert anew.document.tolist() == [0] * 8 + [1] * 5 + [2] * 8
    monkeypatch.setattr(room, "_KEPT", 10)
    assert tag_text(text, tagger_path()).hash == anew.hash
    assert not any(room._KNOWN.values())
