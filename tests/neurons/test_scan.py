"""The scan as users call it: tables, choices, files and errors; on a real model too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import zoo
from negspace.errors import RecordError, SelectionError, StatisticsError, TextError
from negspace.models.load import wrap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, scan
from negspace.stats.histogram import joined

WORDS = " ".join(f"w{3 + (7 * n * n + n) % 90}" for n in range(3000))


@pytest.fixture(scope="module")
def model():
    return wrap(zoo.build("gpt_neox"), zoo.tokenizer(), "tiny")


@pytest.fixture(scope="module")
def made(model) -> Scan:
    return scan(model, [WORDS], window=32, windows=40)


def test_the_table_has_a_row_for_every_neuron(model, made):
    assert list(made.table.columns) == [
        *("layer", "branch", "expert", "neuron", "wd", "wd_error", "md", "negative_share", "mean", "std", "skewness"),
        *("kurtosis", "bimodality", "fraction_negative", "mean_negative", "tokens", "wd_first", "wd_second"),
    ]
    assert len(made.table) == sum(site.size for site in model.sites)
    assert (made.table["wd"] > 0).all()
    info = made.info
    assert (info.window, info.stride, info.windows, info.tokens, info.special) == (32, 16, 40, 1280, 0)
    assert info.fingerprint == model.fingerprint
    assert info.method == "sketch"
    assert info.versions["torch"]


def test_choices_come_from_the_table(model, made):
    top = made.top(0.05)
    assert len(top) == 2 * 3
    top.check(model)
    first = made.table[made.table["layer"] == 0].nlargest(3, "wd")["neuron"]
    assert top.indices[model.sites[0].path].tolist() == sorted(first)
    assert made.bottom(0.05, by="md", layers=[1]).layers == (1,)
    assert made.random(like=top, exclude=top, seed=1).count() == top.count()


def test_bos_is_run_but_not_counted(model):
    found = scan(model, [WORDS], window=32, windows=20, bos="always")
    assert (found.info.special, found.info.tokens) == (20, 20 * 31)
    assert (found.table["tokens"] == 20 * 31).all()


def test_files_bring_back_the_scan(made, tmp_path):
    path = made.save(tmp_path / "scan.parquet")
    back = Scan.load(path)
    pd.testing.assert_frame_equal(back.table, made.table)
    assert back.info == made.info
    assert back.warnings == made.warnings
    assert back.top(0.1) == made.top(0.1)
    assert len(pd.read_parquet(path)) == len(made.table)  # any Parquet reader can open it


def test_files_that_are_no_scans_are_refused(made, tmp_path):
    path = made.save(tmp_path / "scan.parquet")
    with pytest.raises(RecordError, match="No such file"):
        Scan.load(tmp_path / "none.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match="not a Parquet file"):
        Scan.load(path)
    made.table.to_parquet(path)
    with pytest.raises(RecordError, match="without a scan's metadata"):
        Scan.load(path)
    path.write_bytes(whole)
    content = pq.read_table(path)
    pq.write_table(content.slice(0, 5), path)
    with pytest.raises(RecordError, match="5 rows where the model has"):
        Scan.load(path)
    pq.write_table(content.replace_schema_metadata({"negspace": '{"format": "other"}'}), path)
    with pytest.raises(RecordError, match="another format"):
        Scan.load(path)


def test_a_folder_that_is_missing_is_one_clear_error(made, tmp_path):
    with pytest.raises(RecordError, match="existing folder"):
        made.save(tmp_path / "missing" / "scan.parquet")


@pytest.mark.parametrize("option", [{"batch": 0}, {"md_pairs": -1}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(model, option):
    name = next(iter(option))
    with pytest.raises(StatisticsError, match=f"a scan with {name}="):
        scan(model, [WORDS], window=32, windows=2, **option)


def test_a_text_shorter_than_a_window_is_refused(model):
    with pytest.raises(TextError, match="the whole text is"):
        scan(model, ["w3 w4 w5"], window=32)


@pytest.mark.shared
def test_a_real_model_on_real_text(stories260k, shared_data):
    text = str(shared_data / "wikitext2" / "wiki.valid.raw")
    options = {"window": 256, "windows": 32}
    sketched, exactly = scan(stories260k, text, **options), scan(stories260k, text, exact=True, **options)
    off = (sketched.table["wd"] - exactly.table["wd"]).abs()
    assert off.max() < 3e-4
    assert (off <= sketched.table["wd_error"]).all()
    batched = scan(stories260k, text, batch=3, **options)
    np.testing.assert_allclose(batched.table["wd"], sketched.table["wd"], atol=1e-4)
    np.testing.assert_allclose(batched.table["md"], sketched.table["md"], rtol=1e-3)
    assert sketched.top(0.05).count() == dict.fromkeys(range(5), 9)
    assert sketched.top(0.01, by="kurtosis").layers == (0, 1, 2, 3, 4)
    assert sketched.table["wd"].max() > 0.2  # trained neurons are not Gaussian
    assert sketched.table["md"].notna().all()


@pytest.mark.shared
def test_another_models_set_is_refused(stories260k, made):
    with pytest.raises(SelectionError, match="scan this model"):
        made.top(0.1).check(stories260k)
    assert isinstance(made.top(0.1), NeuronSet)


def test_a_neuron_has_its_distribution_and_files_keep_it(model, made, tmp_path):
    found = made.histogram(1, 5)
    assert found.tokens == 1280
    assert len(found.edges) == len(found.counts) + 1
    row = made.table[(made.table["layer"] == 1) & (made.table["neuron"] == 5)].iloc[0]
    below = found.below + found.counts[found.edges[:-1] < 0].sum()
    assert below == round(row["fraction_negative"] * 1280)
    back = Scan.load(made.save(tmp_path / "scan.parquet")).histogram(1, 5)
    np.testing.assert_array_equal(back.counts, found.counts)
    np.testing.assert_array_equal(back.edges, found.edges)
    with pytest.raises(StatisticsError, match="no such neuron"):
        made.histogram(9, 5)
    bare = Scan(made.table, made.info)
    assert Scan.load(bare.save(tmp_path / "bare.parquet")).histograms is None
    with pytest.raises(StatisticsError, match="a scan that keeps those of 0 of"):
        bare.histogram(1, 5)
    with pytest.raises(StatisticsError, match="distribution"):
        replace(made, histograms=joined([])).histogram(1, 5)


def test_a_file_with_broken_histograms_is_refused(made, tmp_path):
    broken = replace(made.histograms, rows=made.histograms.rows[:-1])
    path = replace(made, histograms=broken).save(tmp_path / "scan.parquet")
    with pytest.raises(RecordError, match="no histograms"):
        Scan.load(path)
