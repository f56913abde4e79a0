"""Where the training texts of the reference models come from, as their licences ask to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tools.reference.recipe import Source


class Origin(NamedTuple):
    """A published collection of texts."""

    begins: str
    """How the names of its files begin."""
    title: str
    by: str
    """Its authors, and when they published it."""


ORIGINS = (
    Origin("tinystories_", "TinyStories", "Ronen Eldan and Yuanzhi Li, 2023"),
    Origin("fairytaleqa_", "FairytaleQA (stories only)", "Ying Xu and others, 2022"),
    Origin("mctest_", "MCTest (stories only)", "Matthew Richardson, Christopher Burges and Erin Renshaw, 2013"),
    Origin("onestop_english_", "OneStopEnglish", "Sowmya Vajjala and Ivana Lučić, 2018"),
    Origin("common_corpus_", "Common Corpus (children's books, fiction)", "Pleias, 2024; books of Project Gutenberg"),
    Origin("novels_100_english", "one hundred English novels, 1839 to 1937", "books of Project Gutenberg"),
)


def credits(sources: Sequence[Source]) -> tuple[tuple[str, str, str], ...]:
    """(Title, authors, licence) of the collections that files come from, each once, in order.

    A file of no known collection stands under its own name, without authors.
    """
    out: dict[tuple[str, str, str], None] = {}
    for source in sources:
        known = next((origin for origin in ORIGINS if source.file.startswith(origin.begins)), None)
        title, by = (known.title, known.by) if known else (source.file, "")
        out[(title, by, source.licence)] = None
    return tuple(out)
