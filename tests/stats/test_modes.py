"""Modes: the same mixtures as scikit-learn's best of many starts, and as few components as the data need."""

from __future__ import annotations

import numpy as np
import pytest

from negspace.errors import StatisticsError
from negspace.stats.modes import Mixture, fit_modes

RNG = np.random.default_rng(0)
SAMPLES = {
    "gaussian": RNG.normal(1, 2, 2000),
    "two": np.concatenate([RNG.normal(-2, 0.5, 1000), RNG.normal(2, 1, 1000)]),
    "three, one rare": np.concatenate([RNG.normal(-6, 0.5, 100), RNG.normal(0, 1, 1850), RNG.normal(9, 1, 50)]),
    "skewed": RNG.gamma(2, 1, 2000),
    "heavy tails": RNG.standard_t(3, 2000),
}
WANTED = {"gaussian": (1, 1), "two": (2, 2), "three, one rare": (3, 3)}


@pytest.mark.parametrize("name", SAMPLES)
def test_at_least_as_likely_as_scikit_learns(name: str) -> None:
    mixture = pytest.importorskip("sklearn.mixture")
    data = SAMPLES[name]
    made = fit_modes(data)
    for size, bic in enumerate(made.bic, start=1):
        other = mixture.GaussianMixture(size, n_init=2, random_state=0, tol=1e-6, max_iter=500).fit(data[:, None])
        if other.weights_.min() < 8 / 2000:
            continue  # a component of a few close tokens, which we do not admit
        # A BIC lower by one is a likelihood higher by half a nat in 2,000 tokens; bins cost a little of it.
        assert bic < other.bic(data[:, None]) + 4
    assert len(made) == int(np.argmin(made.bic)) + 1


@pytest.mark.parametrize("name", WANTED)
def test_finds_the_components_that_are_there(name: str) -> None:
    made = fit_modes(SAMPLES[name])
    assert (len(made), made.peaks) == WANTED[name]
    assert made.weights.sum() == pytest.approx(1)
    assert (np.diff(made.means) > 0).all()
    if name == "two":
        assert made.means == pytest.approx([-2, 2], abs=0.1)
        assert made.stds == pytest.approx([0.5, 1], abs=0.06)
        assert made.weights == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_tail_is_a_component_and_no_peak() -> None:
    made = fit_modes(SAMPLES["heavy tails"])
    assert len(made) > 1
    assert made.peaks == 1
    assert made.weights.min() >= 8 / 2000


@pytest.mark.parametrize("far", [50, 200, 1000])
def test_a_few_tokens_far_out_do_not_split_the_bulk(far: float) -> None:
    rng = np.random.default_rng(0)
    made = fit_modes(np.concatenate([rng.normal(0, 1, 16384), rng.normal(far, 1, 20)]))
    assert (len(made), made.peaks) == (2, 2)
    assert made.means == pytest.approx([0, far], abs=0.5)
    assert made.stds[0] == pytest.approx(1, abs=0.02)
    assert made.weights[1] == pytest.approx(20 / 16404)


def test_assign_and_density_against_plain_formulas() -> None:
    made = fit_modes(SAMPLES["three, one rare"])
    values = np.linspace(-8, 12, 57).reshape(3, 19)
    parts = [
        w * np.exp(-((values - m) ** 2) / (2 * s * s)) / (s * np.sqrt(2 * np.pi))
        for w, m, s in zip(made.weights, made.means, made.stds, strict=True)
    ]
    assert np.allclose(made.density(values), sum(parts))
    assert (made.assign(values) == np.argmax(parts, axis=0)).all()
    area = np.linspace(-20, 25, 20001)
    assert np.trapezoid(made.density(area), area) == pytest.approx(1, abs=1e-6)


def test_scale_place_and_order_do_not_matter() -> None:
    data = SAMPLES["two"]
    made, moved = fit_modes(data), fit_modes(RNG.permutation(data) * 1e-3 - 7)
    assert moved.means == pytest.approx(made.means * 1e-3 - 7, rel=1e-6)
    assert moved.stds == pytest.approx(made.stds * 1e-3, rel=1e-4)
    again = fit_modes(data)
    for field in ("weights", "means", "stds"):
        assert getattr(again, field).tobytes() == getattr(made, field).tobytes()


def test_weights_stand_for_tokens() -> None:
    values, counts = np.array([-3.0, -2.0, 0.0, 4.0, 5.0]), np.array([50, 70, 10, 90, 0])
    whole, short = fit_modes(np.repeat(values, counts)), fit_modes(values, counts)
    assert whole.means == pytest.approx(short.means)
    assert whole.tokens == short.tokens == 220


def test_a_neuron_that_never_varies_has_one_mode() -> None:
    made = fit_modes(np.full(100, 0.25))
    assert (len(made), made.peaks, made.means[0], made.stds[0], made.bic) == (1, 1, 0.25, 0.0, ())
    assert made.assign([0.25, 3.0]).tolist() == [0, 0]
    assert made.density([0.25, 3.0]).tolist() == [np.inf, 0]


def test_a_ripple_parts_no_peaks() -> None:
    def pair(gap: float) -> Mixture:
        return Mixture(np.array([0.5, 0.5]), np.array([0.0, gap]), np.ones(2), 100.0, ())

    assert [pair(gap).peaks for gap in (1.5, 2.2, 4.0)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("values", "weights", "most", "found"),
    [
        ([], None, 4, "no token"),
        ([1.0, np.nan], None, 4, "not finite"),
        ([1.0, 2.0], [1.0, -1.0], 4, "not finite"),
        ([1.0, 2.0], [1.0], 4, "1 weights"),
        ([1.0, 2.0], None, 0, "most=0"),
    ],
)
def test_refusals(values, weights, most: int, found: str) -> None:
    with pytest.raises(StatisticsError) as error:
        fit_modes(values, weights, most=most)
    assert found in error.value.found
