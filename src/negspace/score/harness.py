"""The one place that imports lm-evaluation-harness: its index of tasks, its wrapper of a live model, its evaluation."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import logging
import os
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from negspace.errors import ScoreError, TasksError
from negspace.score.answers import answers, without_tokens
from negspace.score.logits import Standing, check_known
from negspace.score.logprobs import LogProbs, Progress
from negspace.score.taskdefinitions import read_definition
from negspace.score.taskfiles import read_rows
from negspace.score.ways import Way
from negspace.text.specials import check_prefix

if TYPE_CHECKING:
    from negspace.models.model import Model

_PREFERRED = ("acc_norm", "acc", "exact_match")
_FOLDERS = {
    "arc_challenge": "arc",
    "arc_easy": "arc",
    "boolq": "super_glue/boolq",
    "copa": "super_glue/copa",
    "hellaswag": "hellaswag",
    "lambada_openai": "lambada",
    "openbookqa": "openbookqa",
    "piqa": "piqa",
    "sciq": "sciq",
    "social_iqa": "siqa",
    "winogrande": "winogrande",
}
"""The harness's folders of well-known tasks; a task that has moved is found by reading everything."""


class Harness:
    """The parts of lm-evaluation-harness in use, imported when first needed."""

    def __init__(self) -> None:
        try:
            from lm_eval.evaluator import evaluate
            from lm_eval.models.huggingface import HFLM
            from lm_eval.models.utils import normalize_gen_kwargs
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
        self._settings: Any = normalize_gen_kwargs
        self._manager: Any = TaskManager

    def manager(self, names: Sequence[str]) -> Any:
        """Its index of tasks, of the folders of well-known ones only where these are all that is asked for.

        Reading all of its some ten thousand YAML files takes seconds; either index is kept.
        """
        if set(names) <= set(_FOLDERS):
            known = _index(self._manager, tuple(sorted({_FOLDERS[name] for name in names})))
            if set(names) <= set(known.task_index):
                return known
        return _index(self._manager, None)

    def model(
        self,
        model: Model,
        batch: int | None,
        progress: Progress | None,
        change: Callable[[], AbstractContextManager[object]] = nullcontext,
        ways: dict[bytes, Way] | None = None,
        after: tuple[int, ...] = (),
    ) -> Any:
        """The harness's wrapper of a live model: answers scored by our kernel, `progress` for its bars, cuts noted.

        Args:
            model: the model.
            batch: most requests in one forward pass, by the longest of them; texts are generated one by one.
            progress: called with (requests done, requests in all, "tasks").
            change: opens the condition under which the model is run.
            ways: see `LogProbs`.
            after: tokens that the tokenizer puts after a text by itself, which are no part of a context or an answer.

        Raises:
            ScoreError: the tokenizer has neither BOS nor EOS.
        """
        check_prefix(
            model.tokenizer,
            "scores on benchmark tasks, where BOS or else EOS stands for an empty context",
            "set the tokenizer's bos_token",
        )

        settings = self._settings

        class Live(self._hflm):
            def __init__(self) -> None:
                with _left_alone(model.module):
                    super().__init__(
                        pretrained=model.module,
                        tokenizer=deepcopy(model.tokenizer),  # the harness sets a padding token on it
                        max_length=model.context,
                        batch_size=1,  # texts generated in a batch would be padded, and depend on each other
                    )
                self._asked: Sequence[Any] = ()
                self.cut: set[tuple[str, ...]] = set()
                self.tied: set[tuple[str, str]] = set()
                self._sampled: Counter[bytes] = Counter()
                self.cache_hook = self  # nothing is cached; its call after each generated text counts
                self._done = self._whole = 0

            def add_partial(self, *_: Any) -> None:
                self._tell(self._done + 1)

            def _tell(self, done: int) -> None:
                news, self._done = done > self._done, done
                if progress and news:
                    progress(done, max(done, self._whole), "tasks")

            def _cut(self, text: str, tokens: list[int]) -> int:
                """How many tokens stand for a text, less those put after it."""
                own = self.tokenizer.encode(text, add_special_tokens=False)
                last = min(len(own), len(tokens))  # a context may have lost its beginning
                added = not own or tokens[len(tokens) - last :] != own[len(own) - last :]
                return max(0, len(tokens) - added * len(after))

            def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
                tokens = super().tok_encode(string, *args, **options)
                return tokens[: self._cut(string, tokens)] if after else tokens

            def tok_batch_encode(
                self, strings: list[str], *args: Any, left_truncate_len: int | None = None, **options: Any
            ) -> tuple[Any, Any]:
                ids, mask = super().tok_batch_encode(strings, *args, **options)
                size = self._cut(strings[0], ids[0].tolist()) if after else ids.shape[1]
                begin = max(0, size - left_truncate_len) if left_truncate_len else 0
                if begin:
                    self.cut.add((strings[0],))
                return ids[:, begin:size], mask[:, begin:size]

            def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
                self._whole += len(requests)
                self._asked = requests
                for place, request in enumerate(requests):
                    # The harness takes the first token of what follows an empty context.
                    if not request.args[0] and not self.tok_encode(request.args[1], add_special_tokens=False):
                        raise without_tokens(self._name(place), "answer")
                return super().loglikelihood(requests, disable_tqdm=True)

            def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:
                self._whole += len(requests)
                return super().loglikelihood_rolling(requests, disable_tqdm=True)

            def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
                self._whole += len(requests)
                for request in requests:
                    size = settings(request.args[1], self.max_gen_toks)["max_gen_toks"]
                    if size >= self.max_length:
                        raise ScoreError(
                            f"a text for item {request.doc_id} of {request.task_name}",
                            f"up to {size} tokens to generate, but the model takes {self.max_length}, the prompt's "
                            "included",
                            "leave the task out, or use a model of longer context",
                        )
                with change():
                    return super().generate_until(requests, disable_tqdm=True)

            def _model_generate(self, context: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
                check_known(model.module, int(context.max()), "texts that tasks have a model generate")
                if not options.get("do_sample"):
                    return super()._model_generate(context, *args, **options)
                # Seeded by the prompt, and by how often it came: the same draws under every condition, whatever other
                # items are asked for.
                prompt = context.cpu().numpy().tobytes()
                self._sampled[prompt] += 1
                seed = hashlib.sha256(prompt + str(self._sampled[prompt]).encode()).digest()[:4]
                devices = range(torch.cuda.device_count()) if context.is_cuda else ()
                with torch.random.fork_rng(devices):
                    torch.manual_seed(int.from_bytes(seed, "little"))
                    return super()._model_generate(context, *args, **options)

            def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, override_bs: Any = None) -> Any:
                most, before = self.max_length, self._done
                lengths = [len(context) + len(answer) for _, context, answer in requests]
                pairs = (texts for (texts, _, _), n in zip(requests, lengths, strict=True) if n > most + 1)
                self.cut.update(texts for texts in pairs if texts is not None)
                tokens = batch and batch * min(most, max(lengths, default=1))
                scorer = LogProbs(model.module, batch_tokens=tokens, ways=ways, context=most)
                totals, places = answers(
                    scorer,
                    [(context, answer) for _, context, answer in requests],
                    change,
                    lambda share: self._tell(before + int(share * len(requests))),
                    self._name,
                )
                self._tell(before + len(requests))
                tied = np.isin(places, (Standing.TIED, Standing.TIED_FIRST))
                self.tied.update(texts for (texts, _, _), tie in zip(requests, tied, strict=True) if tie and texts)
                # What the harness takes for greedy is what `argmax` gives; `judge` decides what a tie is worth.
                return list(zip(totals.tolist(), (places >= Standing.TIED_FIRST).tolist(), strict=True))

            def _name(self, place: int) -> str:
                # Only answers are named: the windows of rolling log-likelihoods are cut to the context.
                return f"an answer of item {self._asked[place].doc_id} of {self._asked[place].task_name}"

        return Live()


@contextmanager
def _left_alone(module: Any) -> Iterator[None]:
    """While open, a model's `tie_weights` and `eval` do nothing.

    The harness calls both on every model. The first goes by the configuration alone, and would put the input embedding
    in the place of an output layer of its own, which transformers keeps when a checkpoint holds both. The second would
    change a part that its owner keeps in training mode.
    """
    own = {name: vars(module)[name] for name in ("tie_weights", "eval") if name in vars(module)}
    module.tie_weights = module.eval = lambda *_, **__: module
    try:
        yield
    finally:
        del module.tie_weights, module.eval
        vars(module).update(own)


@lru_cache(maxsize=8)
def _index(manager: Any, folders: tuple[str, ...] | None) -> Any:
    if folders is None:
        return manager()
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    return manager(include_path=[root / folder for folder in folders], include_defaults=False)


_TEMPLATES = 1024
"""Templates of prompts that are kept compiled; the harness compiles one anew for every field of every item."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the harness's and the data sets' logs, warnings and bars off the terminal, and put everything back."""
    import datasets
    import lm_eval.api.task as building
    import lm_eval.utils as rendering
    from datasets.utils import logging as datasets_logging

    logger, bars = logging.getLogger("lm_eval"), not datasets.are_progress_bars_disabled()
    level, tqdm, verbosity = logger.level, building.tqdm, datasets_logging.get_verbosity()
    templates: Any = rendering.env
    # The harness draws names for tasks from the global generator, and some tasks the order of their choices: the same
    # on every machine.
    drawn = random.getstate()
    random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL + 1)
            datasets_logging.set_verbosity(logging.CRITICAL)
            building.tqdm = lambda items, **_: items
            templates.from_string = lru_cache(_TEMPLATES)(templates.from_string)
            if bars:
                datasets.disable_progress_bars()
            yield
    finally:
        random.setstate(drawn)
        logger.setLevel(level)
        datasets_logging.set_verbosity(verbosity)
        building.tqdm = tqdm
        vars(templates).pop("from_string", None)
        if bars:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                datasets.enable_progress_bars()


def load_tasks(
    harness: Harness, names: Sequence[str], folder: str | os.PathLike[str] | None, fewshot: int
) -> dict[str, Any]:
    """The harness's task objects, in the order asked for; groups and tags become their tasks.

    Raises:
        TasksError: an unknown name, a definition that is refused, or data that cannot be had or do not fit.
    """
    own = {} if folder is None else {name: read_definition(name, folder) for name in names}
    manager = harness.manager([name for name in names if own.get(name) is None])
    for name in names:
        if own.get(name) is None and name not in manager.task_index:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "`lm-eval ls tasks` lists the harness's tasks"
            raise TasksError(f"the task {name!r}", f"lm-evaluation-harness {harness.version} has none", hint)
    specs: list[Any] = list(names)
    if folder is not None:
        # A group is the harness's public way to take a task with another data set: everything else stays its own.
        specs = [
            {"group": f"local {name}", "task": [_local(name, folder, fewshot)]}
            if defined is None
            else {**defined.config, **_local(name, folder, fewshot)}
            for name, defined in own.items()
        ]
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
    for task in found.values():
        _keep_items(task)
    return found


def _keep_items(task: Any) -> None:
    """Let a task's items be made once, and of those that are asked for only these, numbered as the harness does.

    It makes all of them anew at each look at their number, and reads all to give some.
    """
    items, every = task.task_docs, task.doc_iterator

    def some(*, rank: int = 0, limit: int | None = None, world_size: int = 1, samples: list[int] | None = None) -> Any:
        if not samples or (rank, world_size) != (0, 1) or not 0 <= min(samples) <= max(samples) < len(items):
            return every(rank=rank, limit=limit, world_size=world_size, samples=samples)
        return enumerate(items[index] for index in sorted(set(samples)))

    setattr(task, "test_docs" if task.has_test_docs() else "validation_docs", lambda: items)
    task.doc_iterator = some


def _local(name: str, folder: str | os.PathLike[str], fewshot: int) -> dict[str, Any]:
    """The harness's configuration of a task with local rows as the split that it evaluates."""
    from datasets import Dataset

    splits = {"validation": Dataset.from_list(read_rows(name, folder))}
    if fewshot:
        splits["train"] = Dataset.from_list(read_rows(name, folder, "train"))
    # Without examples in the prompt, none need be at hand: the harness would make all items once more for them.
    examples = {"fewshot_split": "train"} if fewshot else {"fewshot_split": None, "fewshot_config": {"samples": []}}
    return {
        "task": name,
        "custom_dataset": lambda **_: splits,
        "validation_split": "validation",
        "test_split": None,
        "training_split": "train" if fewshot else None,
        **examples,
    }


def check_task(name: str, task: Any) -> None:
    """Refuse tasks that a language model by itself cannot be scored on.

    Raises:
        TasksError: the task runs what a model writes, or needs more than text.
    """
    if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
        what = "runs code that the model writes" if getattr(task, "UNSAFE_CODE", False) else "needs pictures or sound"
        raise TasksError(f"the task {name}", f"it {what}", "name tasks of text alone")


def choose_metric(name: str, task: Any, wanted: str | None) -> str:
    """The metric of a task: the one wanted, or acc_norm, acc, exact_match, or the first that is a mean over items.

    Raises:
        TasksError: the task has no such metric, or none that is a mean over items.
    """
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


def request_lines(name: str, task: Any, indices: Sequence[int], seed: int) -> Iterator[str]:
    """One line for every request of a task, with the right answer of its item.

    Raises:
        TasksError: the items do not have what the task's prompts ask for.
    """
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
