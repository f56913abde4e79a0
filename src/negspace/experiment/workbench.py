"""The workbench: a model and its data, loaded once, on which cells are computed one by one."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch

from negspace.controls import rectifies
from negspace.errors import PairsError, StudyError, TasksError
from negspace.experiment.cells import HEADLESS, VERSIONS
from negspace.experiment.config import Study
from negspace.experiment.examples import windows_read
from negspace.experiment.facts import Facts, Survey, TaskFacts
from negspace.experiment.identity import check_identity, identity
from negspace.experiment.scored import nesting_of
from negspace.garbage import no_collection
from negspace.intervention import Intervention, intervene
from negspace.memory import Frugal, give_back
from negspace.models.identity import check_unchanged
from negspace.models.load import load
from negspace.models.model import Model
from negspace.models.multiplications import multiplications
from negspace.neurons.layout import Layout
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.score.pairs import Prepared, prepare
from negspace.score.passes import tokens_of
from negspace.score.perplexity import token_nll
from negspace.score.taskfiles import known_tasks
from negspace.score.tasks import TaskSet, read_tasks
from negspace.score.ways import Way
from negspace.significance.nesting import Nesting, Shortfall
from negspace.text.pairs import PairSet, read_pairs
from negspace.text.source import Text, read_text
from negspace.text.suites import SUITES, TITLES
from negspace.text.windows import Windows, make_windows, specials_written, statistics_windows
from negspace.threads import candidates, choose, warm_rate

_OWN = frozenset(VERSIONS)
"""Kinds of cells that are about the workbench's own model, and no other."""
_AT_ONCE = 16
"""Most windows that a trial of the model's speed reads."""
_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "exact_match")


Handler = Callable[["Workbench", Cell, Step], tuple[Mapping[str, Any], pd.DataFrame]]
"""Computes the results and items of a cell of one kind, on a workbench; must depend on nothing but the cell."""
Reader = Callable[["Workbench"], Mapping[str, Any]]
"""Reads the data that one analysis needs by itself; returns JSON values."""


Made = TypeVar("Made")
_CALLED = {
    "statistics": "text for the statistics",
    "windows": "windows for perplexity",
    "pairs": "minimal pairs",
    "tasks": "tasks",
}
"""Data of a study, as errors call them."""


class Workbench:
    """Loads what a study names and computes its cells.

    Args:
        study: what to load.
        handlers: kind of cell -> what computes it.
        model: a model in memory, instead of loading the study's.
        readers: analysis -> what reads the data that only it needs.
    """

    def __init__(
        self,
        study: Study,
        handlers: Mapping[str, Handler] | None = None,
        model: Model | None = None,
        readers: Mapping[str, Reader] | None = None,
    ) -> None:
        self.study = study
        self.readers = dict(readers or {})
        self.frugal = Frugal()
        self.handlers: dict[str, Handler] = dict(handlers or {})
        self.ways: dict[bytes, Way] = {}
        """How the model is run on each set of sequences, settled once for all conditions, on the plain model."""
        self._described: Mapping[str, Any] | None = None
        self._planned: Mapping[str, Any] = {}
        self._leave: Callable[[], None] | None = None
        self._given = model is not None
        if model is not None:
            self.model = model

    def listen(self, note: Callable[[str], None] | None) -> None:
        """Have a function called with one sentence each time that batches had to become smaller."""
        self.frugal.note = note

    def make_room(self, leave: Callable[[], None]) -> None:
        """Drop the study's model, so that another is not in memory beside it; one that was given stays.

        Args:
            leave: called before the study's model is loaded again, when it is next asked for; drops the other one.
        """
        self._leave = leave
        if not self._given and self.__dict__.pop("model", None) is not None:
            # Modules hold themselves in cycles.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @cached_property
    def model(self) -> Model:
        """The model, loaded when first needed."""
        if self._leave is not None:
            self._leave()
        s = self.study
        made = load(
            s.model,
            adapter=s.adapter,
            revision=s.revision,
            dtype=s.dtype,
            device=s.device,
            device_map=s.device_map,
            trust_remote_code=s.trust_remote_code,
        )
        if planned := self._planned.get("model"):
            check_identity(made, planned, f"to go on with {s.model}")
        return made

    @cached_property
    def statistics(self) -> Text:
        """Text for the statistics."""
        made = read_text(self.study.statistics_text or self.study.text, role="statistics")
        return self._as_planned("statistics", made, made.hash)

    @cached_property
    def windows(self) -> Windows:
        """Windows for perplexity."""
        s = self.study
        text = read_text(s.perplexity_text or s.text, role="perplexity")
        made = make_windows(
            text,
            self.model.tokenizer,
            window=s.perplexity_window or s.window,
            windows=s.perplexity_windows,
            bos=s.bos,
            context=self.model.context,
        )
        return self._as_planned("windows", made, made.hash)

    @cached_property
    def pairs(self) -> dict[str, PairSet]:
        """Minimal pairs by suite, in the order of `SUITES`."""
        s = self.study
        given = {name: getattr(s, name) for name in SUITES}
        made = {
            name: read_pairs(list(paths), columns=s.pair_columns if name == "pairs" else None, limit=s.limit)
            for name, paths in given.items()
            if paths
        }
        for name, pairs in made.items():
            if name == "pairs" and pairs.kind == "blimp":
                made[name] = replace(pairs, kind="pairs")  # pairs in another's format, scored as all others are
            elif pairs.kind != name:
                raise PairsError(
                    f"the {name} pairs {pairs.name}",
                    f"pairs of {pairs.kind}'s format, which are scored in another way",
                    f"give them as {pairs.kind}: (--{pairs.kind} on the command line)",
                )
        return self._as_planned("pairs", made, _hashes(made))

    @cached_property
    def prepared(self) -> dict[str, Prepared]:
        """The pairs of each suite as the study's model reads them, by the study's protocol; every cell scores these."""
        return {name: prepare(self.model, made, protocol=self.study.protocol) for name, made in self.pairs.items()}

    @cached_property
    def tasks(self) -> TaskSet | None:
        """Tasks with their items; None if the study has none.

        Raises:
            StudyError: more than one folder of tasks.
            TasksError: they cannot be read, or are not scored right or wrong.
        """
        if not self.study.tasks:
            return None
        names, folder = split_tasks(self.study.tasks)
        made = read_tasks(names, folder=folder, limit=self.study.limit, fewshot=self.study.fewshot)
        for name, metric in made.metrics.items():
            if metric not in _ACCURACIES:
                raise TasksError(
                    f"the task {name} in a study",
                    f"its items are graded by {metric}, not right or wrong",
                    "name tasks with one of the metrics " + ", ".join(_ACCURACIES),
                )
        return self._as_planned("tasks", made, made.hash)

    def survey(self) -> Survey:
        """Return the driver's knowledge for planning; reads all data, so that bad input is reported before any work.

        Raises:
            StudyError: an analysis lacks what it needs.
            NegspaceError: something cannot be read or used.
        """
        with no_collection():
            return Survey(self.describe(), {name: read(self) for name, read in self.readers.items()})

    def describe(self) -> Facts:
        """Return the driver's knowledge; reads all data, so that bad input is reported before any work.

        Raises:
            ModelError, SiteError, TextError, PairsError, TasksError: something cannot be read or used.
        """
        pairs = {name: (made.name, made.hash, len(made)) for name, made in self.pairs.items()}
        statistics, chosen = self.statistics, self.tasks
        model, windows = self.model, self.windows
        check_unchanged(model.module, f"a study of {model.source.name}")
        found = model.identify()
        self._described = identity(model, found)
        return Facts(
            source=model.source,
            identity=self._described,
            behaviour=found.behaviour,
            layout=Layout.of(model.sites),
            rectifies=rectifies(model),
            statistics=(statistics.name, statistics.hash),
            specials=specials_written(statistics, model.tokenizer),
            perplexity=(windows.text_name, windows.hash),
            read=(windows.text_hash, windows.window),
            tokens=self._tokens(),
            pairs=pairs,
            tasks=None
            if chosen is None
            else TaskFacts(chosen.source, chosen.hash, len(chosen), chosen.harness, chosen.appended(model.tokenizer)),
            notes=(
                *(f"perplexity: {note}" for note in windows.notes),
                *(f"{TITLES[name]}: {note}" for name, made in self.pairs.items() for note in made.notes),
            ),
            paired={name: len(made.pairs) for name, made in self.pairs.items()},
            groups={
                name: (len(groups), len(set(groups.values())))
                for name, groups in ((name, made.paradigms) for name, made in self.pairs.items())
            },
            prices=dict.fromkeys(HEADLESS, self._reading()),
            shortfalls=tuple(self._shortfalls()),
        )

    def _reading(self) -> float:
        """What a token costs where the output layer is left out, in tokens of a pass with it."""
        layers, output = multiplications(self.model.module)
        return layers / (layers + output)

    def _shortfalls(self) -> Iterator[str]:
        """Say before anything is computed what will be "cannot be judged"."""
        nestings = {"perplexity": Nesting.windows(len(self.windows))}
        for name, made in self.pairs.items():
            paradigms, phenomena = zip(*((pair.paradigm, pair.phenomenon) for pair in made), strict=True)
            nestings[TITLES[name]] = nesting_of(name, paradigms, phenomena)
        for name, nesting in nestings.items():
            if isinstance(level := nesting.level(), Shortfall):
                yield f"{name}: no change can be judged ({level})"

    def _tokens(self) -> dict[str, float]:
        """Return the number of tokens that the model reads for each score."""
        model, windows, s = self.model, self.windows, self.study
        count, size, stride = statistics_windows(
            self.statistics, model.tokenizer, window=s.window, stride=s.stride, windows=s.windows, context=model.context
        )
        made = {"scan": float(count * size), "examples": float(len(windows_read(count, size, stride)) * size)}
        made["perplexity"] = float(windows.tokens.size)
        made |= {name: float(tokens_of(prepared.forest)) for name, prepared in self.prepared.items()}
        if self.tasks is not None:
            made["tasks"] = self.tasks.tokens(model.tokenizer)
        return made

    def rate(self) -> float:
        """Tokens a second that the model reads here; on a CPU under the number of threads that is best now.

        That number stays set. At most as many threads are tried as there were when this was first asked. The rate is
        that of perplexity on the study's own windows, or on the beginning of one where a whole one takes long: shorter
        passes read each weight for fewer tokens and would promise less than the machine gives.
        """
        model, windows = self.model, self.windows

        def forward(count: int) -> torch.Tensor:
            tokens = torch.from_numpy(windows.tokens[:1, :count]).to(model.device)
            with torch.no_grad():
                return model.module(input_ids=tokens, use_cache=False).logits.cpu()

        def measure(count: int) -> int:
            size, rows = min(count, windows.window), max(1, count // windows.window)
            some, special = windows.tokens[:rows, :size], windows.special[:rows, :size]
            token_nll(model, replace(windows, tokens=some, special=special, window=size))
            return some.size

        numbers = candidates(self._threads) if model.device.type == "cpu" else (self._threads,)
        expected, most = choose(forward, windows.window, numbers).rate, min(len(windows), _AT_ONCE) * windows.window
        # Memory that the trial lacks is no sign that cells lack it: they find that out, and say it, themselves.
        return Frugal()(lambda: warm_rate(measure, most, expected), "the trial")

    @cached_property
    def _threads(self) -> int:
        return torch.get_num_threads()

    def compute(self, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        """Results and items of a cell; where memory runs out, from its start again with smaller batches.

        Raises:
            ModelError: the model is not, or no longer, the one that the cell names, or an intervention is open on it.
            StudyError: other data than the study was planned with.
            NegspaceError: what computing the cell raises.
        """
        self._check_data(cell)
        self._check_model(cell)
        try:
            return self.frugal(lambda: self.handlers[cell.kind](self, cell, step), cell.label or cell.kind)
        finally:
            give_back()

    def _check_data(self, cell: Cell) -> None:
        """What is read already; what is not is looked at when it is."""
        self._planned = cell.planned or self._planned
        held = {
            name: self.__dict__[name] for name in ("statistics", "windows", "pairs", "tasks") if name in self.__dict__
        }
        for name, made in held.items():
            if made is not None:
                self._as_planned(name, made, _hashes(made) if name == "pairs" else made.hash)

    def _as_planned(self, name: str, made: Made, found: Any) -> Made:
        """Data that this bench has read, if they are those that the study was planned with."""
        if (planned := self._planned.get(name)) is not None and planned != found:
            raise StudyError(
                f"to compute a study's cells on its {_CALLED[name]}",
                "other data than it was planned with: a file was changed since, or differs on another worker",
                "run the study again from its start: records that fit are used, the rest is computed",
            )
        return made

    def _check_model(self, cell: Cell) -> None:
        """Whoever holds the module may have changed it since, and a worker may hold another."""
        own = cell.kind in _OWN
        if not own and "model" not in self.__dict__:
            return  # it is looked at when it is loaded, if the cell needs it
        asked = cell.spec.get("model")
        if not own and not cell.planned and asked != self._described:
            return
        what = f"to compute {cell.label or cell.kind}"
        check_unchanged(self.model.module, what)
        check_identity(self.model, asked, f"{what} on {self.model.source.name}")

    def changed(self, cell: Cell, model: Model | None = None) -> AbstractContextManager[None]:
        """The intervention that a cell names, on the study's model or another; nothing where it names none."""
        if cell.spec.get("neurons") is None:
            return nullcontext()
        neurons = cell.inputs["neurons"]  # missing, it is an error: a plain score must never pass for an ablated one
        if neurons.key != cell.spec["neurons"]:
            raise ValueError(f"the cell {cell.label!r} names other neurons than it was handed")
        zero, mode = Intervention(cell.spec["intervention"]).arguments
        return intervene(model or self.model, neurons, zero, mode, cell.inputs.get("scan"))


def _hashes(pairs: Mapping[str, PairSet]) -> dict[str, str]:
    return {kind: made.hash for kind, made in pairs.items()}


def split_tasks(given: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Names of tasks, and the folder of their files, if any; a folder alone stands for every task that it holds.

    Raises:
        StudyError: more than one folder, or a folder without tasks.
    """
    folders = [name for name in given if os.path.isdir(name)]
    if len(folders) > 1:
        raise StudyError(
            f"tasks from {' and '.join(folders)}", f"{len(folders)} folders", "put the files into one folder"
        )
    names = tuple(name for name in given if name not in folders)
    if not folders or names:
        return names, folders[0] if folders else None
    held = tuple(known_tasks(Path(folders[0])))
    if not held:
        raise StudyError(
            f"tasks from {folders[0]}", "no file of a task that is known", "name the tasks besides the folder"
        )
    return held, folders[0]
