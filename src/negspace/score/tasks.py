"""Benchmark tasks of lm-evaluation-harness, run on a live model object.

Prompts, choices, tokens and metrics are the harness's own. Three things are decided here instead: the log-likelihood of
an answer comes from the kernel that scores minimal pairs (`answers`: the same value, a context run once for all of its
answers); a choice counts as right only if it scores strictly higher than every wrong one, and an answer as the model's
first choice only if its tokens do (the harness takes the first of several equal ones, and of values that are not
numbers); and nothing is cached, since the harness's response cache knows of requests but not of what has been done to
the model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from negspace.errors import ScoreError, TasksError
from negspace.given import check_count, named
from negspace.models.model import check_model
from negspace.score.harness import Harness, check_task, choose_metric, load_tasks, quiet, request_lines
from negspace.score.logprobs import Progress
from negspace.score.taskoutcomes import judge
from negspace.score.ways import Way
from negspace.text.pairs import evenly
from negspace.text.specials import encode, surround

if TYPE_CHECKING:
    from negspace.models.model import Model

DEFAULT = ("arc_easy", "arc_challenge", "boolq", "hellaswag", "openbookqa", "piqa", "sciq", "winogrande")
"""The eight benchmarks of Kong et al. (2026) that are not about grammar."""
SEED = 1234
"""The harness's own seed for drawing few-shot examples."""
_SOME = 200
"""Requests from which the tokens of all are estimated."""
_PROBE = 200
"""Characters of a request in which the tokenizer's own special tokens are found."""


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

    def tokens(self, tokenizer: PreTrainedTokenizerBase) -> float:
        """Tokens of all requests, estimated from some that are spread over them."""
        requests = [request for task in self.loaded.values() for request in task.instances]
        some = [requests[place] for place in evenly(len(requests), _SOME)]
        texts = ["".join(_texts(request.args)) for request in some]
        return sum(map(len, encode(tokenizer, texts))) / len(some) * len(requests)

    def appended(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """Tokens that a tokenizer puts after each text by itself; they are cut off.

        Raises:
            TextError: they cannot be told from a text's own.
        """
        texts = (part for task in self.loaded.values() for request in task.instances for part in request.args)
        probe = next((text.strip()[:_PROBE] for text in texts if isinstance(text, str) and text.strip()), None)
        return () if probe is None else surround(tokenizer, probe).after


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
    """One row per item: task, item (its place in the data and a hash of it: the same under every condition), index,
    metric, value (float64: 1 right, 0 not; or the metric's own value), outcome ("right", "wrong", "tie", "graded"),
    margin (float64, nats, or nats a character under acc_norm: best right choice minus best wrong one; NaN without
    choices), choices (0 without), chance (of guessing right: right choices divided by all; NaN without), cut (the
    prompt, with the text to be generated if any, exceeded the model's context and lost its beginning), harness
    (float64: the value by the harness's own rule)."""
    notes: tuple[str, ...] = ()
    """Notes on possible surprises: cut prompts."""

    @cached_property
    def by_task(self) -> pd.DataFrame:
        """One row per task: task, n, metric, value (mean over its items), stderr (standard deviation of the items
        divided by sqrt(n)), chance (mean over its items; NaN without choices), ties, cut, harness (mean of the
        harness's own values: differs from `value` by ties only)."""
        rows = []
        for task, part in self.items.groupby("task", sort=False):
            n = len(part)
            rows.append(
                {
                    "task": task,
                    "n": n,
                    "metric": part["metric"].iloc[0],
                    "value": float(part["value"].mean()),
                    "stderr": float(part["value"].std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
                    "chance": float(np.mean(part["chance"].to_numpy())),
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
        """Items whose right answer scores exactly as high as a wrong one; or whose answer, which must be the model's
        first choice, has a token that is exactly as probable as another."""
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
        batch: most requests in one forward pass, by the longest of them; by default as many as memory allows. Texts are
            generated one by one; where a task samples them, from the same seeds each time.
        progress: called with (requests done, requests in all, "tasks").

    Raises:
        ModelError: not a model.
        TasksError: see `read_tasks`.
        TextError: what the tokenizer puts around a text cannot be told from the text.
        ScoreError: a log-likelihood that is not finite, an answer without a token of its own, a tokenizer that has
            neither BOS nor EOS or does not belong to the model, texts to generate that are as long as the model's
            context, or a batch below 1.
    """
    check_model(model, "tasks")
    check_count("batch", batch, ScoreError)
    chosen = (
        tasks
        if isinstance(tasks, TaskSet)
        else read_tasks(tasks, folder=folder, limit=limit, fewshot=fewshot, metrics=metrics, seed=seed)
    )
    return score_tasks(model, chosen, batch=batch, progress=progress)


def score_tasks(
    model: Model,
    chosen: TaskSet,
    *,
    batch: int | None = None,
    progress: Progress | None = None,
    change: Callable[[], AbstractContextManager[object]] = nullcontext,
    ways: dict[bytes, Way] | None = None,
) -> TaskScores:
    """Score tasks that were read before; see `tasks`.

    Args:
        model: the model.
        chosen: the tasks.
        batch: see `tasks`.
        progress: see `tasks`.
        change: opens the condition to score under; how the network is run is settled outside of it.
        ways: see `LogProbs`.
    """
    harness = Harness()
    with quiet():
        lm = harness.model(model, batch, progress, change, ways, chosen.appended(model.tokenizer))
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
    items = _items(chosen, result["samples"], lm.cut, lm.tied)
    return TaskScores(
        chosen.hash, chosen.source, chosen.fewshot, chosen.harness, items, tuple(_notes(chosen, items, model.context))
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
        tasks: harness tasks, groups or tags by name, or tasks that the folder defines.
        folder: local JSONL files, one a task, with the fields that the Hugging Face data sets have; they stand for the
            split that is evaluated. A task that the harness does not know is defined by a NAME.yaml beside its file,
            in the harness's own form as far as that is plain data (`read_definition`). Without a folder the harness
            fetches its own data sets (from the hub or its cache).
        limit: items of each task, spread evenly over it; all by default.
        fewshot: solved examples before each item, which need a training split (NAME.train.jsonl in a folder); None
            for each task's own number.
        metrics: other metrics for some tasks.
        seed: draws the examples.

    Raises:
        TasksError: the harness is not installed; an unknown task; data that is missing, malformed or cannot be
            fetched; no such metric, or none that is a mean over items.
    """
    names = [tasks] if isinstance(tasks, str) else list(tasks) if isinstance(tasks, Iterable) else [tasks]
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise TasksError("tasks by name", named(wrong[0]), "give the names in a list, such as ['piqa', 'sciq']")
    asked = f"the tasks {', '.join(names)}" if names else "no task"
    if not names or len(set(names)) != len(names):
        raise TasksError(asked, "none, or one twice", "name each task once")
    check_count("limit", limit, TasksError, what=asked)
    check_count("fewshot", fewshot, TasksError, 0, asked)
    harness = Harness()
    with quiet():
        loaded = load_tasks(harness, names, folder, fewshot or 0)
        for name, task in loaded.items():
            check_task(name, task)
            if fewshot is not None:
                task.set_config(key="num_fewshot", value=fewshot)
            elif not task.get_config("num_fewshot"):
                task.set_config(key="num_fewshot", value=0)
            elif folder is not None:
                raise TasksError(
                    f"the task {name} from {folder} with its own number of solved examples",
                    f"{task.get_config('num_fewshot')} of them, from a training split that a folder may not have",
                    "give that number as `fewshot`, or 0",
                )
        # Files are often sorted by source.
        indices = {name: tuple(evenly(len(task.eval_docs), limit)) for name, task in loaded.items()}
        chosen = {name: choose_metric(name, task, (metrics or {}).get(name)) for name, task in loaded.items()}
        if unknown := sorted(set(metrics or {}) - set(chosen)):
            raise TasksError(
                f"metrics for {', '.join(unknown)}",
                f"no such task among {', '.join(chosen)}",
                "give metrics for tasks that are asked for",
            )
        digest, requests = hashlib.sha256(), 0
        for name, task in loaded.items():
            head = [name, chosen[name], task.VERSION, list(indices[name])]
            digest.update(json.dumps(head).encode("ascii") + b"\n")
            for line in request_lines(name, task, indices[name], seed):
                digest.update(line.encode("ascii") + b"\n")
            requests += len(task.instances)
    return TaskSet(
        metrics=chosen,
        indices=indices,
        hash=digest.hexdigest(),
        requests=requests,
        source="hub" if folder is None else os.fspath(folder),
        fewshot=fewshot,
        seed=seed,
        harness=harness.version,
        loaded=loaded,
    )


def _items(
    chosen: TaskSet,
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    cut: set[tuple[str, ...]],
    tied: set[tuple[str, str]],
) -> pd.DataFrame:
    rows = []
    for name, task in chosen.loaded.items():
        metric = chosen.metrics[name]
        # A task with several filters of the same answer is read by its first.
        first = samples[name][0]["filter"]
        own = sorted((s for s in samples[name] if s["filter"] == first), key=lambda sample: sample["doc_id"])
        for sample in own:
            verdict = judge(task, metric, sample, tied)
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
                    "chance": verdict.chance,
                    "cut": any(_texts(arguments) in cut for arguments in sample["arguments"]),
                    "harness": float(sample[metric]),
                }
            )
    return pd.DataFrame(rows)


def _texts(arguments: Sequence[Any]) -> tuple[str, ...]:
    """The texts of a request: a context and an answer; a prompt alone where the rest says how to generate."""
    return tuple(part for part in arguments if isinstance(part, str))


def _notes(chosen: TaskSet, items: pd.DataFrame, context: int | None) -> Iterator[str]:
    for task, part in items.groupby("task", sort=False):
        if count := int(part["cut"].sum()):
            where = f"the model's context of {context} tokens" if context else "the model's context"
            generated = chosen.loaded[str(task)].OUTPUT_TYPE == "generate_until"
            what = "prompts with the text to be generated" if generated else "prompts"
            yield f"{task}: {count} of {len(part)} {what} exceed {where} and are cut at the start"
