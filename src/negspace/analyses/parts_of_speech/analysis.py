"""The analysis of parts of speech: excess surprisal by tag under the top set, and under its controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd
from pydantic import Field

from negspace.analyses.parts_of_speech import columns as parts_of_speech_columns
from negspace.analyses.parts_of_speech import figures
from negspace.analyses.parts_of_speech import tables as parts_of_speech_tables
from negspace.analyses.parts_of_speech import words as parts_of_speech_words
from negspace.analyses.parts_of_speech.cells import HANDLERS, KIND, VERSION, aligned_words, cell_options
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.claim import Claim
from negspace.experiment.condition import NEAREST, Condition, written
from negspace.experiment.matching import matched_set
from negspace.experiment.plan import PLAIN
from negspace.experiment.run import Run
from negspace.experiment.tagging import lacks_tagger
from negspace.experiment.words import percent
from negspace.experiment.workbench import Handler, Workbench
from negspace.figures.figure import Figure
from negspace.runs.cell import Cell


class PartsOfSpeechSettings(Settings):
    """Text, tagger and controls."""

    share: float | None = Field(None, gt=0, le=1)
    """Share p of the top set. Default: the study's first."""
    text: str | None = None
    """Text to score, instead of the study's for perplexity. A .conllu file has gold tags and needs no tagger."""
    tagger: str | None = None
    """Name or path of a spaCy pipeline. Default: the bundled one."""
    windows: int | None = Field(None, ge=1)
    """Number of windows, from the start of the text. Default: as for the study's perplexity."""
    random: bool = True
    """Also measure the study's random sets."""
    matched: bool = True
    """Also measure the perplexity-matched control."""


class PartsOfSpeechAnalysis(Analysis[PartsOfSpeechSettings]):
    """Excess surprisal by part of speech and dependency label: of the top set, of random ones, of the matched one."""

    name = "parts_of_speech"
    title = "Parts of speech"
    section = PartsOfSpeechSettings
    extras = ("pos",)
    schema = parts_of_speech_columns.TABLES
    handlers: ClassVar[Mapping[str, Handler]] = HANDLERS

    @classmethod
    def lacks(cls, settings: PartsOfSpeechSettings, study: Any) -> str | None:
        return lacks_tagger(settings.text, study)

    @classmethod
    def read(cls, settings: PartsOfSpeechSettings, bench: Workbench) -> Mapping[str, Any]:
        """Tag the text and find the word of every token.

        Raises:
            TextError: no text, less than one window of it, malformed gold tags, or a slow tokenizer.
            TaggerError: the tagger is missing, of no use, or named for a text that has gold tags.
        """
        aligned = aligned_words(bench, settings)
        tagged, windows = aligned.tagged, aligned.windows
        return {
            "options": cell_options(aligned),
            "cost": float(windows.tokens.size),
            "text": [tagged.text.name, tagged.text.hash],
            "tagger": tagged.tagger,
            "words": len(tagged),
            "windows": len(windows),
            "window": windows.window,
            "notes": [f"parts of speech: {note}" for note in (*windows.notes, *tagged.notes)],
        }

    @property
    def share(self) -> float:
        """Share p of the top set."""
        return self.lab.share_or(self.settings.share)

    def load(self) -> Load:
        s, plan = self.lab.study, self.lab.plan
        unders = [PLAIN, plan.sets("top", self.share)]
        unders += plan.random(self.share, s.seeds if self.settings.random else ())
        planned: dict[tuple[str, str], float] = {}
        if self.settings.matched:
            # The search compares with the plain model and the top set.
            planned |= plan.scores([*unders[:2], plan.matched(self.share)], ("perplexity",))
            planned |= plan.search(self.share)
            unders.append(plan.matched(self.share))
        # By default its windows are those of perplexity.
        own = self.settings.text or self.settings.windows
        cost = self.facts["cost"] if own else self.lab.cost("perplexity")
        planned |= {(KIND, under): cost for under in unders}
        detail = f"{len(unders)} conditions, {self.facts['words']:,} words tagged by {self.facts['tagger']}"
        return Load(planned, detail)

    def run(self) -> dict[str, Any]:
        notes = list(self.facts["notes"])
        conditions = self._fixed()
        if self.settings.matched:
            match = matched_set(self.lab, self.share)
            if match.neurons is None:
                notes.append(f"parts of speech: no perplexity-matched control: {match.reason}")
            else:
                role = "matched" if match.matched else NEAREST
                name = f"bottom {percent(match.share)}, {role} to top {percent(self.share)}"
                conditions.append(self.lab.condition(name, role, match.neurons, share=self.share))
        cells = [self._cell(condition) for condition in conditions]
        self.lab.run(cells)
        return {
            "share": self.share,
            "intervention": self.lab.study.intervention,
            "text": self.facts["text"],
            "tagger": self.facts["tagger"],
            "words": self.facts["words"],
            "windows": [self.facts["windows"], self.facts["window"]],
            "conditions": written(
                [condition.scored({KIND: cell.key}) for condition, cell in zip(conditions, cells, strict=True)]
            ),
            "notes": notes,
        }

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        return parts_of_speech_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        return parts_of_speech_words.sentences(book, tables)

    @classmethod
    def claims(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
        return parts_of_speech_words.claims(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)

    def _fixed(self) -> list[Condition]:
        """The plain model, the top set and the random ones."""
        s, lab = self.lab.study, self.lab
        top = lab.scan.top(self.share, by=s.by, layers=s.layers)
        conditions = [Condition(name="plain model")]
        conditions.append(lab.condition(f"top {percent(self.share)}", "top", top, share=self.share))
        if self.settings.random:
            conditions += lab.random(f"random {percent(self.share)}", top, s.seeds, share=self.share)
        return conditions

    def _cell(self, under: Condition) -> Cell:
        options, cost = self.facts["options"], self.facts["cost"]
        return self.lab.cell(KIND, VERSION, options, f"{under.name}: surprisal", cost, under, settings=self.settings)
