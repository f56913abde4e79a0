"""Control sets of a real forward pass: what is reported is what the set does."""

from __future__ import annotations

from pathlib import Path

import pytest

import negspace as ns


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> ns.Model:
    return ns.load(str(tiny_model_path))


@pytest.fixture(scope="module")
def scan(model: ns.Model, tiny_text_path: Path) -> ns.Scan:
    return ns.scan(model, str(tiny_text_path), window=64, windows=8, md_pairs=16)


def test_the_matched_set_has_the_perplexity_that_is_reported(
    model: ns.Model, scan: ns.Scan, tiny_text_path: Path
) -> None:
    text = str(tiny_text_path)
    baseline = ns.perplexity(model, text, window=64, windows=8).value
    with ns.intervene(model, scan.bottom(0.5), zero="negative"):
        target = ns.perplexity(model, text, window=64, windows=8).value
    assert target != baseline
    found = ns.match_perplexity(model, scan, target, text=text, window=64, windows=8, largest=0.9)
    assert found.baseline == baseline
    assert found.evaluations == len(found.trail) <= 8
    if found.neurons is None:
        assert found.share == 0
        assert "no damage" in found.reason
        return
    assert found.neurons == scan.bottom(found.share)
    with ns.intervene(model, found.neurons, zero="negative"):
        assert ns.perplexity(model, text, window=64, windows=8).value == pytest.approx(found.perplexity, rel=1e-12)
    assert ns.perplexity(model, text, window=64, windows=8).value == baseline


def test_a_known_baseline_is_not_measured_again(model: ns.Model, scan: ns.Scan, tiny_text_path: Path) -> None:
    found = ns.match_perplexity(model, scan, 10.0, text=str(tiny_text_path), window=64, baseline=20.0)
    assert (found.baseline, found.evaluations, found.matched) == (20.0, 0, False)


def test_random_sets_are_as_large_and_differ(scan: ns.Scan) -> None:
    sets = ns.random_sets(scan, 0.2, [0, 1, 2])
    assert len({neurons.key for neurons in sets}) == 3
    assert {tuple(neurons.count().items()) for neurons in sets} == {tuple(scan.top(0.2).count().items())}
    like = ns.random_sets(scan, None, [7], like=scan.top(0.1))
    assert like[0].count() == scan.top(0.1).count()
