"""Minimal pairs from BLiMP and TSE files and pickles, and one clear error for each way in which they can be wrong."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter

import numpy as np
import pytest

from negspace.errors import PairsError
from negspace.reference import pairs_path
from negspace.text.pairs import Pair, read_pairs


def blimp(uid: str = "wh_island", term: str = "island_effects", count: int = 3, **more) -> list[dict]:
    return [
        {"sentence_good": f"good {i} é", "sentence_bad": f"bad {i}", "UID": uid, "linguistics_term": term, **more}
        for i in range(count)
    ]


def tse(construction: str = "simple_agrmt", count: int = 3, **more) -> list[dict]:
    return [
        {"sentence_good": f"good {i}", "sentence_bad": f"bad {i}", "construction": construction, "case": "x", **more}
        for i in range(count)
    ]


def write(path, rows) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_blimp_files_and_folders(tmp_path):
    one = write(tmp_path / "b" / "wh_island.jsonl", blimp(field="syntax", pairID="0"))
    write(tmp_path / "b" / "animate.jsonl", blimp("animate_subject_trans", "s-selection", 2))
    write(tmp_path / "b" / "readme.txt", [{}])
    assert read_pairs(one).pairs[1] == Pair("good 1 é", "bad 1", "wh_island", "island_effects", 1)
    made = read_pairs(tmp_path / "b")
    assert (made.name, made.kind, len(made)) == ("b", "blimp", 5)
    assert made.paradigms == {"animate_subject_trans": "argument_structure", "wh_island": "island_effects"}
    assert [pair.index for pair in made] == [0, 1, 0, 1, 2]


def test_tse_families(tmp_path):
    names = "simple_npi_anim npi_across_inanim simple_reflexives reflexive_sent_comp reflexives_across prep_anim my_own"
    for name in names.split():
        write(tmp_path / f"{name}.jsonl", tse(name, 1))
    assert Counter(read_pairs(tmp_path).paradigms.values()) == {
        "npi_licensing": 2,
        "reflexives": 3,
        "subject_verb_agreement": 1,
        "my_own": 1,
    }


def test_one_file_may_hold_several_paradigms_in_any_order(tmp_path):
    rows = [*blimp("b", count=4)[:2], *blimp("a", count=1), *blimp("b", count=4)[2:]]
    made = read_pairs(write(tmp_path / "all.jsonl", rows))
    assert [(pair.paradigm, pair.index) for pair in made] == [("a", 0), ("b", 0), ("b", 1), ("b", 2), ("b", 3)]


def test_limit_takes_pairs_spread_over_each_paradigm(tmp_path):
    path = write(tmp_path / "all.jsonl", [*blimp("a", count=5), *blimp("b", count=1)])
    made = read_pairs(path, limit=2)
    assert [(pair.paradigm, pair.good) for pair in made] == [("a", "good 0 é"), ("a", "good 2 é"), ("b", "good 0 é")]
    assert made.hash == read_pairs(path).sample(2).hash != read_pairs(path).hash
    assert read_pairs(path).sample(None).hash == read_pairs(path).hash
    for limit, found in (
        (0, "at least 1"),
        ("5", "not a whole number"),
        (2.5, "not"),
        (math.nan, "not"),
        (True, "not"),
    ):
        for call in (lambda limit=limit: read_pairs(path, limit=limit), lambda limit=limit: made.sample(limit)):
            with pytest.raises(PairsError, match=found):
                call()
    assert read_pairs(path, limit=np.int64(2)).hash == made.hash


def test_hash_is_of_the_content_alone(tmp_path):
    a, b = (write(tmp_path / "x" / f"{name}.jsonl", blimp(name)) for name in "ab")
    both = write(tmp_path / "y" / "other.jsonl", [*blimp("b", more=1), *blimp("a")])
    hashes = {read_pairs(source).hash for source in ([a, b], [b, a], tmp_path / "x", both)}
    assert len(hashes) == 1
    changed = blimp("a")
    changed[0]["sentence_bad"] += "!"
    assert read_pairs([write(tmp_path / "z" / "a.jsonl", changed), b]).hash not in hashes
    assert read_pairs([a, b]).name == "a.jsonl + b.jsonl"


def test_pickles_give_the_pairs_of_their_jsonl(tmp_path):
    cases = {
        "past": [("no x", "the x", "most x"), ["no y", "the y", "most y"]],
        "future": [("no z", "the z", "most z")],
    }
    (tmp_path / "simple_npi_anim.pickle").write_bytes(pickle.dumps(cases))
    (tmp_path / "vp_coord.pkl").write_bytes(pickle.dumps({"sing": [("he sings", "he sing")]}))
    made = read_pairs(tmp_path)
    assert made.kind == "tse"
    assert made.pairs[0] == Pair("no x", "most x", "simple_npi_anim", "npi_licensing", 0)
    assert made.pairs[2].good == "no z"
    assert made.pairs[3] == Pair("he sings", "he sing", "vp_coord", "subject_verb_agreement", 0)


@pytest.mark.shared
def test_official_pickles_equal_the_published_jsonl(shared_data):
    jsonl = [shared_data / "tse" / f"{name}.jsonl" for name in ("simple_agrmt", "simple_npi_anim")]
    made = read_pairs(shared_data / "tse_pickle")
    assert made.pairs == read_pairs(jsonl).pairs
    assert len(made) == 260


@pytest.mark.shared
@pytest.mark.slow
def test_the_published_sets_whole(shared_data):
    made = read_pairs(shared_data / "blimp")
    assert (len(made), len(made.paradigms), len(set(made.paradigms.values()))) == (67_000, 67, 12)
    assert set(Counter(pair.paradigm for pair in made).values()) == {1000}
    same = Counter(pair.paradigm for pair in made if pair.good == pair.bad)
    assert same == {"principle_A_case_2": 5, "passive_1": 2}
    made = read_pairs(shared_data / "tse")
    assert (len(made), len(made.paradigms)) == (158_084, 22)
    families = Counter(made.paradigms.values())
    assert families == {"subject_verb_agreement": 15, "reflexives": 3, "npi_licensing": 4}


def test_blank_lines_and_byte_order_marks_are_no_errors(tmp_path):
    rows = [json.dumps(row) for row in blimp()]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n\n".join(rows).encode() + b"\n\n")
    assert len(read_pairs(tmp_path / "a.jsonl")) == 3


GOOD = json.dumps(blimp()[0]).encode()


@pytest.mark.parametrize(
    ("content", "found", "todo"),
    [
        (GOOD + b"\n{oops\n", "line 2: not JSON", "one JSON object per line"),
        (GOOD + b"\n\n" + GOOD[:-1], "line 3: not JSON", "one JSON object per line"),
        (b"[1, 2]\n", "line 1: a JSON list instead of an object", "give objects"),
        (b"\xff\xfe\n", "UTF-16, by its byte order mark", "convert the file"),
        (GOOD + b"\n\xff\n", "not UTF-8: byte 0xff at offset", "convert the file"),
        (b"[" * 100_000, "line 1: ", "JSON"),
        (
            b'{"UID": "a"}',
            "without sentence_good, sentence_bad, linguistics_term; it has UID",
            "UID and linguistics_term in",
        ),
        (GOOD + b'\n{"sentence_good": "a", "sentence_bad": "b"}', "line 2: without UID", "in every row"),
        (b'{"construction": "a"}', "without sentence_good, sentence_bad; it has construction", "TSE"),
        (b"{}", "without two columns of sentences that are known by name; it has none", "--pair-columns good="),
        (
            GOOD.replace(b"bad 0", b" "),
            'line 1: sentence_bad is " "',
            "must be a string that is not empty",
        ),
        (GOOD.replace(b'"wh_island"', b"3"), "line 1: UID is 3", "must be a string"),
        (
            GOOD.replace(b"bad 0", b"\\ud800"),
            "line 1: sentence_bad holds half of a surrogate pair",
            "decode the text anew",
        ),
        (b"", "an empty file", "at least one row"),
        (b" \n\n", "an empty file", "at least one row"),
    ],
)
def test_malformed_jsonl_names_file_and_line(tmp_path, content, found, todo):
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(PairsError) as caught:
        read_pairs(tmp_path)
    assert "bad.jsonl" in caught.value.asked
    assert found in caught.value.found
    assert todo in caught.value.todo


def test_wrong_places(tmp_path):
    with pytest.raises(PairsError, match="no such file or folder"):
        read_pairs(tmp_path / "absent")
    with pytest.raises(PairsError, match=r"no file that ends in \.jsonl, \.pickle, \.pkl, \.ndjson, \.json, \.csv"):
        read_pairs(tmp_path)
    with pytest.raises(PairsError, match="an empty list"):
        read_pairs([])


def test_kinds_do_not_mix(tmp_path):
    write(tmp_path / "a.jsonl", blimp())
    write(tmp_path / "b.jsonl", tse())
    with pytest.raises(PairsError) as caught:
        read_pairs(tmp_path)
    assert "blimp pairs in" in caught.value.found
    assert "tse pairs in" in caught.value.found
    assert "separately" in caught.value.todo
    with pytest.raises(PairsError, match="line 4: without UID"):
        read_pairs(write(tmp_path / "c.jsonl", [*blimp(), *tse()]))


def test_a_paradigm_comes_once_and_has_one_phenomenon(tmp_path):
    one, two = write(tmp_path / "a.jsonl", blimp()), write(tmp_path / "b.jsonl", blimp())
    with pytest.raises(PairsError, match="the paradigm wh_island both in") as caught:
        read_pairs([one, two])
    assert "once" in caught.value.todo
    with pytest.raises(PairsError, match="two phenomena, island_effects and binding"):
        read_pairs(write(tmp_path / "c.jsonl", [*blimp(), *blimp(term="binding")]))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (["a"], "a list instead of a dict"),
        ({"case": "a"}, "case 'case' holds a str instead of a list"),
        ({"case": [("a",)]}, "item 0 of case 'case' is not two or three sentences"),
        ({"case": [("a", "b"), ("a", 2)]}, "item 1 of case 'case' is not two or three sentences"),
        ({"case": [("a", "  ")]}, "not two or three sentences"),
        ({"case": ["ab"]}, "not two or three sentences"),
        ({}, "an empty file"),
        ({7: [("a", "b")]}, "a case whose name is of type int"),
        ({2**20_000: [("a", "b")]}, "a case whose name is of type int"),
    ],
)
def test_pickles_of_another_form(tmp_path, content, found):
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(content))
    with pytest.raises(PairsError) as caught:
        read_pairs(tmp_path / "x.pickle")
    assert found in caught.value.found


def test_a_pickle_that_multiplies_one_list_is_refused(tmp_path):
    rows = [("a", "b")] * 3000
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(dict.fromkeys(range(3000), rows)))
    with pytest.raises(PairsError, match="more pairs than bytes"):
        read_pairs(tmp_path / "x.pickle")


def test_what_worked_before_keeps_its_hash():
    """A set's hash is in the key of every record that was made with it."""
    made = read_pairs(pairs_path())
    assert (made.kind, len(made), made.notes) == ("blimp", 17_800, ())
    assert made.hash == "c3d1b6db1f432e4d6cb4d84f31d6553a418138b1b1e20358ffab3d698f8a71a8"
    assert made.sample(7).hash == "3743b06f984d4394c8c77d5408a3c3f14b8b70fe7d7668cec250b733cada74a2"


@pytest.mark.shared
@pytest.mark.slow
def test_the_published_sets_keep_their_hashes(shared_data):
    hashes = {
        "blimp": "cc39a91f3f1e4ee70e4089cb8d1679f7691a491078701536bb62cccebbadb1ce",
        "tse": "0026345c03ace53ff876f51745e2e47086303b59e8b62dc257addec36fb4cec6",
        "tse_pickle": "5eb0e633af929f4667083e68997b7e4eb0a5024707d51ecead55fb33c26fe4d7",
    }
    for name, digest in hashes.items():
        made = read_pairs(shared_data / name)
        assert made.hash == digest
        # In BLiMP as published, the two sentences of seven pairs are the same.
        equal = ["pairs of two equal sentences, which are not scored: 7"] if name == "blimp" else []
        assert [note.partition(", such as ")[0] for note in made.notes] == equal
