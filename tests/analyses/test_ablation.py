"""The main study on a tiny model: its conditions, its figures against plain calls, its keys, its resumption."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import negspace as ns
from negspace.experiment.config import Study, configure
from negspace.experiment.identity import tokenizer_hash
from negspace.experiment.workbench import Workbench
from negspace.runs.engine import Interrupted, LocalEngine
from negspace.runs.store import Store
from negspace.study.run import run_study
from negspace.study.tables import Tables

Run = tuple[Path, Tables]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything in a run folder but the log and the lock, which hold times and process numbers."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "run.log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_conditions_and_their_sizes(tiny_run: Run) -> None:
    summary = tiny_run[1]["summary"]
    roles = summary["role"].tolist()
    assert roles[0] == "baseline"
    assert roles.count("top") == 2
    assert roles.count("random") == 2 * 19
    assert roles.count("random mean") == 2
    # ceil(0.1 * 63) = 7 and ceil(0.3 * 63) = 19 of each layer's 64 neurons, in two layers.
    assert set(summary.loc[summary["share"] == 0.1, "neurons"]) >= {14}
    for share, size in ((0.1, 14), (0.3, 38)):
        same = summary[(summary["share"] == share) & summary["role"].isin(["top", "random"])]
        assert (same["neurons"] == size).all()


def test_figures_equal_plain_calls(tiny_run: Run, tiny_study: Study) -> None:
    """What a reader would compute by hand with the public functions."""
    summary = tiny_run[1]["summary"].set_index("condition")
    model = ns.load(tiny_study.model)
    scan = ns.scan(model, tiny_study.text, window=64, windows=12, md_pairs=64)
    top = scan.top(0.3)
    with ns.intervene(model, top, zero="negative"):
        perplexity = ns.perplexity(model, tiny_study.text, window=64).value
        blimp = ns.minimal_pairs(model, tiny_study.blimp, limit=4)
    assert summary.loc["top 30%", "perplexity"] == pytest.approx(perplexity, rel=1e-12)
    assert summary.loc["top 30%", "blimp_accuracy"] == pytest.approx(blimp.accuracy)
    plain = ns.perplexity(model, tiny_study.text, window=64).value
    assert summary.loc["baseline", "perplexity"] == pytest.approx(plain, rel=1e-12)
    assert summary.loc["top 30%", "ratio"] == pytest.approx(perplexity / plain)
    assert ns.NeuronSet.load(tiny_run[0] / "neurons" / "top-30pct.json") == top


def test_matched_conditions_name_what_they_are(tiny_run: Run) -> None:
    folder, tables = tiny_run
    matches = json.loads((folder / "run.json").read_text())["analyses"]["ablation"]["matches"]
    assert [match["share"] for match in matches] == [0.1, 0.3]
    for match in matches:
        assert match["evaluations"] <= 8
        assert match["m"] <= 1 - match["share"] + 1e-9
        word = "matched" if match["matched"] else "nearest"
        names = tables["summary"].loc[tables["summary"]["role"] == word, "condition"]
        if match["m"]:
            assert any(f", {word} to top {match['share'] * 100:.4g}%" in name for name in names)


def test_running_again_computes_nothing_and_changes_nothing(tiny_run: Run, tiny_study: Study) -> None:
    folder, _ = tiny_run
    before = snapshot(folder)

    def refuse(*_: Any) -> Any:
        raise AssertionError("a recorded cell was computed again")

    run_study(tiny_study, folder, make_engine=lambda store, _: LocalEngine(store, refuse))
    assert snapshot(folder) == before


def test_stopped_and_damaged_runs_end_in_the_same_bytes(tiny_run: Run, tiny_study: Study, tmp_path: Path) -> None:
    """Stop after every third cell, damage a record now and then, go on: the same records and tables."""
    folder, _ = tiny_run
    other = tmp_path / "other"
    for attempt in range(40):

        def make(store: Store, compute: Any) -> LocalEngine:
            left = [3]

            def limited(cell: Any, step: Any) -> Any:
                if not left[0]:
                    raise Interrupted(3, 0)
                left[0] -= 1
                return compute(cell, step)

            return LocalEngine(store, limited)

        try:
            run_study(tiny_study, other, make_engine=make)
            break
        except Interrupted:
            if attempt % 4 == 1:
                record = sorted((other / "cells").glob("*.parquet"))[attempt % 3]
                record.write_bytes(record.read_bytes()[: 100 + attempt])
    else:
        pytest.fail("the run made no progress")
    assert snapshot(other) == snapshot(folder)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"limit": 3}, {"scan", "perplexity"}),
        ({"zero": "both"}, {"scan", "baseline"}),
        ({"perplexity_windows": 5}, {"scan", "pairs"}),
        ({"protocol": "lm-eval"}, {"scan", "perplexity"}),
        ({"seed": 5}, {"baseline"}),
        ({"draws": 150}, {"everything"}),
    ],
)
def test_a_changed_setting_makes_new_cells_and_keeps_what_still_fits(
    tiny_run: Run, tiny_fields: dict[str, Any], tmp_path: Path, change: dict[str, Any], kept: set[str]
) -> None:
    """Which cells are computed anew follows from what a setting can touch."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run[0], folder)
    computed: list[tuple[str, bool]] = []

    def make(store: Store, compute: Any) -> LocalEngine:
        def watched(cell: Any, step: Any) -> Any:
            computed.append((cell.kind, cell.spec.get("neurons", "") is None))
            return compute(cell, step)

        return LocalEngine(store, watched)

    run_study(configure({**tiny_fields, "shares": [0.1], "matched": False, **change}), folder, make_engine=make)
    kinds = {kind for kind, _ in computed}
    for what in kept:
        if what == "everything":
            assert not computed
        elif what == "baseline":
            assert computed
            assert not any(baseline for _, baseline in computed)
        else:
            assert computed
            assert what not in kinds


def test_another_configuration_in_the_same_folder_is_noted_and_leaves_nothing_stale(
    tiny_run: Run, tiny_fields: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_run[0], folder)
    notes: list[str] = []
    fields = {**tiny_fields, "tse": [], "shares": [0.3], "matched": False}
    tables = run_study(configure(fields), folder, note=notes.append)
    assert any("(other shares, matched, tse)" in note for note in notes)
    assert {path.stem for path in (folder / "tables").glob("*.csv")} == set(tables.all)
    assert {path.name for path in (folder / "neurons").iterdir()} == {
        "top-30pct.json", *(f"random-30pct-seed-{seed}.json" for seed in range(19))
    }  # fmt: skip


def test_a_run_that_is_stopped_leaves_the_finished_one_as_it_was(
    tiny_run: Run, tiny_fields: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_run[0], folder)
    kept = ["run.json", "scan.parquet", *(f"neurons/{path.name}" for path in (folder / "neurons").iterdir())]
    before = {name: (folder / name).read_bytes() for name in kept}
    assert "neurons/top-30pct.json" in before

    def make(store: Store, compute: Any) -> LocalEngine:
        seen: list[str] = []

        def stop(cell: Any, step: Any) -> Any:
            seen.append(cell.key)
            if len(seen) > 3:
                raise Interrupted(0, 1)
            return compute(cell, step)

        return LocalEngine(store, stop)

    with pytest.raises(Interrupted):
        run_study(configure({**tiny_fields, "by": "md", "windows": 3}), folder, make_engine=make)
    assert {name: (folder / name).read_bytes() for name in kept} == before


def test_a_changed_weight_makes_all_cells_new(tiny_run: Run, tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    other = tmp_path / "model"
    shutil.copytree(tiny_fields["model"], other)
    module = AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        module.gpt_neox.layers[1].mlp.dense_4h_to_h.weight[3, 5] += 1e-3
    module.save_pretrained(other)
    folder = tmp_path / "run"
    shutil.copytree(tiny_run[0], folder)
    before = {path.name for path in (folder / "cells").iterdir()}
    fields = {**tiny_fields, "model": str(other), "shares": [0.1], "random": 0, "matched": False}
    run_study(configure(fields), folder)
    manifest = json.loads((folder / "run.json").read_text())
    used = {
        f"{key}.parquet"
        for condition in manifest["analyses"]["ablation"]["conditions"]
        for key in condition["cells"].values()
    }
    assert not used & before


def test_a_changed_text_makes_new_cells(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(Path(tiny_fields["text"]).read_text().replace("cat", "dog", 1))
    plain, changed = Workbench(configure(tiny_fields)), Workbench(configure({**tiny_fields, "text": str(text)}))
    assert plain.describe().perplexity[1] != changed.describe().perplexity[1]
    assert plain.describe().statistics[1] != changed.describe().statistics[1]


def test_records_hold_no_path_and_no_time(tiny_run: Run, tiny_fields: dict[str, Any]) -> None:
    """The same contents under other names give the same records."""
    for path in (tiny_run[0] / "cells").iterdir():
        content = path.read_bytes()
        assert tiny_fields["model"].encode() not in content
        assert b"text.txt" not in content


def test_modes_that_use_means_run_and_depend_on_the_scan(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    fields = {
        **tiny_fields,
        "mode": "mean",
        "shares": [0.3],
        "random": 1,
        "random_perplexity": 1,
        "tse": [],
        "matched": False,
    }
    tables = run_study(configure(fields), tmp_path / "run")
    assert tables.manifest["analyses"]["ablation"]["intervention"] == "mean"
    key = tables.manifest["analyses"]["ablation"]["conditions"][1]["cells"]["perplexity"]
    assert Store(tmp_path / "run").require(key).spec["scan"] == tables.manifest["scan"]


def test_study_file_gives_the_same_study_again(tiny_run: Run, tiny_study: Study) -> None:
    assert configure(yaml.safe_load((tiny_run[0] / "study.yaml").read_text())) == tiny_study


def test_tokenizer_hash_ignores_state_and_sees_vocabulary(tiny_model_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_path)
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "a b c d"], padding=True, truncation=True, max_length=3)
    assert tokenizer_hash(tokenizer) == before
    tokenizer.add_tokens(["barking"])
    assert tokenizer_hash(tokenizer) != before


def test_without_pairs_or_controls(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    fields = {**tiny_fields, "blimp": [], "tse": [], "random": 0, "matched": False, "shares": 0.1}
    tables = run_study(configure(fields), tmp_path / "run")
    assert list(tables["summary"]["role"]) == ["baseline", "top"]
    assert tables["contrasts"][["score", "set", "against"]].values.tolist() == [["perplexity", "top", "plain"]]
    assert tables["matching"].empty
    assert set(tables.all) == {"summary", "contrasts", "matching", "examples"}


@pytest.mark.shared
def test_real_model_on_real_data(stories260k_path: Path, shared_data: Path, tmp_path: Path) -> None:
    text = tmp_path / "wiki.txt"
    text.write_text((shared_data / "wikitext2" / "wiki.valid.raw").read_text()[:60_000])
    study = configure(
        {
            "model": str(stories260k_path),
            "text": str(text),
            "windows": 4,
            "perplexity_windows": 4,
            "blimp": str(shared_data / "blimp"),
            "tse": str(shared_data / "tse"),
            "limit": 1,
            "shares": [0.2],
            "random": 1,
            "random_perplexity": 1,
            "draws": 200,
        }
    )
    tables = run_study(study, tmp_path / "run")
    summary = tables["summary"].set_index("role")
    assert 100 < summary.loc["baseline", "perplexity"] < 300
    assert len(tables["blimp_by_phenomenon"]["phenomenon"].unique()) == 12
    assert pd.notna(summary.loc["top", "tse_nats_low"])
    contrasts = tables["contrasts"].set_index(["set", "against", "score"]).sort_index()
    assert np.isfinite(contrasts.loc[("top", "plain"), "difference"]).all()
    # So small a model is not above chance on so few pairs: accuracy cannot be judged, and margins are.
    for suite in ("blimp", "tse"):
        row = contrasts.loc[("top", "plain", suite)]
        assert row["finding"] == "cannot be judged"
        assert re.match(r"the plain model's accuracy of \d\d\.\d% is not shown to be above chance", row["reason"])
        assert np.isfinite([row["difference_nats_low"], row["nats_p"]]).all()
    # One random set, and there are no others to learn from how much such sets differ.
    few = contrasts.loc[("top", "random", "blimp")]
    assert (few["finding"], np.isnan(few["difference"])) == ("cannot be judged", True)
    assert few["reason"] == "cannot be judged with 1 random set; draw 5 or more"
