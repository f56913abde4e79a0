"""Minimal pairs: our scores against lm-evaluation-harness's and minicons' for the same sentences, in turn."""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from negspace.errors import NegspaceError
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.score.pairs import minimal_pairs
from negspace.text.pairs import PairSet, read_pairs

_BATCHES = (16, 64, 256)
"""Batch sizes that the other libraries may choose from: each runs at its fastest."""


def measure(data: str | Path | None = None, limit: int = 20, repeats: int = 5) -> list[dict[str, object]]:
    """Time ours, the harness and minicons on the same pairs, interleaved; a value is the median of the ratios.

    Args:
        data: folder of BLiMP; by default the one beside the checkout, or else the pairs in the package.
        limit: pairs of each paradigm.
        repeats: rounds of all three.
    """
    pairs = read_pairs(data or _default_data(), limit=limit)
    model = _model(pairs)
    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    ours = _ours(model, pairs)
    others = {"lm-evaluation-harness": _harness(model), "minicons": _minicons(model)}

    expected = ours()
    best: dict[str, int] = {}
    worst: dict[str, float] = {}
    for name, run in others.items():
        seconds = {}
        for batch in _BATCHES:
            began = time.perf_counter()
            values = run(sentences, batch)
            seconds[batch] = time.perf_counter() - began
        worst[name] = float(np.abs(np.array(values) - expected).max())
        best[name] = min(seconds, key=seconds.__getitem__)

    ratios: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(repeats):
        mine = _seconds(ours)
        for name, run in others.items():
            ratios[name].append(mine / _seconds(lambda run=run, name=name: run(sentences, best[name])))
    return [
        {
            "name": f"minimal pairs / {name}",
            "value": round(statistics.median(ratios[name]), 3),
            "target": "<= 1.00",
            "met": statistics.median(ratios[name]) <= 1,
            "detail": (
                f"{len(pairs)} pairs of {pairs.name}, {repeats} interleaved rounds "
                f"({min(ratios[name]):.2f} to {max(ratios[name]):.2f}), {name} at its best batch size of {best[name]}; "
                f"scores differ by {worst[name]:.1e} nats at most"
            ),
        }
        for name in others
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ours(model: Model, pairs: PairSet) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        items = minimal_pairs(model, pairs, protocol="lm-eval", score="sum").items
        return items[["good", "bad"]].to_numpy().ravel()

    return run


def _harness(model: Model) -> Callable[[list[str], int], list[float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        scorer = HFLM(pretrained=model.module, tokenizer=model.tokenizer, max_length=model.context)

    def run(sentences: list[str], batch: int) -> list[float]:
        scorer.batch_size_per_gpu = batch
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=("", sentence), idx=index)
            for index, sentence in enumerate(sentences)
        ]
        return [value for value, _ in scorer.loglikelihood(requests, disable_tqdm=True)]

    return run


def _minicons(model: Model) -> Callable[[list[str], int], list[float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from minicons.scorer import IncrementalLMScorer

        scorer = IncrementalLMScorer(model.module, "cpu", tokenizer=model.tokenizer)

    def run(sentences: list[str], batch: int) -> list[float]:
        values: list[float] = []
        for start in range(0, len(sentences), batch):
            some = sentences[start : start + batch]
            values += scorer.sequence_score(some, reduction=lambda x: x.sum().item(), bos_token=True)
        return values

    return run


def _default_data() -> Path:
    beside = Path(os.environ.get("NEGSPACE_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "blimp"
    if beside.is_dir():
        return beside
    from negspace.reference import pairs_path

    return pairs_path()


def _model(pairs: PairSet) -> Model:
    """The bundled model; before there is one, a random GPT-NeoX of its size with a tokenizer of the pairs' own text."""
    # A loaded copy of its own: minicons sets the padding token of the tokenizer that it is given.
    try:
        from negspace.reference import model_path

        path = str(model_path())
    except (ImportError, NegspaceError):
        return wrap(*_random_model(pairs), name="random GPT-NeoX")
    module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return wrap(module, AutoTokenizer.from_pretrained(path), name="bundled")


def _random_model(pairs: PairSet) -> tuple[GPTNeoXForCausalLM, PreTrainedTokenizerFast]:
    core = ByteLevelBPETokenizer()
    core.train_from_iterator(
        (text for pair in pairs for text in (pair.good, pair.bad)),
        vocab_size=4096,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core._tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    config = GPTNeoXConfig(
        vocab_size=4096,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=768,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPTNeoXForCausalLM(config).eval(), tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of BLiMP")
    parser.add_argument("--limit", type=int, default=20, help="pairs of each paradigm")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds")
    logging.disable(logging.WARNING)
    for row in measure(**vars(parser.parse_args())):
        print(row)
