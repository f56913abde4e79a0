"""How many evaluations the search for a perplexity-matched control takes, on the bundled model and text.

The search stops after eight; here it may go on, so that a search that needs more is seen to.
"""

from __future__ import annotations

from functools import partial

import negspace as ns
from benchmarks.place import HERE, Place
from benchmarks.row import Row, row
from negspace.controls.perplexity import EVALUATIONS, TOLERANCE, Match, find_share
from negspace.intervention import Zero, intervene
from negspace.models.model import Model
from negspace.neurons.scan import Scan
from negspace.reference import model_path, text_path
from negspace.score.perplexity import perplexity
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows

MOST = 50
"""Evaluations after which a search is given up."""
SEARCHES: tuple[tuple[Zero, float, float], ...] = (
    # what is set to zero, share of the top set, tolerance
    ("both", 0.01, TOLERANCE),
    ("both", 0.05, TOLERANCE),
    ("both", 0.20, TOLERANCE),
    ("positive", 0.05, TOLERANCE),
    ("negative", 0.05, TOLERANCE / 20),
    ("negative", 0.20, TOLERANCE / 20),
)
"""Zeroing the negatives costs the bundled model less than 1% of its perplexity, which the usual tolerance takes for no
damage: those searches are given a twentieth of it."""


def measure(place: Place = HERE) -> list[Row]:
    """The most evaluations of any search; a search that finds no match has not met the target."""
    model = ns.load(str(model_path()), device=place.device)
    read = read_text(str(text_path()), role="perplexity")
    cut = make_windows(read, model.tokenizer, windows=2 if place.tiny else None, context=model.context)
    scan = ns.scan(model, str(text_path()), windows=2 if place.tiny else None, md_pairs=0)
    baseline = perplexity(model, cut).value
    found: list[tuple[str, Match, int]] = []
    for zero, share, tolerance in SEARCHES[:1] if place.tiny else SEARCHES:
        match, counted = search(model, scan, cut, baseline, zero, share, tolerance)
        found.append((f"{zero}, top {share:.0%} within {tolerance:.2%}", match, counted))
    lost = [name for name, match, _ in found if not match.matched]
    return [
        row(
            "perplexity-matched control: evaluations of the longest search",
            float("nan") if lost else max(counted for _, _, counted in found),
            ("<=", EVALUATIONS),
            f"{len(found)} searches of up to {MOST} on the bundled model, {cut.tokens.size:,} tokens each: "
            + "; ".join(
                f"{name}: {counted}" + (f" (bottom {match.share:.1%})" if match.matched else f" ({match.reason})")
                for name, match, counted in found
            ),
            readme=True,
        )
    ]


def search(
    model: Model, scan: Scan, cut: Windows, baseline: float, zero: Zero, share: float, tolerance: float
) -> tuple[Match, int]:
    """A search for the bottom set that does the damage of the top share, and the evaluations counted outside of it."""
    counted = 0
    change = partial(intervene, model, zero=zero)
    with change(scan.top(share)):
        target = perplexity(model, cut).value

    def evaluate(bottom: float) -> float:
        nonlocal counted
        counted += 1
        with change(scan.bottom(bottom)):
            return perplexity(model, cut).value

    match = find_share(
        evaluate,
        target=target,
        baseline=baseline,
        sizes=[site.size for site in model.sites],
        largest=1 - share,
        tolerance=tolerance,
        max_evaluations=MOST,
    )
    assert counted == match.evaluations, f"the search says {match.evaluations} evaluations and made {counted}"
    return match, counted
