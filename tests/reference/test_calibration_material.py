"""The calibration language: facts, sentences, minimal pairs and tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negspace.reference.calibration import Lexicon, write_material
from negspace.reference.calibration.circuit import tokenizer
from negspace.reference.calibration.lexicon import ANIMALS, NUMBERED, RELATIONS
from negspace.reference.calibration.material import ITEMS, PAIRS, PARADIGMS, TASKS, Material
from negspace.text.pairs import read_pairs


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


@pytest.fixture(scope="module")
def material(lexicon: Lexicon, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return write_material(tmp_path_factory.mktemp("material"), lexicon)


def _files(material: Material) -> dict[str, bytes]:
    paths = [material.statistics, material.perplexity, *material.pairs.iterdir(), *material.tasks.iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def test_each_animal_has_one_filler_for_each_verb_as_even_as_can_be(lexicon: Lexicon) -> None:
    for verb, fillers in RELATIONS.items():
        counts = [sum(lexicon.facts[animal][verb] == filler for animal in ANIMALS) for filler in fillers]
        assert sum(counts) == len(ANIMALS)
        assert max(counts) - min(counts) <= 1
    assert Lexicon(1).facts != lexicon.facts


def test_every_word_is_in_the_vocabulary(lexicon: Lexicon, material: Material) -> None:
    speak = tokenizer(lexicon)
    texts = [material.statistics.read_text(), material.perplexity.read_text()]
    for folder in (material.pairs, material.tasks):
        for path in folder.iterdir():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                values = [row.get("choices", {}).get("text", []), row.get("endings", []), *row.values()]
                texts += [
                    text
                    for name, value in zip(("", "", *row), values, strict=True)
                    for text in (value if isinstance(value, list) else [value])
                    if name not in ("field", "linguistics_term", "UID", "pairID", "label", "answerKey")
                    and isinstance(text, str)
                ]
    assert not any(0 in speak(text, verbose=False)["input_ids"] for text in texts)


def test_the_same_facts_give_the_same_bytes(lexicon: Lexicon, material: Material, tmp_path: Path) -> None:
    assert _files(write_material(tmp_path, Lexicon())) == _files(material)
    other = _files(write_material(tmp_path / "other", Lexicon(1)))
    assert other["agreement_copula.jsonl"] == _files(material)["agreement_copula.jsonl"]  # grammar knows no facts
    assert other["piqa.validation.jsonl"] != _files(material)["piqa.validation.jsonl"]


def test_pairs_differ_in_one_word_and_half_are_plural(material: Material) -> None:
    pairs = read_pairs(material.pairs)
    assert set(pairs.paradigms) == set(PARADIGMS)
    assert len(pairs) == PAIRS * len(PARADIGMS) == len({pair.good for pair in pairs})
    forms = {form: number for both in NUMBERED.values() for number, form in enumerate(both)}
    plural = 0
    for pair in pairs:
        good, bad = (text.rstrip(".").split() for text in (pair.good, pair.bad))
        ((right, wrong),) = [(one, two) for one, two in zip(good, bad, strict=True) if one != two]
        assert {forms[right], forms[wrong]} == {0, 1}
        assert forms[right] == good[1].endswith("s")  # the subject's number, whatever stands in between
        plural += forms[right]
    assert plural == len(pairs) / 2
    # A limit takes pairs evenly: both numbers must be among them.
    assert {pair.good.split()[1].endswith("s") for pair in pairs.sample(2)} == {True, False}


def test_items_have_one_right_answer_and_each_is_there_once(lexicon: Lexicon, material: Material) -> None:
    for task in TASKS:
        lines = (material.tasks / f"{task}.validation.jsonl").read_text().splitlines()
        assert len(set(lines)) == len(lines) == ITEMS
    for line in (material.tasks / "openbookqa.validation.jsonl").read_text().splitlines():
        row = json.loads(line)
        animal = row["question_stem"].split()[1]
        animal = animal if animal in ANIMALS else animal[:-1]
        right = row["choices"]["text"]["ABCD".index(row["answerKey"])]
        assert right == lexicon.facts[animal]["live"]
        assert len(set(row["choices"]["text"])) == 4
