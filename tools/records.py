"""Make what the documentation quotes and shows: `python tools/records.py FOLDER [--limit PAIRS] [--only STUDY]`.

Runs small studies into FOLDER, or goes on with them: of the bundled model into FOLDER/study and, over two texts, into
FOLDER/stability; of the bundled training series into FOLDER/training. It keeps what the pages quote in
docs/records/study.json, and some figures as `negspace figures` draws them in docs/figures/study. Then
`python tools/readme.py` writes the sentences into the pages. A test
fails when the bundled model or series is no longer the recorded one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
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
from negspace.text.pairs import read_pairs

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
        "main_result", "dissociation", "controls", "dose", "damage_axis", "rankings_5pct", "parts_of_speech_upos",
        "layers_5pct", "differentiation", "atlas_distributions",
    ),
    "training": ("training_wd", "training_harm"),
    "stability": ("stability_5pct",),
}  # fmt: skip
"""Study -> its figures that the pages show."""


def studies(limit: int, folder: Path) -> dict[str, Study]:
    """The studies of the documentation: every analysis that the bundled material allows, the training series, and the
    held-out text against the good sentences of the minimal pairs, which are written into the folder."""
    from negspace.reference import checkpoints, model_path, pairs_path, series_path, tasks_path, text_path

    data = {"text": str(text_path()), "blimp": str(pairs_path()), **FIELDS, "limit": limit}
    fields = {**data, "model": str(model_path()), "tasks": str(tasks_path())}
    whole = configure({**fields, "analyses": {name: SETTINGS.get(name, {}) for name in OWN}})
    kept = {name: whole.analyses[name] for name, own in sections(whole).items() if not analysis(name).lacks(own, whole)}
    sentences = folder / "sentences.txt"
    good = [pair.good for pair in read_pairs(pairs_path()).pairs]
    sentences.write_text("\n".join(good) + "\n", "utf-8")
    other = {"stability": {"texts": [str(sentences)]}}
    training = {"training": {"revisions": [str(series_path())]}}
    return {
        "study": whole.model_copy(update={"analyses": kept}),
        "training": configure({**data, "model": str(series_path() / checkpoints()[-1]), "analyses": training}),
        "stability": configure({**data, "model": str(model_path()), "perplexity_windows": 20, "analyses": other}),
    }


def record(folder: Path, wanted: Iterable[str] = SHOWN) -> dict[str, Any]:
    """What the pages quote of finished runs: nothing that names a machine."""
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
    for which in wanted:
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
    parser.add_argument("--only", choices=tuple(SHOWN), action="append", help="this study; the others' records stay")
    given = parser.parse_args()
    wanted = given.only or list(SHOWN)
    given.folder.mkdir(parents=True, exist_ok=True)
    every = studies(given.limit, given.folder)
    for which in wanted:
        run_study(every[which], given.folder / which, note=print)
    records = ROOT / "docs" / "records" / "study.json"
    made = record(given.folder, wanted)
    held = json.loads(records.read_text("utf-8")) if given.only else {}
    made = {part: {**held.get(part, {}), **own} for part, own in made.items()}
    records.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8")
    figures = ROOT / "docs" / "figures" / "study"
    figures.mkdir(parents=True, exist_ok=True)
    for which in wanted:
        for several in figures_of(read_runs([given.folder / which])[0]).values():
            for figure in several:
                if figure.name in SHOWN[which]:
                    (figures / f"{figure.name}.svg").write_bytes(draw(figure, "svg"))


if __name__ == "__main__":
    main()
