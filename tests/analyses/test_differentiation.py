"""Differentiation: pairs as by hand, shares and tests as in plain formulas, the same bytes whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist

from negspace.analyses.differentiation.analysis import DifferentiationAnalysis
from negspace.analyses.differentiation.columns import TABLES
from negspace.analyses.differentiation.pairs import PAIRS, differentiate
from negspace.analyses.differentiation.tables import _against_neurons, _against_random, _permuted, _summary
from negspace.analyses.differentiation.words import _said, sentences
from negspace.experiment.book import Book
from negspace.experiment.config import configure
from negspace.experiment.passages import Passages, make_passages
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.models.taps import tap
from negspace.neurons.neuronset import NeuronSet
from negspace.reference import text_path
from negspace.runs.cell import Record
from negspace.runs.store import Store
from negspace.study.run import run_study
from negspace.study.tables import Tables
from zoo import build, tokenizer

SETTINGS = {"tokens": 1200, "window": 48, "per_layer": 4, "pairs": 10, "neighbours": 5}


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Model:
    return load(str(tiny_model_path))


@pytest.fixture(scope="module")
def passages(model: Model) -> Passages:
    return make_passages(model, str(text_path()), tokens=1200, window=48)


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_fields, "text": str(text_path()), "analyses": {"differentiation": SETTINGS}}


@pytest.fixture(scope="module")
def run(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    folder = tmp_path_factory.mktemp("runs") / "differentiation"
    return folder, run_study(configure(fields), folder)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text that the zoo's tokenizer knows."""
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text(" ".join(f"w{number}" for number in np.random.default_rng(0).integers(3, 96, size=2500)))
    return path


def test_pairs_are_near_and_driven_furthest_apart(model: Model, passages: Passages) -> None:
    """By hand, from a tap of our own: all distances, the nearest five of each token, half of those pairs."""
    neurons = NeuronSet.from_indices(model, {1: [3, 17]})
    made = differentiate(model, neurons, passages, pairs=10, neighbours=5)
    inputs, values = [], []
    with (
        torch.no_grad(),
        tap(
            model,
            sites=[model.sites[1]],
            inputs=lambda _, x, __: inputs.append(x.reshape(-1, x.shape[-1]).clone()),
            before=lambda _, a, __: values.append(a.reshape(-1, a.shape[-1]).clone()),
        ),
    ):
        for window in passages.windows.tokens:
            model.module(torch.from_numpy(window)[None])
    x, a = torch.cat(inputs).numpy().astype(np.float64), torch.cat(values).numpy()
    # Windows that begin with the same token give it the same input: the first of them stands for all.
    same = np.tril(cdist(x, x) < 1e-4, -1).any(axis=1)
    assert 0 < same.sum() < 100
    distance = cdist(x, x)
    np.fill_diagonal(distance, np.inf)
    distance[same], distance[:, same] = np.inf, np.inf
    rows = np.flatnonzero(~same).tolist()
    near = {tuple(sorted((row, int(other)))) for row in rows for other in np.argsort(distance[row])[:5]}
    kept = sorted(near, key=lambda pair: distance[pair])[: -(-len(near) // 2)]
    for name, neuron in (("1.3", 3), ("1.17", 17)):
        mine = made.pairs[(made.pairs["name"] == name) & (made.pairs["kind"] == "selected")]
        expected, used = [], set()
        for pair in sorted(kept, key=lambda pair: -abs(float(a[pair[0], neuron]) - float(a[pair[1], neuron]))):
            if not used & set(pair) and len(expected) < 10:
                expected.append(pair)
                used |= set(pair)
        assert list(zip(mine["first"], mine["second"], strict=True)) == expected
        assert np.allclose(mine["a_first"], a[mine["first"], neuron], atol=1e-5)
        about = made.neurons.set_index("name").loc[name]
        signs = [int(a[i, neuron] < 0) + int(a[j, neuron] < 0) for i, j in kept]
        assert about["near_nn"] == pytest.approx(np.mean(np.array(signs) == 2))
        assert about["std"] == pytest.approx(a[:, neuron].std(), rel=1e-4)


def test_controls_match(model: Model, passages: Passages) -> None:
    made = differentiate(model, NeuronSet.from_indices(model, {1: range(0, 64, 8)}), passages, pairs=10)
    frame = passages.tokens

    def kinds(row: Any) -> tuple[Any, ...]:
        at = [row.first, row.second]
        bins = [sorted(int(np.log2(value)) // 2 for value in values) for values in
                (frame["frequency"].iloc[at], frame["place"].iloc[at] + 1)]  # fmt: skip
        return (*bins, row.overlap)

    found = 0
    for _, part in made.pairs.groupby("name"):
        selected = part[part["kind"] == "selected"].set_index("rank")
        tokens = part[["first", "second"]].to_numpy().ravel()
        assert len(set(tokens)) == len(tokens)
        for row in part[part["kind"] == "matched"].itertuples():
            assert kinds(row) == kinds(selected.loc[row.rank])
            found += 1
    assert found > 20


def test_overlap_of_words(model: Model, passages: Passages) -> None:
    made = differentiate(
        model, NeuronSet.from_indices(model, {1: range(0, 64, 4)}), passages, pairs=20, neighbours=20, nearest=1.0
    )
    names = passages.tokens["name"]
    for row in made.pairs.itertuples():
        one, two = (names[at].strip().casefold() for at in (row.first, row.second))
        common = 0
        while common < min(len(one), len(two)) and one[common] == two[common]:
            common += 1
        expected = "same" if one == two else "part" if 2 * common >= max(len(one), len(two)) else "none"
        assert row.overlap == expected
    assert made.pairs["overlap"].nunique() > 1


def test_experts_pair_the_tokens_that_reached_them(words: Path) -> None:
    model = wrap(build("mixtral"), tokenizer())
    passages = make_passages(model, str(words), tokens=800, window=32)
    made = differentiate(model, NeuronSet.from_indices(model, {0: [(1, 5)], 1: [(0, 2), (3, 2)]}), passages, pairs=6)
    assert made.neurons["name"].tolist() == ["0.1.5", "1.0.2", "1.3.2"]
    assert (made.neurons["tokens"] < 800).all()
    assert set(made.pairs["name"]) == {"0.1.5", "1.0.2", "1.3.2"}


def test_tables(run: tuple[Path, Tables]) -> None:
    tables = run[1]
    for name, columns in ((name, table.names) for name, table in TABLES.items()):
        table = tables[name]
        assert list(table.columns) == list(columns)
        read = pd.read_parquet(run[0] / "tables" / f"{name}.parquet")
        assert len(read) == len(table)
    neurons, pairs, summary = (
        tables["differentiation_neurons"],
        tables["differentiation_pairs"],
        tables["differentiation"],
    )
    assert neurons["set"].value_counts().to_dict() == {"top": 8, "random": 40, "bottom": 8}
    for row in neurons.itertuples():
        mine = pairs[(pairs["name"] == row.name) & (pairs["kind"] == "selected")]
        assert row.nn == pytest.approx((mine["sign"] == "NN").mean())
        assert row.nn + row.pn + row.pp == pytest.approx(1)
        assert row.upos_differs == pytest.approx(_differs(mine), nan_ok=True)
        assert row.apart >= row.apart_matched or np.isnan(row.apart_matched)
    top = neurons[neurons["set"] == "top"]
    rows = summary[summary["set"] == "top"].set_index(["measure", "against"])
    assert rows.loc[("nn", "random"), "value"] == pytest.approx(top["nn"].mean())
    assert rows.loc[("pn", "bottom"), "reference"] == pytest.approx(neurons[neurons["set"] == "bottom"]["pn"].mean())
    ends = summary[["low", "difference", "high"]].dropna()
    assert ((ends["low"] <= ends["difference"] + 1e-9) & (ends["difference"] <= ends["high"] + 1e-9)).all()
    judged = summary[summary["p"].notna()]
    assert (judged["p_holm"] >= judged["p"] - 1e-12).all()
    assert rows.loc[("nn", "random"), "sets"] == 5
    each = neurons[neurons["set"] == "random"].groupby("seed")["nn"].mean()
    assert rows.loc[("nn", "random"), "reference"] == pytest.approx(each.mean())
    for against in ("random", "random over matched"):
        row = rows.loc[("nn", against)]
        assert np.isnan(row["p"]) == bool(row["reason"])
    assert tables.sentences("differentiation")[0].startswith("Differentiation, 8 neurons from ")


def _differs(pairs: pd.DataFrame) -> float:
    both = pairs[(pairs["upos_first"] != "") & (pairs["upos_second"] != "")]
    return float((both["upos_first"] != both["upos_second"]).mean())


def test_contexts_are_the_text(run: tuple[Path, Tables], model: Model, passages: Passages) -> None:
    text = ["".join(passages.tokens["name"][48 * w : 48 * w + 48]) for w in range(len(passages.windows))]
    for row in run[1]["differentiation_pairs"].head(50).itertuples():
        for end in ("first", "second"):
            shown = "".join(getattr(row, f"{part}_{end}") for part in ("before", "token", "after"))
            assert shown in text[getattr(row, f"window_{end}")]
            assert (
                getattr(row, f"token_{end}")
                == passages.tokens["name"][48 * getattr(row, f"window_{end}") + getattr(row, f"place_{end}")]
            )


def test_the_same_bytes_whatever_the_batch(run: tuple[Path, Tables], fields: dict[str, Any], tmp_path: Path) -> None:
    run_study(configure({**fields, "batch": 5}), tmp_path / "other")
    keys = Store(run[0]).read_manifest()["analyses"]["differentiation"]
    for key in (keys["record"], keys["passages"]["record"]):
        path = Path("cells") / f"{key}.parquet"
        assert (run[0] / path).read_bytes() == (tmp_path / "other" / path).read_bytes()


def _study(rng: np.random.Generator, sets: int, shift: float = 0.0) -> dict[str, Any]:
    """Top neurons against random sets that differ by more than the noise of their neurons."""
    level = rng.normal(0, 0.1, sets)[:, None] + rng.normal(0, 0.1, (sets, 8))
    top = pd.DataFrame({"name": [f"t{n}" for n in range(8)], "x": shift + rng.normal(0, 0.1) + rng.normal(0, 0.1, 8)})
    names = [f"r{place}.{n}" for place in range(sets) for n in range(8)]
    controls = pd.DataFrame({"name": names, "seed": np.repeat(np.arange(sets), 8), "x": level.ravel()})
    row = _against_random(top, controls, "x", "nn", "random", {"level": 0.95, "draws": 100, "seed": 0})
    assert row is not None
    assert row["difference"] == pytest.approx(top["x"].mean() - level.mean(axis=1).mean())
    return row


def test_random_sets_are_a_sample_of_sets() -> None:
    rng = np.random.default_rng(5)
    assert _study(rng, 3)["reason"] == "cannot be judged with 3 random sets; draw 5 or more"
    few = _study(rng, 8)
    assert "draw 19 or more" in few["reason"]
    assert np.isnan([few["p"], few["low"]]).all()
    false = np.mean([_study(rng, 19)["p"] <= 0.05 for _ in range(200)])
    assert false <= 0.08
    assert np.mean([_study(rng, 19, 0.8)["p"] <= 0.05 for _ in range(20)]) > 0.9


def test_permutation_within_layers() -> None:
    """A difference between layers is none between the sets; one within them is found."""
    rng = np.random.default_rng(0)
    layers = np.repeat([0, 1, 0, 1], 10)
    level = np.where(layers == 0, 0.0, 5.0)
    false = [
        _permuted(values[:20], values[20:], layers, 0) for values in (level + rng.normal(size=40) for _ in range(40))
    ]
    assert np.mean(np.array(false) < 0.05) < 0.15
    shifted = level + rng.normal(size=40) + np.repeat([2.0, 0.0], 20)
    assert _permuted(shifted[:20], shifted[20:], layers, 0) < 0.001
    assert _permuted(np.ones(20), np.ones(20), layers, 0) == 1


def _layers(run: tuple[Path, Tables], up: int, down: int) -> tuple[pd.DataFrame, str]:
    """Neurons of which those of a layer agree: more selected than matched pairs are NN in some layers, fewer in others.

    Returns:
        The table, and the sentence on such pairs.
    """
    names = [(f"{layer}.{n}", layer) for layer in range(up + down) for n in range(8)]
    neurons = pd.DataFrame(names, columns=["name", "layer"]).assign(set="top", seed=None)
    rows = [
        {"name": name, "kind": kind, "rank": rank, "sign": "NN" if (kind == "selected") == (layer < up) else "PP"}
        for name, layer in zip(neurons["name"], neurons["layer"], strict=True)
        for kind in ("selected", "matched")
        for rank in range(1, 5)
    ]
    words = dict.fromkeys(("upos_first", "upos_second", "dep_first", "dep_second"), "")
    table = TABLES["differentiation"].of(
        _summary(neurons, pd.DataFrame(rows).assign(**words), {"level": 0.95, "draws": 200, "seed": 0})
    )
    tables = {**run[1].by_analysis["differentiation"], "differentiation": table}
    return table.set_index("measure"), sentences(run[1].books["differentiation"], tables)[1]


def test_against_matched_pairs_layers_are_the_units(run: tuple[Path, Tables]) -> None:
    """Eight neurons of a layer that choose among the same pairs are not eight votes."""
    table, said = _layers(run, 7, 3)
    row = table.loc["nn"]
    assert row["p_holm"] < 0.01
    assert row["low"] > 0
    assert row["p_layers"] == pytest.approx(2 * sum((1, 10, 45, 120)) / 2**10)
    assert row["p_layers_holm"] == 1
    assert said.startswith("Pairs with both pre-activations below zero: against matched pairs undecided, 70.0% beside ")
    assert "corrected p = 1.000 over 10 layers)" in said
    table, said = _layers(run, 10, 0)
    assert table.loc["nn", "p_layers_holm"] == pytest.approx(3 * 2 / 2**10)
    assert table.loc["nn", "layers"] == 10
    assert "against matched pairs more, 100.0% beside 0.0% (+100.0 points " in said
    assert "corrected p = 0.006 over 10 layers)" in said


def test_a_neuron_of_two_random_sets_counts_once_against_matched_pairs() -> None:
    rng, words = np.random.default_rng(2), ("upos_first", "upos_second", "dep_first", "dep_second")
    names = [(f"{layer}.{n}", layer) for layer in range(8) for n in range(4)]
    neurons = pd.DataFrame(names, columns=["name", "layer"]).assign(set="random")
    rows = [
        {"name": name, "kind": kind, "rank": rank, "sign": str(rng.choice(["NN", "PP"]))} | dict.fromkeys(words, "")
        for name, _ in names
        for kind in ("selected", "matched")
        for rank in range(1, 5)
    ]
    options = {"level": 0.95, "draws": 200, "seed": 0}
    twice = pd.concat([neurons.assign(seed=0), neurons.head(20).assign(seed=1)], ignore_index=True)
    found, expected = (_summary(given, pd.DataFrame(rows), options) for given in (twice, neurons.assign(seed=0)))
    assert expected["pairs"].iloc[0] == 4 * len(names)
    pd.testing.assert_frame_equal(found, expected)


def test_few_layers_cannot_be_judged_over(run: tuple[Path, Tables]) -> None:
    # Six layers that agree give p = 0.031, three times that with three measures.
    table, said = _layers(run, 6, 0)
    assert table.loc["nn", "p_holm"] < 0.001
    assert table.loc["nn", "p_layers_holm"] > 0.05
    assert said == (
        "Pairs with both pre-activations below zero: against matched pairs cannot be judged (6 layers; sign flips over "
        "layers need 7); in these layers' neurons alone 100.0% beside 0.0% (+100.0 points [+100.0, +100.0])."
    )
    assert _layers(run, 7, 0)[0].loc["nn", "p_layers_holm"] <= 0.05
    assert _layers(run, 1, 0)[0].loc["nn", "reason"] == "1 layer; sign flips over layers need 7"
    lines = run[1].sentences("differentiation")[1:]  # two layers
    assert lines
    assert all("against matched pairs cannot be judged (2 layers; " in line for line in lines)


def test_a_difference_of_shares_is_said_in_points() -> None:
    row = pd.Series({"value": -0.328, "reference": -0.231, "difference": -0.097, "low": -0.2, "high": 0.01})
    row = pd.concat([row, pd.Series({"reason": "", "p_holm": 0.3})])
    assert _said(row, "random over matched", 0.05) == (
        "against random sets (selected minus matched pairs) undecided, -32.8 points beside -23.1 (-9.7 points [-20.0, "
        "+1.0], corrected p = 0.300)"
    )


def test_a_single_neuron_cannot_be_compared_with_others() -> None:
    options = {"level": 0.95, "draws": 100, "seed": 0}
    chosen = pd.DataFrame({"layer": 0, "name": ["a", "a"], "x": [0.0, 1.0]})
    controls = pd.DataFrame({"layer": 0, "name": ["b", "c"], "x": [1.0, 1.0]})
    row = _against_neurons(chosen, controls, "x", "nn", "bottom", options)
    assert row is not None
    assert row["reason"] == "a set has a single neuron with such pairs; take more neurons or pairs"
    assert np.isnan([row["p"], row["low"], row["high"]]).all()
    assert "nan" not in _said(pd.Series({**row, "p_holm": np.nan}), "bottom", 0.05)


def test_pairs_without_a_match_are_not_said_to_be_none() -> None:
    book = Book({"alpha": 0.05}, {"share": 0.01, "by": "wd"}, {}, dict[str, Any]().__getitem__)
    top = {"set": "top", "selected": 6, "matched": 0, "apart": 3.2, "apart_matched": np.nan}
    tables = {"differentiation": pd.DataFrame(), "differentiation_neurons": pd.DataFrame([top, top])}
    tables["differentiation"] = TABLES["differentiation"].of([])
    (said,) = sentences(book, tables)
    assert "2 neurons from the top 1% by wd" in said
    assert "(0 of 12 pairs have a match)" in said
    assert "nan" not in said
    none = pd.DataFrame([{**top, "selected": 0}])
    assert sentences(book, {**tables, "differentiation_neurons": none}) == [
        "Differentiation: no chosen neuron separates any near pair."
    ]


@pytest.mark.parametrize("read", [False, True])
def test_neurons_without_near_pairs(passages: Passages, read: bool) -> None:
    """No site with a projection to read inputs from, or too few tokens: empty tables, and a sentence."""
    about = {"name": "0.3", "layer": 0, "branch": "mlp", "expert": -1, "neuron": 3}
    about |= dict.fromkeys(("tokens", "near_pairs", "points", "selected", "matched"), 0)
    about |= dict.fromkeys(("mean", "std", "fraction_negative", "near_nn", "near_pn", "near_pp"), None)
    found = {"neurons": [about] if read else [], "notes": [] if read else ["layer 0 (mlp): no projection", "layer 1"]}
    types = {"name": "str", "kind": "str", "overlap": "str", "rank": "int64", "first": "int64", "second": "int64"}
    items = pd.DataFrame({name: pd.Series(dtype=types.get(name, "float64")) for name in PAIRS})
    records = {
        "pairs": Record("pairs", "differentiation", {}, found, items, {}),
        "tokens": Record("tokens", "passages", {}, {}, passages.tokens, {}),
    }
    sets = [{"set": "top", "seed": None, "neurons": ["0.3"]}]
    part = {"record": "pairs", "passages": {"record": "tokens", "window": 48}, "sets": sets, "share": 0.1, "by": "wd"}
    book = Book({"alpha": 0.05, "draws": 100, "seed": 0}, part, {}, records.__getitem__)
    tables = DifferentiationAnalysis.tabulate(book)
    assert {name: list(table.columns) for name, table in tables.items()} == {n: t.names for n, t in TABLES.items()}
    assert [len(table) for table in tables.values()] == [0, int(read), 0]
    said = DifferentiationAnalysis.sentences(book, tables)
    if read:
        assert said == ["Differentiation: no chosen neuron separates any near pair."]
    else:
        assert said == ["Differentiation: no chosen neuron could be read; layer 0 (mlp): no projection; layer 1."]
