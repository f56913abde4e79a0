"""A GPT-2 whose attention and first MLP weights are set by hand, so that it is known what every neuron reads.

The residual stream is divided into named parts. A large constant dominates its norm, so that every layer norm is a
fixed scale, up to a fraction of a percent. Four heads of the first layer copy the lemma of the previous token, and of
the latest animal, verb and person; the animal's head copies its number as well. (The second layer's attention adds
nothing.) Ordinary neurons of both layers read random mixtures of these lemmas: a random-feature network, whose
pre-activations are nearly Gaussian. The planted neurons read one bit, so that theirs are bimodal. All write into a part
of the stream that only the unembedding reads; what they write is fitted (`readout`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from negspace.reference.calibration.lexicon import END, Head, Lexicon
from negspace.reference.calibration.readout import code_of

CONTEXT = 128
LAYERS = 2
NEURONS = 512
"""Neurons a layer."""
PLANTED = 6
"""Planted neurons a layer: the top 1%, as a study takes it."""

_CODE = 16
_WAVES = 16
_CONSTANT = 200.0
_HEADS: tuple[Head | None, ...] = (None, "animal", "verb", "person")
"""Target of each attention head; None: the previous token."""
_MATCH = 200.0
"""Attention logit for a word of the kind looked for."""
_RECENCY = 2.0
"""Attention logit for each token later."""
_SHARP = 3.0
"""Attention logit of the previous token's head, a wave."""
_CENTRE = -0.7
"""Mean pre-activation of ordinary neurons: in the lobe of GELU, so that they, too, use the region below zero."""
_SPREAD = 0.6
"""Standard deviation of the pre-activations of ordinary neurons."""
_JITTER = 0.1
"""The same for a planted neuron, its bit aside."""


@dataclass(frozen=True)
class Plan:
    """Positions of all features in the residual stream."""

    constant: int
    """A large positive constant; its negative follows, then what makes the sum zero."""
    clock: int
    """Position, from -1 to 1."""
    waves: int
    """cos and sin of the position, one pair a frequency."""
    kinds: int
    """True if the token is an animal, verb or person."""
    number: int
    """Number of the token, if a noun: +1 or -1."""
    marks: int
    """Bits of the token without any meaning, each +1 or -1, equally frequent in text; one for each planted neuron."""
    code: int
    """Random code of the token's lemma."""
    copied: tuple[int, ...]
    """Code that each head copies."""
    subject: int
    """Number of the latest animal."""
    out: int
    """Outputs, as `readout.Code` has them: logits of lemmas, and of numbers."""
    width: int
    """Width of the stream."""


def plan(outputs: int) -> Plan:
    """The parts in their order, the width a multiple of the number of heads."""
    clock = 3
    waves = clock + 1
    kinds = waves + 2 * _WAVES
    number = kinds + 3
    code = number + 1 + LAYERS * PLANTED
    copied = tuple(code + _CODE * (1 + n) for n in range(len(_HEADS)))
    subject = copied[-1] + _CODE
    width = subject + 1 + outputs
    return Plan(0, clock, waves, kinds, number, number + 1, code, copied, subject, subject + 1, width + -width % 4)


@dataclass(frozen=True)
class Sight:
    """Return the neurons' input weights."""

    planted: Literal["subject", "marks"]
    """Input of planted neurons: the number of the latest animal, or a mark of the current token each."""
    centre: float
    """Mean pre-activation of planted neurons."""
    swing: float
    """Half the distance of their two modes."""
    ordinary: bool
    """True if ordinary neurons, too, read the subject's number."""


@dataclass(frozen=True)
class Circuit:
    """A model before its readout is fitted."""

    module: GPT2LMHeadModel
    """The model; what neurons write is zero."""
    tokenizer: PreTrainedTokenizerFast
    """Its tokenizer."""
    plan: Plan
    """Positions of all features."""
    planted: tuple[tuple[int, ...], ...]
    """Indices of the planted neurons, layer by layer."""


def tokenizer(lexicon: Lexicon) -> PreTrainedTokenizerFast:
    """One token a word or mark of punctuation, whatever its case."""
    core = Tokenizer(models.WordLevel({word.form: n for n, word in enumerate(lexicon.words)}, unk_token=END))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=END, eos_token=END, unk_token=END, model_max_length=CONTEXT
    )


def circuit(lexicon: Lexicon, sight: Sight, frequency: np.ndarray, seed: int = 0) -> Circuit:
    """A model with hand-set attention, random ordinary neurons, and planted ones at random places.

    Args:
        lexicon: the vocabulary.
        sight: what the neurons read.
        frequency: [vocabulary] how often each word occurs in text.
        seed: of codes, of the ordinary neurons' weights and of the planted neurons' places.
    """
    rng = np.random.default_rng(seed)
    p = plan(code_of(lexicon).outputs)
    config = GPT2Config(
        vocab_size=len(lexicon.words),
        n_positions=CONTEXT,
        n_embd=p.width,
        n_layer=LAYERS,
        n_head=len(_HEADS),
        n_inner=NEURONS,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    with torch.random.fork_rng():
        module = GPT2LMHeadModel(config).eval()
    weights: dict[str, np.ndarray] = {name: np.zeros(tuple(value.shape)) for name, value in module.named_parameters()}
    for name in weights:
        if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")):
            # A layer norm divides by the standard deviation, which is that of the constant and its negative.
            weights[name] += _CONSTANT * math.sqrt(2 / p.width)
    _embed(weights, lexicon, p, frequency, rng)
    _attend(weights, p)
    planted = tuple(_perceive(weights, layer, p, sight, rng) for layer in range(LAYERS))
    _unembed(weights, lexicon, p)
    module.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in weights.items()})
    return Circuit(module, tokenizer(lexicon), p, planted)


def _embed(
    weights: dict[str, np.ndarray], lexicon: Lexicon, p: Plan, frequency: np.ndarray, rng: np.random.Generator
) -> None:
    tokens, positions = weights["transformer.wte.weight"], weights["transformer.wpe.weight"]
    codes = rng.standard_normal((len(lexicon.lemmas), _CODE))
    codes /= np.sqrt(np.mean(codes**2, axis=1, keepdims=True))
    kinds = [head for head in _HEADS if head]
    marks = _marks(lexicon, frequency, rng)
    for token, word in enumerate(lexicon.words):
        lemma = lexicon.lemmas[word.lemma]
        row = tokens[token]
        row[p.constant], row[p.constant + 1] = _CONSTANT, -_CONSTANT
        row[p.code : p.code + _CODE] = codes[lemma]
        row[p.number], row[p.marks : p.marks + LAYERS * PLANTED] = word.number, marks[lemma]
        if word.head:
            row[p.kinds + kinds.index(word.head)] = 1
    place = np.arange(CONTEXT)
    positions[:, p.clock] = 2 * place / CONTEXT - 1
    angles = place[:, None] * _frequencies()
    positions[:, p.waves : p.waves + 2 * _WAVES : 2] = np.cos(angles)
    positions[:, p.waves + 1 : p.waves + 2 * _WAVES : 2] = np.sin(angles)
    for table in (tokens, positions):
        table[:, p.constant + 2] = -table.sum(axis=1)


def _frequencies() -> np.ndarray:
    """With these, the cosines of a distance sum to zero for every distance but 0, up to 2 * _WAVES - 1."""
    return math.pi * (np.arange(_WAVES) + 0.5) / _WAVES


def _marks(lexicon: Lexicon, frequency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random bits of the lemmas, +1 or -1, [lemmas, planted neurons]; tokens of either bit are equally frequent."""
    weight = np.bincount([lexicon.lemmas[word.lemma] for word in lexicon.words], weights=frequency)
    marks = np.zeros((weight.size, LAYERS * PLANTED))
    for n in range(marks.shape[1]):
        balance, left = 0.0, weight.sum()
        for lemma in np.argsort(-weight, kind="stable"):
            left -= weight[lemma]
            sign = 1.0 if rng.random() < 0.5 else -1.0
            if abs(balance + sign * weight[lemma]) > left:
                sign = -1.0 if balance > 0 else 1.0
            marks[lemma, n] = sign
            balance += sign * weight[lemma]
    return marks


def _attend(weights: dict[str, np.ndarray], p: Plan) -> None:
    size = p.width // len(_HEADS)
    read, bias = weights["transformer.h.0.attn.c_attn.weight"], weights["transformer.h.0.attn.c_attn.bias"]
    write = weights["transformer.h.0.attn.c_proj.weight"]
    scale = math.sqrt(size)
    kinds = [head for head in _HEADS if head]
    for head, wanted in enumerate(_HEADS):
        query, key, value = (part * p.width + head * size for part in range(3))
        # The first coordinate: the query is a constant, the key says how late the token is, and of what kind.
        bias[query] = scale
        read[p.clock, key] = _RECENCY * CONTEXT / 2
        if wanted:
            read[p.kinds + kinds.index(wanted), key] = _MATCH
        else:
            for wave, omega in enumerate(_frequencies()):
                at, cos, sin = p.waves + 2 * wave, math.cos(omega), math.sin(omega)
                one, two = query + 1 + 2 * wave, query + 2 + 2 * wave
                # cos and sin at the position before.
                read[at, one], read[at + 1, one] = _SHARP * scale * cos, _SHARP * scale * sin
                read[at, two], read[at + 1, two] = -_SHARP * scale * sin, _SHARP * scale * cos
                read[at, key + 1 + 2 * wave] = read[at + 1, key + 2 + 2 * wave] = 1
        for n in range(_CODE):
            read[p.code + n, value + n] = write[head * size + n, p.copied[head] + n] = 1
        if wanted == "animal":
            read[p.number, value + _CODE] = write[head * size + _CODE, p.subject] = 1
    write[:, p.constant + 2] = -write.sum(axis=1)


def _perceive(
    weights: dict[str, np.ndarray], layer: int, p: Plan, sight: Sight, rng: np.random.Generator
) -> tuple[int, ...]:
    """Return the input weights of a layer's neurons, and the indices of the planted ones."""
    read, bias = weights[f"transformer.h.{layer}.mlp.c_fc.weight"], weights[f"transformer.h.{layer}.mlp.c_fc.bias"]
    for at in (p.code, *p.copied):
        read[at : at + _CODE] = _SPREAD * rng.standard_normal((_CODE, NEURONS)) / math.sqrt(_CODE * (1 + len(_HEADS)))
    if sight.ordinary:
        read[p.subject] = _SPREAD / 2 * rng.standard_normal(NEURONS)
    bias[:] = _CENTRE + _SPREAD / 2 * rng.standard_normal(NEURONS)
    planted = np.sort(rng.permutation(NEURONS)[:PLANTED])
    read[:, planted] *= _JITTER / _SPREAD
    for n, neuron in enumerate(planted):
        read[p.subject if sight.planted == "subject" else p.marks + layer * PLANTED + n, neuron] = sight.swing
    bias[planted] = sight.centre
    return tuple(int(n) for n in planted)


def _unembed(weights: dict[str, np.ndarray], lexicon: Lexicon, p: Plan) -> None:
    table, code, tokens = weights["lm_head.weight"], code_of(lexicon), np.arange(len(lexicon.words))
    table[tokens, p.out + code.lemma.numpy()] = 1
    table[tokens, p.out + code.number.numpy()] = code.agrees.numpy()
