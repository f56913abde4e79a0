"""Controls that a reviewer asks for: equal counts, equal damage, equal change of the residual stream, and no-ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field

from negspace.analyses.controls import columns as controls_columns
from negspace.analyses.controls import figures
from negspace.analyses.controls import tables as controls_tables
from negspace.analyses.controls import words as controls_words
from negspace.analyses.controls.cells import HANDLERS, NOOP_SCAN, VERSIONS, noop_model
from negspace.controls import Match, ResidualMatch, bottom_like, find_counts, growth, rectifies
from negspace.controls.residual import Where, root_mean_square
from negspace.controls.residual_match import first_counts
from negspace.errors import ModelError, SelectionError, StudyError
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.claim import Claim
from negspace.experiment.condition import MATCHED_RANDOM, Condition, written
from negspace.experiment.identity import identity
from negspace.experiment.matching import matched_random, matched_set
from negspace.experiment.plan import PLAIN
from negspace.experiment.run import Run
from negspace.experiment.words import percent
from negspace.experiment.workbench import Handler, Workbench
from negspace.figures.figure import Figure
from negspace.models.multiplications import multiplications
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.cell import Cell

Control = Literal["random", "other_side", "count", "perplexity", "perplexity_random", "residual", "residual_random"]
OTHER_SIDE = {"zero_positive": "zero_negative", "relu_on_positives": "zero_negative"}
"""Intervention -> the one on the other side of zero; of all that act below zero it is zero_positive."""

Role = Literal["baseline", "top", Control]
_SEARCH = 4
"""Evaluations of a search on the residual stream, about."""


class ControlsSettings(Settings):
    """Which controls, and how closely they are matched."""

    share: float | None = Field(None, gt=0, le=1)
    """Share p of the top set. Default: the study's first."""
    controls: tuple[Control, ...] = get_args(Control)
    """random: as many in each layer; other_side: the same neurons, clamped on the other side of zero; count: the
    lowest-ranked, as many in each layer; perplexity, perplexity_random: the lowest-ranked, or random sets, of equal
    perplexity; residual, residual_random: the lowest-ranked, or random ones, that change the residual stream as
    much."""
    matched_sets: int = Field(5, ge=1)
    """Random sets of equal perplexity (perplexity_random). Each costs about four evaluations of perplexity before it is
    scored; fewer than 5 cannot be judged."""
    where: Where = "layers"
    """"layers": the residual stream's change is matched layer by layer; "end": once, after the last layer."""
    tolerance: float = Field(0.05, gt=0, lt=1)
    """Largest relative mismatch of that change which counts as matched."""
    evaluations: int = Field(10, ge=1)
    """Most measurements in one search."""
    residual_windows: int = Field(16, ge=1)
    """Windows of the text for perplexity on which it is measured, from the start."""
    noop: bool = True
    """Whether a ReLU model is checked, on which zeroing negatives must change nothing."""
    noop_model: str | None = None
    """Folder or hub name of that model. Default: the study's own if it is one, else the bundled ReLU model."""
    noop_windows: int = Field(4, ge=1)
    """Windows of the text for perplexity on which it is checked."""


class Controls(Analysis[ControlsSettings]):
    """The top set beside every control: equal counts, the other side of zero, equal perplexity, equal residual change.

    Tasks other than minimal pairs are the double dissociation's. The change of the residual stream is defined for all
    models with one stream, mixtures of experts included; where it is not, leave the two controls out.
    """

    name = "controls"
    title = "Controls"
    section = ControlsSettings
    schema = controls_columns.TABLES
    handlers: ClassVar[Mapping[str, Handler]] = HANDLERS

    @classmethod
    def read(cls, settings: ControlsSettings, bench: Workbench) -> Mapping[str, Any]:
        """Whether the study's model is a ReLU model; and which other one is checked, with what identifies its result.

        Raises:
            ModelError, SiteError, TextError: the model for the no-op control cannot be read.
            StudyError: it is no ReLU model.
        """
        facts: dict[str, Any] = {"rectifies": rectifies(bench.model), "noop": None, "notes": []}
        if not settings.noop or (facts["rectifies"] and settings.noop_model is None):
            return facts
        path = settings.noop_model
        if path is None:
            from negspace.reference import model_path

            try:
                path = str(model_path("relu"))
            except ModelError:
                facts["notes"].append("no-op control: left out, since no ReLU model is bundled; name one as noop_model")
                return facts
        model, windows = noop_model(bench, path, settings.noop_windows)
        if not rectifies(model):
            kinds = ", ".join(sorted({site.activation for site in model.sites}))
            raise StudyError(
                f"the no-op control on {model.source.name}",
                f"activations that are not flat below zero ({kinds})",
                "name a ReLU model, such as facebook/opt-125m",
            )
        named = model.source.name if settings.noop_model else "the bundled ReLU model"
        weight = sum(multiplications(model.module)) / sum(multiplications(bench.model.module))
        about = {"path": path, "name": named, "weight": weight, "window": windows.window}
        facts["noop"] = {**about, "model": identity(model), "windows": windows.hash}
        return facts

    @property
    def share(self) -> float:
        """Share p of the top set."""
        return self.lab.share_or(self.settings.share)

    @property
    def _seeds(self) -> range:
        """Seeds of the random sets of equal perplexity."""
        return range(self.lab.study.seed, self.lab.study.seed + self.settings.matched_sets)

    def load(self) -> Load:
        plan, s, wanted = self.lab.plan, self.lab.study, self.settings.controls
        named = {
            "other_side": plan.sets("top", self.share, intervention=OTHER_SIDE.get(s.intervention, "zero_positive")),
            "count": plan.sets("bottom", self.share, by=f"{s.by}, beside the top"),
            "perplexity": plan.matched(self.share),
        }
        unders = [plan.sets("top", self.share)]
        drawn = {
            "random": plan.random(self.share, s.seeds),
            "perplexity_random": [plan.matched(self.share, seed) for seed in self._seeds],
        }
        for name in wanted:
            unders += drawn[name] if name in drawn else [named.get(name, name)]
        planned: dict[tuple[str, str], float] = dict(plan.scores([PLAIN, *unders], self.lab.effect_scores))
        if "perplexity" in wanted:
            planned |= plan.search(self.share)
        if "perplexity_random" in wanted:
            for seed in self._seeds:
                planned |= plan.search(self.share, seed)
        searches = [name for name in wanted if name.startswith("residual")]
        tries = [f"{name}, evaluation {number}" for name in searches for number in range(_SEARCH)]
        measured = [f"{under}, {where}" for under in unders for where in get_args(Where)] if searches else []
        planned |= {("residual", under): self._residual_cost() for under in [*measured, *tries]}
        if self.facts["noop"] is not None or (self.facts["rectifies"] and self.settings.noop):
            planned["noop", ""] = self._noop_cost()
        where = self.settings.where
        return Load(planned, f"{len(unders) + 1} conditions, {len(searches)} searches on the residual stream, {where}")

    def run(self) -> dict[str, Any]:
        lab, s = self.lab, self.lab.study
        notes: list[str] = list(self.facts["notes"])
        top = lab.scan.top(self.share, by=s.by, layers=s.layers)
        first = lab.condition(f"top {percent(self.share)}", "top", top, share=self.share)
        conditions = self._measure([Condition(name="plain model"), first])
        for control in self.settings.controls:
            try:
                found = self._make(control, top, conditions[1], notes)
            except SelectionError as error:
                found = []
                notes.append(f"controls: no set for the control {control!r}: {error.found}")
            conditions += self._measure(found)
        for condition in conditions[1:]:
            assert condition.chosen is not None
            lab.save_set(f"controls {condition.name}", condition.chosen)
        return {
            "share": self.share,
            "intervention": s.intervention,
            "scores": list(self.lab.effect_scores),
            "where": self.settings.where,
            "tolerance": self.settings.tolerance,
            "rectifies": self.facts["rectifies"],
            "conditions": written([self._by_layer(condition) for condition in conditions]),
            "noop": self._noop(conditions),
            "notes": notes,
        }

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        return controls_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        return controls_words.sentences(book, tables)

    @classmethod
    def claims(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
        return controls_words.claims(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)

    def _make(self, control: Control, top: NeuronSet, first: Condition, notes: list[str]) -> list[Condition]:
        """The conditions of one control.

        Raises:
            SelectionError: there is none: what its search, or the study, says.
        """
        s, lab = self.lab.study, self.lab
        if control == "random":
            if not s.seeds:
                raise SelectionError("random sets", "the study has none (random: 0)", "give random: 5 or more")
            return lab.random("random", top, s.seeds, share=self.share)

        def under(name: str, neurons: NeuronSet, **about: Any) -> list[Condition]:
            return [lab.condition(name, control, neurons, share=self.share, **about)]

        if control == "other_side":
            other = OTHER_SIDE.get(s.intervention, "zero_positive")
            return under(f"the same neurons, {other}", top, intervention=other)
        if control == "count":
            return under("bottom, as many", bottom_like(lab.scan, top, by=s.by))
        if control == "perplexity":
            match = matched_set(lab, self.share)
            if match.neurons is None:
                raise _unmatched("equal perplexity", [match.reason])
            name = f"bottom {percent(match.share)}, {'equal' if match.matched else 'nearest'} perplexity"
            return under(name, match.neurons, found=_ended(match))
        if control == "perplexity_random":
            return self._matched_random(notes)
        by = None if control == "residual_random" else s.by
        match = self._match_residual(top, first, by)
        if match.neurons is None:
            raise _unmatched("equal change of the residual stream", [layer.reason for layer in match.layers])
        done, total = sum(layer.matched for layer in match.layers), len(match.layers)
        reason = f"{done} of {total} layers within the tolerance"
        found = {
            "matched": match.matched,
            "evaluations": match.evaluations,
            "layers": [asdict(layer) for layer in match.layers],
            "reason": reason if self.settings.where == "layers" else match.layers[0].reason,
        }
        kind = "one random set" if by is None else "bottom"
        return under(f"{kind}, {'equal' if match.matched else 'nearest'} residual change", match.neurons, found=found)

    def _matched_random(self, notes: list[str]) -> list[Condition]:
        """Random sets of equal perplexity; those that cannot be matched are said to be left out."""
        made: list[Condition] = []
        begin: float | None = None
        missed: list[str] = []
        for seed in self._seeds:
            match = matched_random(self.lab, self.share, seed, begin)
            if match.neurons is None or not match.matched:
                missed.append(match.reason)
                continue
            begin = match.share
            about = {"share": self.share, "seed": seed, "found": _ended(match)}
            name = f"random, equal perplexity, seed {seed}"
            made.append(self.lab.condition(name, MATCHED_RANDOM, match.neurons, **about))
        if not made:
            raise _unmatched("equal perplexity", missed)
        if missed:
            notes.append(
                f"controls: {len(missed)} of {len(self._seeds)} random sets cannot be matched on perplexity and are "
                f"left out ({'; '.join(dict.fromkeys(missed))})"
            )
        return made

    def _match_residual(self, top: NeuronSet, first: Condition, by: str | None) -> ResidualMatch:
        """Search, each measurement being a cell of its own."""
        s, where = self.settings, self.settings.where
        grown = growth(
            self.lab.scan, by, exclude=top, seed=self.lab.study.seed, layers=top.layers, together=where == "end"
        )

        def evaluate(counts: Mapping[int, int]) -> dict[int, float]:
            neurons = grown.take(counts)
            name = f"matching the residual stream: {len(neurons):,} neurons"
            under = self.lab.condition(name, "residual", neurons)
            return root_mean_square(self.lab.run([self._residual(under, where)])[0].items)

        found = find_counts(
            evaluate,
            targets=root_mean_square(self.lab.store.require(first.cells[where]).items),
            available=grown.sizes,
            first=first_counts(top, where),
            tolerance=s.tolerance,
            max_evaluations=s.evaluations,
        )
        return replace(found, neurons=grown.take(found.counts) if any(found.counts.values()) else None)

    def _residual(self, under: Condition, where: Where) -> Cell:
        options = {"windows": self.lab.facts.perplexity[1], "first": self.settings.residual_windows, "where": where}
        label = f"{under.name}: residual stream"
        return self.lab.cell("residual", VERSIONS["residual"], options, label, self._residual_cost(), under)

    def _residual_cost(self) -> float:
        """Two passes over the windows."""
        window = self.lab.facts.read[1]
        return 2.0 * min(self.lab.cost("perplexity"), window * self.settings.residual_windows)

    def _noop_cost(self) -> float:
        """Two passes over the windows; of another model a scan as well, in tokens that cost the study's as much."""
        other = self.facts["noop"]
        if other is None:
            return 2 * self.lab.cost("perplexity")
        return other["weight"] * 2.0 * other["window"] * (self.settings.noop_windows + NOOP_SCAN)

    def _measure(self, conditions: Sequence[Condition]) -> list[Condition]:
        """Score conditions and measure their change of the residual stream."""
        wanted = get_args(Where) if any(c.startswith("residual") for c in self.settings.controls) else ()
        scored = self.lab.measure(conditions, self.lab.effect_scores)
        cells = [
            {where: self._residual(condition, where) for where in wanted if condition.chosen is not None}
            for condition in scored
        ]
        self.lab.run([cell for own in cells for cell in own.values()])
        return [
            condition.scored({where: cell.key for where, cell in own.items()})
            for condition, own in zip(scored, cells, strict=True)
        ]

    def _by_layer(self, condition: Condition) -> Condition:
        """With the neurons of each layer, and the share of their values that are changed on the scanned text."""
        rows: dict[int, dict[str, Any]] = {}
        if condition.chosen is not None:
            below, layout = self.lab.scan.table["fraction_negative"].to_numpy(np.float64), condition.chosen.layout
            for site in layout:
                row = rows.setdefault(site.layer, {"layer": site.layer, "neurons": 0, "of": 0, "touched": 0.0})
                here = below[layout.rows[site.path]][condition.chosen.at(site.path)]
                row["neurons"] += len(here)
                row["of"] += site.size
                row["touched"] += float(np.nan_to_num(_touched(str(condition.intervention), here)).sum())
        for row in rows.values():
            row["touched"] = row["touched"] / row["neurons"] if row["neurons"] else None
        return condition.model_copy(update={"facts": {"found": {}, **condition.facts, "layers": list(rows.values())}})

    def _noop(self, conditions: Sequence[Condition]) -> dict[str, Any] | None:
        """The check that zeroing negatives changes nothing on a ReLU model: this one, or another."""
        other, lab = self.facts["noop"], self.lab
        if other is not None:
            spec = {
                "version": VERSIONS["noop"],
                "model": other["model"],
                "statistics": lab.facts.statistics[1],
                "windows": other["windows"],
                "share": self.share,
            }
            inputs = {"path": other["path"], "windows": self.settings.noop_windows}
            cell = Cell("noop", spec, f"no-op control on {other['name']}", self._noop_cost(), inputs)
        elif self.facts["rectifies"] and self.settings.noop:
            options = {"windows": lab.facts.perplexity[1]}
            top = conditions[1].chosen
            assert top is not None
            under = lab.condition("no-op control", "top", top, intervention="zero_negative")
            cell = lab.cell("noop", VERSIONS["noop"], options, "no-op control", self._noop_cost(), under)
        else:
            return None
        lab.run([cell])
        return {"model": other["name"] if other else None, "cell": cell.key}


def _unmatched(what: str, reasons: Sequence[str]) -> SelectionError:
    """The error of a search that found no set.

    Args:
        reasons: how it ended, by layers or sets.
    """
    return SelectionError(f"a set of {what}", "; ".join(dict.fromkeys(reasons)), "ablate more neurons (share)")


def _ended(match: Match) -> dict[str, Any]:
    """How a search on perplexity ended."""
    return {name: getattr(match, name) for name in ("matched", "reason", "evaluations", "residual")}


def _touched(name: str, below: np.ndarray) -> np.ndarray:
    """Share of values that an intervention can change, from the share of values below zero."""
    if name in ("zero_negative", "sign_flip", "negative_mean"):
        return below
    return 1 - below if name in ("zero_positive", "relu_on_positives") else np.ones_like(below)
