"""Models of known shapes at random weights, made on the device where they run, and random tokens for them.

Times and memory depend on the shape, not on what a model has learned; so a model of any size can be had without its
weights. What must be equal for two libraries is compared on these models too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.place import Place
from negspace.models.load import DTYPES, wrap
from negspace.models.model import Model
from negspace.text.windows import Windows


@dataclass(frozen=True)
class Shape:
    """A model's shape and the batches it is run in."""

    about: str
    """In words, for the details of a row."""
    config: Callable[[], Any]
    """Makes its configuration."""
    dtype: str
    """Of the weights, unless told otherwise."""
    window: int
    """Tokens of a window."""
    batch: int
    """Windows of a forward pass."""
    windows: int
    """Windows of a whole run over a text."""


def _neox(vocabulary: int, hidden: int, layers: int, heads: int, context: int, **more: Any) -> GPTNeoXConfig:
    return GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=0,
        **more,
    )


def _llama() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        bos_token_id=0,
        eos_token_id=0,
    )


SHAPES = {
    "tiny": Shape("2 layers of 64 neurons", lambda: _neox(96, 16, 2, 2, 32), "float32", 16, 2, 6),
    "small": Shape(
        "GPT-NeoX of 3.4M parameters, 6 layers of 768 neurons",
        lambda: _neox(4096, 192, 6, 6, 256, tie_word_embeddings=True),
        "float32",
        256,
        16,
        512,
    ),
    "pythia-1.4b": Shape(
        "the shape of Pythia-1.4B, 24 layers of 8,192 neurons",
        lambda: _neox(50_304, 2048, 24, 16, 2048),
        "float32",
        1024,
        8,
        128,
    ),
    "llama-3.1-8b": Shape("the shape of Llama-3.1-8B, 32 layers of 14,336 neurons", _llama, "bfloat16", 1024, 8, 128),
}
"""Name -> shape."""


def shape_of(place: Place) -> Shape:
    """The shape that a place names."""
    return SHAPES[place.shape]


def random_model(place: Place) -> Model:
    """A model of the place's shape, with a tokenizer of as many words as it knows."""
    module = random_module(place)
    return wrap(module, word_tokenizer(module.config.vocab_size), f"{place.shape}, random weights")


def random_module(place: Place) -> Any:
    """A module of the place's shape; the same weights each time on one kind of device."""
    shape = shape_of(place)
    config = shape.config()
    dtype = DTYPES[place.dtype or shape.dtype]
    # Made where it runs and in its own dtype: 8 billion weights in float32 would fit neither twice nor through a bus.
    with torch.random.fork_rng(devices=[place.device] if place.on_gpu else []), torch.device(place.device):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of the words w0, w1, ..., of which the first stands for the beginning, the end and the unknown."""
    core = Tokenizer(models.WordLevel({f"w{number}": number for number in range(vocabulary)}, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="w0", bos_token="w0", eos_token="w0")


def random_windows(place: Place, count: int | None = None) -> Windows:
    """Windows of random tokens, all of them counted; as many as the shape's whole run has, unless told otherwise."""
    shape = shape_of(place)
    count = shape.windows if count is None else count
    tokens = np.random.default_rng(0).integers(1, shape.config().vocab_size, (count, shape.window))
    return Windows(
        tokens, np.zeros(tokens.shape, bool), shape.window, shape.window, "auto", "random tokens", "none", count
    )


def random_ids(place: Place) -> torch.Tensor:
    """Token ids of half a batch, int64 [windows, window], on the device."""
    return torch.from_numpy(random_windows(place, max(1, shape_of(place).batch // 2)).tokens).to(place.device)


def about(place: Place) -> str:
    """The model and where it runs, in words."""
    shape = shape_of(place)
    return f"{shape.about}, {place.dtype or shape.dtype} on {place.device}"
