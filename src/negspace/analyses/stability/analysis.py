"""Stability: do other texts choose the same neurons, and what do those that all texts choose, and the others, do?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import pandas as pd

from negspace.analyses.stability import columns, figures, words
from negspace.analyses.stability import tables as stability_tables
from negspace.errors import TextError
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.cells import CUT_BY, VERSIONS
from negspace.experiment.claim import Claim
from negspace.experiment.condition import Condition, left_out, written
from negspace.experiment.config import Paths
from negspace.experiment.handlers import scanned, windows_of
from negspace.experiment.plan import PLAIN, Planned
from negspace.experiment.ranking import Ranking, distinct, split, too_small
from negspace.experiment.run import Run
from negspace.experiment.words import percent
from negspace.experiment.workbench import Handler, Workbench
from negspace.figures.figure import Figure
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows

_KIND = "text_scan"


def _cut(bench: Workbench, source: str, spec: Mapping[str, Any]) -> Windows:
    """The windows of another text, cut once: a long text takes a while to encode."""
    held, asked = _CUT.setdefault(bench, {}), (source, *(spec[name] for name in CUT_BY))
    if asked not in held:
        text = read_text(source, role="statistics")
        cut_by = {name: spec[name] for name in CUT_BY}
        held[asked] = make_windows(text, bench.model.tokenizer, context=bench.model.context, **cut_by)
    return held[asked]


_CUT: WeakKeyDictionary[Workbench, dict[tuple[Any, ...], Windows]] = WeakKeyDictionary()
"""Workbench -> source and way of cutting -> windows."""


def _scan(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """The scan of another text than the study's."""
    windows = _cut(bench, cell.inputs["source"], cell.spec)
    if windows.text_hash != cell.spec["text"]:
        raise TextError(
            f"the text {cell.inputs['source']} for {cell.label}",
            "another text than the study was planned with: its file was changed since, or differs on another worker",
            "run the study again from its start: records that fit are used, the rest is computed",
        )
    return scanned(bench, cell, windows, step)


class StabilitySettings(Settings):
    """Which other texts."""

    texts: Paths = ()
    """Further texts for the statistics: files, folders, or names on the hub. Each is scanned as the study's own is."""


class StabilityAnalysis(Analysis[StabilitySettings]):
    """Rank correlation and overlap over texts; the set that all of them choose, and each one's own part, ablated."""

    name = "stability"
    title = "Stability over texts"
    section = StabilitySettings
    schema = columns.TABLES
    handlers: ClassVar[Mapping[str, Handler]] = {_KIND: _scan}

    @classmethod
    def lacks(cls, settings: StabilitySettings, study: Any) -> str | None:
        return None if settings.texts else "second text for the statistics (--set stability.texts=FILE)"

    @classmethod
    def read(cls, settings: StabilitySettings, bench: Workbench) -> Mapping[str, Any]:
        """Read and cut all texts, so that one that is too short, or given twice, shows before any work.

        Raises:
            TextError: a text cannot be read, or is shorter than a window.
            SelectionError: one text twice.
        """
        cut_by = {name: getattr(bench.study, name) for name in CUT_BY}
        cuts = [windows_of(bench, cut_by), *(_cut(bench, text, cut_by) for text in settings.texts)]
        hashes = [(cut.text_name, cut.text_hash, cut.hash) for cut in cuts]
        names = distinct(hashes, f"the stability of a selection over {len(cuts)} texts")
        given = zip(settings.texts, names[1:], cuts[1:], strict=True)
        return {
            "own": names[0],
            "texts": [
                {
                    "source": source,
                    "name": name,
                    "hash": cut.text_hash,
                    "tokens": float(cut.tokens.size),
                    "specials": cut.marked,
                }
                for source, name, cut in given
            ],
        }

    def load(self) -> Load:
        """A scan of each further text; top sets, the common one, own parts, and random sets as large as these."""
        scans, scores = self._planned()
        texts = len(self.facts["texts"])
        sets = f"{texts + 1} top, common, {texts + 1} own, {self.lab.study.random} random as each"
        detail = f"{texts} more texts; at {', '.join(map(percent, self.lab.study.shares))}: {sets}"
        return Load({**scans, **scores}, detail)

    def _planned(self) -> tuple[Planned, Planned]:
        """The scans, and what comes after them."""
        s, plan, others = self.lab.study, self.lab.plan, self.facts["texts"]
        texts = ["", *(other["hash"] for other in others)]
        whole, short = [PLAIN], []
        for share in s.shares:
            top = plan.sets("top", share)
            whole += [f"{top} {text}".strip() for text in texts]
            for part in ("common", *(f"own {text}" for text in texts)):
                whole += [f"{part} {top}", *(f"random as {part} {top}, seed {seed}" for seed in s.seeds)]
                short += [f"random as {part} {top}, seed {seed}" for seed in s.more_seeds]
        scores = {**plan.scores(whole, self.lab.effect_scores), **plan.scores(short, ["perplexity"])}
        return {(_KIND, other["hash"]): other["tokens"] for other in others}, scores

    def run(self) -> dict[str, Any]:
        """Scan the other texts, choose the sets, score them."""
        lab, s = self.lab, self.lab.study
        cells = [self._cell(text) for text in self.facts["texts"]]
        records = lab.run(cells)
        first = Ranking.of(lab.scan.table, lab.scan.info.layout, self.facts["own"], lab.scan.info.tokens, s.by)
        rankings = [first]
        for text, record in zip(self.facts["texts"], records, strict=True):
            rankings.append(
                Ranking.of(record.items, first.layout, text["name"], record.results["info"]["tokens"], s.by)
            )
        ablated, small, more = self._conditions(rankings)
        plain, *ablated = lab.measure([Condition(name="plain model"), *ablated], self.lab.effect_scores)
        ablated += lab.measure(more, ["perplexity"])
        keys = [lab.scan_cell.key, *(cell.key for cell in cells)]
        return {
            "notes": left_out("stability", ablated),
            "texts": [{"name": r.text, "tokens": r.tokens, "scan": key} for r, key in zip(rankings, keys, strict=True)],
            "layers": None if s.layers is None else list(s.layers),
            "scores": list(self.lab.effect_scores),
            "baseline": written([plain])[0],
            "conditions": written([*ablated, *small]),
        }

    def _cell(self, text: Mapping[str, Any]) -> Cell:
        """The scan of another text, as the study's own is made; without what only the study's own is looked at for."""
        base = self.lab.scan_cell.spec
        options = {name: value for name, value in base.items() if name not in ("version", "model", "specials")}
        pairs = self.lab.study.md_pairs if self.lab.study.by == "md" else 0
        options |= {"text": text["hash"], "md_pairs": pairs, "histograms": False}
        options |= {"specials": 1} if text["specials"] else {}
        label = f"scan of {text['name']}"
        return self.lab.cell(_KIND, VERSIONS["scan"], options, label, text["tokens"], source=text["source"])

    def _conditions(self, rankings: Sequence[Ranking]) -> tuple[list[Condition], list[Condition], list[Condition]]:
        """Sets to score; sets that are too small to be ablated; random sets on which perplexity alone is scored."""
        lab, s = self.lab, self.lab.study
        found: list[Condition] = []
        small: list[Condition] = []
        more: list[Condition] = []
        for share in s.shares:
            top = f"top {percent(share)}"
            tops = [ranking.choose(share, s.layers).top for ranking in rankings]
            found += [
                lab.condition(f"{top} by {ranking.text}", "top", chosen, share=share, text=ranking.text)
                for ranking, chosen in zip(rankings, tops, strict=True)
            ]
            common, own = split(tops)
            parts = [("common", "", f"{top} by all texts", common)]
            for one, part in zip(rankings, own, strict=True):
                parts.append(("own", one.text, f"{top} by {one.text} alone", part))
            for role, text, name, part in parts:
                if reason := too_small(part):
                    facts = {"text": text, "reason": reason}
                    small.append(Condition(name=name, role=role, share=share, neurons=len(part), facts=facts))
                    continue
                chosen = NeuronSet(part.indices, part.layout, name)
                about: dict[str, Any] = {"share": share, "text": text}
                lab.save_set(name, chosen)
                found.append(lab.condition(name, role, chosen, **about))
                found += lab.random(f"random as {name}", chosen, s.seeds, part=role, **about)
                more += lab.random(f"random as {name}", chosen, s.more_seeds, part=role, **about)
        return found, small, more

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        """Rank correlations and overlaps by pair of texts, and what the ablations do."""
        return stability_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        """What the texts agree on, and what that set and the others do."""
        return words.sentences(book, tables)

    @classmethod
    def claims(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
        """Whether another text chooses more of the same neurons than chance would."""
        return words.claims(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)
