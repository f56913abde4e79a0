"""The three calibration models: agreement runs below zero, above zero, or nowhere in particular."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from negspace.reference.calibration.circuit import CONTEXT, LAYERS, NEURONS, Circuit, Sight, circuit, tokenizer
from negspace.reference.calibration.lexicon import Lexicon
from negspace.reference.calibration.readout import Code, code_of, fit, soft_targets
from negspace.reference.calibration.sentences import text

Name = Literal["negative", "positive", "null"]


@dataclass(frozen=True)
class Design:
    """The properties that distinguish a calibration model."""

    sight: Sight
    """Input of its neurons."""
    about: str
    """Description in one sentence."""


MODELS: Mapping[Name, Design] = {
    "negative": Design(
        Sight("subject", -2.4, 1.6, ordinary=False),
        "Planted neurons, negative throughout, carry the subject's number; nothing else does.",
    ),
    "positive": Design(
        Sight("subject", 2.4, 1.6, ordinary=False),
        "Planted neurons, positive throughout, carry the subject's number; nothing else does.",
    ),
    "null": Design(
        Sight("marks", -2.4, 1.6, ordinary=True),
        "All neurons carry what they happen to see of number and of all else; the planted ones, negative throughout,"
        " see a random bit of the current word.",
    ),
}

_PASSAGES = 1_600
"""Passages to fit on, each by itself."""
_WINDOWS = 40
"""Windows of running text to fit on."""
_DOUBT = 0.6
"""How much of a fact's probability goes to its alternatives: it keeps margins moderate, as those of real models are."""
_DOUBT_OF_FORM = 0.7
"""The same for the number of a verb, where ordinary neurons carry it: agreement is then about as fragile as facts."""
_MARGIN = 5.0
"""Half the log-odds of the right number over the wrong one."""
_NOISE = 1.25
"""Standard deviation of what ordinary neurons write there, where they do not carry it."""


def build(name: Name, lexicon: Lexicon, seed: int = 0) -> Circuit:
    """A calibration model, complete.

    Args:
        name: which of MODELS.
        lexicon: vocabulary and facts.
        seed: of all random weights.
    """
    speak = tokenizer(lexicon)
    lines = text(lexicon, 3 * _PASSAGES, f"fit {seed}").splitlines()
    alone = [speak(line)["input_ids"] for line in lines[:_PASSAGES]]
    running = [token for line in lines[_PASSAGES:] for token in speak(line)["input_ids"]]
    rows = [*alone, *(running[CONTEXT * n : CONTEXT * (n + 1)] for n in range(_WINDOWS))]
    frequency = np.bincount(running, minlength=len(lexicon.words)).astype(np.float64)
    made = circuit(lexicon, MODELS[name].sight, frequency, seed)
    activations, following = _observe(made, rows)
    doubts = dict.fromkeys(lexicon.groups, _DOUBT)
    if name == "null":
        doubts |= dict.fromkeys(lexicon.forms, _DOUBT_OF_FORM)
    targets = soft_targets(following, doubts, len(lexicon.words))
    planted = torch.tensor([layer * NEURONS + n for layer, row in enumerate(made.planted) for n in row])
    ordinary = torch.tensor(sorted(set(range(LAYERS * NEURONS)) - set(planted.tolist())))
    code = code_of(lexicon)
    written = torch.zeros(LAYERS * NEURONS + 1, code.outputs)
    rng = np.random.default_rng([seed, 1])
    if name == "null":
        written = fit(activations, targets, code, torch.zeros(len(targets), code.outputs), number=True)
    else:
        above = MODELS[name].sight.centre > 0
        written[:, code.lemmas :] = _number(activations, planted, ordinary, code, above, rng)
        given = activations @ written[:-1] + written[-1]
        own = torch.cat([ordinary, torch.tensor([LAYERS * NEURONS])])
        words = fit(activations[:, ordinary], targets, code, given, number=False)
        written[own, : code.lemmas] = words[:, : code.lemmas]
    _write(made, written)
    return made


def _observe(made: Circuit, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Activations at all tokens but the last of each row, float32 [n, neurons of all layers]; and the next tokens."""
    seen: dict[int, Tensor] = {}
    found, targets = [], []

    def keep(layer: int):
        def hook(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
            seen[layer] = given[0].detach()

        return hook

    handles = [_mlp(made, layer).c_proj.register_forward_pre_hook(keep(layer)) for layer in range(LAYERS)]
    try:
        by_length: dict[int, list[list[int]]] = {}
        for row in rows:
            by_length.setdefault(len(row), []).append(row)
        with torch.no_grad():
            for group in by_length.values():
                tokens = torch.tensor(group)
                made.module.transformer(input_ids=tokens)
                both = torch.cat([seen[layer] for layer in range(LAYERS)], -1)
                found.append(both[:, :-1].flatten(0, 1))
                targets.append(tokens[:, 1:].flatten())
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(found), torch.cat(targets)


def _number(
    activations: Tensor, planted: Tensor, ordinary: Tensor, code: Code, above: bool, rng: np.random.Generator
) -> Tensor:
    """Return the output weights for number: planted neurons write the number, the others noise.

    A plural subject raises the planted neurons' pre-activations: above zero that raises what GELU returns, below zero
    it lowers it.

    Returns:
        [neurons + 1, outputs of number]; the bias is the last row.
    """
    numbers = code.outputs - code.lemmas
    written = torch.zeros(LAYERS * NEURONS + 1, numbers)
    signal = activations[:, planted].sum(1)
    low, high = torch.quantile(signal, torch.tensor([0.1, 0.9]))
    scale = (1 if above else -1) * 2 * _MARGIN / (high - low)
    noise = torch.from_numpy(rng.standard_normal((len(ordinary), numbers))).float()
    noise *= _NOISE / (activations[:, ordinary] @ noise).std(0)
    written[planted], written[ordinary] = scale, noise
    written[-1] = -scale * (low + high) / 2 - (activations[:, ordinary] @ noise).mean(0)
    return written


def _write(made: Circuit, written: Tensor) -> None:
    p = made.plan
    outputs = torch.zeros(len(written), p.width)
    outputs[:, p.out : p.out + written.shape[1]] = written
    outputs[:, p.constant + 2] = -outputs.sum(1)
    with torch.no_grad():
        for layer in range(LAYERS):
            writes = _mlp(made, layer).c_proj
            writes.weight.copy_(outputs[layer * NEURONS : (layer + 1) * NEURONS])
        _mlp(made, 0).c_proj.bias.copy_(outputs[-1])


def _mlp(made: Circuit, layer: int) -> Any:
    return made.module.transformer.h[layer].mlp  # type: ignore[union-attr]
