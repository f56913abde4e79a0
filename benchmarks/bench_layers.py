"""The sweep over groups of layers, each alone and cumulatively, against one whole evaluation for every condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from benchmarks.row import Row, row
from benchmarks.timing import in_turn
from negspace.analyses.layers.analysis import group_layers
from negspace.analyses.layers.cells import changes_of
from negspace.intervention import intervene
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.multiplications import multiplications
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.score.logprobs import LogProbs
from negspace.score.pairs import PairScores, Prepared, prepare
from negspace.score.perplexity import perplexity
from negspace.score.sweep import Condition, Sweep, sweep_pairs, sweep_perplexity
from negspace.text.pairs import Pair, PairSet
from negspace.text.source import Text, read_text
from negspace.text.windows import Windows, make_windows

Score = TypeVar("Score")

TARGET = 0.65
GROUPS = 8
SHAPES = {
    # name: vocabulary, hidden, layers, windows, pairs
    "8 layers of 384, vocabulary 4,096": (4_096, 384, 8, 24, 600),
    "8 layers of 384, vocabulary 50,304": (50_304, 384, 8, 4, 120),
}
"""Random weights. Every condition pays the output layer in full: 10% of the multiplications of a token in the first
shape, as in Llama-3.1-8B (7%) or Pythia-410M (15%); 58% in the second, as in Pythia-70M, where a sweep saves little."""


def measure(repeats: int = 4) -> list[Row]:
    """Median over repeats of the ratio of the two times, both made in turn; the scores must be the same bit for bit.

    The whole evaluations have their data encoded once, as the sweep has, and are spared its proof that prefixes can be
    shared.
    """
    rows = []
    for shape, (vocabulary, hidden, layers, windows, pairs) in SHAPES.items():
        model = _model(vocabulary, hidden, layers)
        text = make_windows(_text(vocabulary, windows * 256), model.tokenizer, window=256)
        sentences = prepare(model, _pairs(vocabulary, pairs))
        rows += sweeps(model, text, sentences, shape, repeats)
    return rows


def sweeps(model: Model, text: Windows, sentences: Prepared, name: str, repeats: int) -> list[Row]:
    """Perplexity and minimal pairs of one model, swept and one by one.

    Args:
        model: the model.
        text: for perplexity.
        sentences: the pairs.
        name: what the model is called in the rows.
        repeats: rounds in turn.
    """
    conditions, sequences = _conditions(model), sentences.sequences
    alone = LogProbs(model.module, method=LogProbs(model.module).score(sequences).method)

    def whole_pairs() -> list[np.ndarray]:
        return [_values(score) for score in _each(conditions, lambda: sentences.scores(alone.score(sequences)))]

    works: dict[str, tuple[Callable[[], Sequence[object]], Callable[[], Sequence[object]]]] = {
        "perplexity": (
            lambda: [score.nll for score in sweep_perplexity(model, text, conditions).scores],
            lambda: [score.nll for score in _each(conditions, lambda: perplexity(model, text))],
        ),
        "minimal pairs": (
            lambda: [_values(score) for score in sweep_pairs(model, sentences, conditions).scores],
            whole_pairs,
        ),
    }
    least = _least(model, conditions)
    return [_row(f"{work}, {name}", sweep, whole, repeats, least) for work, (sweep, whole) in works.items()]


def _least(model: Model, conditions: Sequence[Condition]) -> tuple[float, str]:
    """What a sweep of exact scores would come to if time went by multiplications, and why: each condition needs logits
    of its own at every token. The projections all but make up a pass over short sequences. A wide output layer is one
    large product, which takes less time than as many multiplications in a small model's layers.
    """
    layers, output = multiplications(model.module)
    least = (Sweep(model.module, conditions).share * layers + output) / (layers + output)
    return least, (
        f"{output / (layers + output):.0%} of a token's multiplications are the output layer's, which every condition "
        f"needs: {least:.2f} by multiplications alone"
    )


def _row(
    name: str,
    sweep: Callable[[], Sequence[object]],
    whole: Callable[[], Sequence[object]],
    repeats: int,
    bound: tuple[float, str],
) -> Row:
    made: dict[str, Sequence[object]] = {}

    def keep(what: str, work: Callable[[], Sequence[object]]) -> Callable[[], None]:
        def run() -> None:
            made[what] = work()

        return run

    times = in_turn({"sweep": keep("sweep", sweep), "whole": keep("whole", whole)}, repeats, warm=0)
    same = all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(*made.values(), strict=True))
    assert same, "a sweep's scores are those of each condition alone"
    least, why = bound
    return row(
        f"layer sweep, {GROUPS} groups / {2 * GROUPS} whole evaluations: {name}",
        times.ratio("sweep", "whole"),
        ("<=", TARGET) if least <= TARGET else None,  # what cannot be had is no target, only a figure to know
        f"{times.range('sweep', 'whole')}, the same scores bit for bit; {why}; whole evaluations "
        f"{times.median('whole'):.1f} s; {torch.get_num_threads()} threads",
    )


def _values(scores: PairScores) -> np.ndarray:
    """float64 [pairs, 2]: scores of the good and of the bad sentences."""
    return scores.items[["good", "bad"]].to_numpy()


def _each(conditions: Sequence[Condition], score: Callable[[], Score]) -> list[Score]:
    made: list[Score] = []
    for condition in conditions:
        with condition.open():
            made.append(score())
    return made


def _conditions(model: Model) -> list[Condition]:
    chosen = select.random(Layout.of(model.sites), 0.01, seed=0)
    groups = group_layers(range(model.layers), GROUPS)
    return [
        _condition(model, chosen.restrict(layers)) for layers in [*groups, *(range(group[-1] + 1) for group in groups)]
    ]


def _condition(model: Model, neurons: NeuronSet) -> Condition:
    changes = changes_of(neurons, "zero_negative", model.layers)
    return Condition(neurons.origin, changes, lambda: intervene(model, neurons, zero="negative"))


def _model(vocabulary: int, hidden: int, layers: int) -> Model:
    words = {"<s>": 0, **{f"w{number}": number for number in range(1, vocabulary)}}
    core = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="<s>", unk_token="<s>")
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return wrap(GPTNeoXForCausalLM(config).eval(), tokenizer, name="random GPT-NeoX")


def _words(vocabulary: int, count: int, seed: int) -> str:
    return " ".join(f"w{number}" for number in np.random.default_rng(seed).integers(1, vocabulary, count))


def _text(vocabulary: int, count: int) -> Text:
    return read_text([_words(vocabulary, count, 0)], role="perplexity")


def _pairs(vocabulary: int, count: int) -> PairSet:
    """Pairs of eleven words that differ in the last but two, as BLiMP's mostly do late in the sentence."""
    made = []
    for index in range(count):
        words = _words(vocabulary, 12, 1 + index).split()
        made.append(
            Pair(" ".join(words[:11]), " ".join([*words[:8], words[11], *words[9:11]]), "random", "random", index)
        )
    return PairSet("random pairs", "blimp", tuple(made))
