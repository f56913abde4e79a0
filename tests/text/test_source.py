"""Texts: one stream from files, folders, the hub and strings, and a clear refusal of everything else."""

from __future__ import annotations

import hashlib
import os
import sys

import datasets
import pytest

from negspace.errors import TextError
from negspace.text.source import Text, read_text

# Rows as WikiText has them: blank lines of one space, headings, paragraphs.
RAW = " \n = Robert Boulter = \n \n Robert Boulter is an actor . \n He had a role . \n \n = = Career = = \n"


def hub_rows(raw: str) -> list[str]:
    """The hub's rows of a raw file, as the data set's original script made them."""
    return [row if row.strip() else "" for row in raw.splitlines(keepends=True)]


@pytest.fixture
def hub(monkeypatch):
    """A hub that serves the rows of RAW and remembers what it was asked for."""
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return datasets.Dataset.from_dict({"text": hub_rows(RAW)})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.mark.parametrize(("role", "split", "joint"), [("statistics", "train", " "), ("perplexity", "valid", "\n\n")])
def test_hub_and_raw_file_give_the_same_stream(tmp_path, hub, role, split, joint):
    (tmp_path / f"wiki.{split}.raw").write_text(RAW, encoding="utf-8")
    from_hub = read_text("wikitext-2", role=role)
    assert from_hub.text == joint.join(hub_rows(RAW))
    for source in (tmp_path, tmp_path / f"wiki.{split}.raw", str(tmp_path)):
        text = read_text(source, role=role)
        assert text.text == from_hub.text
        assert text.hash == from_hub.hash == hashlib.sha256(from_hub.text.encode()).hexdigest()
        assert text.documents == 7


def test_each_role_reads_its_split_of_the_hub(hub):
    for role in ("statistics", "perplexity"):
        read_text("wikitext-2", role=role)
    read_text("wikitext-2", role="perplexity", split="test")
    assert [options["split"] for _, options in hub] == ["train", "validation", "test"]
    assert hub[0][0] == ("Salesforce/wikitext", "wikitext-2-raw-v1")


def test_an_unreachable_hub_is_an_error_that_offers_a_path(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(TextError) as caught:
        read_text("wikitext-2", role="perplexity")
    assert "validation split of WikiText-2" in caught.value.asked
    assert "no route to host" in caught.value.found
    assert "path of a text file or folder" in caught.value.todo


def test_reading_a_file_imports_nothing_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("some text")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert read_text(tmp_path / "a.txt", role="perplexity").text == "some text"


@pytest.mark.shared
def test_real_raw_file_equals_the_hubs_rows(shared_data, monkeypatch):
    path = shared_data / "wikitext2" / "wiki.valid.raw"
    with open(path, encoding="utf-8") as lines:  # the script iterated over the open file
        rows = [row if row.strip() else "" for row in lines]
    assert len(rows) == 3760
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict({"text": rows}))
    from_hub = read_text("wikitext-2", role="perplexity")
    assert read_text(shared_data / "wikitext2", role="perplexity").hash == from_hub.hash
    assert read_text(shared_data / "wikitext2", role="statistics").name.endswith("wiki.train.partial_paragraphs.txt")


def test_a_plain_file_is_one_document_as_it_is(tmp_path):
    (tmp_path / "story.txt").write_bytes(b"\xef\xbb\xbf  One.\r\n\r\nTwo. \n")
    for role in ("statistics", "perplexity"):
        text = read_text(tmp_path / "story.txt", role=role)
        assert (text.text, text.documents, text.name, text.role) == ("  One.\n\nTwo. \n", 1, "story.txt", role)


def test_a_folder_without_splits_gives_all_its_text_files_by_name(tmp_path):
    for name, content in (("b.txt", "two"), ("a.raw", "one"), ("notes.md", "no"), ("c.TXT", "three")):
        (tmp_path / name).write_text(content)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.txt").write_text("no")
    assert read_text(tmp_path, role="statistics").text == "one two three"
    assert read_text(tmp_path, role="perplexity").text == "one\n\ntwo\n\nthree"
    (tmp_path / "d.txt").write_text("four")
    assert read_text(tmp_path, role="perplexity").name.endswith("a.raw, b.txt, c.TXT and 1 more")


def test_a_folder_with_splits_gives_the_roles_split(tmp_path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"corpus-{name}.txt").write_text(name)
    (tmp_path / "latest.txt").write_text("holds 'test' as no word of its own")
    assert read_text(tmp_path, role="statistics").text == "train"
    assert read_text(tmp_path, role="perplexity").text == "dev"
    assert read_text(tmp_path, role="perplexity", split="test").text == "test"


def test_strings_are_documents():
    assert read_text(["a b", "c"], role="statistics").text == "a b c"
    text = read_text((part for part in ("a b", "", "c")), role="perplexity")
    assert (text.text, text.name, text.documents) == ("a b\n\n\n\nc", "3 strings", 3)


def test_a_text_is_taken_for_the_role_asked_for():
    text = read_text(["a", "b"], role="statistics")
    assert read_text(text, role="perplexity") == Text("2 strings", "a b", "perplexity", 2)


def refusals(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "latin.txt").write_bytes("déjà vu".encode("latin-1"))
    (tmp_path / "none").mkdir()
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "wiki.test.raw").write_text(" = A = \n")
    (tmp_path / "good.txt").write_text("text")
    return [
        (tmp_path / "absent.txt", {}, "no such file or folder", "wikitext-2"),
        ("Once upon a time\nthere was a dog. " * 40, {}, "no such file or folder", "a text itself goes in a list"),
        (tmp_path / "empty.txt", {}, "empty or only white space", "with text in it"),
        (tmp_path / "blank.txt", {}, "empty or only white space", "with text in it"),
        (tmp_path / "latin.txt", {}, "not UTF-8: byte 0xe9 at offset 1", "convert the file to UTF-8"),
        (tmp_path / "none", {}, "no file that ends in", "folder that holds text files"),
        (tmp_path / "only", {}, "wiki.test.raw (test)", "`split`"),
        (tmp_path / "good.txt", {"split": "test"}, "no splits", "without `split`"),
        ([], {}, "empty or only white space", "with text in it"),
        (["a", 3], {}, "item 1 is of type int", "one a document"),
        (None, {}, "an object of type NoneType", "iterable of strings"),
        (["a \ud800 b"], {}, "half of a surrogate pair at character 2", "decode the text anew"),
        (["a"], {"split": "test"}, "strings have no splits", "leave `split` out"),
        (["a"], {"split": "trial"}, "no such split", "'validation'"),
        (["a"], {"role": "poetry"}, "no such role", "'statistics'"),
    ]


def test_refusals_say_what_was_found_and_what_to_do(tmp_path):
    for source, options, found, todo in refusals(tmp_path):
        with pytest.raises(TextError) as caught:
            read_text(source, **{"role": "perplexity", **options})
        assert found in caught.value.found
        assert todo in caught.value.todo


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may read anything")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(TextError, match="Permission denied"):
        read_text(tmp_path / "a.txt", role="perplexity")
