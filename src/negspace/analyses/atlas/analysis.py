"""The atlas: what drives each of the chosen neurons, and what breaks when it alone is ablated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from negspace.analyses.atlas import figures
from negspace.analyses.atlas import pages as atlas_pages
from negspace.analyses.atlas import tables as atlas_tables
from negspace.analyses.atlas import words as atlas_words
from negspace.analyses.atlas.critical import critical_tokens
from negspace.experiment.analysis import Analysis, Book, Load
from negspace.experiment.chosen import in_words, leading, neuron_name, rows_of, spread
from negspace.experiment.condition import Condition
from negspace.experiment.passages import KIND as PASSAGES
from negspace.experiment.passages import (
    PassageSettings,
    compute_passages,
    passages_cell,
    passages_of,
    plain,
    read_facts,
)
from negspace.experiment.plan import PLAIN
from negspace.experiment.run import Run
from negspace.experiment.tagging import lacks_tagger
from negspace.figures.figure import Figure
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.score.pairs import Protocol
from negspace.stats.drivers import driven, driven_by_group
from negspace.stats.modes import Mixture, fit_modes
from negspace.stats.readings import batches_of, readings
from negspace.text.suites import SUITES

if TYPE_CHECKING:
    from negspace.experiment.workbench import Workbench

VERSIONS = {"activations": 1, "critical": 1, "drivers": 2}
"""Versions of what cells of each kind compute; raise one whenever the same spec comes to give another result."""
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


def fit_and_drive(
    modes: int,
    activations: pd.DataFrame,
    tokens: pd.DataFrame,
    critical: Mapping[str, pd.DataFrame],
    *,
    fewest: int = 8,
    permutations: int = 9999,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    progress: Step | None = None,
) -> tuple[dict[str, Mixture], pd.DataFrame]:
    """Modes of neurons, and which tokens, tags, labels and phenomena fall in them.

    Args:
        modes: most components of a mixture.
        activations: one row per token, one column per neuron; NaN where there is none (`chosen.spread`).
        tokens: what is known of these tokens (`Passages.tokens`).
        critical: suite -> what `critical_tokens` gave for its pairs.
        fewest, permutations, level, draws, seed: as for `driven`.
        progress: called as progress(done, total, what).

    Returns:
        Name of the neuron -> its mixture (without neurons that no token reached), and one row per neuron, mode, kind
        and value: name, mode (from 0), kind ("token", "upos", "dep", "phenomenon"), value, tokens (of the value), count
        (of these in the mode), base, lift, low, high, p. For phenomena, shares are means over paradigms; a phenomenon
        of TSE is a construction.
    """
    windows = int(tokens["window"].max()) + 1
    labels = {
        "token": _labelled(tokens["name"].to_numpy(object), windows),
        "upos": _labelled(tokens["upos"].to_numpy(object), windows),
        "dep": _labelled(tokens["dep"].to_numpy(object), windows),
    }
    options = {"permutations": permutations, "level": level, "draws": draws, "seed": seed}
    fitted: dict[str, Mixture] = {}
    parts = []
    for number, name in enumerate(activations.columns, start=1):
        values = activations[name].to_numpy(np.float64)
        there = np.isfinite(values)
        if there.any():
            fitted[name] = fit_modes(values[there], most=modes)
            part = np.full(len(values), -1)
            part[there] = fitted[name].assign(values[there])
            if len(fitted[name]) > 1:
                table = part.reshape(windows, -1)
                made = [_of_text(kind, table, *given, fewest, options) for kind, given in labels.items()]
                made += [_of_pairs(name, fitted[name], items, suite, options) for suite, items in critical.items()]
                parts += [frame.assign(name=name) for frame in made if len(frame)]
        if progress is not None:
            progress(number, len(activations.columns), "drivers")
    columns = ["name", "mode", "kind", "value", "tokens", "count", "base", "lift", "low", "high", "p"]
    drivers = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    return fitted, drivers


def _labelled(values: NDArray[Any], windows: int) -> tuple[NDArray[np.int64], list[str]]:
    """Numbers [windows, length] of values, -1 for the empty one, and the values."""
    names, numbers = np.unique(values.astype(str), return_inverse=True)
    empty = np.flatnonzero(names == "")
    numbers = np.where(np.isin(numbers, empty), -1, numbers)
    return numbers.reshape(windows, -1).astype(np.int64), names.tolist()


def _of_text(
    kind: str,
    modes: NDArray[np.int64],
    labels: NDArray[np.int64],
    names: Sequence[str],
    fewest: int,
    options: Mapping[str, Any],
) -> pd.DataFrame:
    made = driven(modes, labels, names, fewest=fewest, **options)
    values, size = made.lift.shape
    return pd.DataFrame(
        {
            "mode": np.tile(np.arange(size), values),
            "kind": kind,
            "value": np.repeat(np.array(made.values, object), size),
            "tokens": np.repeat(made.tokens, size),
            "count": made.count.ravel(),
            "base": np.tile(made.base, values),
            **{column: getattr(made, column).ravel() for column in ("lift", "low", "high", "p")},
        }
    )


def _of_pairs(name: str, mixture: Mixture, items: pd.DataFrame, suite: str, options: Mapping[str, Any]) -> pd.DataFrame:
    group = SUITES[suite].column
    here = items[np.isfinite(items[name].to_numpy(np.float64))]
    part = mixture.assign(here[name].to_numpy(np.float64))
    size = len(mixture)
    inside = pd.DataFrame((part[:, None] == np.arange(size)).astype(np.float64), index=here.index)
    shares = inside.groupby([here["paradigm"], here[group].rename("group")]).mean()
    if shares.empty:
        return pd.DataFrame()
    groups = [str(group) for group in shares.index.get_level_values("group")]
    names, lift, low, high, p = driven_by_group(shares.to_numpy(), groups, **options)
    counts = inside.groupby(here[group].astype(str)).sum().loc[list(names)].to_numpy(np.int64)
    return pd.DataFrame(
        {
            "mode": np.tile(np.arange(size), len(names)),
            "kind": "phenomenon",
            "value": np.repeat(np.array(names, object), size),
            "tokens": np.repeat(counts.sum(axis=1), size),
            "count": counts.ravel(),
            "base": np.tile(shares.to_numpy().mean(axis=0), len(names)),
            **{column: given.ravel() for column, given in (("lift", lift), ("low", low), ("high", high), ("p", p))},
        }
    )


def compute_activations(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler: the chosen neurons at every token of the passages."""
    windows = passages_of(bench, cell.inputs["settings"]).windows
    made = readings(bench.model, batches_of(windows), cell.inputs["chosen"].indices, progress=step)
    return {}, spread(made, windows.tokens.size)


def compute_critical(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler: the chosen neurons where minimal pairs differ."""
    pairs = bench.pairs[cell.spec["kind"]].sample(cell.spec["limit"])
    protocol: Protocol = cell.spec["protocol"]
    items = critical_tokens(bench.model, pairs, cell.inputs["chosen"], protocol=protocol, progress=step)
    return {"pairs": len(pairs)}, items


def compute_drivers(_: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler: modes and what falls in them, from records of the other kinds."""
    given, spec = cell.inputs, cell.spec
    fitted, drivers = fit_and_drive(
        spec["modes"],
        given["activations"],
        given["tokens"],
        given["critical"],
        **{name: spec[name] for name in ("fewest", "permutations", "level", "draws", "seed")},
        progress=step,
    )
    mixtures = {
        name: {
            "weights": made.weights.tolist(),
            "means": made.means.tolist(),
            "stds": made.stds.tolist(),
            "tokens": int(made.tokens),
            "bic": list(made.bic),
        }
        for name, made in fitted.items()
    }
    return {"mixtures": mixtures}, drivers


class AtlasAnalysis(Analysis[AtlasSettings]):
    """Modes, drivers, examples and lone ablations of the leading neurons; one page of text for each."""

    name = "atlas"
    title = "Atlas of neurons"
    section = AtlasSettings
    extras = ("pos",)
    schema = atlas_tables.TABLES
    handlers = {  # noqa: RUF012
        PASSAGES: compute_passages,
        "activations": compute_activations,
        "critical": compute_critical,
        "drivers": compute_drivers,
    }

    @classmethod
    def lacks(cls, settings: AtlasSettings, study: Any) -> str | None:
        return lacks_tagger(settings.text, study)

    @classmethod
    def read(cls, settings: AtlasSettings, bench: Workbench) -> Mapping[str, Any]:
        return read_facts(bench, settings)

    @property
    def share(self) -> float:
        """Share from which the neurons are chosen."""
        return self.settings.share or self.lab.study.shares[0]

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
        order = np.argsort(-rows[s.by].abs().to_numpy(), kind="stable")
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
        inputs = {"chosen": chosen, "settings": plain(settings)}
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
