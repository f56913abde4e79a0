"""Minimal pairs of other publications, of one's own, and from memory: which sentence is the grammatical one."""

from __future__ import annotations

import bz2
import json
import os
import pickle
import sys

import datasets
import pandas as pd
import pytest

from negspace.errors import PairsError
from negspace.text.pairs import Pair, read_pairs

GOOD = ["The dogs bark.", "My sister sings.", "These trees grow."]
BAD = ["The dogs barks.", "My sister sing.", "These trees grows."]
BOTH = list(zip(GOOD, BAD, strict=True))


def table(good: str, bad: str, **others) -> list[dict]:
    return [{**others, bad: wrong, good: right, "id": at} for at, (right, wrong) in enumerate(BOTH)]


def lines(path, rows) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


PUBLISHED = {
    "SLING": (table("sentence_good", "sentence_bad", phenomenon="Aspect", paradigm="zai_guo"), "zai_guo", "Aspect"),
    "JBLiMP": (
        table("good_sentence", "bad_sentence", type="acceptability", phenomenon="binding", paradigm="anaphor"),
        "anaphor",
        "binding",
    ),
    "MultiBLiMP": (table("sen", "wrong_sen", phenomenon="SV-#", grammatical_feature="SG"), "SV-#", "SV-#"),
    "RuBLiMP": (
        table("source_sentence", "target_sentence", phenomenon="Negation", PID="negative_concord", level="Syntax"),
        "negative_concord",
        "Negation",
    ),
    "good and bad": (table("good", "bad"), "mine", "mine"),
    "grammatical": (table("grammatical", "ungrammatical", phenomenon="agreement"), "agreement", "agreement"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_columns_are_known_by_name_and_not_by_their_order(tmp_path, name):
    rows, paradigm, phenomenon = PUBLISHED[name]
    made = read_pairs(lines(tmp_path / "mine.jsonl", rows))
    assert made.kind == "pairs"
    assert made.pairs == tuple(
        Pair(good, bad, paradigm, phenomenon, at) for at, (good, bad) in enumerate(zip(GOOD, BAD, strict=True))
    )
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "mine.tsv", sep="\t", index=False)
    frame.to_parquet(tmp_path / "mine.parquet")
    (tmp_path / "mine.csv.bz2").write_bytes(bz2.compress(frame.to_csv(index=False).encode()))
    datasets.Dataset.from_pandas(frame).save_to_disk(tmp_path / "mine")
    for other in ("mine.tsv", "mine.parquet", "mine.csv.bz2", "mine"):
        assert read_pairs(tmp_path / other).hash == made.hash
    if "phenomenon" in frame:
        for memory in (frame, datasets.Dataset.from_pandas(frame), rows, tuple(rows)):
            assert read_pairs(memory).hash == made.hash


def test_blimp_and_tse_keep_their_kind_in_every_format(tmp_path):
    frame = pd.DataFrame(table("sentence_good", "sentence_bad", UID="island", linguistics_term="island_effects"))
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert read_pairs(tmp_path / "a.csv").kind == read_pairs(frame).kind == "blimp"
    frame = pd.DataFrame(table("sentence_good", "sentence_bad", construction="simple_agrmt", case="x"))
    frame.to_parquet(tmp_path / "b.parquet")
    assert read_pairs(tmp_path / "b.parquet").kind == "tse"
    # With others beside them, BLiMP's pairs are pairs like all.
    (tmp_path / "c.csv").write_text("good,bad\nHe barks.,He bark.\n")
    assert read_pairs([tmp_path / "a.csv", tmp_path / "c.csv"]).kind == "pairs"
    with pytest.raises(PairsError, match="read and score TSE separately"):
        read_pairs([tmp_path / "b.parquet", tmp_path / "c.csv"])


def test_a_mapping_names_the_columns(tmp_path):
    rows = table("right", "wrong", topic="agreement", tongue="eng")
    path = lines(tmp_path / "mine.jsonl", rows)
    columns = {"good": "right", "bad": "wrong", "phenomenon": "topic", "language": "tongue"}
    made = read_pairs(path, columns=columns)
    assert made.pairs[0] == Pair(GOOD[0], BAD[0], "eng agreement", "agreement", 0, "eng")
    assert read_pairs(rows, columns=columns).hash == made.hash
    # A mapping goes before what the names would say.
    turned = read_pairs(lines(tmp_path / "b.jsonl", table("bad", "good")), columns={"good": "bad", "bad": "good"})
    assert turned.pairs[0].good == GOOD[0]
    for wrong, found in (
        ({"good": "right"}, "no column for the bad sentence"),
        ({"good": "right", "bad": "right"}, "'right' for both sentences"),
        ({"good": "right", "bad": "false"}, "no column 'false'; there are topic, tongue, wrong, right, id"),
        ({"right": "good", "bad": "wrong"}, "right"),
    ):
        with pytest.raises(PairsError) as caught:
            read_pairs(path, columns=wrong)
        assert found in caught.value.found


def test_tuples_are_good_then_bad():
    made = read_pairs(BOTH)
    assert (made.name, made.kind) == ("3 pairs", "pairs")
    assert made.pairs[2] == Pair(GOOD[2], BAD[2], "pairs", "pairs", 2)
    assert read_pairs([list(pair) for pair in BOTH]).hash == read_pairs(pair for pair in BOTH).hash == made.hash
    assert read_pairs(made, limit=1).pairs == made.pairs[:1]


def test_lines_of_clams(tmp_path):
    (tmp_path / "en_evalset").mkdir()
    content = "".join(f"True\t{good}\nFalse\t{bad}\n" for good, bad in BOTH) + "False\tThese trees growing.\n"
    for name in ("simple_agrmt.txt", "prep_anim.tsv"):
        (tmp_path / "en_evalset" / name).write_text(content)
        made = read_pairs(tmp_path / "en_evalset" / name)
        stem = name.partition(".")[0]
        assert made.paradigms == {f"en {stem}": "subject_verb_agreement"}
        assert [(pair.good, pair.bad) for pair in made] == [*BOTH, (GOOD[2], "These trees growing.")]
        assert made.pairs[0].language == "en"


def test_lines_of_zorro_have_the_ungrammatical_sentence_first(tmp_path):
    path = tmp_path / "npi_licensing-only_npi_licensor.txt"
    path.write_text("".join(f"{bad}\n{good}\n" for good, bad in BOTH))
    made = read_pairs(path)
    assert made.paradigms == {"npi_licensing-only_npi_licensor": "npi_licensing"}
    assert [(pair.good, pair.bad) for pair in made] == BOTH


def test_lines_of_sling(tmp_path):
    (tmp_path / "mp_zai.txt").write_text("".join(f"{good}@@@{bad}\n" for good, bad in BOTH))
    assert [(pair.good, pair.bad) for pair in read_pairs(tmp_path / "mp_zai.txt")] == BOTH


def test_languages_keep_paradigms_of_one_name_apart(tmp_path):
    for language in ("eng", "rus"):
        rows = table("sen", "wrong_sen", phenomenon="SV-#")
        (tmp_path / language).mkdir()
        pd.DataFrame(rows).to_csv(tmp_path / language / "data.tsv", sep="\t", index=False)
    made = read_pairs([tmp_path / "eng", tmp_path / "rus"])
    assert made.paradigms == {"eng SV-#": "SV-#", "rus SV-#": "SV-#"}
    assert {pair.language for pair in made} == {"eng", "rus"}
    column = read_pairs(lines(tmp_path / "a.jsonl", table("sen", "wrong_sen", phenomenon="SV-#", language="deu")))
    assert column.paradigms == {"deu SV-#": "SV-#"}


def test_a_folder_of_ones_own_is_no_language(tmp_path):
    for folder in ("attempt 3", "my_evalset"):
        (tmp_path / folder).mkdir()
        pd.DataFrame(table("good", "bad", phenomenon="SV-#")).to_csv(tmp_path / folder / "data.csv", index=False)
        made = read_pairs(tmp_path / folder)
        assert (made.paradigms, made.pairs[0].language, made.notes) == ({"SV-#": "SV-#"}, "", ())


def test_a_language_that_a_folder_names_is_noted(tmp_path):
    (tmp_path / "en_evalset").mkdir()
    (tmp_path / "en_evalset" / "simple_agrmt.txt").write_text("True\ta\nFalse\tb\n")
    (tmp_path / "rus").mkdir()
    pd.DataFrame(table("sen", "wrong_sen")).to_csv(tmp_path / "rus" / "data.tsv", sep="\t", index=False)
    made = read_pairs([tmp_path / "en_evalset", tmp_path / "rus"])
    assert made.notes == ("languages by the names of folders or configurations: en, rus",)
    assert {pair.language for pair in made} == {"en", "rus"}


def test_white_space_makes_no_groups():
    rows = table("good", "bad", paradigm="case", phenomenon="binding", language="eng")
    rows[1] |= {"paradigm": "case ", "phenomenon": " binding", "language": "eng\t"}
    made = read_pairs(rows)
    assert made.paradigms == {"eng case": "binding"}
    assert made.notes == ("dicts: white space was stripped from the ends of 3 names of groups, such as ' binding'",)
    blimp = table("sentence_good", "sentence_bad", UID="island", linguistics_term="island_effects")
    blimp[2]["UID"] = "island "
    assert read_pairs(blimp).paradigms == {"island": "island_effects"}


def test_hidden_and_other_files_of_a_folder(tmp_path):
    lines(tmp_path / "a.jsonl", table("good", "bad"))
    (tmp_path / "._a.jsonl").write_bytes(b"\0")
    assert len(read_pairs(tmp_path)) == 3
    (tmp_path / "b.csv").write_text("good,bad\na,b\n")
    made = read_pairs(tmp_path)
    assert made.paradigms == {"a": "a"}
    kinds = ".jsonl, .pickle, .pkl"
    assert made.notes == (f"b.csv: left aside, since {tmp_path.name} has files of pairs in {kinds}",)
    (tmp_path / "a.jsonl.bz2").write_bytes(bz2.compress((tmp_path / "a.jsonl").read_bytes()))
    with pytest.raises(PairsError, match=r"a\.jsonl and a\.jsonl\.bz2, by their names the same twice"):
        read_pairs(tmp_path)


def test_spaces_after_commas(tmp_path):
    (tmp_path / "a.csv").write_text('good, bad, paradigm\n"It barks.", "It bark.", p0\n')
    assert read_pairs(tmp_path / "a.csv").pairs == (Pair("It barks.", "It bark.", "p0", "p0", 0),)


@pytest.mark.parametrize(
    "names",
    [
        (("A", "x", ""), ("B", "x", ""), ("C", "A: x", "")),
        (("A", "x", ""), ("B", "x", ""), ("A: B", "c", ""), ("A", "B: c", ""), ("Z", "c", ""), ("Y", "B: c", "")),
        (("A", "b c", "a"), ("A", "c", "a b")),
    ],
)
def test_two_paradigms_of_one_name_are_refused(names):
    rows = [
        {"good": f"{at} a", "bad": f"{at} b", "phenomenon": phenomenon, "paradigm": paradigm, "language": language}
        for at, (phenomenon, paradigm, language) in enumerate(names)
    ]
    if not names[0][2]:
        rows = [{key: value for key, value in row.items() if key != "language"} for row in rows]
    with pytest.raises(PairsError, match="two paradigms named"):
        read_pairs(rows)


def test_columns_that_cannot_be_of_use_are_refused(tmp_path):
    made = read_pairs(BOTH)
    mapping = {"good": "a", "bad": "b"}
    for source, columns, found in (
        (BOTH, ["good", "bad"], "a list instead of one"),
        (made, mapping, "a PairSet, which was read already"),
    ):
        with pytest.raises(PairsError, match=found):
            read_pairs(source, columns=columns)
    (tmp_path / "a.pickle").write_bytes(pickle.dumps({"case": [("a", "b")]}))
    with pytest.raises(PairsError, match=r"no table in a\.pickle, and so no columns"):
        read_pairs(tmp_path / "a.pickle", columns=mapping)
    frame = pd.DataFrame(BOTH)
    assert [(pair.good, pair.bad) for pair in read_pairs(frame, columns={"good": 0, "bad": 1})] == BOTH
    rows = frame.to_dict("records")
    for columns in ({"good": 0, "bad": 1}, {"good": "0", "bad": "1"}):
        assert [(pair.good, pair.bad) for pair in read_pairs(rows, columns=columns)] == BOTH


@pytest.mark.parametrize("source", ["word " * 200, "me/" + "a" * 5000])
def test_a_text_is_no_path(source, monkeypatch):
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name: 1 / 0)
    with pytest.raises(PairsError, match=r"no (such )?file or folder"):
        read_pairs(source)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_a_name_that_is_not_utf_8_can_be_saved(tmp_path):
    for name in (b"caf\xe9.csv", b"caf\xe8.csv"):
        with open(os.path.join(os.fsencode(tmp_path), name), "w") as file:
            file.write("good,bad\na,b\n")
    made = read_pairs(tmp_path)
    assert made.paradigms == {name: name for name in (r"caf\udce8", r"caf\udce9")}
    read_pairs(tmp_path / os.fsdecode(b"caf\xe9.csv")).name.encode("utf-8")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PairsError, match="a pipe, which can be read only once"):
        read_pairs(tmp_path / "pipe")


def test_one_word_may_name_paradigms_of_several_phenomena(tmp_path):
    rows = table("good", "bad", paradigm="case", phenomenon="binding")
    rows[1]["phenomenon"] = "ellipsis"
    made = read_pairs(lines(tmp_path / "a.jsonl", rows))
    assert made.paradigms == {"binding: case": "binding", "ellipsis: case": "ellipsis"}
    assert [pair.index for pair in made] == [0, 1, 0]


def test_pairs_that_stand_twice_and_white_space_are_noted():
    made = read_pairs([*BOTH, BOTH[0], (f" {GOOD[1]}\r\n", BAD[1]), (BAD[2], GOOD[2])])
    assert len(made) == 4
    assert made.pairs[:3] == read_pairs(BOTH).pairs
    assert made.notes == (
        "2 pairs occur more than once in their paradigm and are read once",
        "1 pairs occur in their paradigm in both orders, so one of the two is always wrong",
        "white space was stripped from the ends of 1 sentences",
    )
    assert read_pairs([("a\r\nb", "a c")]).pairs[0].good == "a\nb"


def test_pairs_of_two_equal_sentences_are_noted():
    made = read_pairs([*BOTH, (GOOD[0], GOOD[0]), (BAD[1], BAD[1])])
    assert len(made) == len(BOTH) + 2
    assert made.notes == (f"pairs of two equal sentences, which are not scored: 2, such as {GOOD[0]!r}",)


def test_a_column_that_could_group_the_pairs_is_pointed_out(tmp_path):
    """Without groups there are no units for a test; a column that nobody named is not silently ignored."""
    sentences = [(f"The {noun} barks.", f"The {noun} bark.") for noun in ("dog", "fox", "seal", "man")]
    frame = pd.DataFrame(sentences, columns=["grammatical", "ungrammatical"]).assign(
        type=["simple", "simple", "far", "far"], source=list("abcd"), year="1999"
    )
    frame.to_csv(tmp_path / "mine.csv", index=False)
    made = read_pairs(tmp_path / "mine.csv")
    assert made.paradigms == {"mine": "mine"}
    assert made.notes == (
        "mine.csv: all 4 pairs are taken for one paradigm; to group them by the 2 values of 'type': --pair-columns "
        "paradigm=type",
    )
    # A mapping of the groups alone leaves the sentences to be found by name.
    grouped = read_pairs(tmp_path / "mine.csv", columns={"paradigm": "type"})
    assert (grouped.paradigms, grouped.notes) == ({"far": "far", "simple": "simple"}, ())
    assert read_pairs(frame.drop(columns="type")).notes == ()


def test_the_hub_with_all_its_configurations(tmp_path, monkeypatch):
    """The library's own loader, on repositories of the hub's form in folders."""
    hub = tmp_path / "hub"
    for name, columns in (("blimp", ("sentence_good", "sentence_bad")), ("multi", ("sen", "wrong_sen"))):
        configs = ""
        for config in ("aaa", "bbb"):
            extra = {"UID": config, "linguistics_term": "x"} if name == "blimp" else {"phenomenon": "SV-#"}
            lines(hub / name / config / "train.jsonl", table(*columns, **extra))
            configs += f"- config_name: {config}\n  data_files: {config}/train.jsonl\n"
        (hub / name / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    for function in ("load_dataset", "get_dataset_config_names"):
        real = getattr(datasets, function)
        monkeypatch.setattr(
            datasets, function, lambda name, *args, real=real, **options: real(str(hub / name[3:]), *args, **options)
        )
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    made = read_pairs("me/blimp")
    assert (made.kind, made.name, made.paradigms) == ("blimp", "me/blimp", {"aaa": "x", "bbb": "x"})
    assert read_pairs("me/blimp:bbb").paradigms == {"bbb": "x"}
    made = read_pairs(["me/multi:aaa:train", "me/multi:bbb"])
    assert made.paradigms == {"aaa SV-#": "SV-#", "bbb SV-#": "SV-#"}
    with pytest.raises(PairsError) as caught:
        read_pairs("me/nothing")
    assert "no file or folder named me/nothing; from the hub: " in caught.value.found
    assert "without a network, give files" in caught.value.todo


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", "good,bad\n", "column names (good, bad) and no rows"),
        ("a.csv", "one,two\na,b\n", "without two columns of sentences that are known by name; it has one, two"),
        ("a.csv", "source_sentence,target_sentence\na,b\n", "which of them is grammatical is not said"),
        ("a.csv", "good,bad,sen,wrong_sen\na,b,c,d\n", "sentences in sen and wrong_sen, good and bad"),
        ("a.csv", "good,bad\nThe dog.,\n", 'line 2: bad is ""'),
        ("a.csv", "good,bad\nYes, it barks.,It bark.\n", "line 2: 3 fields apart by commas"),
        ("a.csv", "The dogs bark.,The dogs barks.\nIt barks.,It bark.\n", "in the first line, where the names"),
        ("a.jsonl", '{"good": "a", "bad": null}', "line 1: bad is null"),
        ("a.jsonl", '{"good": "a", "bad": ["b"]}', 'line 1: bad is ["b"]'),
        ("a.jsonl", '{"good": "a", "bad": "b", "phenomenon": 3}', "line 1: phenomenon is 3"),
        ("a.txt", "The dogs bark.\nThe dogs barks.\n", "lines of text, which do not say what is grammatical"),
        ("case-x.txt", "a\nb\nc\n", "3 lines, an odd number"),
        ("a.txt", "True\ta\nTrue\tb\nFalse\tc\n", "line 2: True after True"),
        ("a.txt", "False\ta\nTrue\tb\n", "line 1: False before any True"),
        ("a.txt", "True\ta\nFalse\tb\nTrue\tc\n", "line 3: True at the end"),
        ("a.txt", "True\ta\nfalse b\n", "line 2: no True or False before a tab"),
        ("a.txt", "True\ta\nFalse\t \n", 'line 2: the sentence is " "'),
        ("a.txt", "a@@@b\nc\n", "line 2: 0 times @@@"),
        ("a.txt", "a@@@ \n", 'line 1: a sentence is " "'),
        ("a.txt", "", "an empty file"),
        ("a.txt", " \n\n", "an empty file"),
        ("case-x.txt", "", "an empty file"),
    ],
)
def test_what_does_not_say_which_sentence_is_grammatical_is_refused(tmp_path, name, content, found):
    (tmp_path / name).write_text(content)
    with pytest.raises(PairsError) as caught:
        read_pairs(tmp_path / name)
    assert name in caught.value.asked
    assert found in caught.value.found
    assert caught.value.todo


def test_objects_that_are_no_pairs_are_refused():
    splits = datasets.DatasetDict(train=datasets.Dataset.from_dict({"good": ["a"], "bad": ["b"]}))
    assert len(read_pairs(splits)) == 1
    splits["test"] = splits["train"]
    for source, found in (
        ([("a", "b"), ("c",)], "item 1 is 1 values"),
        ([("a", "b", "c")], "item 0 is 3 values"),
        ([1], "item 0 is one value"),
        ([("a", 2)], "row 0: bad is 2"),
        ([("a", None)], "row 0: bad is null"),
        ([("a", b"b")], "row 0: bad is of type bytes"),
        ([("a", [b"b"])], "row 0: bad is of type list"),
        ([("a", {(1, 2): "b"})], "row 0: bad is of type dict"),
        ([("a", 10**5000)], "row 0: bad is of type int"),
        ([{1: "a", "1": "b"}], "two columns named '1'"),
        ({"good": ["a"], "bad": ["b"]}, "keys good, bad"),
        (pd.DataFrame(columns=["good", "bad"]), "no pairs"),
        (iter([]), "no pairs"),
        (splits, "several splits: train, test"),
        (3, "no list of pairs"),
    ):
        with pytest.raises(PairsError) as caught:
            read_pairs(source)
        assert found in caught.value.found
    with pytest.raises(PairsError, match="pairs themselves go in a list of tuples"):
        read_pairs(("The dogs bark.", "The dogs barks."))
    with pytest.raises(PairsError, match="lines of text, which have no columns"):
        read_pairs(__file__, columns={"good": "a", "bad": "b"})


@pytest.mark.shared
def test_the_shared_cases(shared_data):
    cases = shared_data.parent / "cases"
    sentences = [(pair.good, pair.bad) for pair in read_pairs(cases / "clams_like.txt")]
    assert sentences[0] == ("The dogs near the gate bark.", "The dogs near the gate barks.")
    for name in ("multiblimp_like.jsonl", "rublimp_like.csv"):
        assert [(pair.good, pair.bad) for pair in read_pairs(cases / name)] == sentences
