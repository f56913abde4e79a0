"""Tables from records alone: documented columns, figures that a reader can recompute, the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from negspace.analyses.ablation import columns
from negspace.errors import RecordError
from negspace.experiment.examples import EXAMPLES
from negspace.runs.store import Store
from negspace.significance import Nesting, compare, compare_with_sets, correct
from negspace.significance.sets import rank_p
from negspace.study.tables import Tables

Run = tuple[Path, Tables]
TABLES = {**columns.TABLES, EXAMPLES.name: EXAMPLES}


def _items(run: Run, condition: str, kind: str) -> pd.DataFrame:
    manifest = json.loads((run[0] / "run.json").read_text())
    key = next(one["cells"][kind] for one in manifest["analyses"]["ablation"]["conditions"] if one["name"] == condition)
    return Store(run[0]).require(key).items


def test_every_column_is_documented_and_there(tiny_run: Run) -> None:
    for name, table in tiny_run[1].all.items():
        # The run has BLiMP and TSE; columns of a suite that was not scored are left out.
        assert list(table.columns) == [c for c in TABLES[name].names if not c.startswith("pairs_")]
    page = (tiny_run[0] / "tables" / "COLUMNS.md").read_text()
    assert all(f"`{column}`" in page for table in TABLES.values() for column in table.names)


def test_tables_on_disk_read_in_one_line_and_agree(tiny_run: Run) -> None:
    folder, tables = tiny_run
    for name, table in tables.all.items():
        pd.testing.assert_frame_equal(pd.read_parquet(folder / "tables" / f"{name}.parquet"), table)
        read = pd.read_csv(folder / "tables" / f"{name}.csv")
        assert list(read.columns) == list(table.columns)
        assert len(read) == len(table)
    np.testing.assert_array_equal(
        pd.read_csv(folder / "tables" / "summary.csv")["perplexity"], tables["summary"]["perplexity"]
    )


def test_made_from_records_again_they_are_the_same_bytes(tiny_run: Run) -> None:
    folder, _ = tiny_run
    before = {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}
    for path in (folder / "tables").iterdir():
        path.unlink()
    store = Store(folder)
    Tables(store).write(store)
    assert {path.name: path.read_bytes() for path in (folder / "tables").iterdir()} == before


def test_contrasts_by_hand(tiny_run: Run) -> None:
    contrasts = tiny_run[1]["contrasts"]
    plain, ablated = _items(tiny_run, "baseline", "tse"), _items(tiny_run, "top 30%", "tse")
    row = contrasts.query("share == 0.3 and score == 'tse' and set == 'top' and against == 'plain'").iloc[0]
    nesting = Nesting.constructions(plain["paradigm"], plain["phenomenon"])
    was, now = ((items["outcome"] == "right").to_numpy(float) for items in (plain, ablated))
    margins = [(items["good"] - items["bad"]).to_numpy() for items in (plain, ablated)]
    points = compare(now, was, nesting, scale="points")
    nats = compare(margins[1], margins[0], nesting, scale="nats")
    # Two constructions of two families: nothing can be judged, and what they show is the difference alone.
    assert row["difference"] == pytest.approx((now - was).mean())
    assert row[["low", "high", "p"]].isna().all()
    assert (row["finding"], row["reason"]) == ("cannot be judged", points.reason)
    assert nats.finding == row["nats_finding"] == "cannot be judged"
    change = tiny_run[1]["summary"].set_index("condition").loc["top 30%", "tse_change"]
    assert change == pytest.approx(row["difference"])
    # Perplexity against random sets: their t-tests are corrected with the rest, ranks over both shares.
    ranked = {}
    for place, one in contrasts.query("score == 'perplexity' and against == 'random'").iterrows():
        names = [f"random {one['share']:.0%}, seed {seed}" for seed in range(19)]
        nll = {name: _items(tiny_run, name, "perplexity") for name in (f"top {one['share']:.0%}", *names)}
        top, *sets = (items["nll"].to_numpy(float) for items in nll.values())
        ranked[place] = compare_with_sets(top, np.stack(sets), Nesting.windows(len(top)), scale="log ratio")
    family = contrasts[["p", "nats_p"]].astype(float)
    family.loc[list(ranked), "p"] = [one.sets.p for one in ranked.values()]
    expected = correct(family.to_numpy().ravel()).p.reshape(-1, 2)[:, 0]
    ranks = rank_p([one.estimate for one in ranked.values()], [one.sets.means for one in ranked.values()])
    expected[list(ranked)] = np.maximum(expected[list(ranked)], ranks)
    np.testing.assert_allclose(contrasts["p_holm"], expected)


def test_random_mean_and_its_place(tiny_run: Run) -> None:
    summary, contrasts = tiny_run[1]["summary"], tiny_run[1]["contrasts"]
    sets = summary[(summary["role"] == "random") & (summary["share"] == 0.3)]
    mean = summary[(summary["role"] == "random mean") & (summary["share"] == 0.3)].iloc[0]
    assert sets["blimp_accuracy"].notna().sum() == 5
    assert mean["blimp_accuracy"] == pytest.approx(sets["blimp_accuracy"].mean())
    assert mean["blimp_accuracy_sd"] == pytest.approx(sets["blimp_accuracy"].std())
    top = summary[(summary["role"] == "top") & (summary["share"] == 0.3)].iloc[0]
    of_top = contrasts.query("share == 0.3 and set == 'top' and against == 'random'").set_index("score")
    assert of_top.loc["blimp", "value"] == top["blimp_accuracy"]
    assert of_top.loc["blimp", "reference"] == pytest.approx(mean["blimp_accuracy"])
    assert of_top.loc["blimp", "below"] == (sets["blimp_accuracy"] < top["blimp_accuracy"]).sum()
    ratio = of_top.loc["perplexity"]
    assert ratio["sets"] == 19
    assert ratio["difference"] == pytest.approx(top["perplexity"] / mean["perplexity"])
    assert ratio["low"] < ratio["difference"] < ratio["high"]


def test_groups_hold_all_pairs_once(tiny_run: Run) -> None:
    table = tiny_run[1]["blimp_by_phenomenon"]
    one = table[table["condition"] == "top 10%"]
    assert one["phenomenon"].tolist() == ["agreement", "binding"]
    assert one["pairs"].sum() == 4 * 4
    assert one["paradigms"].tolist() == [2, 2]
    construction = tiny_run[1]["tse_by_construction"]
    assert sorted(construction["construction"].unique()) == ["prep_anim", "simple_agrmt"]
    assert construction[construction["role"] == "baseline"]["change"].isna().all()


def test_a_missing_record_says_what_to_do(tiny_run: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_run[0], tmp_path / "run")
    next(iter((tmp_path / "run" / "cells").glob("*.parquet"))).unlink()
    for path in (tmp_path / "run" / "cells").glob("*.parquet"):
        path.write_bytes(b"")
    with pytest.raises(RecordError, match="run the same study again"):
        Tables(Store(tmp_path / "run"))
