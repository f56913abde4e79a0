"""Kinds of cells: every one is said to score something or not."""

from __future__ import annotations

from negspace.experiment.cells import HEADLESS, SCORELESS, VERSIONS
from negspace.experiment.handlers import HANDLERS
from negspace.study.registry import OWN, handlers

SCORING = {
    *("perplexity", "pairs", "tasks"),
    *("residual", "noop", "surprisal", "layers", "checkpoint_perplexity", "checkpoint_pairs"),
}
"""Kinds of cells whose handlers open interventions, or score a plain model."""


def test_every_kind_scores_or_is_listed_as_one_that_does_not() -> None:
    kinds = {*HANDLERS, *handlers(dict.fromkeys(OWN))}
    assert set(SCORELESS) | SCORING == kinds
    assert not SCORING & set(SCORELESS)
    assert set(HEADLESS) <= set(SCORELESS)
    assert set(HANDLERS) == set(VERSIONS)
