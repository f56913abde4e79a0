"""The table: sketch against closed form, the second pass, and everything named that a reader must know."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_collect import model_of, windows_of

import zoo
from negspace.errors import StatisticsError
from negspace.stats.collect import gather
from negspace.stats.measure import REGRID_ERROR, _check_memory, measure
from negspace.stats.notes import of_table
from negspace.stats.scores import SCORES
from negspace.text.windows import Windows


def test_sketch_and_closed_form_agree():
    model, windows = model_of("gpt_neox"), windows_of(count=40)
    sketched, exactly = measure(model, windows).table, measure(model, windows, exactly=True).table
    assert len(sketched) == sum(site.size for site in model.sites)
    off = (sketched["wd"] - exactly["wd"]).abs()
    assert off.max() < 1e-3
    assert (off <= sketched["wd_error"]).all()
    assert (exactly["wd_error"] == 0).all()
    for score in set(SCORES) - {"wd", "negative_share"}:
        np.testing.assert_allclose(sketched[score], exactly[score], rtol=1e-5, atol=1e-6, err_msg=score)
    np.testing.assert_allclose(sketched["negative_share"], exactly["negative_share"], atol=0.02)
    assert (sketched["tokens"] == 40 * 32).all()
    assert (sketched["expert"] == -1).all()


@pytest.mark.parametrize("exactly", [False, True])
def test_experts_have_rows_of_their_own(exactly):
    model = model_of("qwen2_moe")
    found = measure(model, windows_of(), exactly=exactly)
    table = found.table
    assert set(table["branch"]) == {"experts", "shared"}
    routed = table[(table["branch"] == "experts") & (table["layer"] == 0)]
    assert routed["expert"].tolist() == np.repeat(np.arange(zoo.EXPERTS), len(routed) // zoo.EXPERTS).tolist()
    assert routed["md"].isna().all()
    assert table[table["branch"] == "shared"]["md"].notna().all()
    assert any("not defined for routed experts" in warning for warning in found.warnings)


@pytest.mark.parametrize("exactly", [False, True])
def test_neurons_that_never_vary_are_named(exactly):
    model = model_of("gpt_neox")
    projection = model.module.get_submodule(model.sites[1].projection)
    with torch.no_grad():
        projection.weight[5] = 0
        projection.bias[5] = 0.3
    found = measure(model, windows_of(), exactly=exactly)
    row = found.table[(found.table["layer"] == 1) & (found.table["neuron"] == 5)].iloc[0]
    assert row["std"] == 0
    assert np.isnan([row["wd"], row["skewness"], row["md"]]).all()
    assert any(
        warning.startswith("1 neuron never varies (standard deviation 0) and has no WD, ") for warning in found.warnings
    )
    assert "1 neuron gives most token pairs one value and has no MD: layer 1 neuron 5" in found.warnings


def test_a_neuron_that_wakes_after_the_pilot_is_sketched_again():
    model = model_of("gpt_neox")
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 50, (128, 32))
    tokens[64:] = rng.integers(50, zoo.VOCABULARY, (64, 32))  # the pilot's 64 windows hold none of these
    windows = Windows(tokens, np.zeros(tokens.shape, bool), 32, 32, "auto", "two halves", "none", 128)
    with torch.no_grad():
        embedding = model.module.get_input_embeddings().weight
        embedding[:50] = embedding[3] + 0.003 * embedding[:50]
    found, expected = measure(model, windows), measure(model, windows, exactly=True)
    assert found.regridded > 0
    assert any("second pass" in warning for warning in found.warnings)
    off = (found.table["wd"] - expected.table["wd"]).abs()
    assert (off <= found.table["wd_error"]).all()
    assert found.table["wd_error"].max() < 0.02
    assert off.max() < 3e-3  # 93 different tokens are few atoms


def test_without_pairs_there_is_no_md():
    assert measure(model_of("llama"), windows_of(), md_pairs=0).table["md"].isna().all()


def test_the_seed_draws_the_pairs():
    model, windows = model_of("llama"), windows_of()
    first, same, other = (measure(model, windows, md_pairs=20, seed=seed).table["md"] for seed in (0, 0, 1))
    assert first.equals(same)
    assert not first.equals(other)


def test_nothing_but_special_tokens_is_refused():
    windows = windows_of(count=2)
    windows.special[:] = True
    with pytest.raises(StatisticsError, match="all are special tokens"):
        measure(model_of("llama"), windows)


def test_exact_statistics_beyond_memory_are_refused(monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    with pytest.raises(StatisticsError, match="GB where this machine has") as caught:
        measure(model_of("llama"), windows_of(), exactly=True)
    assert "exact=True" in caught.value.todo


def test_exact_statistics_name_what_is_not_finite():
    model = model_of("gpt_neox")
    with torch.no_grad():
        model.module.get_submodule(model.sites[1].projection).bias[7] = float("nan")
    with pytest.raises(StatisticsError, match=r"(?s)layer 1.*neuron 7"):
        measure(model, windows_of(), exactly=True)


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral"])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_halves_are_those_of_the_text_whatever_the_batch(name, batch):
    model, windows = model_of(name), windows_of(25)
    found = measure(model, windows, md_pairs=0, batch=batch)
    halves = [
        measure(
            model, dataclasses.replace(windows, tokens=windows.tokens[part], special=windows.special[part]), md_pairs=0
        )
        for part in (slice(0, 12), slice(12, 25))
    ]
    assert found.halves == (12 * 32, 13 * 32)
    for column, half in zip(("wd_first", "wd_second"), halves, strict=True):
        # Each half alone is sketched on a grid of its own.
        np.testing.assert_allclose(found.table[column], half.table["wd"], atol=0.02)
    one = measure(model, windows, md_pairs=0, batch=25)
    for column in ("wd_first", "wd_second"):
        np.testing.assert_allclose(found.table[column], one.table[column], atol=1e-4)


def test_halves_of_a_kept_sample_are_its_closed_forms():
    model, windows = model_of("llama"), windows_of(6)
    whole = measure(model, windows, md_pairs=0, exactly=True)
    for column, part in (("wd_first", slice(0, 3)), ("wd_second", slice(3, 6))):
        own = dataclasses.replace(windows, tokens=windows.tokens[part], special=windows.special[part])
        alone = measure(model, own, md_pairs=0, exactly=True).table["wd"]
        np.testing.assert_allclose(whole.table[column], alone, atol=1e-5)


def test_a_single_window_is_not_halved():
    found = measure(model_of("llama"), windows_of(1), md_pairs=0)
    assert found.halves is None
    assert found.table[["wd_first", "wd_second"]].isna().all().all()


def test_inputs_that_are_all_equal_are_said_of_the_layer_not_of_its_neurons():
    model, windows = model_of("gpt_neox"), windows_of()
    windows.tokens[:] = 7
    found = measure(model, windows)  # the first MLP sees the embedding alone, beside the attention
    assert found.table[found.table["layer"] == 0]["md"].isna().all()
    assert any(
        warning.startswith("all token pairs have equal inputs, hence no MD, in layer 0") for warning in found.warnings
    )
    assert not any("have no MD" in warning and "layer 0" in warning for warning in found.warnings)


def test_warnings_agree_with_their_numbers():
    assert any(
        "whose tokens differ: 1 site without it" in warning
        for warning in measure(model_of("jamba"), windows_of()).warnings
    )
    table = measure(model_of("mixtral"), windows_of()).table
    first = (table["layer"] == 0) & (table["expert"] == 0)
    one = table.assign(tokens=table["tokens"].where(~first, 0), wd_error=table["wd_error"].where(table.index != 3, 0.1))
    said = of_table(one, windows_of(), 1, REGRID_ERROR)
    assert "1 expert was reached by no token and has no statistics: layer 0 expert 0" in said
    assert "1 neuron was sketched on a second pass: on the first windows it behaved unlike the rest" in said
    assert "1 neuron has a WD known to no better than 0.02: layer 0 expert 0 neuron 3" in said
    said = of_table(one.assign(tokens=0, wd_error=0.1), windows_of(), 2, REGRID_ERROR)
    assert said[0].startswith("8 experts were reached by no token and have no statistics: layer 0 expert 0, ")
    assert said[1] == "2 neurons were sketched on a second pass: on the first windows they behaved unlike the rest"
    assert said[2].startswith(f"{len(table)} neurons have a WD known to no better than 0.02: ")


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral", "qwen2_moe"])
def test_what_exact_statistics_need_is_twice_what_they_hold(name, monkeypatch):
    model, windows = model_of(name), windows_of()
    held = sum(part.nbytes for parts in gather(model, windows, exact=True).samples if parts for part in parts)
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    with pytest.raises(StatisticsError) as caught:
        _check_memory(model, windows.tokens.size * 10_000_000)
    assert f"they need about {2 * held / 100:,.1f} GB" in caught.value.found
