"""Benchmark tasks of lm-evaluation-harness, run on a live model object: the one place that imports the harness.

Prompts, choices and log-likelihoods are the harness's own. Two things are decided here instead: a choice counts as
right only if it scores strictly higher than every wrong one (the harness takes the first of several equal ones, and of
values that are not numbers), and nothing is cached, since the harness's response cache knows of requests but not of
what has been done to the model.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import logging
import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from negspace.errors import ScoreError, TasksError
from negspace.score.logprobs import Progress
from negspace.score.taskfiles import read_rows
from negspace.score.taskoutcomes import judge

if TYPE_CHECKING:
    from negspace.models.model import Model

DEFAULT = ("arc_easy", "arc_challenge", "boolq", "hellaswag", "openbookqa", "piqa", "sciq", "winogrande")
"""The eight benchmarks of Kong et al. (2026) that are not about grammar."""
SEED = 1234
"""The harness's own seed for drawing few-shot examples."""

_PREFERRED = ("acc_norm", "acc", "exact_match")
_LOGITS = 1 << 26
"""Logits of one forward pass: 256 MiB in float32, unless a single request gives more."""
_BATCH = 64
"""Most requests of one forward pass; more gain nothing."""


@dataclass(frozen=True, eq=False)
class TaskSet:
    """Tasks with their items, read once and scored under any number of conditions."""

    metrics: Mapping[str, str]
    """Task -> the metric of its items."""
    indices: Mapping[str, tuple[int, ...]]
    """Task -> the items to score, by their place in the data."""
    hash: str
    """sha256 (hex) of every request that a model will see, of the right answers and of the metrics."""
    requests: int
    """Requests that one run makes: about one a choice."""
    characters: int
    """Characters in them, for estimates of time."""
    source: str
    """Folder of local files, or "hub"."""
    fewshot: int | None
    """Solved examples before each item; None for each task's own number."""
    seed: int
    """Seed that drew them."""
    harness: str
    """Version of lm-evaluation-harness."""
    loaded: Mapping[str, Any]
    """Task -> the harness's task object."""

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks, in the order asked for."""
        return tuple(self.metrics)

    @property
    def limited(self) -> dict[str, list[int]]:
        """The items to score of those tasks of which not all are."""
        sizes = {name: len(task.eval_docs) for name, task in self.loaded.items()}
        return {name: list(chosen) for name, chosen in self.indices.items() if len(chosen) < sizes[name]}

    def __len__(self) -> int:
        return sum(len(chosen) for chosen in self.indices.values())


@dataclass(frozen=True, eq=False)
class TaskScores:
    """Outcomes of benchmark items."""

    hash: str
    """Hash of the task set."""
    source: str
    """Folder of local files, or "hub"."""
    fewshot: int | None
    """Solved examples before each item; None for each task's own number."""
    harness: str
    """Version of lm-evaluation-harness."""
    items: pd.DataFrame
    """One row an item: task, item (its place in the data and a hash of it: the same under every condition), index,
    metric, value (float64: 1 right, 0 not; or the metric's own value), outcome ("right", "wrong", "tie", "graded"),
    margin (float64, nats, or nats a character under acc_norm: best right choice minus best wrong one; NaN without
    choices), choices (0 without), cut (the prompt exceeded the model's context and lost its beginning), harness
    (float64: the value by the harness's own rule)."""
    notes: tuple[str, ...] = ()
    """What may surprise: cut prompts, tasks of one item."""

    @cached_property
    def by_task(self) -> pd.DataFrame:
        """One row a task: task, n, metric, value (mean over its items), stderr (standard deviation of the items
        divided by sqrt(n)), chance (mean of 1 / choices; NaN without choices), ties, cut, harness (mean of the
        harness's own values: differs from `value` by ties only)."""
        rows = []
        for task, part in self.items.groupby("task", sort=False):
            n = len(part)
            choices = part["choices"].to_numpy(np.float64)
            rows.append(
                {
                    "task": task,
                    "n": n,
                    "metric": part["metric"].iloc[0],
                    "value": float(part["value"].mean()),
                    "stderr": float(part["value"].std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
                    "chance": float(np.mean(1 / choices)) if choices.min() > 0 else float("nan"),
                    "ties": int((part["outcome"] == "tie").sum()),
                    "cut": int(part["cut"].sum()),
                    "harness": float(part["harness"].mean()),
                }
            )
        return pd.DataFrame(rows)

    @property
    def accuracy(self) -> float:
        """Mean over tasks of their values, so that large tasks weigh no more than small ones."""
        return float(self.by_task["value"].mean())

    @property
    def ties(self) -> int:
        """Items whose right answer scores exactly as high as a wrong one."""
        return int((self.items["outcome"] == "tie").sum())


def tasks(
    model: Model,
    tasks: TaskSet | str | Sequence[str] = DEFAULT,
    *,
    folder: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    fewshot: int | None = 0,
    metrics: Mapping[str, str] | None = None,
    batch: int | None = None,
    seed: int = SEED,
    progress: Progress | None = None,
) -> TaskScores:
    """Score a model, as it is now, on tasks of lm-evaluation-harness.

    Log-probabilities come from a softmax in float32 over whatever logits the model gives. Contexts that exceed the
    model's lose their beginning, as the harness has it; `items` and `notes` say which.

    Args:
        tasks: harness tasks by name; or a set read before, with which the arguments up to `metrics` and the seed are
            fixed.
        folder, limit, fewshot, metrics, seed: see `read_tasks`.
        batch: requests in one forward pass; by default as many as keep the logits within 256 MiB, at most 64.
        progress: called with (requests done, requests in all, "tasks").

    Raises:
        TasksError: see `read_tasks`.
        ScoreError: a log-likelihood that is not finite, or a batch below 1.
    """
    if batch is not None and batch < 1:
        raise ScoreError(f"batch={batch}", "it must be at least 1", "give batch=1 or more, or leave it out")
    chosen = (
        tasks
        if isinstance(tasks, TaskSet)
        else read_tasks(tasks, folder=folder, limit=limit, fewshot=fewshot, metrics=metrics, seed=seed)
    )
    harness = _Harness()
    with _quiet():
        lm = harness.model(model, batch, progress)
        for task in chosen.loaded.values():
            task.set_fewshot_seed(seed=chosen.seed)  # building the prompts draws from it: the same ones every time
        result = harness.evaluate(
            lm=lm,
            task_dict={"tasks": dict(chosen.loaded), "groups": {}, "group_map": {}},
            samples=chosen.limited,
            cache_requests=False,
            bootstrap_iters=0,
            log_samples=True,
        )
    items = _items(chosen, result["samples"], lm.cut)
    return TaskScores(
        chosen.hash, chosen.source, chosen.fewshot, chosen.harness, items, tuple(_notes(items, model.context))
    )


def read_tasks(
    tasks: str | Sequence[str] = DEFAULT,
    *,
    folder: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    fewshot: int | None = 0,
    metrics: Mapping[str, str] | None = None,
    seed: int = SEED,
) -> TaskSet:
    """Read harness tasks and their items.

    The metric of a task is acc_norm (log-likelihood divided by the characters of a choice) where the harness reports
    it for the task, else acc, else exact_match, else the first of its metrics that is a mean over items: the same rule
    for every task, named in every result. ARC, HellaSwag, OpenBookQA, PIQA and SciQ have acc_norm; BoolQ, COPA,
    LAMBADA, Social IQa and WinoGrande have acc.

    Args:
        tasks: harness tasks, groups or tags by name.
        folder: local JSONL files, one a task, with the fields that the Hugging Face data sets have; they stand for the
            split that is evaluated. Without it the harness fetches its own data sets (from the hub or its cache).
        limit: items of each task, spread evenly over it; all by default.
        fewshot: solved examples before each item, which need a training split (NAME.train.jsonl in a folder); None
            for each task's own number.
        metrics: other metrics for some tasks.
        seed: draws the examples.

    Raises:
        TasksError: the harness is not installed; an unknown task; data that is missing, malformed or cannot be
            fetched; no such metric, or none that is a mean over items.
    """
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    asked = f"the tasks {', '.join(names)}" if names else "no task"
    if not names or len(set(names)) != len(names):
        raise TasksError(asked, "none, or one twice", "name each task once")
    if isinstance(limit, bool) or (limit is not None and limit < 1):
        raise TasksError(asked, f"limit={limit}", "give a limit of 1 or more, or leave it out")
    if fewshot is not None and fewshot < 0:
        raise TasksError(asked, f"fewshot={fewshot}", "give 0 or more, or None for each task's own number")
    harness = _Harness()
    with _quiet():
        loaded = _load(harness, names, folder, fewshot or 0)
        for name, task in loaded.items():
            _check(name, task)
            if fewshot is not None:
                task.set_config(key="num_fewshot", value=fewshot)
            elif task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
        indices = {name: _spread(len(task.eval_docs), limit) for name, task in loaded.items()}
        chosen = {name: _metric(name, task, (metrics or {}).get(name)) for name, task in loaded.items()}
        if unknown := sorted(set(metrics or {}) - set(chosen)):
            raise TasksError(
                f"metrics for {', '.join(unknown)}",
                f"no such task among {', '.join(chosen)}",
                "give metrics for tasks that are asked for",
            )
        digest, requests, characters = hashlib.sha256(), 0, 0
        for name, task in loaded.items():
            head = [name, chosen[name], task.VERSION, list(indices[name])]
            digest.update(json.dumps(head).encode("ascii") + b"\n")
            for line in _requests(name, task, indices[name], seed):
                digest.update(line.encode("ascii") + b"\n")
                characters += len(line)
            requests += len(task.instances)
    return TaskSet(
        metrics=chosen,
        indices=indices,
        hash=digest.hexdigest(),
        requests=requests,
        characters=characters,
        source="hub" if folder is None else os.fspath(folder),
        fewshot=fewshot,
        seed=seed,
        harness=harness.version,
        loaded=loaded,
    )


class _Harness:
    """What is used of lm-evaluation-harness, imported when first needed."""

    def __init__(self) -> None:
        try:
            from lm_eval.evaluator import evaluate
            from lm_eval.models.huggingface import HFLM
            from lm_eval.tasks import TaskManager
        except ImportError as error:
            raise TasksError(
                "scores on benchmark tasks",
                f"lm-evaluation-harness cannot be imported ({error})",
                "install it: pip install 'negspace[tasks]'",
            ) from error
        self.evaluate: Any = evaluate
        self.version = importlib.metadata.version("lm_eval")
        self._hflm: Any = HFLM
        self._manager: Any = TaskManager

    def manager(self) -> Any:
        """Its index of tasks; reading some ten thousand YAML files takes seconds, so it is kept."""
        return _index(self._manager)

    def model(self, model: Model, batch: int | None, progress: Progress | None) -> Any:
        """The harness's wrapper of a live model: float32 softmax, `progress` for its bars, cut prompts noted."""
        from copy import deepcopy

        vocabulary = int(model.module.config.get_text_config(decoder=True).vocab_size)

        class Live(self._hflm):
            def __init__(self) -> None:
                super().__init__(
                    pretrained=model.module,
                    tokenizer=deepcopy(model.tokenizer),  # the harness sets a padding token on it
                    softmax_dtype="float32",
                    max_length=model.context,
                    batch_size=batch or 1,
                )
                self.cut: set[tuple[str, str]] = set()
                self.cache_hook = self  # nothing is cached; its call after each answer counts
                self._done = self._whole = 0

            def add_partial(self, *_: Any) -> None:
                self._done += 1
                if progress:
                    progress(self._done, max(self._done, self._whole), "tasks")

            def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
                self._whole += len(requests)
                return super().loglikelihood(requests, disable_tqdm=True)

            def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:
                self._whole += len(requests)
                return super().loglikelihood_rolling(requests, disable_tqdm=True)

            def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
                self._whole += len(requests)
                return super().generate_until(requests, disable_tqdm=True)

            def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, override_bs: Any = None) -> Any:
                lengths = [len(context) + len(answer) for _, context, answer in requests]
                allowed = self.max_length + 1
                pairs = (texts for (texts, _, _), n in zip(requests, lengths, strict=True) if n > allowed)
                self.cut.update(texts for texts in pairs if texts is not None)
                if batch is None:
                    widest = min(allowed, max(lengths, default=1)) * vocabulary
                    self.batch_size_per_gpu = max(1, min(_BATCH, _LOGITS // widest))
                return super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)

        return Live()


@lru_cache(maxsize=1)
def _index(manager: Any) -> Any:
    return manager()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness's and the data sets' logs, warnings and bars off the terminal, and put everything back."""
    import datasets
    import lm_eval.api.task as building
    from datasets.utils import logging as datasets_logging

    logger, bars = logging.getLogger("lm_eval"), not datasets.are_progress_bars_disabled()
    level, tqdm, verbosity = logger.level, building.tqdm, datasets_logging.get_verbosity()
    drawn = random.getstate()  # the harness draws names for tasks from the global generator
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL + 1)
            datasets_logging.set_verbosity(logging.CRITICAL)
            building.tqdm = lambda items, **_: items
            if bars:
                datasets.disable_progress_bars()
            yield
    finally:
        random.setstate(drawn)
        logger.setLevel(level)
        datasets_logging.set_verbosity(verbosity)
        building.tqdm = tqdm
        if bars:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                datasets.enable_progress_bars()


def _load(
    harness: _Harness, names: Sequence[str], folder: str | os.PathLike[str] | None, fewshot: int
) -> dict[str, Any]:
    """The harness's task objects, in the order asked for; groups and tags become their tasks."""
    manager = harness.manager()
    for name in names:
        if name not in manager.task_index:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "`lm-eval ls tasks` lists the harness's tasks"
            raise TasksError(f"the task {name!r}", f"lm-evaluation-harness {harness.version} has none", hint)
    specs: list[Any] = list(names)
    if folder is not None:
        # A group is the harness's public way to take a task with another data set: everything else stays its own.
        specs = [{"group": f"local {name}", "task": [_local(name, folder, fewshot)]} for name in names]
    found: dict[str, Any] = {}
    for name, spec in zip(names, specs, strict=True):
        try:
            loaded = manager.load([spec])["tasks"]
        except Exception as error:  # whatever a data set's own code, the hub or a template may raise
            raise TasksError(
                f"the task {name}" + (f" from {folder}" if folder is not None else ""),
                f"{type(error).__name__}: {str(error).strip() or 'no further message'}",
                "check the fields of its file"
                if folder is not None
                else "check the connection to the hub, or give a folder of local files",
            ) from error
        found |= loaded
    return found


def _local(name: str, folder: str | os.PathLike[str], fewshot: int) -> dict[str, Any]:
    """The harness's configuration of a task with local rows as the split that it evaluates."""
    from datasets import Dataset

    splits = {"validation": Dataset.from_list(read_rows(name, folder))}
    if fewshot:
        splits["train"] = Dataset.from_list(read_rows(name, folder, "train"))
    return {
        "task": name,
        "custom_dataset": lambda **_: splits,
        "validation_split": "validation",
        "test_split": None,
        "training_split": "train" if fewshot else None,
        "fewshot_split": "train" if fewshot else None,
    }


def _check(name: str, task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
        what = "runs code that the model writes" if getattr(task, "UNSAFE_CODE", False) else "needs pictures or sound"
        raise TasksError(f"the task {name}", f"it {what}", "name tasks of text alone")


def _metric(name: str, task: Any, wanted: str | None) -> str:
    """The metric of a task: one that is a mean over items."""
    aggregation = task.aggregation()
    means = [metric for metric in aggregation if getattr(aggregation[metric], "__name__", "") == "mean"]
    if wanted is not None and wanted not in means:
        raise TasksError(
            f"the metric {wanted} of {name}",
            f"means over its items: {', '.join(means) or 'none'}",
            "ask for one of these, or leave it out",
        )
    if not means:
        raise TasksError(
            f"the task {name}",
            f"no metric of it is a mean over items ({', '.join(aggregation) or 'none at all'})",
            "name a task whose items are right or wrong",
        )
    return wanted or next((metric for metric in _PREFERRED if metric in means), means[0])


def _spread(count: int, limit: int | None) -> tuple[int, ...]:
    """`limit` of `count` places, spread evenly from the first on: files are often sorted by source."""
    if limit is None or limit >= count:
        return tuple(range(count))
    return tuple(k * count // limit for k in range(limit))


def _requests(name: str, task: Any, indices: Sequence[int], seed: int) -> Iterator[str]:
    """One line for every request of a task, with the right answer of its item."""
    task.set_fewshot_seed(seed=seed)
    try:
        task.build_all_requests(samples=list(indices) if len(indices) < len(task.eval_docs) else None)
        for instance in task.instances:
            yield json.dumps(
                [instance.doc_id, instance.idx, instance.args, task.doc_to_target(instance.doc)], default=str
            )
    except Exception as error:
        raise TasksError(
            f"the task {name}",
            f"its items do not fit the harness's prompts ({type(error).__name__}: {error})",
            "check the fields of its file",
        ) from error


def _items(
    chosen: TaskSet, samples: Mapping[str, Sequence[Mapping[str, Any]]], cut: set[tuple[str, str]]
) -> pd.DataFrame:
    rows = []
    for name, task in chosen.loaded.items():
        metric = chosen.metrics[name]
        # A task with several filters of the same answer is read by its first.
        first = samples[name][0]["filter"]
        own = sorted((s for s in samples[name] if s["filter"] == first), key=lambda sample: sample["doc_id"])
        for sample in own:
            verdict = judge(task, metric, sample)
            rows.append(
                {
                    "task": name,
                    "item": f"{sample['doc_id']}-{sample['doc_hash'][:12]}",
                    "index": int(sample["doc_id"]),
                    "metric": metric,
                    "value": verdict.value,
                    "outcome": verdict.outcome,
                    "margin": verdict.margin,
                    "choices": verdict.choices,
                    "cut": any(tuple(arguments[:2]) in cut for arguments in sample["arguments"]),
                    "harness": float(sample[metric]),
                }
            )
    return pd.DataFrame(rows)


def _notes(items: pd.DataFrame, context: int | None) -> Iterator[str]:
    for task, part in items.groupby("task", sort=False):
        if count := int(part["cut"].sum()):
            where = f"the model's context of {context} tokens" if context else "the model's context"
            yield f"{task}: {count} of {len(part)} prompts exceed {where} and lose their beginning"
