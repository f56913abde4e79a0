"""Neurons one by one: the highest scores of every site first, and names that tell them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negspace.experiment.chosen import in_words, leading, names_of, neuron_name, rows_of, spread
from negspace.models.load import load, wrap
from negspace.neurons.scan import Scan, scan
from negspace.stats.readings import batches_of, readings
from negspace.text.source import read_text
from negspace.text.windows import make_windows
from zoo import build, tokenizer


@pytest.fixture(scope="module")
def made(tiny_model_path: Path, tiny_text_path: Path) -> Scan:
    return scan(load(str(tiny_model_path)), str(tiny_text_path), window=64, windows=8, md_pairs=32)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text that the zoo's tokenizer knows."""
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text(" ".join(f"w{number}" for number in np.random.default_rng(0).integers(3, 96, size=2500)))
    return path


def test_sites_take_turns(made: Scan) -> None:
    chosen = leading(made, 0.2, most=5)
    assert chosen.count() == {0: 3, 1: 2} or chosen.count() == {0: 2, 1: 3}
    for layer in (0, 1):
        table = made.table[made.table["layer"] == layer].sort_values("wd", ascending=False, kind="stable")
        expected = sorted(table["neuron"].head(chosen.count()[layer]))
        assert rows_of(made, chosen).query("layer == @layer")["neuron"].tolist() == expected
    first = leading(made, 0.2, most=1)
    assert rows_of(made, first)["wd"].iloc[0] == made.table["wd"].max()


def test_no_more_than_the_share_or_the_limit(made: Scan) -> None:
    whole = made.top(0.2)
    assert leading(made, 0.2) == whole
    assert leading(made, 0.2, most=10_000) == whole
    assert leading(made, 0.2, per_site=4).count() == {0: 4, 1: 4}
    assert len(leading(made, 0.2, per_site=4) & whole) == 8
    assert leading(made, 0.2, layers=[1], most=3).count() == {1: 3}
    assert len(leading(made, 0.1, by="skewness", per_site=2) & made.top(0.1, by="skewness")) == 4


def test_names_are_unique_in_a_mixture_of_experts(words: Path) -> None:
    model = wrap(build("deepseek_v3"), tokenizer())
    windows = make_windows(read_text(str(words), role="statistics"), model.tokenizer, window=32, windows=4)
    every = {site.path: np.arange(site.size) for site in model.sites}
    table = spread(readings(model, batches_of(windows), every), windows.tokens.size)
    sizes = sum(site.size for site in model.sites)
    assert table.shape == (windows.tokens.size, sizes)
    assert {"0.3", "1.2.3", "1.shared.3"} <= set(table.columns)
    routed = table.filter(regex=r"^1\.[0-9]+\.3$")
    assert not windows.special.all()
    # Two experts a token.
    assert (routed.notna().sum(axis=1)[~windows.special.ravel()] == 2).all()


def test_names() -> None:
    assert neuron_name(3, "mlp", -1, 17) == "3.17"
    assert neuron_name(3, "experts", 2, 17) == "3.2.17"
    assert neuron_name(3, "shared", -1, 17) == "3.shared.17"
    assert in_words(["a", "b", "c"], 2) == "a, b and 1 more"


def test_names_of_rows(made: Scan) -> None:
    assert names_of(made.table)[:2] == ["0.0", "0.1"]
    assert len(set(names_of(made.table))) == len(made.table)
