"""Running a study: from its configuration to a run folder with records, a manifest and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from negspace.models.model import Model
from negspace.runs.engine import Compute, Engine, LocalEngine, Progress
from negspace.runs.store import Store
from negspace.studies.analysis import Analysis
from negspace.studies.config import Study
from negspace.studies.lab import Lab
from negspace.studies.registry import analysis, handlers, sections
from negspace.studies.tables import Tables
from negspace.studies.workbench import Facts, Workbench

STUDY_FILE = "study.yaml"
SCAN_FILE = "scan.parquet"


def run_study(
    study: Study,
    out: str | Path,
    *,
    model: Model | None = None,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    make_engine: Callable[[Store, Compute], Engine] | None = None,
) -> Tables:
    """Run a study into a folder, or go on with it: what is recorded there is not computed again.

    Args:
        study: what to do.
        out: the run folder; made if need be.
        model: the model, where it is in memory already; else the study's is loaded.
        progress: called as the work goes on.
        note: called with one sentence for what the user should know at once.
        make_engine: another engine than this process.

    Returns:
        Its tables: `tables["summary"]` and so on; they are in `out/tables` as well.

    Raises:
        NegspaceError: bad input, or records that cannot be written; nothing half-written is left.
        Interrupted: the user asked to stop; the same call goes on.
    """
    chosen = sections(study)
    bench = Workbench(study, handlers(chosen), model)
    store = Store(out)
    # All data are read before the folder is made, so that bad input leaves nothing behind.
    store.check()
    facts = bench.describe()
    read = {name: analysis(name).read(settings, bench) for name, settings in chosen.items()}
    with store.hold():
        for text in facts.notes:
            if note:
                note(text)
        given = study.model_dump(mode="json")
        if note and (changed := _changed(store, given)):
            note(
                f"another configuration was run here (other {changed}); records that fit are used, tables are replaced"
            )
        store.write_file(STUDY_FILE, yaml.safe_dump(given, sort_keys=False, allow_unicode=True).encode())
        store.log("start", model=study.model, fingerprint=facts.identity["fingerprint"], analyses=list(chosen))
        make = make_engine or (lambda store, compute: LocalEngine(store, compute, progress, note))
        with make(store, bench.compute) as engine:
            lab = Lab(study, facts, store, engine)
            store.write_manifest(_run(lab, {n: analysis(n)(s, lab, read[n]) for n, s in chosen.items()}))
        tables = Tables(store)
        tables.write(store)
        store.log("end")
    return tables


def _run(lab: Lab, analyses: Mapping[str, Analysis[Any]]) -> dict[str, Any]:
    """Run the analyses one after the other; what the run consists of."""
    loads = [one.load() for one in analyses.values()]
    lab.expect_later(loads)
    made = lab.scan
    parts = {}
    for number, (name, one) in enumerate(analyses.items(), start=1):
        lab.expect_later(loads[number:])
        parts[name] = one.run()
    lab.store.keep_only("neurons", lab.saved)
    made.save(lab.store.folder / SCAN_FILE)
    f: Facts = lab.facts
    data: dict[str, Any] = {"statistics": list(f.statistics), "perplexity": list(f.perplexity)}
    data |= {kind: list(pairs) for kind, pairs in f.pairs.items()}
    if f.tasks:
        data["tasks"] = [f.tasks.source, f.tasks.hash, f.tasks.items]
    notes = [*f.notes, *(f"scan: {warning}" for warning in made.warnings)]
    return {
        "study": lab.study.model_dump(mode="json"),
        "model": f.source.model_dump(mode="json"),
        "identity": dict(f.identity),
        "neurons": sum(max(1, experts) * width for _, _, experts, width in f.layout),
        "data": data,
        "scan": lab.scan_cell.key,
        "analyses": parts,
        "notes": notes + [note for part in parts.values() for note in part.get("notes", [])],
    }


def _changed(store: Store, given: dict[str, Any]) -> str:
    """Fields in which the configuration of an earlier run in the folder differs."""
    try:
        before = yaml.safe_load((store.folder / STUDY_FILE).read_text(encoding="utf-8"))
        return ", ".join(name for name, value in given.items() if before.get(name) != value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        return ""  # none, or none that can be read: it is written anew
