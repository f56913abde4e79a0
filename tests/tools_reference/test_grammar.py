"""The minimal pairs of the package: what the generator promises, checked on every pair that it makes."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from tools.reference.grammar import PARADIGMS, generate, read, write
from tools.reference.grammar.pairs import FIELDS
from tools.reference.grammar.tokens import UPOS, Contrast, Tokens, differing, say, sentence, words, written

from negspace.errors import PairsError
from negspace.reference import pairs_path

MADE = {uid: generate(paradigm) for uid, paradigm in PARADIGMS.items()}
COUNT = 200
TSE_FAMILIES = {
    "simple agreement",
    "agreement in a sentential complement",
    "short VP coordination",
    "long VP coordination",
    "across a prepositional phrase",
    "across a subject relative clause",
    "across an object relative clause",
    "across an object relative clause without complementiser",
    "within an object relative clause",
    "within an object relative clause without complementiser",
    "simple reflexive",
    "reflexive in a sentential complement",
    "reflexive across a relative clause",
    "simple NPI",
    "NPI across a relative clause",
}
each_paradigm = pytest.mark.parametrize("uid", sorted(PARADIGMS))


def _without(tokens: Tokens, start: int, length: int) -> Tokens:
    return tokens[:start] + tokens[start + length :]


def _moved(contrast: Contrast) -> bool:
    """Whether one contiguous phrase, taken out of both sentences, leaves the same words behind."""
    good, bad = contrast
    for length in range(1, len(good) // 2 + 1):
        for start in range(len(good) - length + 1):
            phrase, rest = good[start : start + length], _without(good, start, length)
            for place in range(len(bad) - length + 1):
                if bad[place : place + length] == phrase and _without(bad, place, length) == rest:
                    return True
    return False


def _exchanged(contrast: Contrast) -> bool:
    """Whether two words, and no others, have changed places."""
    places = [i for i, (a, b) in enumerate(zip(*contrast, strict=True)) if a != b]
    good, bad = contrast
    return len(places) == 2 and good[places[0]] == bad[places[1]] and good[places[1]] == bad[places[0]]


def _minimal(contrast: Contrast, edit: str) -> bool:
    """Whether the pair differs in the way that its paradigm declares, and in no other."""
    left, right = differing(contrast)
    same_words = Counter(contrast.good) == Counter(contrast.bad)
    return {
        "word": len(left) == len(right) == 1,
        "phrase": max(len(left), len(right)) <= 3,
        "insert": sorted((len(left), len(right))) == [0, 1],
        "swap": same_words and _exchanged(contrast),
        "move": same_words and _moved(contrast),
        "reorder": same_words,
    }[edit]


def test_at_least_forty_paradigms_over_all_phenomena_and_constructions() -> None:
    assert len(PARADIGMS) >= 40
    assert {paradigm.phenomenon for paradigm in PARADIGMS.values()} == set(FIELDS)
    assert {paradigm.construction for paradigm in PARADIGMS.values()} - {None} == TSE_FAMILIES


@each_paradigm
def test_two_hundred_different_pairs(uid: str) -> None:
    contrasts = MADE[uid]
    assert len(contrasts) == COUNT
    assert len({tokens for contrast in contrasts for tokens in contrast}) == 2 * COUNT


@each_paradigm
def test_pairs_differ_by_exactly_the_declared_edit(uid: str) -> None:
    wrong = [sentence(contrast.good) for contrast in MADE[uid] if not _minimal(contrast, PARADIGMS[uid].edit)]
    assert wrong == []


@each_paradigm
def test_every_word_is_as_often_good_as_bad(uid: str) -> None:
    good = Counter(token.word for contrast in MADE[uid] for token in contrast.good)
    bad = Counter(token.word for contrast in MADE[uid] for token in contrast.bad)
    assert good == bad


@each_paradigm
def test_the_first_eight_pairs_are_balanced_too(uid: str) -> None:
    """So that a limit on the pairs a paradigm keeps the balance."""
    good = Counter(token.word for contrast in MADE[uid][:8] for token in contrast.good)
    bad = Counter(token.word for contrast in MADE[uid][:8] for token in contrast.bad)
    assert good == bad


def test_no_sentence_is_good_in_one_paradigm_and_bad_in_another() -> None:
    good = {contrast.good for contrasts in MADE.values() for contrast in contrasts}
    bad = {contrast.bad for contrasts in MADE.values() for contrast in contrasts}
    assert good.isdisjoint(bad)


def test_sentences_are_written_as_in_blimp_and_their_tags_align() -> None:
    for contrasts in MADE.values():
        for contrast in contrasts:
            for tokens in contrast:
                text = sentence(tokens)
                assert text[0].isupper()
                assert text[-1] in ".?"
                assert "  " not in text
                assert words(text) == [token.word for token in written(tokens)]
                assert {token.tag for token in tokens} <= UPOS


def test_no_word_comes_twice_in_a_row() -> None:
    for contrasts in MADE.values():
        for good, _ in contrasts:
            assert all(a.word != b.word for a, b in pairwise(good)), sentence(good)


def test_another_seed_gives_other_pairs() -> None:
    paradigm = PARADIGMS["agreement_simple"]
    assert generate(paradigm, seed=0, count=20) == generate(paradigm, seed=0, count=20)
    assert generate(paradigm, seed=0, count=20) != generate(paradigm, seed=1, count=20)


def test_the_generator_reproduces_the_bundled_files_byte_for_byte(tmp_path: Path) -> None:
    made = {path.name: path.read_bytes() for path in write(tmp_path / "pairs")}
    bundled = {path.name: path.read_bytes() for path in pairs_path().iterdir()}
    assert sorted(made) == sorted(bundled)
    assert [name for name in made if made[name] != bundled[name]] == []
    assert sum(map(len, bundled.values())) < 6_000_000


def test_bundled_rows_have_the_fields_of_blimp() -> None:
    rows = [json.loads(line) for path in pairs_path().iterdir() for line in path.read_text().splitlines()]
    assert len(rows) == COUNT * len(PARADIGMS)
    for row in rows:
        assert {"sentence_good", "sentence_bad", "field", "linguistics_term", "UID", "pairID"} <= row.keys()
        assert row["linguistics_term"] == PARADIGMS[row["UID"]].phenomenon


def test_read_gives_the_words_with_their_tags(tmp_path: Path) -> None:
    write(tmp_path, per_paradigm=4)
    pairs = read(tmp_path)
    assert len(pairs) == 4 * len(PARADIGMS)
    possessive = next(pair for pair in pairs if pair.uid == "binding_possessor")
    assert ("'s", "PART") in possessive.good_tags
    assert [word for word, _ in possessive.good_tags] == words(possessive.good)


def test_edits_that_are_not_minimal_are_seen() -> None:
    good, bad = say("the/DET dog/NOUN sleeps/VERB"), say("a/DET dog/NOUN sleep/VERB")
    assert not _minimal(Contrast(good, bad), "word")
    assert not _minimal(Contrast(good, bad), "swap")
    assert not _minimal(Contrast(good, bad), "move")
    assert not _minimal(Contrast(good, bad), "insert")


@pytest.mark.parametrize("count", [0, -4, 6])
def test_a_count_that_groups_do_not_divide_is_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="multiple of 4"):
        write(tmp_path / "pairs", per_paradigm=count)
    assert not (tmp_path / "pairs").exists()


def test_more_pairs_than_a_paradigm_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="ask for fewer pairs"):
        write(tmp_path / "pairs", per_paradigm=100_000)
    assert not (tmp_path / "pairs").exists()


def test_reading_a_folder_without_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match=r"python -m tools\.reference pairs"):
        read(tmp_path)
