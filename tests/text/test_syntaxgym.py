"""SyntaxGym's suites: sentences, regions, predictions, and suites that are none."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from negspace.errors import PairsError
from negspace.text.pairs import read_pairs


def suite(formulas=("(3;%match%) < (3;%mismatch%)",), name="number_prep", items=2, **meta) -> dict:
    def condition(name: str, verb: str, number: int) -> dict:
        contents = [f"The dog {number}", "", verb, "."]
        return {
            "condition_name": name,
            "regions": [{"region_number": at, "content": one} for at, one in enumerate(contents, start=1)],
        }

    return {
        "meta": {"name": name, "metric": "sum", **meta},
        "region_meta": {"1": "subject", "2": "nothing", "3": "verb", "4": "end"},
        "predictions": [{"type": "formula", "formula": formula} for formula in formulas],
        "items": [
            {
                "item_number": number,
                "conditions": [condition("match", "barks", number), condition("mismatch", "bark", number)],
            }
            for number in range(1, items + 1)
        ],
    }


def write(path, content) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_one_prediction_an_item_and_formula(tmp_path):
    made = read_pairs(write(tmp_path / "a.json", suite()))
    assert (made.kind, made.name, len(made), made.pairs) == ("pairs", "a.json", 2, ())
    assert made.paradigms == {"number_prep": "agreement"}
    one = made.predictions[1]
    assert str(one) == "item 1 of number_prep"
    sentence = one.sentences["match"]
    assert (sentence.text, sentence.ends) == ("The dog 2 barks .", (9, 9, 15, 17))
    two = read_pairs(suite(["(3;%match%) < (3;%mismatch%)", "(*;%match%) < (*;%mismatch%)"], name="my own"))
    assert two.paradigms == {"my own 1": "my own", "my own 2": "my own"}
    assert [str(item) for item in two] == [f"item {i} of my own {n}" for n in (1, 2) for i in (0, 1)]
    assert read_pairs(suite(name="my own", tag="islands")).paradigms == {"my own": "islands"}
    # The published suites have no tag.
    assert read_pairs(suite(name="number_agreement_mine", tag=" mytag ")).paradigms == {
        "number_agreement_mine": "mytag"
    }
    # Where the form of the published repository puts them.
    older = suite([], string_predictions=["[(3;%match%) < (3;%mismatch%)]"])
    assert read_pairs(older).predictions[0].formula.places == one.formula.places


def test_a_folder_of_suites_and_the_hash(tmp_path):
    write(tmp_path / "a.json", suite(name="number_prep"))
    write(tmp_path / "b.json", suite(name="npi_orc"))
    made = read_pairs(tmp_path)
    assert made.paradigms == {"npi_orc": "licensing", "number_prep": "agreement"}
    assert made.hash == read_pairs([tmp_path / "b.json", tmp_path / "a.json"]).hash
    assert len(made.sample(1)) == 2
    assert made.sample(1).hash != made.hash
    hashes = {made.hash}
    for place, value in (
        (("meta", "metric"), "mean"),
        (("items", 0, "conditions", 0, "regions", 2, "content"), "barked"),
    ):
        changed = suite(name="number_prep")
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        write(tmp_path / "a.json", changed)
        hashes.add(read_pairs(tmp_path).hash)
    assert len(hashes) == 3
    write(tmp_path / "b.json", suite(name="number_prep"))
    with pytest.raises(PairsError, match="the paradigm number_prep both in"):
        read_pairs(tmp_path)


def test_a_region_numbered_zero(tmp_path):
    content = suite(["(0;%match%) < (0;%mismatch%)"])
    with pytest.raises(PairsError, match="no region 0, which a prediction names"):
        read_pairs(content)
    for item in content["items"]:
        for condition in item["conditions"]:
            for region in condition["regions"]:
                region["region_number"] -= 1
    made = read_pairs(content).predictions[0]
    assert made.formula.places == {("match", 0), ("mismatch", 0)}
    # Its records are not those in which it stood for the whole sentence; others keep theirs.
    assert made.key[6:] == ["region 0"]
    assert len(read_pairs(suite(["(*;%match%) < (3;%mismatch%)"])).predictions[0].key) == 6


def test_a_suite_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.json", suite())
    with pytest.raises(PairsError, match=r"a\.json twice"):
        read_pairs([path, path])


def test_suites_and_pairs_in_one_set(tmp_path):
    path = write(tmp_path / "a.json", suite())
    (tmp_path / "b.csv").write_text("good,bad\nHe barks.,He bark.\n")
    made = read_pairs([path, tmp_path / "b.csv"])
    assert (made.kind, len(made.pairs), len(made.predictions)) == ("pairs", 1, 2)
    assert made.paradigms == {"b": "b", "number_prep": "agreement"}
    # Columns are those of the table.
    (tmp_path / "b.csv").write_text("right,wrong\nHe barks.,He bark.\n")
    columns = {"good": "right", "bad": "wrong"}
    assert read_pairs([path, tmp_path / "b.csv"], columns=columns).hash == made.hash
    with pytest.raises(PairsError, match=r"no table in a\.json, and so no columns"):
        read_pairs(path, columns=columns)


def changed(*path, value) -> dict:
    content = deepcopy(suite())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (suite([]), "no predictions"),
        (suite(["(3;%match%) <"]), "the formula '(3;%match%) <': an end where a region belongs"),
        (suite(["1 < 2"]), "which names no region"),
        (
            suite(["(3;%nomatch%) < (3;%match%)"]),
            "item 1: no condition 'nomatch', which a prediction names; it has match",
        ),
        (suite(["(9;%match%) < (3;%match%)"]), "item 1, match: no region 9"),
        (changed("predictions", value=5), "predictions of type int"),
        (changed("predictions", value="(3;%match%) < (3;%mismatch%)"), "predictions of type str"),
        (
            changed("items", 0, "conditions", 0, "regions", 1, "region_number", value=2.5),
            "2.5 as the number",
        ),
        (suite(name="a\ud800"), "the suite's name holds half of a surrogate pair"),
        (suite(tag="a\0"), "the suite's tag holds a NUL character"),
        (suite(metric="product"), "the metric 'product'"),
        (suite(metric=["sum", "mean"]), "the metric ['sum', 'mean']"),
        (suite(items=0), "no items"),
        (changed("predictions", 0, value={"type": "formula"}), "a prediction without a formula"),
        (changed("items", 1, "conditions", 0, "regions", 0, value={"region_number": 1}), "item 2: KeyError: 'content'"),
        (changed("items", 1, "conditions", 1, "condition_name", value="match"), "item 2: the condition 'match' twice"),
        (changed("items", 0, "conditions", 0, "regions", 1, "region_number", value=1), "two regions of one number"),
        (changed("items", 0, "conditions", 0, "regions", value=[]), "a sentence without a word"),
        (changed("items", 0, value="item"), "item 1: TypeError"),
        (changed("meta", value="number"), "meta is a str"),
    ],
)
def test_suites_that_cannot_be_scored_are_refused(tmp_path, content, found):
    with pytest.raises(PairsError) as caught:
        read_pairs(write(tmp_path / "a.json", content))
    assert str(tmp_path / "a.json") in caught.value.asked
    assert found in caught.value.found
    assert caught.value.todo


@pytest.mark.shared
def test_the_shared_suite(shared_data):
    made = read_pairs(shared_data.parent / "cases" / "syntaxgym_like.json")
    assert made.paradigms == {"number_agreement": "agreement"}
    assert len(made) == 3
