"""What an analysis will cost, as far as that is known before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from negspace.experiment.config import Study
from negspace.experiment.facts import Facts
from negspace.text.windows import STATISTICS_TOKENS

PAIR_TOKENS = 12
"""Rough tokens that a pair costs once prefixes are shared; for estimates only."""


@dataclass(frozen=True)
class Load:
    """What an analysis will cost, as far as that is known before it starts."""

    cells: int
    """Cells to compute."""
    tokens: float
    """Tokens that the model will read in them."""
    detail: str = ""
    """What they are, in a few words: "9 shares x 3 kinds of sets"."""


def cost(study: Study, facts: Facts, what: str) -> float:
    """Rough tokens that the model reads for "scan", "perplexity", a suite of minimal pairs, or "tasks"."""
    if what == "scan":
        # The statistics cost a little more than the forward pass that they ride on.
        return 1.5 * ((study.window or 2048) * study.windows if study.windows else STATISTICS_TOKENS)
    if what == "perplexity":
        return float(facts.predicted)
    if what == "tasks":
        return facts.tasks.cost if facts.tasks else 0.0
    return float(PAIR_TOKENS * facts.pairs[what][2])
