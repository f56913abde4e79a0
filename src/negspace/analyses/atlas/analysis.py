"""The atlas: what drives each of the chosen neurons, and what breaks when it alone is ablated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from negspace.analyses.atlas import figures
from negspace.analyses.atlas import pages as atlas_pages
from negspace.analyses.atlas import tables as atlas_tables
from negspace.analyses.atlas import words as atlas_words
from negspace.analyses.atlas.cells import HANDLERS, VERSIONS
from negspace.experiment.analysis import Analysis, Book, Load
from negspace.experiment.chosen import in_words, leading, neuron_name, rows_of
from negspace.experiment.condition import Condition
from negspace.experiment.passages import KIND as PASSAGES
from negspace.experiment.passages import PassageSettings, passage_settings, passages_cell, read_facts
from negspace.experiment.plan import PLAIN
from negspace.experiment.run import Run
from negspace.experiment.tagging import lacks_tagger
from negspace.experiment.workbench import Handler, Workbench
from negspace.figures.figure import Figure
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.select import ranked

FOLDER = "atlas"
"""Folder of the run in which the neurons' pages are."""


class AtlasSettings(PassageSettings):
    """Neurons and level of detail."""

    share: float | None = Field(None, gt=0, le=1)
    """Share p of each site's neurons to choose from. Default: the study's first."""
    neurons: int = Field(24, ge=1)
    """Maximum number of neurons: the highest score of every site first, then the second highest, and so on."""
    modes: int = Field(4, ge=1, le=9)
    """Maximum number of components of a neuron's mixture."""
    fewest: int = Field(8, ge=2)
    """Minimum count among the tokens read; rarer tokens, tags and labels are left out."""
    permutations: int = Field(9999, ge=99)
    """Permutations per test; the smallest possible p-value is 1 / (permutations + 1)."""
    examples: int = Field(6, ge=1)
    """Number of example tokens in context per mode."""
    pairs: int | None = Field(50, ge=1)
    """Pairs per paradigm at whose differing tokens the neurons are read. null: all of the study's."""
    ablate_alone: int = Field(3, ge=0)
    """Number of neurons, highest scores first, to ablate one by one and score on all minimal pairs of the study."""


class AtlasAnalysis(Analysis[AtlasSettings]):
    """Modes, drivers, examples and lone ablations of the leading neurons; one page of text for each."""

    name = "atlas"
    title = "Atlas of neurons"
    section = AtlasSettings
    extras = ("pos",)
    schema = atlas_tables.TABLES
    handlers: ClassVar[Mapping[str, Handler]] = HANDLERS

    @classmethod
    def lacks(cls, settings: AtlasSettings, study: Any) -> str | None:
        return lacks_tagger(settings.text, study)

    @classmethod
    def read(cls, settings: AtlasSettings, bench: Workbench) -> Mapping[str, Any]:
        return read_facts(bench, settings)

    @property
    def share(self) -> float:
        """Share from which the neurons are chosen."""
        return self.lab.share_or(self.settings.share)

    @property
    def paired(self) -> tuple[str, ...]:
        """Suites with pairs: predictions over several sentences have no token in which two of them differ."""
        return tuple(suite for suite in self.lab.suites if self.lab.facts.paired[suite])

    def load(self) -> Load:
        suites, alone, tokens = self.lab.suites, self.settings.ablate_alone, float(self.facts["tokens"])
        planned = {(PASSAGES, self.facts["hash"]): 0.0, ("activations", ""): tokens, ("drivers", ""): tokens}
        planned |= {("critical", suite): self.lab.cost(suite) for suite in self.paired}
        if alone:
            singles = [f"a leading neuron alone, number {number}" for number in range(alone)]
            planned |= self.lab.plan.scores([PLAIN, *singles], suites)
        detail = f"up to {self.settings.neurons} neurons at {self.facts['tokens']:,} tokens"
        return Load(planned, detail + (f"; {alone} ablated alone" if alone else ""))

    def run(self) -> dict[str, Any]:
        s, settings, scan = self.lab.study, self.settings, self.lab.scan
        chosen = leading(scan, self.share, s.by, s.layers, most=settings.neurons)
        self.lab.save_set("atlas", chosen)
        rows = rows_of(scan, chosen)
        order = np.argsort(-ranked(scan.table, chosen.layout, s.by)[chosen.rows], kind="stable")
        names = rows["name"].iloc[order].tolist()
        records = self._read(chosen)
        drivers = self._drive(records)
        alone = self._alone(chosen, names[: settings.ablate_alone])
        unread = sorted(set(names) - set(drivers.results["mixtures"]))
        notes = [f"atlas: {note}" for note in self.facts["notes"]]
        if unread:
            notes.append(
                f"atlas: no token of the passages reached the experts of {in_words(unread)}: they have no modes"
            )
        part = {
            "notes": notes,
            "by": s.by,
            "share": self.share,
            "neurons": names,
            "passages": {**self.facts, "record": records["tokens"].key},
            "activations": records["activations"].key,
            "critical": {suite: records[suite].key for suite in self.paired},
            "drivers": drivers.key,
            "examples": settings.examples,
            "alone": alone,
        }
        self._write_pages(part)
        return part

    def _read(self, chosen: NeuronSet) -> dict[str, Any]:
        """Records of the passages, of the neurons at their tokens, and at the differing tokens of each suite."""
        settings, facts = self.settings, self.facts
        inputs = {"chosen": chosen, "settings": passage_settings(settings)}
        cells = {
            "tokens": passages_cell(self.lab, facts, settings),
            "activations": self.lab.cell(
                "activations",
                VERSIONS["activations"],
                {"passages": facts["hash"], "chosen": chosen.key},
                "neurons at every token",
                float(facts["tokens"]),
                **inputs,
            ),
        }
        for suite in self.paired:
            options = {
                "kind": suite,
                "pairs": self.lab.facts.pairs[suite][1],
                "limit": settings.pairs,
                "protocol": self.lab.study.protocol,
                "chosen": chosen.key,
            }
            label = f"neurons where {suite} pairs differ"
            cells[suite] = self.lab.cell(
                "critical", VERSIONS["critical"], options, label, self.lab.cost(suite), **inputs
            )
        return dict(zip(cells, self.lab.run(list(cells.values())), strict=True))

    def _drive(self, records: Mapping[str, Any]) -> Any:
        s, settings = self.lab.study, self.settings
        options = {
            "records": {name: record.key for name, record in records.items()},
            "modes": settings.modes,
            "fewest": settings.fewest,
            "permutations": settings.permutations,
            "level": 1 - s.alpha,
            "draws": s.draws,
            "seed": s.seed,
        }
        cell = self.lab.cell(
            "drivers",
            VERSIONS["drivers"],
            options,
            "what drives the neurons",
            float(self.facts["tokens"]),
            activations=records["activations"].items,
            tokens=records["tokens"].items,
            critical={suite: records[suite].items for suite in self.paired},
        )
        return self.lab.run([cell])[0]

    def _alone(self, chosen: NeuronSet, names: Sequence[str]) -> dict[str, Any]:
        """Keys of the scores of the plain model, and under the ablation of each neuron by itself."""
        suites = self.lab.suites
        if not names or not suites:
            return {"baseline": {}, "neurons": {}}
        single = _singles(self.lab.scan, chosen)
        conditions = [self.lab.condition(f"{name} alone", "alone", single[name], neuron=name) for name in names]
        plain, *alone = self.lab.measure([Condition(name="plain model"), *conditions], suites)
        return {
            "baseline": plain.cells,
            "neurons": {neuron.facts["neuron"]: neuron.cells for neuron in alone},
            "intervention": self.lab.study.intervention,
        }

    def _write_pages(self, part: Mapping[str, Any]) -> None:
        """One page of Markdown a neuron."""
        store = self.lab.store
        book = Book(self.lab.study.model_dump(mode="json"), part, {"scan": self.lab.scan_cell.key}, store.require)
        pages = atlas_pages.pages(book, atlas_tables.make(book))
        for name, text in pages.items():
            store.write_file(f"{FOLDER}/{name}.md", text.encode())
        store.keep_only(FOLDER, {f"{name}.md" for name in pages})

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        return atlas_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        return atlas_words.sentences(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)


def _singles(scan: Any, chosen: NeuronSet) -> dict[str, NeuronSet]:
    """Each neuron of a set as a set of its own, by name."""
    made = {}
    for path, flats in chosen.indices.items():
        for flat in flats.tolist():
            one = NeuronSet({path: np.array([flat], np.int64)}, chosen.layout, "one neuron")
            row = rows_of(scan, one).iloc[0]
            name = neuron_name(int(row["layer"]), str(row["branch"]), int(row["expert"]), int(row["neuron"]))
            made[name] = NeuronSet(one.indices, chosen.layout, f"neuron {name} alone")
    return made
