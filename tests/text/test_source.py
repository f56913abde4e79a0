"""Texts: one stream from files, folders, the hub and strings, and a clear refusal of everything else."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from negspace.errors import TextError
from negspace.reference import text_path
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


def test_a_split_of_a_folder_whose_names_tell_none_is_refused(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    with pytest.raises(TextError, match=r"files whose names tell no split: a\.txt, b\.txt") as caught:
        read_text(tmp_path, role="perplexity", split="test")
    assert "the test split of" in caught.value.asked
    assert "leave `split` out" in caught.value.todo


def test_a_folder_of_which_one_title_names_a_split_is_refused(tmp_path):
    for name in ("a story", "the train home", "birds"):
        (tmp_path / f"{name}.txt").write_text(name)
    for role in ("statistics", "perplexity"):
        with pytest.raises(
            TextError, match=r"1 of 3 with a split in the name \(the train home.txt: train\), and a story"
        ):
            read_text(tmp_path, role=role)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_folder(name, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("what lies here by chance")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TextError, match="a text without a name"):
        read_text(name, role="statistics")


def test_hidden_files_are_no_part_of_a_folder(tmp_path):
    for name in ("a.txt", "._a.txt", ".hidden.txt"):
        (tmp_path / name).write_text(name)
    assert read_text(tmp_path, role="perplexity").text == "a.txt"


def test_a_file_beside_itself_compressed_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(TextError, match=r"a\.txt and a\.txt\.gz, by their names the same twice"):
        read_text(tmp_path, role="perplexity")
    # What is not read of the folder does not matter.
    for name in ("a.txt", "a.txt.gz"):
        (tmp_path / name).rename(tmp_path / f"train-{name}")
    (tmp_path / "valid.txt").write_text("valid")
    assert read_text(tmp_path, role="perplexity").text == "valid"


def test_tables_left_aside_are_noted(tmp_path):
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / "data.jsonl").write_text('{"text": "a"}\n')
    made = read_text(tmp_path, role="statistics")
    assert made.text == "about"
    assert made.notes == (f"data.jsonl: tables, left aside since {tmp_path.name} has text files",)
    assert read_text(made, role="perplexity").notes == made.notes
    (tmp_path / "README.txt").unlink()
    assert read_text(tmp_path, role="statistics").notes == ()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_a_name_that_is_not_utf_8_can_be_saved(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text("text")
    (tmp_path / "b.txt").write_text("text")
    assert read_text(path, role="perplexity").name == r"caf\udce9.txt"
    read_text(tmp_path, role="perplexity").name.encode("utf-8")
    path.write_text(" ")
    with pytest.raises(TextError) as caught:
        read_text(path, role="perplexity")
    str(caught.value).encode("utf-8")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place, found in (
        (tmp_path / "pipe", "a pipe, which can be read only once"),
        ("/dev/null", "a device or socket"),
    ):
        with pytest.raises(TextError, match=found):
            read_text(place, role="perplexity")


def test_an_empty_row_is_an_empty_document(tmp_path):
    (tmp_path / "a.csv").write_text("text,n\none,1\n,2\ntwo,3\n")
    assert read_text(tmp_path / "a.csv", role="perplexity").text == "one\n\n\n\ntwo"


def test_strings_are_documents():
    assert read_text(["a b", "c"], role="statistics").text == "a b c"
    text = read_text((part for part in ("a b", "", "c")), role="perplexity")
    assert (text.text, text.name, text.documents) == ("a b\n\n\n\nc", "3 strings", 3)


def test_a_text_is_taken_for_the_role_asked_for():
    text = read_text(["a", "b"], role="statistics")
    assert read_text(text, role="perplexity") == Text("2 strings", "a b", "perplexity", 2)
    for options in ({"split": "test"}, {"field": "text"}):
        with pytest.raises(TextError, match="a Text, which was read already"):
            read_text(text, role="perplexity", **options)


def test_a_column_may_be_named_by_a_number():
    assert read_text(pd.DataFrame({0: ["a"], 1: ["b"]}), role="perplexity", field=1).text == "b"
    assert read_text([{0: "a", 1: "b"}], role="perplexity", field=1).text == "b"


def test_words_that_could_be_paths_are_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for documents in (
        ["data"],
        ["See typo.txt"],
        ["A file is named a.csv#text"],
        ["C#"],
        ["and/or"],
        ["typo.txt", "."],
    ):
        assert read_text(documents, role="statistics").text == " ".join(documents)


ROWS = [{"id": 0, "text": "One.\r\nTwo."}, {"id": 1, "text": "Three."}]
STREAM = "One.\nTwo.\n\nThree."


def in_memory() -> dict:
    frame = pd.DataFrame(ROWS)
    made = datasets.Dataset.from_list(ROWS)
    return {
        "strings": [row["text"] for row in ROWS],
        "generator": (row["text"] for row in ROWS),
        "array": np.array([row["text"] for row in ROWS]),
        "Series": frame["text"],
        "DataFrame": frame,
        "Dataset": made,
        "column of a Dataset": made["text"],
        "DatasetDict": datasets.DatasetDict(train=made.select([1]), validation=made),
        "DatasetDict of other words": datasets.DatasetDict(train=made.select([1]), dev=made),
        "pyarrow": pa.Table.from_pandas(frame),
        "column of pyarrow": pa.Table.from_pandas(frame)["text"],
        "dicts": ROWS,
    }


@pytest.mark.parametrize("kind", in_memory())
def test_whatever_holds_the_same_documents_gives_the_same_stream(kind):
    text = read_text(in_memory()[kind], role="perplexity")
    assert (text.text, text.documents) == (STREAM, 2)
    assert text.hash == hashlib.sha256(STREAM.encode()).hexdigest()


def test_tables_in_files_have_a_document_a_row(tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("a.jsonl", "a.jsonl.gz"):
        text = read_text(tmp_path / name, role="perplexity")
        assert (text.text, text.name, text.documents) == (STREAM, f"{name}#text", 2)
    pd.DataFrame({"title": ["a", "b"], "tale": ["One.", "Two."]}).to_parquet(tmp_path / "b.parquet")
    for source, options in ((f"{tmp_path}/b.parquet#tale", {}), (tmp_path / "b.parquet", {"field": "tale"})):
        text = read_text(source, role="statistics", **options)
        assert (text.text, text.name) == ("One. Two.", "b.parquet#tale")
    # A file whose name holds the sign is that file.
    (tmp_path / "a#b.txt").write_text("text")
    assert read_text(tmp_path / "a#b.txt", role="perplexity").text == "text"


def test_a_folder_of_tables(tmp_path):
    for name, part in (("train-00000-of-00002", ROWS[:1]), ("train-00001-of-00002", ROWS[1:]), ("validation-0", ROWS)):
        pd.DataFrame(part).to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text("no")
    assert read_text(tmp_path, role="perplexity").text == STREAM
    text = read_text(tmp_path, role="statistics")
    assert (text.text, text.documents) == ("One.\nTwo. Three.", 2)
    assert text.name.endswith("train-00000-of-00002.parquet, train-00001-of-00002.parquet#text")
    # Text files, where there are some, are what the folder is for.
    (tmp_path / "train.txt").write_text("text")
    assert read_text(tmp_path, role="statistics").text == "text"


def test_a_saved_dataset(tmp_path):
    made = datasets.Dataset.from_list(ROWS)
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=made.select([1]), validation=made).save_to_disk(tmp_path / "both")
    assert read_text(tmp_path / "one", role="statistics").text == "One.\nTwo. Three."
    text = read_text(tmp_path / "both", role="perplexity")
    assert (text.text, text.name) == (STREAM, "both (validation)#text")
    assert read_text(tmp_path / "both", role="statistics").text == "Three."
    assert read_text(tmp_path / "both" / "train", role="perplexity").text == "Three."
    with pytest.raises(TextError, match="no test split; there are train, validation"):
        read_text(tmp_path / "both", role="perplexity", split="test")


def test_a_data_set_of_the_hub_by_name(tmp_path, monkeypatch):
    """The library's own loader, on a repository of the hub's form in a folder."""
    folder = tmp_path / "hub" / "tales"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        (folder / f"short-{split}.jsonl").write_text(json.dumps({"title": split, "tale": f"The {split} tale."}))
    files = "".join(f"  - split: {split}\n    path: short-{split}.jsonl\n" for split in ("train", "validation"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: short\n  data_files:\n{files}---\n")
    load = datasets.load_dataset
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda name, *args, **options: load(str(tmp_path / "hub" / name[3:]), *args, **options),
    )
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    text = read_text("me/tales:short#tale", role="perplexity")
    assert (text.text, text.name) == ("The validation tale.", "me/tales:short (validation)#tale")
    assert read_text("me/tales#tale", role="statistics").text == "The train tale."
    assert read_text("me/tales:short:train", role="perplexity", field="tale").text == "The train tale."
    assert read_text("me/tales:train[:1]#tale", role="perplexity").text == "The train tale."
    for name, options, found in (
        ("me/tales", {}, "several columns of text: title, tale"),
        ("me/tales:long#tale", {}, "BuilderConfig 'long' not found"),
        ("me/tales:train#tale", {"split": "test"}, "its name asks for 'train', `split` for 'test'"),
        ("me/nothing", {}, "no file or folder named me/nothing; from the hub: "),
    ):
        with pytest.raises(TextError) as caught:
            read_text(name, role="perplexity", **options)
        assert found in caught.value.found


def test_what_worked_before_keeps_its_hash(tmp_path):
    """A text's hash is in the key of every record that was made with it."""
    bundled = "72c7e8045ba00e50edaea9df42f6b4e3594ad9e284c1180de6cd379e336bb372"
    for role in ("statistics", "perplexity"):
        assert read_text(text_path(), role=role).hash == bundled
    strings = {
        "statistics": "068f7604e6128b5b23045e1ca27d30041bd5a9b4ddc806117a00d8afad166a22",
        "perplexity": "ac721b9273dfb4a6e71202ccd3a413763abca3e94dbb9f2a825a3291169be924",
    }
    for role, digest in strings.items():
        assert read_text(["a", "", "b\n"], role=role).hash == digest


@pytest.mark.shared
def test_wikitext_keeps_its_hash(shared_data):
    statistics, perplexity = (read_text(shared_data / "wikitext2", role=role) for role in ("statistics", "perplexity"))
    assert statistics.hash == "edaac2239b8966df1f47bc980a43e14ff8155cfff2349ac84045e7bd69283ea1"
    assert perplexity.hash == "b44fb967f92b525731216a507d1fbc44b97446b7ef0a2b4d1a893f81f1bbc29e"
    test = read_text(shared_data / "wikitext2" / "wiki.test.raw", role="perplexity")
    assert test.hash == "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83"


@pytest.mark.shared
def test_the_reported_case_is_scored_without_its_syntax(shared_data):
    text = read_text(shared_data.parent / "cases" / "text.jsonl", role="perplexity")
    assert text.name == "text.jsonl#text"
    assert text.text.startswith("Story 0. The dogs near the gate bark.")
    assert "{" not in text.text


def refusals(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "latin.txt").write_bytes("déjà vu".encode("latin-1"))
    (tmp_path / "none").mkdir()
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "wiki.test.raw").write_text(" = A = \n")
    (tmp_path / "good.txt").write_text("text")
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "lines.txt").write_text('{"text": "a"}\n{"text": "b"}\n')
    (tmp_path / "tagged.conllu").write_text("1\tThe\t_\tDET\n")
    (tmp_path / "two.csv").write_text("a,b\nx,y\n")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "1.jsonl").write_text('{"text": "a"}')
    (tmp_path / "mixed" / "2.jsonl").write_text('{"tale": "a"}')
    return [
        (tmp_path / "paper.pdf", {}, "a PDF, which is not plain text", ".txt"),
        (tmp_path / "lines.txt", {}, "JSON Lines, whose syntax would be read as text", ".jsonl"),
        (tmp_path / "tagged.conllu", {}, "CoNLL-U, whose columns would be read as text", "plain text"),
        (tmp_path / "two.csv", {}, "several columns of text: a, b", "PATH#COLUMN"),
        (f"{tmp_path}/two.csv#c", {}, "no column 'c'; there are a, b", "one of the columns"),
        (tmp_path / "mixed", {}, "no column 'text'; there are tale", "one of the columns"),
        (f"{tmp_path}/good.txt#text", {}, "a plain text, which has no column 'text'", "leave the column out"),
        (f"{tmp_path}/absent.jsonl#text", {}, "no such file or folder", "OWNER/NAME"),
        ({"text": "Once upon a time."}, {}, "a mapping with the keys text", "a text itself goes in a list"),
        ({"text": ["Once upon a time."]}, {}, "a mapping with the keys text", "DataFrame"),
        ({"a", "b"}, {}, "a set, which has no order", "a list"),
        (b"text", {}, "bytes, whose encoding is not said", "decode"),
        ([b"text"], {}, "item 0 is of type bytes", "give strings"),
        ([["a", "b"]], {}, "item 0 is of type list", "give strings"),
        ([str(tmp_path / "good.txt")], {}, "paths of files, not texts", "the folder"),
        (["typo.txt"], {}, "paths of files, not texts", "the folder"),
        (["folder/", "b.jsonl.gz"], {}, "paths of files, not texts", "the folder"),
        (["a.csv#text"], {}, "paths of files, not texts", "the folder"),
        (["/my texts/typo.txt"], {}, "paths of files, not texts", "the folder"),
        ([str(tmp_path / "none")], {}, "paths of files, not texts", "the folder"),
        (["a\0b"], {}, "a NUL character, at character 1", "take it out"),
        (["a"], {"field": "text"}, "strings, which have no column 'text'", "leave `field` out"),
        ([{"text": "a"}, {"tale": "b"}], {}, "row 1 has no 'text'", "a string in each row"),
        ([{"text": "a"}, "b", 3], {}, "item 2: a JSON int", "give objects"),
        (pd.Series(["a", None]), {}, "item 1 is of type", "give strings"),
        (
            datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)),
            {},
            "no validation split; there are train",
            "NAME",
        ),
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
        (["a"], {"split": "test"}, "it has no splits", "leave `split` out"),
        (["a"], {"split": "trial"}, "no such split", "'validation'"),
        (["a"], {"role": "poetry"}, "no such role", "'statistics'"),
    ]


def test_an_open_file_is_not_taken_for_its_lines(tmp_path):
    (tmp_path / "a.txt").write_text("One.\nTwo.\n")
    with open(tmp_path / "a.txt") as file, pytest.raises(TextError, match="an open file"):
        read_text(file, role="perplexity")


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
