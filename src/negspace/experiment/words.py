"""Words for sentences: shares, scores and changes with their intervals."""

from __future__ import annotations

import numpy as np

from negspace.text.suites import TITLES


def amount(score: str, estimate: float, low: float, high: float) -> str:
    """A change with its interval in words: "x 1.2300 [1.1000, 1.4000]", or "-3.2 points [-5.0, -1.1]"."""
    if score == "perplexity":
        return f"x {ratio(estimate)} {between(low, high, ratio)}"
    return f"{points(estimate)} points {between(low, high, points)}"


def percent(share: float) -> str:
    """A share as per cent, to four digits: "0.316%"."""
    return f"{share * 100:.4g}%"


def title(score: str) -> str:
    """A score's name in a sentence."""
    return TITLES.get(score, score)


def capital(text: str) -> str:
    """The text with its first letter as at the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def ratio(value: float) -> str:
    """A ratio of perplexities: four decimals near 1, four digits where it is large."""
    return f"{value:.4f}" if value < 10 else f"{value:.4g}"


def points(change: float) -> str:
    """A change of accuracy in points, with its sign."""
    return f"{change * 100:+.1f}"


def between(low: float, high: float, form=points) -> str:  # type: ignore[no-untyped-def]
    """An interval, each end as `form` says it."""
    return f"[{form(low)}, {form(high)}]" if np.isfinite(low) and np.isfinite(high) else "[no interval]"
