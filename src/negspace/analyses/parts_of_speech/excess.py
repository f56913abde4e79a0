"""Excess surprisal by part of speech and dependency label: which words an ablation makes harder to predict."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.parts_of_speech.cells import KIND, VERSION, cell_options, measured
from negspace.analyses.parts_of_speech.columns import EXCESS
from negspace.analyses.parts_of_speech.tables import excess_by_tag, joined
from negspace.errors import InterventionError, RecordError, StudyError
from negspace.experiment.identity import identity
from negspace.experiment.tagging import tagged_text
from negspace.files import write_whole
from negspace.intervention import Mode, Zero, intervene, intervention
from negspace.models.identity import check_unchanged
from negspace.models.model import Model, check_model
from negspace.neurons.neuronset import NeuronSet, check_neurons
from negspace.neurons.scan import Scan, check_scan
from negspace.runs.cell import Cell, Record
from negspace.runs.engine import LocalEngine, Step
from negspace.runs.engine import Progress as RunProgress
from negspace.runs.store import Store, parquet
from negspace.text.alignment import Aligned, align
from negspace.text.source import Source, Text
from negspace.text.tagged import Tagged
from negspace.text.windows import Bos, make_windows

STUDY = "parts_of_speech"


@dataclass(frozen=True, eq=False)
class PartsOfSpeech:
    """Excess surprisal by tag, and the tokens behind it."""

    table: pd.DataFrame
    """One row a tag, the largest excess first within a kind; columns as in the table `parts_of_speech` of a study."""
    items: pd.DataFrame
    """One row a predicted token: window, position, start, end, word, upos, dep, baseline, ablated (nats)."""
    about: Mapping[str, Any]
    """Intervention, neurons, text and tagger, with their hashes."""
    notes: tuple[str, ...] = ()
    """Notes on choices made for the user and on possible surprises; one sentence each."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as one Parquet file, whole or not at all.

        Raises:
            RecordError: the file cannot be written.
        """
        return write_whole(Path(path), parquet(self.table))


def parts_of_speech(
    model: Model,
    neurons: NeuronSet,
    text: Source | Text | Tagged = "wikitext-2",
    *,
    tagger: Any = None,
    zero: Zero | None = None,
    mode: Mode | None = None,
    scan: Scan | None = None,
    window: int | None = None,
    windows: int | None = None,
    bos: Bos = "auto",
    batch: int | None = None,
    alpha: float = 0.05,
    draws: int = 2000,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: Step | None = None,
    note: Callable[[str], None] | None = None,
) -> PartsOfSpeech:
    """Excess surprisal under an ablation, by part of speech and dependency label of the word that is predicted.

    Every token of the text's windows is predicted twice, by the model as it is and under the ablation. A token has the
    tags of the word with which it shares most characters. The excess of a tag is the mean of the differences over its
    tokens, so that a word of several tokens counts several times.

    Args:
        model: the model.
        neurons: the neurons to ablate.
        text: anything that `read_text` takes (of splits, the validation split is read); or gold tags: a path that ends
            in .conllu, or tagged words.
        tagger: name, path or spaCy pipeline that tags the text; None: the bundled one. Gold tags need none.
        zero: part of the pre-activation set to zero; "negative" if there is no `mode` either.
        mode: another intervention instead.
        scan: where the means come from, for the interventions that use them.
        window: tokens of a window; by default 2,048, the model's context, or what a short text allows.
        windows: how many, from the start; by default all.
        bos: "auto": windows are slices of the text as the tokenizer encodes it; "always": BOS before each window.
        batch: windows in one forward pass; in float32 it changes the result by rounding at most.
        alpha: level of the tests; intervals have level 1 - alpha.
        draws: bootstrap resamples.
        seed: seed of resamples and sign flips.
        out: run folder; what is recorded there is not computed again, tables go to `out/tables`.
        progress: called with (done, total, what) as the work goes on.
        note: called with one sentence for what the user should know at once.

    Raises:
        TextError: no text, less than one window of it, malformed gold tags, or a slow tokenizer.
        TaggerError: the tagger is missing or gives no parts of speech or dependencies.
        ModelError: it is no model as `load` and `wrap` return it.
        InterventionError, SelectionError, ScoreError: the ablation cannot be, or gives no finite score.
        StudyError, RecordError: the folder is another study's, or cannot be written.
    """
    zero = "negative" if zero is None and mode is None else zero
    chosen = intervention(zero, mode)
    if chosen.needs_means and scan is None:
        raise InterventionError(f"mode={chosen.name!r}", "no scan, hence no means", "pass scan=, or choose zero=")
    check_model(model, "parts of speech")
    check_neurons(neurons, "parts of speech").check(model)
    if scan is not None:
        check_scan(scan, "parts of speech")
    tagged = tagged_text(text, tagger)
    made = make_windows(tagged.text, model.tokenizer, window=window, windows=windows, bos=bos, context=model.context)
    aligned = align(tagged, made, model.tokenizer)
    notes = (*made.notes, *tagged.notes)
    for sentence in notes:
        if note:
            note(sentence)

    change = {"neurons": neurons.key, "intervention": chosen.name}
    if chosen.needs_means:
        assert scan is not None
        change["means"] = _means_hash(scan)
    cells = [
        _cell(model, aligned, "baseline", {"neurons": None, "intervention": None}),
        _cell(model, aligned, "ablated", change),
    ]

    def compute(cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        plain = cell.spec["neurons"] is None
        with nullcontext() if plain else intervene(model, neurons, zero, mode, scan):
            return measured(model, aligned, batch, step)

    about = {
        "study": {"study": STUDY, "alpha": alpha, "draws": draws, "seed": seed},
        "intervention": chosen.name,
        "neurons": {"count": len(neurons), "key": neurons.key, "origin": neurons.origin},
        "model": model.source.model_dump(mode="json"),
        "text": {"name": tagged.text.name, "hash": tagged.text.hash},
        "windows": {"count": len(made), "window": made.window, "bos": made.bos, "hash": made.hash},
        "tags": {"tagger": tagged.tagger, "hash": tagged.hash, "words": len(tagged)},
        "cells": {cell.label: cell.key for cell in cells},
    }

    def tell(now: RunProgress) -> None:
        if progress and not math.isnan(now.ahead):
            progress(round(1000 * now.spent), round(1000 * (now.spent + now.ahead)), now.label)

    options = {"level": 1 - alpha, "draws": draws, "seed": seed}
    if out is not None:
        check_unchanged(model.module, f"to record parts of speech in {out}")
    if out is None:
        frames = []
        for number, cell in enumerate(cells):

            def step(done: int, total: int, _: str, number: int = number, label: str = cell.label) -> None:
                if progress:
                    progress(number * total + done, len(cells) * total, label)

            frames.append(compute(cell, step)[1])
        return PartsOfSpeech(excess_by_tag(*frames, **options), joined(*frames), about, notes)
    store = Store(Path(out))
    with store.hold():
        _check_kind(store)
        with LocalEngine(store, compute, tell, note) as engine:
            records: list[Record] = engine.run(cells)
        frames = [record.items for record in records]
        result = PartsOfSpeech(excess_by_tag(*frames, **options), joined(*frames), about, notes)
        store.write_file(f"tables/{STUDY}.parquet", parquet(result.table))
        store.write_file(f"tables/{STUDY}.csv", result.table.to_csv(index=False, lineterminator="\n").encode())
        store.write_file("tables/COLUMNS.md", describe().encode())
        store.write_manifest({**about, "notes": list(notes)})
    return result


def describe() -> str:
    """The schema of the table as a page of Markdown."""
    lines = [f"- `{column}`: {text}" for column, text in EXCESS.meanings.items()]
    return "\n".join([f"# Columns of {STUDY}", "", *lines, ""])


def _cell(model: Model, aligned: Aligned, label: str, change: Mapping[str, Any]) -> Cell:
    spec = {"version": VERSION, "model": identity(model), **cell_options(aligned), **change}
    return Cell(KIND, spec, label, float(aligned.windows.tokens.size))


def _means_hash(scan: Scan) -> str:
    digest = hashlib.sha256()
    for column in ("mean", "mean_negative"):
        digest.update(np.ascontiguousarray(scan.table[column], "<f8").tobytes())
    return digest.hexdigest()


def _check_kind(store: Store) -> None:
    try:
        found = store.read_manifest()["study"]
    except RecordError:
        return  # no finished run there, or a damaged manifest, which this run will write anew
    if found.get("study") != STUDY:
        other = found.get("study") or ", ".join(found["analyses"])
        raise StudyError(
            f"a study of parts of speech in {store.folder}", f"a run of the study {other!r}", "give another folder"
        )
