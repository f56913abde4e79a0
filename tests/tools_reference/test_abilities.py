"""The tasks outside grammar: balanced by construction, fixed bytes, and items that can be answered."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import chain, islice
from pathlib import Path

import pytest
import yaml
from tools.reference.abilities import ABILITIES, Item, generate, write
from tools.reference.abilities.copying import PATTERNS
from tools.reference.abilities.files import definition, lines
from tools.reference.abilities.items import Ability, Group, rounds
from tools.reference.abilities.ordering import SORTS
from tools.reference.abilities.recall import STORIES

from negspace.errors import TasksError
from negspace.reference import tasks_path
from negspace.reference.draw import Draw

NAMES = sorted(ABILITIES)


@pytest.fixture(scope="module")
def items() -> dict[str, list[Item]]:
    return {name: generate(ability) for name, ability in ABILITIES.items()}


def test_there_are_six() -> None:
    assert len(ABILITIES) == 6


@pytest.mark.parametrize("name", NAMES)
def test_no_preference_for_a_choice_can_help(items: dict[str, list[Item]], name: str) -> None:
    """Within a group all items have the same choices in the same order, and each choice is the answer once."""
    groups = defaultdict(list)
    for item in items[name]:
        groups[item.group].append(item)
    for group in groups.values():
        assert len({item.choices for item in group}) == 1
        assert sorted(item.gold for item in group) == list(range(len(group[0].choices)))


@pytest.mark.parametrize("name", NAMES)
def test_every_word_is_the_answer_as_often_as_chance_has_it(items: dict[str, list[Item]], name: str) -> None:
    gold = Counter(item.choices[item.gold] for item in items[name])
    shown = Counter(chain.from_iterable(item.choices for item in items[name]))
    choices = len(items[name][0].choices)
    assert shown == Counter({word: choices * count for word, count in gold.items()})
    places = Counter(item.gold for item in items[name])
    assert len(set(places.values())) == 1


@pytest.mark.parametrize("name", NAMES)
def test_items_are_many_different_and_plain(items: dict[str, list[Item]], name: str) -> None:
    prompts = [item.prompt for item in items[name]]
    assert len(prompts) >= 300
    assert len(set(prompts)) == len(prompts)
    for item in items[name]:
        assert len(set(item.choices)) == len(item.choices)
        assert item.prompt.isascii()
        assert "{" not in item.prompt
        assert item.prompt == item.prompt.strip()
        assert all(choice and choice == choice.strip() for choice in item.choices)


def test_kinds_are_about_equally_frequent(items: dict[str, list[Item]]) -> None:
    for name, made in items.items():
        kinds = Counter(item.kind for item in made)
        assert min(kinds.values()) >= 48, name


def test_the_name_asked_for_is_in_the_story_and_new_names_are_not(items: dict[str, list[Item]]) -> None:
    for item in items["negspace_recall"]:
        words = item.prompt.replace(",", " ").replace(".", " ").replace('"', " ").split()
        there = [choice for choice in item.choices if choice in words]
        assert item.choices[item.gold] in there
        assert len(there) == (1 if item.kind == "one name" else 2)
    kinds = Counter(kind for kind, _ in STORIES)
    assert kinds["two names, the first"] == kinds["two names, the second"]


@pytest.mark.parametrize("kind", sorted(PATTERNS))
def test_a_pattern_goes_on_as_it_began(items: dict[str, list[Item]], kind: str) -> None:
    """The words said so far and the answer, after the last whole repetition, are how the pattern began."""
    seen = 0
    for item in items["negspace_copy"]:
        if item.kind == kind:
            said = item.prompt.split('"')[1]
            units = said.replace(". ", ", ").split(", ")
            whole = units[-1] + " " + item.choices[item.gold]
            assert whole == units[0]
            seen += 1
    assert seen


def test_series_go_on_with_their_next_member(items: dict[str, list[Item]]) -> None:
    for item in items["negspace_order"]:
        series, _, shown, last = SORTS[item.kind]
        words = item.prompt.removesuffix(last).replace(",", " ").split()[-shown:]
        first = series.index(words[0])
        assert (*words, item.choices[item.gold]) == series[first : first + shown + 1]


def test_endings_follow_the_same_word(items: dict[str, list[Item]]) -> None:
    made = items["negspace_ending"]
    for first, second in zip(made[::2], made[1::2], strict=True):
        assert first.prompt.rsplit(" ", 1)[-1] == second.prompt.rsplit(" ", 1)[-1]


def test_rounds_use_every_item_before_any_comes_again() -> None:
    drawn = list(islice(rounds(Draw("x"), "abc"), 9))
    assert [sorted(drawn[i : i + 3]) for i in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_an_ability_that_runs_out_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(_: Draw):
        while True:
            yield Group("k", ("a", "b"), ("x", "y"))

    tiny = Ability("tiny", "little", one)
    with pytest.raises(ValueError, match="only 2 different items, 3 asked for"):
        generate(tiny, count=3)
    monkeypatch.setitem(ABILITIES, "tiny", tiny)
    with pytest.raises(TasksError, match="ask for fewer items"):
        write(tmp_path / "tasks", per_task=3)
    assert not (tmp_path / "tasks").exists()


def test_the_bundled_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in tasks_path().iterdir()}


def test_another_seed_gives_other_items() -> None:
    ability = ABILITIES["negspace_copy"]
    assert lines(ability, seed=1, count=8) != lines(ability, seed=0, count=8)


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_names_fields_that_the_rows_have(name: str) -> None:
    made = yaml.safe_load(definition(ABILITIES[name]))
    row = json.loads(lines(ABILITIES[name], count=1).splitlines()[0])
    assert made["task"] == name
    assert {made[key] for key in ("doc_to_text", "doc_to_choice", "doc_to_target")} <= set(row)
