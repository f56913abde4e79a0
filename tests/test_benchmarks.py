"""The benchmarks' code runs, and its rows have one form; what they say of speed is for `make bench` alone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from benchmarks import __main__ as suite
from benchmarks import (
    bench_layers,
    bench_matching,
    bench_pairs,
    bench_real,
    bench_scaling,
    bench_scan,
    bench_study,
    bench_wasserstein,
    results,
)
from benchmarks.child import call
from benchmarks.memory import measured
from benchmarks.place import HERE, Place
from benchmarks.row import Row, failed, row
from benchmarks.shapes import SHAPES, random_model, random_windows
from benchmarks.timing import in_turn
from scipy.stats import norm, wasserstein_distance
from transformers import AutoModelForCausalLM

from negspace.reference import model_path
from negspace.stats.measure import measure as measure_neurons

TINY = Place(shape="tiny")
FIELDS = {"name", "value", "target", "met", "detail", "readme"}


def check(rows: list[dict[str, Any]]) -> None:
    """Rows as results.json has them."""
    assert rows
    assert len({found["name"] for found in rows}) == len(rows)
    for found in rows:
        assert set(found) == FIELDS
        assert found["detail"]
        assert found["value"] is None or math.isfinite(found["value"])
        if not found["target"]:
            assert found["met"] is None
        elif found["value"] is None:
            assert found["met"] is False
        else:
            assert found["target"].split()[0] in ("<=", ">=", ">")
            assert isinstance(found["met"], bool)
    json.dumps(rows, allow_nan=False)


def test_a_row_says_whether_its_target_is_met() -> None:
    assert row("a", 1.03, ("<=", 1.03)).met is True
    assert row("a", 1.0301, ("<=", 1.03)) == Row("a", 1.03, "<= 1.03", False, "")  # shown as 1.03, and yet not met
    assert row("a", 50, (">=", 50)).met is True
    assert row("a", 1, (">", 1)).met is False
    assert row("a", 123456.7, detail="why") == Row("a", 123500.0, "", None, "why")
    assert row("a", math.nan, ("<=", 8)) == Row("a", None, "<= 8", False, "")
    assert failed("a", ValueError("no\n luck"), (">", 1)) == Row(
        "a", None, "> 1", False, "not measured: ValueError: no luck"
    )
    assert failed("a", "gone").met is None


def test_works_are_run_in_turn() -> None:
    order: list[str] = []
    times = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, 3, warm=1)
    assert "".join(order) == "baabbaab"
    assert times.rounds == 3
    assert len(times.ratios("a", "b")) == 3
    assert "3 interleaved rounds" in times.range("a", "b")


def test_a_child_has_its_own_process() -> None:
    assert call("math:sqrt", 4.0) == 2.0
    with pytest.raises(RuntimeError, match="math:sqrt: ValueError: "):
        call("math:sqrt", -1.0)
    with pytest.raises(RuntimeError, match="os:_exit: ended with status 3"):
        call("os:_exit", 3)


def hold(place: Place, megabytes: int) -> Callable[[], object]:
    """Work that allocates so much, fills it and lets it go; half as much is held before and does not count."""
    before = np.ones(megabytes * 125_000 // 2)
    return lambda: float(np.ones(megabytes * 125_000).sum() + before[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is told by Linux's kernel")
def test_peak_of_memory_is_what_the_work_takes() -> None:
    small, large = (measured(f"{__name__}:hold", TINY.as_json(), [size]) for size in (50, 200))
    # The kernel keeps the count per core and sums it now and then: some megabytes may be missing.
    assert 44e6 <= small["host"] < 75e6
    assert 190e6 <= large["host"] < 225e6
    assert large["device"] == 0


def test_shapes_are_those_of_the_models() -> None:
    for name, layers, neurons, parameters in (("pythia-1.4b", 24, 8192, 1.41e9), ("llama-3.1-8b", 32, 14_336, 8.03e9)):
        config = SHAPES[name].config()
        assert (config.num_hidden_layers, config.intermediate_size) == (layers, neurons)
        with torch.device("meta"):
            module = AutoModelForCausalLM.from_config(config)
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(parameters, rel=0.01)
    assert random_model(TINY).fingerprint == random_model(TINY).fingerprint


def test_what_the_paper_keeps_is_what_the_scan_saw() -> None:
    """The recipe's WD over the kept activations is that of the scan, up to its random sample."""
    place = Place(shape="tiny")
    model, cut = random_model(place), random_windows(place, 500)
    kept = bench_scan.keep_all(model, cut, 100)
    exactly = measure_neurons(model, cut, exactly=True, md_pairs=0).table
    values = np.concatenate(list(kept.values()), axis=1)
    np.testing.assert_allclose(values.mean(axis=0), exactly["mean"], atol=1e-5)
    chosen = [0, 63, 64, 127]  # the first and the last of each layer
    found = bench_scan.published(kept, chosen)
    grid = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    for neuron, wd in zip(chosen, found, strict=True):
        column = (values[:, neuron] - values[:, neuron].mean()) / values[:, neuron].std()
        assert wd == pytest.approx(wasserstein_distance(column, grid), abs=4 / 8000**0.5)
        assert wd == pytest.approx(exactly["wd"][neuron], abs=4 / 8000**0.5)


def test_scan() -> None:
    rows = [found.as_json() for found in bench_scan.measure(TINY)]
    check(rows)
    assert all(found["value"] is not None for found in rows), rows
    assert {"<= 1.2", "<= 1.05", "<= 4500", "> 1", ""} == {found["target"] for found in rows}
    (bare,) = (found for found in rows if found["name"].endswith("/ forward without the output layer"))
    assert bare["target"] == ""
    assert all("leaves the output layer out" in found["detail"] for found in rows if "/ plain fo" in found["name"])


def test_the_forward_without_logits_leaves_the_output_layer_out() -> None:
    model, cut = random_model(TINY), random_windows(TINY, 2)
    calls: list[int] = []
    head = model.module.get_output_embeddings()
    assert head is not None
    with head.register_forward_hook(lambda *_: calls.append(1)):
        bench_scan.forward(model, cut, 2, logits=False)
        assert not calls
        bench_scan.forward(model, cut, 2)
        assert calls


def test_a_part_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Place) -> list[Row]:
        raise MemoryError("all gone")

    monkeypatch.setattr(bench_scan, "against_published", broken)
    rows = [found.as_json() for found in bench_scan.measure(TINY)]
    check(rows)
    (lost,) = [found for found in rows if found["value"] is None]
    assert lost["detail"] == "not measured: MemoryError: all gone"
    assert len(rows) > 4


@pytest.mark.slow
def test_interventions() -> None:
    """In a process of its own, since the peers patch what they are given and more."""
    rows = call("benchmarks.__main__:rows_of", "bench_intervene", TINY.as_json())
    check(rows)
    for peer, module in (("nnsight", "nnsight"), ("TransformerLens", "transformer_lens")):
        there = find_spec(module) is not None
        mine = [found for found in rows if peer in found["name"]]
        assert len(mine) == 3  # two shares, and memory
        for found in mine:
            assert (found["value"] is not None) == there, found
            assert there or "ModuleNotFoundError" in found["detail"]
    assert all(found["value"] is not None for found in rows if "plain" in found["name"])


def test_matching() -> None:
    (found,) = bench_matching.measure(TINY)
    check([found.as_json()])
    assert found.met
    assert found.value == int(found.value or 0) > 0


def test_a_search_without_a_match_has_not_met_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_matching, "SEARCHES", (("negative", 0.01, 0.9),))  # a rise that is no damage
    (found,) = bench_matching.measure(TINY)
    assert (found.value, found.met) == (None, False)
    assert "no damage to match" in found.detail


def test_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_layers, "SHAPES", {"tiny": (64, 64, 8, 1, 2)})
    check([found.as_json() for found in bench_layers.measure(repeats=1)])


def test_whole_evaluations_of_layers_are_spared_what_the_sweep_does_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences are encoded once for both sides, and every whole evaluation runs exactly the passes of a plain one."""
    from negspace.score import pairs
    from negspace.score.passes import Passes

    encoded: list[int] = []
    encode = pairs.encode_pairs
    monkeypatch.setattr(pairs, "encode_pairs", lambda *given, **more: (encoded.append(1), encode(*given, **more))[1])
    monkeypatch.setattr(bench_layers, "SHAPES", {"tiny": (64, 64, 8, 1, 2)})
    passes: list[int] = []
    own = Passes._logits
    monkeypatch.setattr(Passes, "_logits", lambda *given, **more: (passes.append(1), own(*given, **more))[1])
    whole: list[int] = []
    each = bench_layers._each

    def counted(*given: Any) -> list[Any]:
        before = len(passes)
        made = each(*given)
        whole.append(len(passes) - before)
        return made

    monkeypatch.setattr(bench_layers, "_each", counted)
    bench_layers.measure(repeats=1)
    assert len(encoded) == 1
    assert whole == [0, 2 * bench_layers.GROUPS]  # of perplexity, which has another kernel, and of one batch of pairs


def test_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_pairs, "PART", 4)
    rows = [found.as_json() for found in bench_pairs.measure(TINY)]
    check(rows)
    measured_ones = [found["name"] for found in rows if found["value"] is not None]
    assert "BLiMP: lm-evaluation-harness / ours" in measured_ones
    assert "BLiMP: one sentence at a time / ours" in measured_ones
    if find_spec("minicons") is None:
        assert "BLiMP: minicons / ours" not in measured_ones


def test_a_pretrained_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_pairs, "PART", 4)
    rows = [found.as_json() for found in bench_real.measure(Place(shape="tiny", model=str(model_path())))]
    check(rows)
    measured_ones = " ".join(found["name"] for found in rows if found["value"] is not None)
    for part in (
        "scan",
        "peak memory",
        "plain forward",
        "BLiMP: lm-evaluation-harness",
        "tasks",
        "layer sweep",
        "parts of",
    ):
        assert part in measured_ones


def test_a_whole_study_of_a_pretrained_model() -> None:
    rows = [found.as_json() for found in bench_study.measure(Place(shape="tiny", model=str(model_path())))]
    check(rows)
    assert len(rows) == 1
    assert rows[0]["value"] > 0
    assert "8 analyses" in rows[0]["detail"]


def test_a_worker_that_never_works_ends_the_warming(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Cluster:
        busy: ClassVar[dict[int, str]] = {7: "a cell"}

    runs: list[int] = []

    def run(*_: Any, progress: Any = None, **__: Any) -> None:
        runs.append(1)
        assert len(runs) < 100
        if progress:
            progress(None)

    monkeypatch.setattr(bench_scaling, "run_study", run)
    monkeypatch.setattr(bench_scaling, "WARMING", 0.0)
    study: Any = bench_scaling._study(1)
    with pytest.raises(RuntimeError, match="1 of 2 workers computed a cell"):
        bench_scaling._warm(Cluster(), study, tmp_path, 2)  # type: ignore[arg-type]
    assert bench_scaling._warm(Cluster(), study, tmp_path, 1) == {7}  # type: ignore[arg-type]


def test_the_sketch_is_as_near_as_its_row_says() -> None:
    rows = bench_wasserstein.distance(1, 12)
    check([found.as_json() for found in rows])
    assert rows[1].met


def test_a_part_is_measured_alone() -> None:
    rows = bench_real.measure(Place(shape="tiny", model=str(model_path())), only=["intervention"])
    assert rows
    assert all(found.name.startswith("forward under intervention") for found in rows)
    with pytest.raises(ValueError, match=r"no part nothing; there are intervention, pairs, .*scan"):
        bench_real.measure(Place(shape="tiny", model=str(model_path())), only=["nothing"])


def test_new_rows_replace_what_they_measure_anew() -> None:
    def made(module: str, name: str, value: float) -> dict[str, Any]:
        return {"module": module, "name": name, "value": value}

    order = ("bench_real", "bench_study")
    before = [made("bench_real", "scan", 1), made("bench_real", "load", 1), made("bench_study", "old", 1)]
    new = [made("bench_study", "new", 2), made("bench_real", "scan", 2)]

    def update(machine: str) -> list[dict[str, Any]]:
        runs = [{"machine": {"cpu": "one"}, "targets": list(before)}]
        return results.updated(
            runs, ["bench_real.scan", "bench_study"], {"machine": {"cpu": machine}, "targets": list(new)}, order
        )

    assert update("one") == [{"machine": {"cpu": "one"}, "targets": [before[1], new[1], new[0]]}]
    assert update("two") == [
        {"machine": {"cpu": "one"}, "targets": [before[1]]},
        {"machine": {"cpu": "two"}, "targets": [new[1], new[0]]},
    ]
    before = before[:1]  # a machine of which nothing is left goes
    assert [run["machine"]["cpu"] for run in update("two")] == ["two"]


def test_every_module_is_in_the_suite() -> None:
    there = {path.stem for path in Path(suite.__file__).parent.glob("bench_*.py")}
    assert there <= {*suite.MODULES, *suite.REAL}


def test_the_suite_keeps_what_could_be_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def one(_: str, name: str, place: dict[str, Any], **__: Any) -> list[dict[str, Any]]:
        if name == "bench_pairs":
            raise RuntimeError("killed")
        return [row(f"{name} on {place['device']}", 2.0, (">", 1), "well").as_json()]

    monkeypatch.setattr(suite, "call", one)
    out = tmp_path / "results.json"
    assert suite.main(["bench_scan", "bench_pairs", "bench_matching", "--out", str(out)]) == 1
    (made,) = results.read_runs(out)
    assert [found.pop("module") for found in made["targets"]] == ["bench_scan", "bench_pairs", "bench_matching"]
    check(made["targets"][:1] + made["targets"][2:])
    assert [found["value"] for found in made["targets"]] == [2.0, None, 2.0]
    assert "killed" in made["targets"][1]["detail"]
    assert made["machine"].items() >= {"device": "cpu", "shape": "small", "dtype": "float32"}.items()
    assert "not measured" in capsys.readouterr().out


def test_some_modules_replace_their_own_rows_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    value = 1.0

    def one(_: str, name: str, *__: Any, **___: Any) -> list[dict[str, Any]]:
        return [row(name, value, (">", 1.5), "well").as_json()]

    monkeypatch.setattr(suite, "call", one)
    out = tmp_path / "results.json"
    suite.main(["bench_pairs", "bench_scan", "bench_layers", "--out", str(out)])
    value = 2.0
    suite.main(["bench_pairs", "--update", "--out", str(out)])
    made = results.read_runs(out)[0]["targets"]
    assert [(found["module"], found["value"]) for found in made] == [
        ("bench_scan", 1.0),
        ("bench_pairs", 2.0),
        ("bench_layers", 1.0),
    ]


def test_results_of_a_gpu_have_a_file_of_their_own() -> None:
    assert results.results_path(HERE).name == "results.json"
    assert results.results_path(Place("cuda", "llama-3.1-8b")).name == "results-cuda-llama-3.1-8b.json"
    assert results.results_path(Place(model="models/gemma-3.gguf")).name == "results-cpu-gemma-3.json"


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        suite.main(["bench_nothing"])
    assert stopped.value.code == 2
    assert "unknown benchmark bench_nothing" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["bench_scan", "bench_intervene", "bench_matching", "bench_pairs"])
def test_on_a_gpu(name: str) -> None:
    rows = call("benchmarks.__main__:rows_of", name, Place("cuda", "tiny").as_json())
    check(rows)
    peers = ("nnsight", "TransformerLens", "lm-evaluation-harness", "minicons", "TSE")  # which may not be there
    assert all(found["value"] is not None for found in rows if not any(peer in found["name"] for peer in peers))
