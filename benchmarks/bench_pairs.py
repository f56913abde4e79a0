"""Minimal pairs, all of BLiMP's and of TSE's: our scores against the harness's, minicons', a loop's, and the forward.

All score the same sentences after one prefix token, from their text on, and must come to the same log-probabilities.
The plain forward is the floor of whoever runs every sentence: all tokens, in batches of equal length, without a score.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.memory import peak
from benchmarks.place import HERE, Place
from benchmarks.row import Relation, Row, failed, row
from benchmarks.shapes import random_module, shape_of
from benchmarks.timing import seconds_of
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.reference import model_path, pairs_path
from negspace.score.logprobs import LogProbs
from negspace.score.pairs import minimal_pairs
from negspace.score.passes import tokens_of
from negspace.score.prefixes import build_forest
from negspace.text.pairs import PairSet, read_pairs
from negspace.text.specials import encode, surround

Score = Callable[[Sequence[str]], np.ndarray]
"""Sums of the log-probabilities of sentences, float64 [sentences], in nats."""

BATCHES = (16, 64, 256)
"""Batch sizes that the other libraries may choose from: each runs at its fastest."""
WIDE, FEWER = 100_000, (4, 16, 64)
"""Words of a vocabulary from which they choose from these: they hold the logits of whole batches and copies of them, 16
GB and more for 256 sentences at 262,144 words."""
TRIED = 512
"""Sentences on which they choose."""
PART = 16
"""minicons and the loop run every so many-th pair, and the plain forward every so many-th of its batches; their time is
taken times this, since they gain nothing from more of them. The harness, which sorts its requests, and we have all."""
TOLERANCE = 5e-3
"""Nats by which two scores of a sentence may differ, in float32: padding and batches round sums of some fifty nats."""

TARGETS: dict[str, dict[str, tuple[Relation, float]]] = {
    "blimp": {"lm-eval": (">=", 1.9), "minicons": (">=", 2.4), "loop": (">=", 3), "forward": ("<=", 0.70)},
    "tse": {"lm-eval": (">=", 6), "forward": ("<=", 0.18)},
}
"""Suite -> what is measured -> target."""
NAMES = {"lm-eval": "lm-evaluation-harness", "minicons": "minicons", "loop": "one sentence at a time"}


def measure(place: Place = HERE) -> list[Row]:
    """Rows of each suite, then peaks of memory. The model is the bundled one, or has the shape that is asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the harness tells of every model that it is given
    rows: list[Row] = []
    try:
        for suite, targets in TARGETS.items():
            try:
                pairs = read(suite, 4 if place.tiny else None)
            except FileNotFoundError as error:
                rows += [failed(name(suite, what), error, target, readme=True) for what, target in targets.items()]
                continue
            rows += against(place, suite, pairs, targets, model_of(place))
        return rows + memory(place)
    finally:
        logging.disable(before)


def against(
    place: Place, suite: str, pairs: PairSet, targets: Mapping[str, tuple[Relation, float]], model: Model
) -> list[Row]:
    """One suite: ours first and last, those that have a target between."""
    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    made: list[np.ndarray] = []
    first = seconds_of(lambda: made.append(ours(model, pairs)()), place.device)
    expected = made[0]
    found: dict[str, tuple[float, str] | Exception] = {}
    for what in targets:
        try:
            found[what] = _timed(place, what, model, sentences, expected)
        except Exception as error:  # not installed, or not up to this model: the other rows stand
            found[what] = error
    last = seconds_of(ours(model, pairs), place.device)
    mine = (first + last) / 2
    read = "; {:,} tokens run by the harness, {:,} by us".format(*tokens_run(model, sentences))
    rows = []
    for what, target in targets.items():
        got = found[what]
        if isinstance(got, Exception):
            rows.append(failed(name(suite, what), got, target, readme=True))
            continue
        theirs, detail = got
        detail += read if what == "lm-eval" else ""
        value = mine / theirs if what == "forward" else theirs / mine
        rows.append(
            row(
                name(suite, what),
                value,
                target,
                f"{len(pairs):,} pairs; ours {first:.1f} s before and {last:.1f} s after, {detail}; "
                f"{model.source.name}",
                readme=True,
            )
        )
    return rows


def _timed(place: Place, what: str, model: Model, sentences: list[str], expected: np.ndarray) -> tuple[float, str]:
    """Seconds of a peer, or of the plain forward, for all sentences; and what to say of it."""
    if what == "forward":
        spent = forward(place, model, sentences)
        return spent, f"the plain forward {spent:.1f} s (every {PART}th batch, in proportion to its tokens)"
    every = np.arange(len(sentences))
    if what != "lm-eval":  # both sentences of a pair
        every = every[every // 2 % PART == 0]
    part = [sentences[place] for place in every]
    choice = FEWER if vocabulary(model) > WIDE else BATCHES
    batches, make = (choice, MAKERS[what]) if what in MAKERS else ((1,), lambda model, _: loop(model))
    some = part[:: max(1, len(part) // TRIED) | 1]  # an odd step, which meets good and bad sentences
    runs = {batch: make(model, batch) for batch in batches}
    tried = {batch: seconds_of(lambda run=run: run(some), place.device) for batch, run in runs.items()}
    best, made = min(tried, key=tried.__getitem__), []
    spent = seconds_of(lambda: made.append(runs[best](part)), place.device) * len(sentences) / len(part)
    off = float(np.abs(made[0] - expected[every]).max())
    limit = TOLERANCE if model.module.dtype == torch.float32 else 1.0
    assert off <= limit, f"scores differ by {off:.2g} nats, more than {limit:g}"
    share = f" (every {PART}th pair, times {PART})" if len(part) < len(sentences) else ""
    batched = f" in batches of {best}, its best" if len(batches) > 1 else ""
    return spent, f"{NAMES[what]}{batched} {spent:.1f} s{share}; scores differ by {off:.1e} nats at most"


def tokens_run(model: Model, sentences: Sequence[str]) -> tuple[int, int]:
    """Tokens that the harness runs, which takes sentences that differ in their last token for one; and that we run.

    Where a token costs both the same, the ratio is what can be had.
    """
    prefix = _prefix(model)
    tokens = [(prefix, *ids) for ids in encode(model.tokenizer, sentences)]
    return sum(len(most) for most in {sequence[:-1] for sequence in tokens}), tokens_of(build_forest(tokens))


def name(suite: str, what: str) -> str:
    """What a row is called."""
    title = {"blimp": "BLiMP", "tse": "TSE"}[suite]
    if what == "forward":
        return f"{title}: ours / plain forward over all tokens, unpadded"
    return f"{title}: {NAMES[what]} / ours"


def memory(place: Place) -> list[Row]:
    """Peak memory of ours and of the harness on a part of BLiMP."""
    title = "minimal pairs, peak memory: lm-evaluation-harness / ours"
    try:
        theirs, mine = (peak("benchmarks.bench_pairs:prepare", place, what) for what in ("lm-eval", "ours"))
    except Exception as error:
        return [failed(title, error)]
    return [row(title, theirs.bytes / max(1, mine.bytes), detail=f"above the loaded model: {theirs}, ours {mine}")]


def prepare(place: Place, what: str) -> Callable[[], object]:
    """Ten pairs of each paradigm under "ours" or "lm-eval", ready to run; a few have been."""
    model = model_of(place)
    pairs = read("blimp", 1 if place.tiny else 10)
    if what == "ours":
        ours(model, pairs.sample(1))()
        return ours(model, pairs)
    run = harness(model, 64)
    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    run(sentences[:64])
    return lambda: run(sentences)


def ours(model: Model, pairs: PairSet) -> Callable[[], np.ndarray]:
    """Our scores, good and bad in turn."""

    def run() -> np.ndarray:
        items = minimal_pairs(model, pairs, protocol="lm-eval", score="sum").items
        return items[["good", "bad"]].to_numpy().ravel()

    return run


def harness(model: Model, batch: int) -> Score:
    """lm-evaluation-harness's requests for log-likelihoods."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        scorer = HFLM(pretrained=model.module, tokenizer=model.tokenizer, max_length=model.context, batch_size=batch)

    def run(sentences: Sequence[str]) -> np.ndarray:
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=("", sentence), idx=index)
            for index, sentence in enumerate(sentences)
        ]
        return np.array([value for value, _ in scorer.loglikelihood(requests, disable_tqdm=True)])

    return run


def minicons(model: Model, batch: int) -> Score:
    """minicons' scores of batches of sentences."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from minicons.scorer import IncrementalLMScorer

        scorer = IncrementalLMScorer(model.module, str(model.device), tokenizer=model.tokenizer)
    begun = bool(surround(model.tokenizer).before)  # by the tokenizer itself, as Gemma's does

    def run(sentences: Sequence[str]) -> np.ndarray:
        values: list[float] = []
        for start in range(0, len(sentences), batch):
            some = list(sentences[start : start + batch])
            values += scorer.sequence_score(some, reduction=lambda x: x.sum().item(), bos_token=not begun)
        return np.array(values)

    return run


def loop(model: Model) -> Score:
    """The way of the published code: a forward pass, a log-softmax and a look-up for each sentence in turn."""
    prefix = _prefix(model)

    def run(sentences: Sequence[str]) -> np.ndarray:
        values = []
        with torch.no_grad():
            for sentence in sentences:
                own = model.tokenizer(sentence, add_special_tokens=False)["input_ids"]
                ids = torch.tensor([[prefix, *own]], device=model.device)
                logp = torch.log_softmax(model.module(input_ids=ids).logits[0, :-1].float(), dim=-1)
                values.append(logp.gather(1, ids[0, 1:, None]).sum().item())
        return np.array(values)

    return run


MAKERS = {"lm-eval": harness, "minicons": minicons}
"""Peers that take batches, and what makes each of (model, batch size)."""


def forward(place: Place, model: Model, sentences: Sequence[str]) -> float:
    """Seconds of the plain forward over all tokens of the sentences, in batches of equal length, as large as ours."""
    by_length: dict[int, list[list[int]]] = {}
    prefix = _prefix(model)
    for ids in encode(model.tokenizer, sentences):
        by_length.setdefault(len(ids) + 1, []).append([prefix, *ids])
    budget = LogProbs(model.module).passes.batch_tokens
    batches = [
        alike[start : start + max(1, budget // length)]
        for length, alike in by_length.items()
        for start in range(0, len(alike), max(1, budget // length))
    ]
    chosen = batches[:: 1 if place.tiny else PART]

    def run() -> None:
        with torch.inference_mode():
            for batch in chosen:
                _ = model.module(input_ids=torch.tensor(batch, device=model.device), use_cache=False).logits

    def tokens(some: Sequence[list[list[int]]]) -> int:
        return sum(len(batch) * len(batch[0]) for batch in some)

    return seconds_of(run, place.device) * tokens(batches) / tokens(chosen)


def vocabulary(model: Model) -> int:
    """Words that the model predicts."""
    return int(model.module.config.get_text_config(decoder=True).vocab_size)


def _prefix(model: Model) -> int:
    tokenizer = model.tokenizer
    return int(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id)


def read(suite: str, limit: int | None) -> PairSet:
    """BLiMP or TSE from beside the checkout (or NEGSPACE_SHARED); BLiMP's place is taken by the bundled pairs.

    Raises:
        FileNotFoundError: no TSE.
    """
    beside = Path(os.environ.get("NEGSPACE_SHARED", Path(__file__).parents[2] / "shared")) / "data" / suite
    if beside.is_dir():
        return read_pairs(beside, limit=limit)
    if suite == "tse":
        raise FileNotFoundError("no TSE beside the checkout; set NEGSPACE_SHARED to a folder with data/tse")
    return read_pairs(pairs_path(), limit=limit)


def model_of(place: Place) -> Model:
    """The bundled model on the CPU; elsewhere the place's shape at random weights, with the bundled tokenizer.

    A copy of its own: minicons sets the padding token of the tokenizer that it is given.
    """
    path = str(model_path())
    tokenizer = AutoTokenizer.from_pretrained(path)
    if place.shape in ("tiny", "small"):
        module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval().to(place.device)
        return wrap(module, tokenizer, name="the bundled GELU model")
    return wrap(random_module(place), tokenizer, name=shape_of(place).about)
