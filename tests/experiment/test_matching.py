"""Sets of equal perplexity are controls: none holds a neuron of the top set, wherever scores are missing or equal."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from made_up_run import scan_of
from negspace.experiment.matching import matched_set
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan

TOP, OTHERS = 0.02, 0.01
"""Rise of ln perplexity for each neuron of the top 20%, and for each other one."""


class MadeUpLab:
    """Perplexity is that of a rule, and every set that is asked for is noted."""

    def __init__(self, scan: Scan, shares: tuple[float, ...], by: str = "wd") -> None:
        self.scan, self.facts = scan, SimpleNamespace(layout=scan.info.layout)
        self.study = SimpleNamespace(shares=shares, by=by, layers=None, tolerance=0.005, evaluations=12)
        self.weights = np.where(scan.top(0.2, by=by).mask, TOP, OTHERS)
        self.asked: list[NeuronSet] = []

    def perplexity(self, neurons: NeuronSet | None) -> float:
        return 20 * math.exp(0 if neurons is None else self.weights[neurons.mask].sum())

    def condition(self, name: str, role: str, neurons: NeuronSet) -> Any:
        if role == "matched":
            self.asked.append(neurons)
        return SimpleNamespace(chosen=neurons)

    def score(self, what: str, under: Any) -> Any:
        return under.chosen

    def run(self, cells: list[NeuronSet | None]) -> list[Any]:
        return [SimpleNamespace(results={"value": self.perplexity(cell)}) for cell in cells]


def holed() -> Scan:
    """50 neurons in each of two layers, 30 of them without a score in the first."""
    made = scan_of(2, 50)
    table = made.table.copy()
    table.loc[:29, "wd"] = np.nan
    return Scan(table, made.info)


def with_ties() -> Scan:
    made = scan_of(2, 50)
    return Scan(made.table.assign(wd=1.0), made.info)


@pytest.mark.parametrize("make", [holed, with_ties])
@pytest.mark.parametrize("shares", [(0.2,), (0.2, 0.1), (0.1, 0.2), (0.2, 0.4, 0.1), (1.0,)])
def test_none_of_the_top_set_is_in_it_and_its_perplexity_is_its_own(make, shares: tuple[float, ...]) -> None:
    scan = make()
    for share in shares:
        lab: Any = MadeUpLab(scan, shares)
        top = scan.top(share)
        found = matched_set(lab, share)
        for trial in found.trail:  # those of another share's search, too
            assert trial.perplexity == lab.perplexity(scan.bottom(trial.share) - top)
        if found.neurons is None:
            assert not found.matched
        else:
            assert len(found.neurons & top) == 0
            assert found.perplexity == lab.perplexity(found.neurons)


def test_a_site_with_few_scores_gives_what_it_has_outside_the_top_set() -> None:
    scan = holed()
    lab: Any = MadeUpLab(scan, (0.2,))
    found = matched_set(lab, 0.2)
    assert found.matched
    assert found.neurons is not None
    # The top 2 * 10 at 0.02 are matched by 40 at 0.01, of which the first layer has 10.
    assert found.neurons.count() == {0: 10, 1: 30}
    assert len(scan.bottom(found.share) & scan.top(0.2)) > 0


def test_where_all_neurons_have_a_score_it_is_the_bottom_set() -> None:
    scan = scan_of(2, 50)
    for share in (0.1, 0.2):
        lab: Any = MadeUpLab(scan, (0.1, 0.2))
        found = matched_set(lab, share)
        assert found.neurons == scan.bottom(found.share)
        assert found.neurons is not None
        assert found.neurons.origin == scan.bottom(found.share).origin
        assert lab.asked
        assert all(neurons.origin.startswith("bottom") for neurons in lab.asked)


def test_nothing_outside_the_top_set_is_no_control() -> None:
    made = scan_of(2, 50)
    table = made.table.copy()
    table.loc[table["neuron"] >= 8, "wd"] = np.nan  # the top 20% are 10 of each layer
    lab: Any = MadeUpLab(Scan(table, made.info), (0.2,))
    found = matched_set(lab, 0.2)
    assert (found.matched, found.neurons) == (False, None)
