"""The scan's pass against the plain forward over the same tokens, and the scan's memory as the tokens grow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.stats.collect import gather
from negspace.stats.measure import measure as measure_neurons
from negspace.text.windows import Windows

VOCABULARY = 4096
WINDOW = 256
BATCH = 16


def measure(repeats: int = 5, windows: int = 512) -> list[dict[str, object]]:
    """Medians of the ratios of interleaved times, and bytes of a sketch.

    The scan is the whole of it: the pass, WD with its bound, moments, shape, the table. The plain forward computes the
    logits, as anyone's would; the scan has no use for them and leaves the output layer out.
    """
    model = random_model()
    cut = random_windows(windows)
    small = random_windows(2 * BATCH)
    measure_neurons(model, small, batch=BATCH)  # compiles, and warms the caches
    plain: list[float] = []
    ratios: dict[str, list[float]] = {"without MD": [], "with MD over 1,024 pairs": []}
    for _ in range(repeats):
        plain.append(_seconds(lambda: forward(model, cut)))
        for name, pairs in (("without MD", 0), ("with MD over 1,024 pairs", 1024)):
            spent = _seconds(lambda pairs=pairs: measure_neurons(model, cut, batch=BATCH, md_pairs=pairs))
            ratios[name].append(spent / plain[-1])
    tokens = cut.tokens.size
    rows = [
        _row(
            f"scan of all layers, WD + moments + shape, {name} / plain forward",
            round(statistics.median(found), 3),
            1.20,
            f"{repeats} interleaved runs over {tokens:,} tokens, 4,608 neurons; plain {statistics.median(plain):.1f} s",
        )
        for name, found in ratios.items()
    ]
    sizes = [bytes_per_neuron(model, random_windows(count)) for count in (2 * BATCH, 20 * BATCH)]
    rows.append(
        _row(
            "bytes of a sketch per neuron",
            round(max(sizes)),
            4500,
            f"{sizes[0]:.0f} at {2 * BATCH * WINDOW:,} tokens, {sizes[1]:.0f} at {20 * BATCH * WINDOW:,}",
        )
    )
    return rows


def random_model() -> Model:
    """A GPT-NeoX of 3.4M parameters at random weights: 6 layers of 768 neurons, width 192, 4,096 words."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=768,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0")
    return wrap(GPTNeoXForCausalLM(config).eval(), tokenizer, "GPT-NeoX 3.4M, random weights")


def random_windows(count: int) -> Windows:
    """Windows of random tokens, all of them counted."""
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (count, WINDOW))
    return Windows(tokens, np.zeros(tokens.shape, bool), WINDOW, WINDOW, "auto", "random tokens", "none", count)


def forward(model: Model, windows: Windows) -> None:
    """The plain forward pass over all windows."""
    with torch.no_grad():
        for begin in range(0, len(windows), BATCH):
            ids: Any = torch.from_numpy(windows.tokens[begin : begin + BATCH])
            _ = model.module(input_ids=ids, use_cache=False).logits


def bytes_per_neuron(model: Model, windows: Windows) -> float:
    """Bytes of all sketches and grids, per neuron."""
    sketches = [sketch for sketch in gather(model, windows, batch=BATCH).sketches if sketch is not None]
    return sum(sketch.nbytes for sketch in sketches) / sum(sketch.size for sketch in sketches)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(name: str, value: float, target: float, detail: str) -> dict[str, object]:
    return {"name": name, "value": value, "target": f"<= {target:g}", "met": value <= target, "detail": detail}
