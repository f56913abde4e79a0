"""The whole study on models whose answer is known: does it find what was planted, and nothing where nothing was?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from negspace.analyses.ablation.dissociation_columns import ALL
from negspace.analyses.ablation.dissociation_words import verdict
from negspace.experiment.config import configure
from negspace.neurons.scan import Scan
from negspace.reference.calibration import Lexicon, Made, Material, Name, make, write_material
from negspace.runs.engine import Progress
from negspace.significance.dissociation import Verdict
from negspace.study.reading import SCAN_FILE
from negspace.study.run import run_study
from negspace.study.tables import Tables

SHARE = 0.01
"""Share of each layer's neurons to ablate: as many as are planted."""
FIELDS = {
    "shares": [SHARE],
    "windows": 96,
    "stride": 128,
    "perplexity_windows": 64,
    "md_pairs": 256,
    "random": 5,
    "tolerance": 0.01,
}
"""Fields of the study, beside model and data."""


@dataclass(frozen=True)
class Case:
    """A model, an intervention, and what the study must say."""

    model: Name
    """The calibration model."""
    zero: Literal["negative", "positive"]
    """Part of the pre-activations that is set to zero."""
    expected: tuple[Verdict, ...]
    """The verdicts that are right: where grammar alone is planted, tasks need not lose more under the control."""

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return f"{self.model}-zero-{self.zero}"


_PLANTED: tuple[Verdict, ...] = ("established", "interaction only")
CASES: Sequence[Case] = (
    Case("negative", "negative", _PLANTED),
    Case("positive", "negative", ("not testable: no control",)),
    Case("null", "negative", ("not established",)),
    # The same study can see what runs above zero; it does not call everything null.
    Case("positive", "positive", _PLANTED),
)

COLUMNS: Mapping[str, str] = {
    "model": "calibration model: agreement runs below zero (negative), above (positive), nowhere in particular (null)",
    "zero": "part of the chosen neurons' pre-activations that was set to zero",
    "planted": "planted neurons in all layers",
    "worst_rank": "the lowest place of a planted neuron in its layer by WD, from 1",
    "first": "whether the top set is the planted neurons and no others",
    "ratio": "perplexity under the top set over that of the plain model",
    "grammar_change": "accuracy on minimal pairs under the top set minus the plain model's; 0.01 is one point",
    "tasks_change": "the same on the other tasks",
    "grammar": "accuracy on minimal pairs under the top set minus that under the perplexity-matched control",
    "grammar_low": "lower end of its interval",
    "grammar_high": "upper end of its interval",
    "tasks": "the same on the other tasks",
    "tasks_low": "lower end of its interval",
    "tasks_high": "upper end of its interval",
    "interaction": "tasks minus grammar",
    "low": "lower end of its interval",
    "high": "upper end of its interval",
    "p": "its p-value, corrected over all claims of the study",
    "verdict": "of the double dissociation",
    "control": "the control in words, or why there is none",
    "expected": "the verdict that is right",
    "ok": "whether the verdict is that, and the planted neurons come first",
}
"""Column -> meaning."""


def run_calibration(
    out: str | Path,
    *,
    seed: int = 0,
    cases: Sequence[Case] = CASES,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Build the models and their material into a folder, and run the whole study on each.

    What is there already is not made again. Models are in `out/models`, texts, pairs and tasks in `out/material`, and
    each case's run in a folder of its own.

    Args:
        out: the folder; made if need be.
        seed: of the models' random weights.
        cases: what to run.
        progress, note: as for `run_study`.

    Returns:
        One row a case, with the columns of COLUMNS.

    Raises:
        NegspaceError: a folder cannot be written, or lm-evaluation-harness is not installed.
        Interrupted: the user asked to stop; the same call goes on.
    """
    folder = Path(out)
    lexicon = Lexicon()
    material = write_material(folder / "material", lexicon)
    rows = []
    for case in cases:
        if note:
            note(f"{case.model} model, zeroing {case.zero} pre-activations")
        made = make(case.model, folder / "models" / case.model, lexicon, seed)
        study = configure(_fields(case, made, material, seed))
        tables = run_study(study, folder / case.name, progress=progress, note=note)
        rows.append(_row(case, made, tables, Scan.load(folder / case.name / SCAN_FILE)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _fields(case: Case, made: Made, material: Material, seed: int) -> dict[str, object]:
    return {
        **FIELDS,
        "model": str(made.folder),
        "statistics_text": str(material.statistics),
        "perplexity_text": str(material.perplexity),
        "blimp": [str(material.pairs)],
        "tasks": [*material.names, str(material.tasks)],
        "zero": case.zero,
        "seed": seed,
    }


def _row(case: Case, made: Made, tables: Tables, scan: Scan) -> dict[str, object]:
    ranks = []
    for layer, planted in enumerate(made.planted):
        wd = scan.table.loc[scan.table["layer"] == layer, "wd"].to_numpy(np.float64)
        place = np.empty(wd.size, np.int64)
        place[np.argsort(-wd, kind="stable")] = np.arange(1, wd.size + 1)
        ranks += place[list(planted)].tolist()
    chosen = [indices.tolist() for indices in scan.top(SHARE).indices.values()]
    first = [sorted(row) for row in chosen] == [sorted(row) for row in made.planted]
    summary = tables["summary"]
    top = summary[summary["role"] == "top"].iloc[0]
    tasks = tables["tasks_by_task"]
    lost = tasks[(tasks["role"] == "top") & (tasks["task"] == ALL)].iloc[0]
    row: dict[str, object] = {
        "model": case.model,
        "zero": case.zero,
        "planted": len(ranks),
        "worst_rank": max(ranks),
        "first": first,
        "ratio": float(top["ratio"]),
        "grammar_change": float(top["blimp_change"]),
        "tasks_change": float(lost["change"]),
        "expected": " or ".join(case.expected),
    }
    found = tables["dissociation"].iloc[0]
    for name in ("grammar", "other"):
        row |= {f"{name.replace('other', 'tasks')}{end}": float(found[f"{name}{end}"]) for end in ("", "_low", "_high")}
    row |= {name: float(found[name]) for name in ("interaction", "low", "high")}
    row |= {"p": float(found["p_holm"]), "verdict": verdict(found)}
    row["control"] = str(found["control"] or tables["matching"].iloc[0]["reason"])
    right = found["verdict"] in case.expected and found["direction"] != "against the claim"
    return {**row, "ok": first and right}
