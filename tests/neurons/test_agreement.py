"""What several texts agree on: planted rankings with known overlaps, reliabilities and answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import negspace as ns
from negspace.errors import SelectionError
from negspace.experiment.ranking import (
    Common,
    Ranking,
    correlate,
    distinct,
    in_common,
    over_sites,
    split,
    too_small,
)
from negspace.neurons.layout import Layout, LayoutSite
from negspace.neurons.neuronset import NeuronSet
from negspace.study.tables import Tables

SIZE, SHARE = 101, 0.1
LAYOUT = Layout(tuple(LayoutSite(f"mlp.{layer}", layer, 0, SIZE) for layer in (0, 1)))
RNG = np.random.default_rng(0)


def ranking(name: str, tops: tuple[range, range], noise: int = 0, halves: bool = True) -> Ranking:
    """A ranking of which the ten highest at each site are given; each half differs from it by noise elsewhere."""
    rng = np.random.default_rng(noise)
    scores = np.concatenate([rng.permutation(SIZE) / SIZE + 2.0 * np.isin(np.arange(SIZE), list(top)) for top in tops])
    return Ranking(name, 1000, LAYOUT, scores, (scores, scores) if halves else None)


A = ranking("a", (range(10), range(10)))
B = ranking("b", (range(6, 16), range(10)), noise=1)
NONE = ranking("c", (range(50, 60), range(50, 60)), noise=2)


def test_overlaps_are_those_that_were_planted() -> None:
    found = in_common(A.choose(SHARE), B.choose(SHARE))
    assert (found.neurons, found.common, found.share) == (20, 14, 0.7)
    assert found.chance == pytest.approx(2 * 10 * 10 / SIZE)
    # Both halves of a text are its whole here, so that halves of two texts have what the texts have.
    assert (found.first, found.second) == (1, 1)
    assert found.between == pytest.approx(0.7)
    first = in_common(A.choose(SHARE), B.choose(SHARE), ["mlp.0"])
    assert (first.common, first.between) == (4, pytest.approx(0.4))
    at_site = stats.hypergeom(SIZE, 10, 10)
    assert first.p == pytest.approx(2 * at_site.sf(3))
    assert in_common(A.choose(SHARE), A.choose(SHARE)).share == 1


def test_halves_of_two_texts_are_the_mean_of_four_pairs() -> None:
    other = ranking("a", (range(5, 15), range(10)))
    mixed = replace(A, halves=(A.scores, other.scores))
    found = in_common(mixed.choose(SHARE), B.choose(SHARE))
    assert found.first == pytest.approx(15 / 20)
    assert found.between == pytest.approx(np.mean([14 / 20, 14 / 20, 19 / 20, 19 / 20]))


def test_the_common_part_and_what_each_text_has_alone() -> None:
    tops = [one.choose(SHARE).top for one in (A, B, NONE)]
    common, own = split(tops[:2])
    assert common.indices["mlp.0"].tolist() == [6, 7, 8, 9]
    assert [part.at("mlp.0").tolist() for part in own] == [[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]]
    assert [len(part.at("mlp.1")) for part in own] == [0, 0]
    common, own = split(tops)
    assert len(common) == 0
    # What two of three texts choose is neither common nor anybody's own.
    assert [len(part) for part in own] == [6, 6, 20]
    assert too_small(common).startswith("no neuron")
    assert too_small(NeuronSet({"mlp.0": np.array([3])}, LAYOUT)).startswith("a single neuron")
    assert too_small(own[0]) == ""


def test_rank_correlations_stand_beside_what_the_halves_allow() -> None:
    rows = LAYOUT.rows["mlp.1"]
    truth = RNG.normal(size=2 * SIZE)

    def text(noise: float) -> Ranking:
        halves = tuple(truth + RNG.normal(size=2 * SIZE) * noise for _ in range(2))
        return Ranking("t", 1000, LAYOUT, (halves[0] + halves[1]) / 2, (halves[0], halves[1]))

    one, two = text(0.3), text(0.8)
    found = correlate(one, two, rows)
    assert found.rho.estimate == pytest.approx(stats.spearmanr(one.scores[rows], two.scores[rows]).statistic)
    assert one.halves is not None
    r = stats.spearmanr(*(half[rows] for half in one.halves)).statistic
    assert found.first == pytest.approx(2 * r / (1 + r))
    assert found.ceiling == pytest.approx(np.sqrt(found.first * found.second))
    # Two texts of one truth differ by noise alone: their correlation is the ceiling.
    assert found.rho.estimate == pytest.approx(found.ceiling, abs=0.08)
    medians = over_sites([correlate(one, two, own) for own in LAYOUT.rows.values()])
    assert medians["rho"] == pytest.approx(
        np.median([correlate(one, two, own).rho.estimate for own in LAYOUT.rows.values()])
    )


@pytest.mark.parametrize(
    ("common", "p", "answer"),
    [
        (15, 0.001, "holds"),
        (3, 0.001, "holds"),
        (15, 0.06, "undecided"),
        (0, 0.001, "does not hold"),
        (2, 1.0, "undecided"),
    ],
)
def test_what_is_answered_is_what_was_tested(common: int, p: float, answer: str) -> None:
    found = Common(20, common, 2.0, 0.001, 0.9, 0.4, 0.3)
    assert found.beyond_chance(p, 0.05) == answer
    assert Common(0, 0, 0.0, np.nan, np.nan, np.nan, np.nan).beyond_chance(np.nan, 0.05) == "cannot be judged"


def test_overlaps_are_described_beside_chance_and_halves() -> None:
    found = Common(20, 14, 2.0, 0.001, 0.9, 0.4, 0.3)
    assert found.relative == pytest.approx(0.3 / 0.6)
    assert found.sentence("a", "b", 0.1) == (
        "a and b, top 10%: 14 of 20 neurons, 70% in common, 10.0% by chance; with half the tokens, 90% and 40% within "
        "a text and 30% between the two"
    )
    bare = Common(20, 14, 2.0, 0.001, np.nan, 0.4, np.nan)
    assert np.isnan(bare.relative)
    assert "70% in common, 10.0% by chance; what the number of tokens allows is not known: the scan has no halves" in (
        bare.sentence("a", "b", 0.1)
    )
    empty = Common(0, 0, 0.0, np.nan, np.nan, np.nan, np.nan)
    assert "nan" not in empty.sentence("a", "b", 0.1)
    assert np.isnan(Common(20, 0, 2.0, 0.001, 0.0, 0.4, 0.0).relative)


def test_texts_of_one_truth_share_as_much_as_halves_of_one() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=2 * SIZE)

    def text(shift: float = 0.0) -> Ranking:
        own = truth + shift * rng.normal(size=2 * SIZE)
        halves = tuple(own + rng.normal(size=2 * SIZE) * 0.3 for _ in range(2))
        return Ranking("t", 1000, LAYOUT, (halves[0] + halves[1]) / 2, (halves[0], halves[1]))

    def relative(shift: float) -> float:
        pairs = [(text(shift), text(shift)) for _ in range(40)]
        return float(np.mean([in_common(one.choose(0.2), two.choose(0.2)).relative for one, two in pairs]))

    assert relative(0.0) == pytest.approx(1, abs=0.04)
    assert relative(1.0) < 0.8


def test_no_halves_leave_no_figure_of_them() -> None:
    plain = replace(B, halves=None)
    found = in_common(A.choose(SHARE), plain.choose(SHARE))
    assert np.isnan([found.second, found.between]).all()
    correlation = correlate(A, plain, LAYOUT.rows["mlp.0"])
    assert np.isnan([correlation.second, correlation.ceiling]).all()
    # Halves of some sites only are no halves of the top set.
    half = A.scores.copy()
    half[LAYOUT.rows["mlp.1"]] = np.nan
    assert replace(A, halves=(half, half)).choose(SHARE).halves == ()


def test_names_of_texts_differ_and_texts_as_well() -> None:
    assert distinct([("t", "1"), ("u", "2"), ("t", "3")], "asked") == ["t", "u", "t (2)"]
    with pytest.raises(SelectionError, match="u is the very text of t"):
        distinct([("t", "1", "x"), ("u", "2", "x")], "asked")


def test_scans_are_compared_as_they_are(tiny_run: tuple[Path, Tables]) -> None:
    scan = ns.Scan.load(tiny_run[0] / "scan.parquet")
    other = replace(scan, info=scan.info.model_copy(update={"text": "u", "text_hash": "u", "windows_hash": "u"}))
    found = ns.agreement([scan, other], 0.1)
    pair = (scan.info.text, "u")
    assert found.correlations[pair]["rho"] == pytest.approx(1)
    assert found.overlaps[pair].share == 1
    assert found.common == scan.top(0.1)
    assert any("100% in common" in line for line in found.sentences)
    reverse = replace(other, table=other.table.assign(wd=-other.table["wd"]))
    apart = ns.agreement([scan, reverse], 0.1)
    assert (apart.correlations[pair]["rho"], len(apart.common)) == (pytest.approx(-1), 0)
    assert "no neuron, and no set to ablate" in apart.sentences[-1]
    with pytest.raises(SelectionError, match="fewer than two"):
        ns.agreement([scan])
    with pytest.raises(SelectionError, match="is the very text of"):
        ns.agreement([scan, scan])
    with pytest.raises(SelectionError, match="scan all texts with one model"):
        ns.agreement([scan, replace(other, info=other.info.model_copy(update={"fingerprint": "f"}))])
