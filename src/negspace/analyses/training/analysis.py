"""Training: over a series of checkpoints, when the cohort of the last one appears, settles, and begins to matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from negspace.analyses.training import columns as training_columns
from negspace.analyses.training import figures
from negspace.analyses.training import tables as training_tables
from negspace.analyses.training import words as training_words
from negspace.analyses.training.cells import HANDLERS
from negspace.analyses.training.points import Coming, Point, check_kind, drift_cell, meet, scanned, score_cell
from negspace.controls import random_sets
from negspace.errors import StudyError
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.condition import BASELINE, RANDOM, Condition, condition, written
from negspace.experiment.config import Paths
from negspace.experiment.run import Run
from negspace.experiment.workbench import Workbench
from negspace.figures.figure import Figure
from negspace.models.checkpoints import Checkpoint
from negspace.models.model import ModelSource
from negspace.models.series import Contents, Place, contents, find, screen
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan
from negspace.neurons.select import random
from negspace.runs.cell import Cell

_TODO = "check where they came from, or leave them out (on_duplicate: skip)"


class TrainingSettings(Settings):
    """Checkpoints and what to measure at each."""

    revisions: Paths = ()
    """Checkpoints: folders, a folder of them, a pattern of folders, the model's revisions, or a pattern of those."""
    steps: tuple[int, ...] | None = None
    """Training steps of the checkpoints, in the same order, if their names do not show them."""
    on_duplicate: Literal["refuse", "skip"] = "refuse"
    """Treatment of a checkpoint with another checkpoint's weights: stop, or leave it out with a note."""
    share: float | None = Field(None, gt=0, le=1)
    """Share p of each site's neurons in the cohort. Default: the study's first."""
    random: int = Field(1, ge=0)
    """Random sets to ablate at each checkpoint, of the cohort's size in every layer."""
    compare: int = Field(4, ge=1)
    """Number of other neurons whose input weights are followed, per neuron of the cohort."""


class Training(Analysis[TrainingSettings]):
    """Scans, scores and input weights at every checkpoint; the last is taken first, since it gives the cohort."""

    name = "training"
    title = "Training"
    section = TrainingSettings
    schema = training_columns.TABLES
    handlers = HANDLERS

    @classmethod
    def lacks(cls, settings: TrainingSettings, study: Any) -> str | None:
        return None if settings.revisions else "series of checkpoints (training: revisions)"

    @classmethod
    def read(cls, settings: TrainingSettings, bench: Workbench) -> Mapping[str, Any]:
        """Find the checkpoints and hash their files, so that copies show before any work.

        Raises:
            StudyError: the study's model has an adapter; some hold the weights of others, and are not to be skipped.
            ModelError: fewer than two are named, or one is not there, holds no weights, or tells no step.
        """
        if bench.study.adapter:
            raise StudyError(
                f"a series of checkpoints with the adapter {' and '.join(bench.study.adapter)}",
                "an adapter, which was trained on one checkpoint and not on the others",
                "leave out the adapter, or the training analysis",
            )
        places, notes = find(settings.revisions, bench.study.model, settings.steps)
        held = contents(places)
        doubles = {checkpoint.place.name: str(checkpoint) for checkpoint in screen(places, held)}
        if doubles and settings.on_duplicate == "refuse":
            raise StudyError(f"a series of {len(places)} checkpoints", "; ".join(doubles.values()), _TODO)
        source = bench.model.source
        return {
            "notes": [f"training: {note}" for note in notes],
            "skipped": [{"name": p.name, "step": p.step, "why": doubles[p.name]} for p in places if p.name in doubles],
            "checkpoints": [
                {
                    "place": place.model_dump(),
                    "contents": one.model_dump(),
                    "own": _is_own(place, one, source),
                }
                for place, one in zip(places, held, strict=True)
                if place.name not in doubles
            ],
        }

    @property
    def share(self) -> float:
        """Share of the cohort."""
        return self.lab.share_or(self.settings.share)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the random sets."""
        first = self.lab.study.seed
        return tuple(range(first, first + self.settings.random))

    def load(self) -> Load:
        n, sets = len(self.facts["checkpoints"]), 3 + self.settings.random
        what = f"plain, cohort, own top set, {self.settings.random} random"
        detail = f"{n} checkpoints x (a scan and {sets} conditions: {what})"
        planned: dict[tuple[str, str], float] = {}
        for number in range(n):
            planned |= {("checkpoint", str(number)): 0.0, ("checkpoint_scan", str(number)): self.lab.cost("scan")}
            planned |= {("drift", f"{number} to the {to}"): 0.0 for to in ("next", "last")}
            unders = [f"checkpoint {number}, set {one}" for one in range(sets)]
            scored = self.lab.plan.scores(unders, self.lab.effect_scores)
            planned |= {(f"checkpoint_{score}", under): tokens for (score, under), tokens in scored.items()}
        return Load(planned, detail)

    def run(self) -> dict[str, Any]:
        known = [(_checkpoint(fact), bool(fact["own"])) for fact in self.facts["checkpoints"]]
        self._enough(len(known))
        skipped: list[dict[str, Any]] = list(self.facts["skipped"])
        order = [known[-1], *known[:-1]]
        last: Point | None = None
        context: int | None = None
        sets: dict[str, NeuronSet] = {}
        before: Point | None = None
        seen: dict[str, str] = {}
        done: list[dict[str, Any]] = []
        drifts: dict[str, Any] = {}
        # One checkpoint for each worker at a time, so that each of them is opened by one worker and not by all.
        width = self.lab.engine.width
        for wave in [order[:1], *(order[at : at + width] for at in range(1, len(order), width))]:
            number = order.index(wave[0])
            coming = [
                Coming(one, own, next((other for other, mine in order[at + len(wave) :] if not mine), None))
                for at, (one, own) in enumerate(wave, start=number)
            ]
            met: list[tuple[Coming, Mapping[str, Any]]] = []
            for one, found in zip(coming, meet(self.lab, coming), strict=True):
                fingerprint, place = found["identity"]["fingerprint"], one.checkpoint.place
                if fingerprint in seen:
                    why = f"{place.name} holds the very weights of {seen[fingerprint]}, in other files"
                    if self.settings.on_duplicate == "refuse":
                        raise StudyError(f"a series of {len(order)} checkpoints", why, _TODO)
                    skipped.append({"name": place.name, "step": place.step, "why": why})
                    continue
                context = found["context"] if context is None else context
                check_kind(self.lab, place, found, context)
                seen[fingerprint] = place.name
                met.append((one, found["identity"]))
            points = scanned(self.lab, met)
            if last is None:
                last, sets = points[0], self._sets(points[0].scan)
            done += self._scored(points, sets)
            turned: list[tuple[str, str, Cell]] = []
            for point in points:
                # That of the last one is zero throughout, and keeps its weights.
                turned.append((point.place.name, "last", drift_cell(self.lab, point, last, sets, point)))
                if point is not last:
                    if before is not None:
                        turned.append((before.place.name, "next", drift_cell(self.lab, before, point, sets, point)))
                    before = point
            self.lab.run([cell for _, _, cell in turned])
            for name, to, cell in turned:
                drifts.setdefault(name, {})[to] = cell.key
        if before is not None:
            drifts[before.place.name]["next"] = drifts[before.place.name]["last"]
        self._enough(len(done))
        done = [*done[1:], done[0]]
        cohort = sets["cohort"]
        # An origin of its own: the cohort need not be the study's top set, whose origin it has from its own scan.
        origin = f"training cohort: {cohort.origin} at the last checkpoint"
        self.lab.save_set("training cohort", NeuronSet(cohort.indices, cohort.layout, origin))
        return {
            "share": self.share,
            "scores": list(self.lab.effect_scores),
            "cohort": len(cohort),
            "sample": len(sets["sample"]),
            "checkpoints": [{**checkpoint, "drift": drifts[checkpoint["name"]]} for checkpoint in done],
            "skipped": sorted(skipped, key=lambda one: one["step"]),
            "notes": [
                *self.facts["notes"],
                *(f"training: {checkpoint['why']}; it is left out" for checkpoint in skipped),
            ],
        }

    def _enough(self, found: int) -> None:
        if found < 2:
            raise StudyError(
                "the training analysis",
                "fewer than two checkpoints that differ",
                "name more of them, or replace the copies",
            )

    def _sets(self, scan: Scan) -> dict[str, NeuronSet]:
        """The cohort, as many neurons at random for each seed, and the others whose weights are followed."""
        s = self.lab.study
        cohort = scan.top(self.share, by=s.by, layers=s.layers)
        counts = {
            path: np.arange(min(self.settings.compare * len(chosen), cohort.layout.sizes[path] - len(chosen)))
            for path, chosen in cohort.indices.items()
        }
        like = NeuronSet(counts, cohort.layout)
        sample = random(cohort.layout, None, s.seed, like, exclude=cohort)
        drawn = random_sets(scan, None, self.seeds, like=cohort) if self.seeds else []
        seeded = {f"random, seed {seed}": one for seed, one in zip(self.seeds, drawn, strict=True)}
        return {"cohort": cohort, "sample": sample, **seeded}

    def _scored(self, points: Sequence[Point], sets: Mapping[str, NeuronSet]) -> list[dict[str, Any]]:
        """Score each plain checkpoint and all its conditions."""
        conditions = [(point, one) for point in points for one in self._conditions(point, sets)]
        wanted = [
            {score: score_cell(self.lab, point, score, condition) for score in self.lab.effect_scores}
            for point, condition in conditions
        ]
        self.lab.run(list({cell.key: cell for cells in wanted for cell in cells.values()}.values()))
        scored = [
            (point, condition.scored({score: cell.key for score, cell in cells.items()}))
            for (point, condition), cells in zip(conditions, wanted, strict=True)
        ]
        return [
            {
                "name": point.place.name,
                "step": point.place.step,
                "fingerprint": point.identity["fingerprint"],
                "scan": point.scan_key,
                "conditions": written([one for at, one in scored if at is point]),
            }
            for point in points
        ]

    def _conditions(self, point: Point, sets: Mapping[str, NeuronSet]) -> list[Condition]:
        """The plain checkpoint, the last one's top set, its own, and random ones."""
        s, at = self.lab.study, point.place.name
        own = point.scan.top(self.share, by=s.by, layers=s.layers)
        chosen: list[tuple[str, int | None, NeuronSet]] = [
            ("fixed cohort", None, sets["cohort"]),
            ("moving cohort", None, own),
            *((RANDOM, seed, sets[f"random, seed {seed}"]) for seed in self.seeds),
        ]
        return [
            Condition(name=f"{at}, {BASELINE}"),
            *(
                condition(
                    f"{at}, {role}" if seed is None else f"{at}, {role}, seed {seed}",
                    role,
                    neurons,
                    s.intervention,
                    point.scan,
                    share=self.share,
                    seed=seed,
                )
                for role, seed, neurons in chosen
            ),
        ]

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        return training_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        return training_words.sentences(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)


def _checkpoint(checkpoint: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(Place.model_validate(checkpoint["place"]), Contents.model_validate(checkpoint["contents"]))


def _is_own(place: Place, held: Contents, source: ModelSource) -> bool:
    """Return True if a checkpoint is the study's model: the same folder, file, or commit of one repository."""
    if place.revision is None:
        there = Path(source.name).expanduser()
        return source.revision is None and there.exists() and there.resolve() == Path(place.model).resolve()
    return place.model == source.name and source.commit is not None and source.commit == held.commit
