"""A pretrained model (`--model FILE`): scan, forward passes, minimal pairs, tasks and loading, as a user has them.

The other modules use small models or random weights. Here the output layer and the tokenizer weigh as they do in use.
Sizes are samples that take some minutes on two cores for a model of 135M parameters; ratios are what counts.
"""

from __future__ import annotations

import copy
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import negspace as ns
from benchmarks import bench_intervene, bench_layers, bench_matching, bench_pairs
from benchmarks.bench_intervene import SETTINGS as KEPT
from benchmarks.bench_pairs import WIDE, vocabulary
from benchmarks.bench_scan import forward
from benchmarks.child import call
from benchmarks.place import Place
from benchmarks.row import Relation, Row, failed, row
from benchmarks.timing import in_turn, seconds_of
from benchmarks.whole_process import WINDOW, random_windows
from negspace.controls.perplexity import EVALUATIONS, TOLERANCE
from negspace.experiment.tagging import tagged_text
from negspace.models.gguf.cache import cache_folder, converted
from negspace.models.load import DTYPES, wrap
from negspace.models.model import Model
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.reference import pairs_path, tasks_path, text_path
from negspace.score.harness import Harness
from negspace.score.pairs import prepare
from negspace.score.perplexity import perplexity
from negspace.score.surprisal import surprisal
from negspace.score.taskfiles import known_tasks
from negspace.score.tasks import TaskSet, read_tasks
from negspace.score.tasks import tasks as score_tasks
from negspace.stats.measure import measure as measure_neurons
from negspace.text.alignment import align, reach
from negspace.text.pairs import PairSet, read_pairs
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows

WINDOWS, BATCH = 256, 8
"""Of the scan: 131,072 tokens, as a study's."""
PART = 8
"""The plain forward reads every so many-th of them, before the scan and after it: it gains nothing from more."""
PAIRS = {"blimp": 100, "tse": 400}
"""Suite -> its first pairs of each paradigm in the sample: 6,700, 7,884. A whole suite shares more beginnings yet."""
ROUNDS = 21
"""Of passes under intervention and plain, 512 tokens each: the difference is less than what single passes vary by."""
LOADS = 20
"""Loads, as many in either order: what comes second finds the files' pages in the caches, and memory to take again."""
ITEMS = 20
"""Items of each task."""
TARGETS: dict[str, dict[str, tuple[Relation, float]]] = {
    "blimp": {"lm-eval": (">=", 2), "minicons": (">=", 2.5), "loop": (">=", 8)},
    "tse": {"lm-eval": (">=", 5)},
}
"""Suite -> peer -> target."""


def measure(place: Place, only: Collection[str] = ()) -> list[Row]:
    """The rows of each part; one that fails leaves its row, and the others as they are.

    Args:
        place: where, with a pretrained model.
        only: names of functions below; all parts without.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the harness tells of every model that it is given
    parts: dict[str, Callable[[Place, Model], list[Row]]] = {
        "forward under intervention (1% of neurons) / plain forward": intervention,
        "minimal pairs": pairs,
        "tasks under intervention / lm-evaluation-harness on the plain model": tasks,
        "layer sweep": layers,
        "perplexity-matched control: evaluations of the search": matched,
        "parts of speech, surprisal under intervention / plain forward with logits": parts_of_speech,
        "load / transformers' load of the same weights": loading,
        "peak memory of load and scan / (1.3 x the weights + 1 GB)": memory,
        "scan, WD + moments + shape + MD / plain forward with logits": scan,
    }
    if unknown := set(only) - {part.__name__ for part in parts.values()}:
        raise ValueError(
            f"no part {', '.join(sorted(unknown))}; there are {', '.join(part.__name__ for part in parts.values())}"
        )
    rows: list[Row] = []
    try:
        model = ns.load(str(place.model), device=place.device, dtype=place.dtype or "float32")
        for name, part in parts.items():
            if only and part.__name__ not in only:
                continue
            gc.collect()
            try:
                rows += part(place, model)
            except Exception as error:  # whatever it is, the other parts are still worth having
                rows.append(failed(name, error))
        return rows
    finally:
        logging.disable(before)


def scan(place: Place, model: Model) -> list[Row]:
    """The whole scan against the forward that anyone would run, logits included, over the same tokens."""
    cut = random_windows(model, 2 if place.tiny else WINDOWS)
    batch, part = min(BATCH, len(cut)), 1 if place.tiny else PART
    some = random_windows(model, len(cut) // part)

    def plain() -> float:
        return part * seconds_of(lambda: forward(model, some, batch), place.device)

    before = plain()
    spent = seconds_of(lambda: measure_neurons(model, cut, batch=batch, md_pairs=1024), place.device)
    after, words = plain(), vocabulary(model)
    share = f" (an {part}th of them, times {part})" if part > 1 else ""
    return [
        row(
            "scan, WD + moments + shape + MD / plain forward with logits",
            2 * spent / (before + after),
            ("<=", 0.6 if words > WIDE else 1.0),
            f"{cut.tokens.size:,} tokens; the scan {spent:.1f} s, the plain forward {before:.1f} s before and "
            f"{after:.1f} s after{share}; vocabulary of {words:,}",
        )
    ]


def memory(place: Place, model: Model) -> list[Row]:
    """Peak of a process that loads the model and scans, libraries included."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.module.parameters())
    peak = call("benchmarks.whole_process:peak_of_scan", place.as_json(), 2 if place.tiny else 40)
    allowed = 1.3 * weights + 1e9
    return [
        row(
            "peak memory of load and scan / (1.3 x the weights + 1 GB)",
            peak / allowed,
            ("<=", 1),
            f"{peak / 1e6:,.0f} MB, Python and libraries included; the weights {weights / 1e6:,.0f} MB; 20,480 tokens",
        )
    ]


def intervention(place: Place, model: Model) -> list[Row]:
    """Passes under intervention, in a process that keeps the memory it frees: see `bench_intervene.SETTINGS`."""
    if place.tiny:
        return passes(place, model)
    return [Row(**found) for found in call("benchmarks.bench_real:own_passes", place.as_json(), settings=KEPT)]


def own_passes(place: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `passes` as JSON, of a model that this process loads."""
    where = Place(**place)
    model = ns.load(str(where.model), device=where.device, dtype=where.dtype or "float32")
    return [found.as_json() for found in passes(where, model)]


def passes(place: Place, model: Model) -> list[Row]:
    """A forward pass with 1% of the neurons clamped, against the plain one and the peers."""
    ids: Any = torch.from_numpy(random_windows(model, 1).tokens).to(model.device)
    neurons = bench_intervene.chosen(model, 0.01)
    ours, plain = bench_intervene.ours(model, ids, neurons), bench_intervene.plain(model, ids)
    times = in_turn({"plain": plain, "ours": ours}, place.rounds(ROUNDS), device=place.device)
    name = "forward under intervention (1% of neurons)"
    rows = [
        row(
            f"{name} / plain forward",
            times.ratio("ours", "plain"),
            ("<=", 1.02),
            f"{times.range('ours', 'plain')} of {ids.numel():,} tokens; plain {times.median('plain'):.2f} s",
        )
    ]
    for peer, make in bench_intervene.PEERS.items():
        gc.collect()
        try:
            theirs = make(copy.deepcopy(model.module), model, ids, neurons)
            off = bench_intervene.compare(theirs(), ours(), plain())
            times = in_turn({"theirs": theirs, "ours": ours}, place.rounds(ROUNDS // 2), device=place.device)
        except Exception as error:  # not installed, or not up to this model
            rows.append(failed(f"{name}: {peer} / ours", error, (">", 1)))
            continue
        detail = f"{times.range('theirs', 'ours')}; logits differ by {off:.1e} of what the intervention does to them"
        ratio = times.ratio("theirs", "ours")
        rows.append(row(f"{name}: {peer} / ours", ratio, (">", 1), f"{detail}{bench_intervene.NOTES[peer]}"))
    return rows


def pairs(place: Place, model: Model) -> list[Row]:
    """A sample of BLiMP and of TSE against the peers, as in `bench_pairs`."""
    rows: list[Row] = []
    own = wrap(
        model.module, copy.deepcopy(model.tokenizer), Path(str(place.model)).name
    )  # minicons sets a padding token
    for suite, targets in TARGETS.items():
        try:
            sample = first(bench_pairs.read(suite, None), 2 if place.tiny else PAIRS[suite])
        except FileNotFoundError as error:
            rows += [failed(bench_pairs.name(suite, peer), error, target) for peer, target in targets.items()]
            continue
        rows += bench_pairs.against(place, suite, sample, targets, own)
    return rows


def first(pairs: PairSet, count: int) -> PairSet:
    """The first pairs of each paradigm."""
    seen: Counter[str] = Counter()
    kept = []
    for pair in pairs.pairs:
        seen[pair.paradigm] += 1
        if seen[pair.paradigm] <= count:
            kept.append(pair)
    return replace(pairs, pairs=tuple(kept))


def tasks(place: Place, model: Model) -> list[Row]:
    """Tasks on the intervened model by us, against the harness's own pass over them on the plain one."""
    chosen = _tasks(2 if place.tiny else ITEMS)
    neurons = select.random(Layout.of(model.sites), 0.01, seed=0)
    harness = Harness()
    run: dict[str, Any] = {
        "task_dict": {"tasks": dict(chosen.loaded), "groups": {}, "group_map": {}},
        "samples": chosen.limited,
        "cache_requests": False,
        "bootstrap_iters": 0,
    }

    def theirs(batch: int) -> None:
        from lm_eval.models.huggingface import HFLM

        tokenizer = copy.deepcopy(model.tokenizer)
        lm = HFLM(pretrained=model.module, tokenizer=tokenizer, max_length=model.context, batch_size=batch)
        harness.evaluate(lm=lm, **run)

    def ours() -> None:
        with ns.intervene(model, neurons, zero="negative"):
            score_tasks(model, chosen)

    works: dict[str, Callable[[], object]] = {"ours": ours}
    # The harness holds logits and log-probabilities of whole batches: of a wide vocabulary, 32 prompts take over 20 GB.
    sizes = (2, 8) if vocabulary(model) > WIDE else (8, 32)
    works |= {f"batches of {batch}": lambda batch=batch: theirs(batch) for batch in sizes}
    times = in_turn(works, 1, warm=0, device=place.device)
    best = min((name for name in works if name != "ours"), key=times.median)
    return [
        row(
            "tasks under intervention / lm-evaluation-harness on the plain model",
            times.ratio("ours", best),
            ("<=", 1.0),
            f"{len(chosen)} items of {len(chosen.loaded)} tasks; the harness in {best}, its "
            f"best, {times.median(best):.1f} s, ours {times.median('ours'):.1f} s",
        )
    ]


def layers(place: Place, model: Model) -> list[Row]:
    """The sweep over groups of layers against one evaluation for each, as in `bench_layers`: of so much that the proof
    of resumed passes, which costs the same for any size, weighs about as little as in a study."""
    text = _text(model, 1 if place.tiny else 4)
    sentences = prepare(model, read_pairs(pairs_path(), limit=1 if place.tiny else 3))
    return bench_layers.sweeps(model, text, sentences, _name(place), 1)


def matched(place: Place, model: Model) -> list[Row]:
    """Evaluations until a bottom set does the damage of the top 1%, negatives zeroed."""
    cut = _text(model, 1 if place.tiny else 4)
    found = ns.scan(model, str(text_path()), windows=2 if place.tiny else 32, md_pairs=0)
    began = time.perf_counter()
    match, counted = bench_matching.search(model, found, cut, perplexity(model, cut).value, "negative", 0.01, TOLERANCE)
    spent = time.perf_counter() - began
    return [
        row(
            "perplexity-matched control: evaluations of the search",
            counted if match.matched else float("nan"),
            ("<=", EVALUATIONS),
            f"top 1%, {cut.tokens.size:,} tokens, {spent:.1f} s: "
            + (f"bottom {match.share:.1%}" if match.matched else str(match.reason)),
        )
    ]


def parts_of_speech(place: Place, model: Model) -> list[Row]:
    """Surprisal of tagged tokens under intervention against the plain forward over the same tokens."""
    cut = _text(model, 1 if place.tiny else 4)
    tagged = tagged_text(str(text_path()), None, lambda text: reach(text, cut, model.tokenizer))
    words, neurons = align(tagged, cut, model.tokenizer), bench_intervene.chosen(model, 0.01)

    def ours() -> None:
        with ns.intervene(model, neurons, zero="negative"):
            surprisal(model, words)

    works = {"plain": lambda: forward(model, cut, min(BATCH, len(cut))), "ours": ours}
    times = in_turn(works, place.rounds(9), device=place.device)
    return [
        row(
            "parts of speech, surprisal under intervention / plain forward with logits",
            times.ratio("ours", "plain"),
            ("<=", 1.15),
            f"{times.range('ours', 'plain')} of {cut.tokens.size:,} tokens; plain {times.median('plain'):.2f} s; "
            "tags are made once for all conditions",
        )
    ]


def loading(place: Place, model: Model) -> list[Row]:
    """Load of a file that was converted before, against transformers' load of the converted folder: alone, which leaves
    it to the first pass to read the weights, and with that pass."""
    path, dtype = Path(str(place.model)), DTYPES[place.dtype or "float32"]
    if path.suffix != ".gguf":
        return []
    ids: Any = torch.from_numpy(random_windows(model, 1).tokens)

    def plain(folder: Path) -> Any:
        AutoTokenizer.from_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)

    def read(module: Any) -> None:
        with torch.no_grad():
            module(input_ids=ids, use_cache=False)

    def ours() -> Any:
        return ns.load(str(path), device="cpu").module

    rows = []
    with converted(path, dtype, cache_folder()) as (folder, _):
        for more, works in (
            ("", {"plain": lambda: plain(folder), "ours": ours}),
            (" and a first pass", {"plain": lambda: read(plain(folder)), "ours": lambda: read(ours())}),
        ):
            times = in_turn(works, place.rounds(LOADS))
            rows.append(
                row(
                    f"second load of a GGUF file{more} / transformers' load of the same weights{more}",
                    times.ratio("ours", "plain"),
                    ("<=", 1.3),
                    f"{times.range('ours', 'plain')}; transformers {times.median('plain'):.2f} s, ours "
                    f"{times.median('ours'):.2f} s, which reads and checks all weights and runs two short passes",
                )
            )
    return rows


def _name(place: Place) -> str:
    return Path(str(place.model)).stem


def _text(model: Model, windows: int) -> Windows:
    """The beginning of the bundled text."""
    window = min(WINDOW, model.context or WINDOW)
    read = read_text(str(text_path()), role="perplexity")
    return make_windows(read, model.tokenizer, window=window, windows=windows, context=model.context)


def _tasks(limit: int) -> TaskSet:
    beside = Path(os.environ.get("NEGSPACE_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "tasks"
    folder = beside if beside.is_dir() else tasks_path()
    return read_tasks(known_tasks(folder), folder=folder, limit=limit)
