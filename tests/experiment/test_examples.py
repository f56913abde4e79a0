"""Example tokens of every run: the extremes of a plain forward pass, as text in the page, whatever else was run."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import ByT5Tokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

import zoo
from negspace.experiment.config import configure
from negspace.experiment.examples import CONTEXT, ENDS, EXAMPLES, MOST, windows_read
from negspace.models.load import load, wrap
from negspace.report.examples import WIDTH
from negspace.report.neurons import EXAMPLED, NO_EXAMPLES, explorer
from negspace.report.page import render
from negspace.report.text import visible
from negspace.runs.store import Store
from negspace.study.reading import read_run
from negspace.study.run import plan_study, run_study
from negspace.study.tables import Tables
from negspace.text.source import read_text
from negspace.text.windows import make_windows

HOSTILE = "Café <script>window.hit = 1</script> naïve $x$ </script> & 你好 "
Run = tuple[Path, Tables]


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A study of one small analysis, on a text of markup and of characters that are several tokens each."""
    text = tmp_path_factory.mktemp("text") / "hostile.txt"
    text.write_text(HOSTILE * 60, encoding="utf-8")
    small = {"text": str(text), "blimp": [], "tse": [], "perplexity_windows": 2, "md_pairs": 0}
    return {**tiny_fields, **small, "analyses": {"layers": {"groups": 2, "random": 0}}}


@pytest.fixture(scope="module")
def run(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "examples"
    return folder, run_study(configure(fields), folder)


def test_values_and_places_are_those_of_a_plain_forward_pass(run: Run, fields: dict[str, Any]) -> None:
    model, table = load(fields["model"]), run[1]["examples"]
    text = read_text(fields["text"], role="statistics")
    cut = make_windows(text, model.tokenizer, window=64, windows=12, context=model.context)
    seen: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(model.module.gpt_neox.layers):
        block.mlp.act.register_forward_pre_hook(lambda _, args, layer=layer: seen.update({layer: args[0][0].clone()}))
    passes = {}
    for window in windows_read(12, 64, 32).tolist():
        with torch.no_grad():
            model.module(input_ids=torch.from_numpy(cut.tokens[window : window + 1]))
        for layer, values in seen.items():
            passes[window, layer] = values.numpy()
    assert len(passes) == 2 * 4
    assert set(table["name"]) == {f"{layer}.{neuron}" for layer in (0, 1) for neuron in range(64)}
    for (_, layer, neuron, end), own in table.groupby(["name", "layer", "neuron", "end"]):
        sign = 1 if end == "lowest" else -1
        of_windows = {w: passes[w, layer][:, neuron] for w in windows_read(12, 64, 32).tolist()}
        best = {w: 1 + int((sign * values[1:]).argmin()) for w, values in of_windows.items()}
        wanted = sorted(best, key=lambda w: sign * of_windows[w][best[w]])[:MOST]
        assert own["rank"].tolist() == [1, 2, 3]
        np.testing.assert_allclose(own["activation"], [of_windows[w][best[w]] for w in wanted], atol=1e-5)
        for row in own.itertuples():
            values = of_windows[row.window]
            assert values[row.place] == pytest.approx(row.activation, abs=1e-5)
            first = row.place - row.focus
            around = json.loads(row.activations)
            assert first == max(0, row.place - CONTEXT)
            assert first + len(around) == min(64, row.place + CONTEXT + 1)
            assert (around[0] is None) == (first == 0)
            read = [np.nan if value is None else value for value in around]
            np.testing.assert_allclose(read[int(first == 0) :], values[max(1, first) : first + len(around)], atol=1e-4)


def test_contexts_are_the_text_with_whole_characters(run: Run) -> None:
    table = run[1]["examples"]
    shown = {"".join(json.loads(context)) for context in table["context"]}
    # A character is written where its first token is: a context that ends within it shows the whole of it.
    assert all(one in HOSTILE * 60 for one in shown)
    assert any("é <script>" in one for one in shown)
    assert not any("�" in one for one in shown)


def test_documented_columns(run: Run) -> None:
    folder, tables = run
    assert list(tables["examples"].columns) == EXAMPLES.names
    page = (folder / "tables" / "COLUMNS.md").read_text()
    assert all(f"`{name}`: {meaning}" in page for name, meaning in EXAMPLES.meanings.items())
    assert len(pd.read_csv(folder / "tables" / "examples.csv")) == len(tables["examples"]) == 2 * 64 * 2 * MOST


def test_the_plan_counts_what_is_read_and_what_is_recorded(run: Run, fields: dict[str, Any]) -> None:
    load = plan_study(configure(fields)).loads["examples"]
    results = Store(run[0]).require(run[1].manifest["examples"]).results
    assert (load.cells, load.tokens) == (1, results["windows"] * results["window"])
    assert plan_study(configure(fields), out=run[0]).loads["examples"].cells == 0


def test_the_batch_does_not_matter_and_a_lost_record_is_made_again(
    run: Run, fields: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    record = folder / "cells" / f"{run[1].manifest['examples']}.parquet"
    before = {path: path.read_bytes() for path in folder.glob("cells/*")}
    stamps = {path: path.stat().st_mtime_ns for path in before}
    record.unlink()
    plan = plan_study(configure(fields), out=folder)
    assert plan.cells == plan.loads["examples"].cells == 1
    run_study(configure({**fields, "batch": 5}), folder)
    assert {path: path.read_bytes() for path in folder.glob("cells/*")} == before
    assert [path for path in before if path.stat().st_mtime_ns != stamps[path]] == [record]


def test_the_page_holds_the_examples_of_a_run_without_the_atlas_as_text(run: Run) -> None:
    html = render([read_run(run[0])])
    blocks = dict(re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', html, re.DOTALL))
    assert not set(blocks["neurons-0"]) & set("<>&")
    assert html.count("<script") == len(blocks) + 2
    found = json.loads(blocks["neurons-0"])
    assert found["exampled"] == EXAMPLED
    assert found["details"] == {}
    _check_packed(found["examples"], run[1]["examples"])


def _check_packed(found: dict[str, Any], table: pd.DataFrame) -> None:
    """Unpack as the page does."""
    for name, rows in table.groupby("name"):
        own = found["of"][name]
        values = np.frombuffer(base64.b64decode(own["values"]), "<f4").reshape(-1, WIDTH)
        for row, (end, window, place), around in zip(rows.itertuples(), own["at"], values, strict=True):
            assert (found["ends"][end], window, place) == (row.end, row.window, row.place)
            texts = found["texts"][str(window)]
            there = [step for step in range(max(0, place - CONTEXT), place + CONTEXT + 1) if step < len(texts)]
            wanted = [visible(text) for text in json.loads(row.context)]
            assert [texts[step] for step in there][: len(wanted)] == wanted
            assert around[CONTEXT] == pytest.approx(row.activation, abs=1e-4)
            inside = around[CONTEXT - row.focus :][: len(wanted)]
            assert [None if np.isnan(one) else one for one in inside] == [
                None if one is None else pytest.approx(one, abs=1e-4) for one in json.loads(row.activations)
            ]


def test_a_run_without_the_record_opens_and_says_how_to_get_it(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    store = Store(folder)
    manifest = store.read_manifest()
    (folder / "cells" / f"{manifest.pop('examples')}.parquet").unlink()
    store.write_manifest(manifest)
    found = read_run(folder)
    assert found.examples is None
    made = explorer(found)
    assert made is not None
    assert (made["examples"], made["exampled"]) == (None, NO_EXAMPLES)
    assert "examples" not in Tables(store)
    assert "## examples" not in Tables(store).describe()


def test_no_window_overlaps_another_and_the_cost_is_small() -> None:
    assert windows_read(64, 2048, 1024).tolist() == [0, 8, 16, 24, 32, 40, 48, 56]
    assert windows_read(12, 64, 32).tolist() == [0, 2, 6, 8]
    assert windows_read(1, 64, 32).tolist() == [0]
    assert windows_read(3, 64, 32).tolist() == [0, 2]
    assert windows_read(10, 64, 100).tolist() == [0, 2, 5, 7]
    assert windows_read(4, 40_000, 40_000).tolist() == [0]
    assert len(windows_read(100_000, 256, 128)) == 64


def _words(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same study on a text of the zoo's tokenizer."""
    text = folder / "words.txt"
    text.write_text(" ".join(f"w{number}" for number in np.random.default_rng(0).integers(3, 96, size=600)))
    return {**fields, "text": str(text), "window": 32}


def test_experts_have_the_tokens_that_reached_them(fields: dict[str, Any], tmp_path: Path) -> None:
    model = wrap(zoo.build("mixtral"), zoo.tokenizer())
    tables = run_study(configure(_words(fields, tmp_path)), tmp_path / "run", model=model)
    table = tables["examples"]
    assert (table["branch"] == "experts").all()
    assert set(table["end"]) == set(ENDS)
    assert table["activations"].str.contains("null").any()
    assert table["activation"].notna().all()
    made = explorer(read_run(tmp_path / "run"))
    assert made is not None
    _check_packed(made["examples"], table)


def test_layers_that_a_pass_runs_several_times_have_none(fields: dict[str, Any], tmp_path: Path) -> None:
    model = wrap(zoo.build("hrm_text"), zoo.tokenizer(), "hrm_text")
    tables = run_study(configure(_words(fields, tmp_path)), tmp_path / "run", model=model)
    assert all(site.passes > 1 for site in model.sites)
    assert len(tables["examples"]) == 0
    assert list(tables["examples"].columns) == EXAMPLES.names
    assert explorer(read_run(tmp_path / "run"))["examples"]["of"] == {}  # type: ignore[index]


def test_a_slow_tokenizer_has_its_tokens_by_name(fields: dict[str, Any], tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 12,
    }
    torch.manual_seed(0)
    config = GPTNeoXConfig(vocab_size=384, max_position_embeddings=64, **sizes)
    tokenizer = ByT5Tokenizer()
    assert not tokenizer.is_fast
    model = wrap(GPTNeoXForCausalLM(config).eval(), tokenizer)
    tables = run_study(configure({**fields, "window": 32}), tmp_path / "run", model=model)
    shown = {token for context in tables["examples"]["context"] for token in json.loads(context)}
    assert {"<", "s"} <= shown
    assert all(shown)
