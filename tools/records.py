"""Make what the documentation quotes and shows: `python tools/records.py RUN [--limit PAIRS]`.

Runs a small study of all analyses on the bundled model into the folder RUN (or goes on with it), and keeps what the
pages quote in docs/records/study.json, and the figures of `negspace figures RUN` in docs/figures/study. Then `python
tools/readme.py` writes the sentences into the pages. A test fails when the bundled model is no longer the recorded one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from negspace.report.mpl import draw
from negspace.report.run import read_runs
from negspace.report.sections import figures_of
from negspace.runs.store import Store
from negspace.studies.config import Study, configure
from negspace.studies.registry import ANALYSES, analysis, sections
from negspace.studies.study import run_study
from negspace.studies.tables import Tables

ROOT = Path(__file__).parents[1]
SHARE = 0.05
"""Share of neurons: a model of this size shows little at 1%."""
FIELDS: dict[str, Any] = {"shares": [SHARE], "random": 2, "tolerance": 0.001, "windows": 256, "draws": 1000}
"""Fields of the study."""
SETTINGS: dict[str, dict[str, Any]] = {
    "dose": {"points": 5, "lowest": 0.01, "random": 2},
    "controls": {"residual_windows": 8, "evaluations": 8},
}
"""Analysis -> its settings, where the documentation does with less than the default."""


SHOWN = ("main_result", "dissociation", "controls", "dose", "rankings_5pct", "parts_of_speech_upos")
"""Figures that the pages show."""


def study(limit: int) -> Study:
    """The study of the documentation: every analysis that the bundled material allows."""
    from negspace.reference import model_path, pairs_path, tasks_path, text_path

    where = {"model": model_path(), "text": text_path(), "blimp": pairs_path(), "tasks": tasks_path()}
    fields = {**{name: str(path) for name, path in where.items()}, **FIELDS, "limit": limit}
    whole = configure({**fields, "analyses": {name: SETTINGS.get(name, {}) for name in ANALYSES}})
    kept = {name: whole.analyses[name] for name, own in sections(whole).items() if not analysis(name).lacks(own, whole)}
    return whole.model_copy(update={"analyses": kept})


def record(run: Path) -> dict[str, Any]:
    """What the pages quote of a run: nothing that names a machine."""
    tables = Tables(Store(run))
    names = ("shares", "by", "zero", "mode", "random", "tolerance", "windows", "limit", "draws", "seed")
    return {
        "fingerprint": tables.manifest["identity"]["fingerprint"],
        "study": {name: tables.manifest["study"][name] for name in names},
        "sentences": {name: tables.sentences(name) for name in tables.books},
    }


def main() -> None:
    """Run the study, keep its sentences and draw its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--limit", type=int, default=10, help="pairs of each paradigm")
    given = parser.parse_args()
    run_study(study(given.limit), given.run, note=print)
    folder = ROOT / "docs" / "records"
    (folder / "study.json").write_text(json.dumps(record(given.run), indent=1, ensure_ascii=False) + "\n", "utf-8")
    figures = ROOT / "docs" / "figures" / "study"
    figures.mkdir(parents=True, exist_ok=True)
    for made in figures_of(read_runs([given.run])[0]).values():
        for figure in made:
            if figure.name in SHOWN:
                (figures / f"{figure.name}.svg").write_bytes(draw(figure, "svg"))


if __name__ == "__main__":
    main()
