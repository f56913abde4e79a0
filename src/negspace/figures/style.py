"""Colours, markers and dashes by the part that a series plays: the palette of Okabe and Ito, and shapes beside it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """The style of a series, by role. Colour alone never distinguishes two roles in one figure."""

    light: str
    """Colour on white."""
    dark: str
    """Colour on black."""
    marker: str
    """matplotlib's name of the marker."""
    symbol: str
    """plotly's name of the same marker."""
    dash: str
    """plotly's name of the dash; `DASHES` has matplotlib's."""


INK, BLUE, SKY, GREEN = "#1b1d21", "#0072B2", "#56B4E9", "#009E73"
YELLOW, ORANGE, VERMILLION, PURPLE, GREY = "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#767b83"

STYLES = {
    "baseline": Style(INK, "#e8e8e6", "o", "circle-open", "solid"),
    "top": Style(VERMILLION, "#f08a4b", "o", "circle", "solid"),
    "random": Style(BLUE, SKY, "s", "square", "dot"),
    "random mean": Style(BLUE, SKY, "s", "square", "dot"),
    "matched": Style(GREEN, "#2fc79b", "D", "diamond", "dash"),
    "bottom": Style(PURPLE, "#dd9cc0", "v", "triangle-down", "dashdot"),
    "rest": Style(GREY, "#9aa0a8", ".", "circle", "solid"),
    "gaussian": Style(INK, "#e8e8e6", "", "circle", "dash"),
    "paper": Style("#8a6d00", "#d9b84a", "*", "star", "longdash"),
    "negative": Style(BLUE, SKY, "v", "triangle-down", "solid"),
    "positive": Style(ORANGE, "#f0b73d", "^", "triangle-up", "dash"),
    "series 0": Style(VERMILLION, "#f08a4b", "o", "circle", "solid"),
    "series 1": Style(BLUE, SKY, "s", "square", "dash"),
    "series 2": Style(GREEN, "#2fc79b", "D", "diamond", "dot"),
    "series 3": Style(PURPLE, "#dd9cc0", "v", "triangle-down", "dashdot"),
    "series 4": Style(ORANGE, "#f0b73d", "^", "triangle-up", "longdash"),
    "series 5": Style(INK, "#e8e8e6", "X", "x", "solid"),
    "series 6": Style("#3f8fbf", "#8fd0f5", "P", "cross", "dash"),
    "series 7": Style(GREY, "#9aa0a8", "*", "star", "dot"),
}
"""Role -> style."""

DASHES = {
    "solid": "-",
    "dot": (0, (1, 1.6)),
    "dash": (0, (4, 2)),
    "dashdot": (0, (4, 1.5, 1, 1.5)),
    "longdash": (0, (7, 2.5)),
}
"""plotly's name of a dash -> matplotlib's."""

DENSITY = {"light": ("#eef3f7", "#0b3a5b"), "dark": ("#20303c", "#bfe3fa")}
"""Colours of the least and the most of a density."""
DIVERGING = {"light": (BLUE, "#f7f7f5", VERMILLION), "dark": ("#56B4E9", "#24272c", "#f08a4b")}
"""Colours of the least, zero and the most of a diverging scale."""


def nth(number: int) -> str:
    """Role of the n-th of several series that have no role of their own."""
    return f"series {number % 8}"
