"""Make what the documentation quotes and shows: `python tools/records.py FOLDER [--limit PAIRS]`.

Runs a small study of the bundled model into FOLDER/study and one of the bundled training series into FOLDER/training
(or goes on with them), and keeps what the pages quote in docs/records/study.json, and some figures as `negspace
figures` draws them in docs/figures/study. Then `python tools/readme.py` writes the sentences into the pages. A test
fails when the bundled model or series is no longer the recorded one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from negspace.experiment.config import Study, configure
from negspace.report.mpl import draw
from negspace.report.sections import figures_of
from negspace.runs.store import Store
from negspace.study.reading import read_runs
from negspace.study.registry import OWN, analysis, sections
from negspace.study.run import run_study
from negspace.study.tables import Tables

ROOT = Path(__file__).parents[1]
SHARE = 0.05
"""Share of neurons: a model of this size shows little at 1%."""
FIELDS: dict[str, Any] = {"shares": [SHARE], "tolerance": 0.001, "windows": 256, "draws": 1000}
"""Fields of the study."""
SETTINGS: dict[str, dict[str, Any]] = {
    "dose": {"points": 5, "lowest": 0.01},
    "controls": {"residual_windows": 8, "evaluations": 8},
    "atlas": {"neurons": 12, "ablate_alone": 6},
}
"""Analysis -> its settings, where the documentation does with less than the default."""
SHOWN = {
    "study": (
        "main_result", "dissociation", "controls", "dose", "rankings_5pct", "parts_of_speech_upos", "layers_5pct",
        "differentiation", "atlas_distributions",
    ),
    "training": ("training_wd", "training_harm"),
}  # fmt: skip
"""Study -> its figures that the pages show."""


def studies(limit: int) -> dict[str, Study]:
    """The studies of the documentation: every analysis that the bundled material allows, and the training series."""
    from negspace.reference import checkpoints, model_path, pairs_path, series_path, tasks_path, text_path

    data = {"text": str(text_path()), "blimp": str(pairs_path()), **FIELDS, "limit": limit}
    fields = {**data, "model": str(model_path()), "tasks": str(tasks_path())}
    whole = configure({**fields, "analyses": {name: SETTINGS.get(name, {}) for name in OWN}})
    kept = {name: whole.analyses[name] for name, own in sections(whole).items() if not analysis(name).lacks(own, whole)}
    training = {"training": {"revisions": [str(series_path())]}}
    return {
        "study": whole.model_copy(update={"analyses": kept}),
        "training": configure({**data, "model": str(series_path() / checkpoints()[-1]), "analyses": training}),
    }


def record(folder: Path) -> dict[str, Any]:
    """What the pages quote of the finished runs: nothing that names a machine."""
    names = (
        "shares",
        "by",
        "zero",
        "mode",
        "random",
        "random_perplexity",
        "tolerance",
        "windows",
        "limit",
        "draws",
        "seed",
    )
    made: dict[str, Any] = {"fingerprints": {}, "studies": {}, "sentences": {}}
    for which in SHOWN:
        tables = Tables(Store(folder / which))
        made["fingerprints"][which] = tables.manifest["identity"]["fingerprint"]
        made["studies"][which] = {name: tables.manifest["study"][name] for name in names}
        made["sentences"] |= {name: tables.sentences(name) for name in tables.books}
    return made


def main() -> None:
    """Run the studies, keep their sentences and draw their figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=10, help="pairs of each paradigm")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for which, study in studies(given.limit).items():
        run_study(study, given.folder / which, note=print)
    records = ROOT / "docs" / "records" / "study.json"
    records.write_text(json.dumps(record(given.folder), indent=1, ensure_ascii=False) + "\n", "utf-8")
    figures = ROOT / "docs" / "figures" / "study"
    figures.mkdir(parents=True, exist_ok=True)
    for which, names in SHOWN.items():
        for made in figures_of(read_runs([given.folder / which])[0]).values():
            for figure in made:
                if figure.name in names:
                    (figures / f"{figure.name}.svg").write_bytes(draw(figure, "svg"))


if __name__ == "__main__":
    main()
