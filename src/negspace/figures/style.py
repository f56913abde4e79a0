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
    "rest": Style(GREY, "#9aa0a8", "P", "cross", "dashdot"),
    "gaussian": Style(INK, "#e8e8e6", "", "circle", "dash"),
    "paper": Style("#8a6d00", "#d9b84a", "*", "star", "longdash"),
    "negative": Style(BLUE, SKY, "v", "triangle-down", "solid"),
    "positive": Style(ORANGE, "#f0b73d", "^", "triangle-up", "dash"),
}
"""Role -> style."""

DASHES = {
    "solid": "-",
    "dash": (0, (4, 2)),
    "dot": (0, (1, 1.6)),
    "dashdot": (0, (4, 1.5, 1, 1.5)),
    "longdash": (0, (7, 2.5)),
}
"""plotly's name of a dash -> matplotlib's."""

_SERIES = (
    (VERMILLION, "#f08a4b", "o", "circle"),
    (BLUE, SKY, "s", "square"),
    (GREEN, "#2fc79b", "D", "diamond"),
    (PURPLE, "#dd9cc0", "v", "triangle-down"),
    (ORANGE, "#f0b73d", "^", "triangle-up"),
    (INK, "#e8e8e6", "X", "x"),
    ("#3f8fbf", "#8fd0f5", "P", "cross"),
    (GREY, "#9aa0a8", "*", "star"),
)
"""Colours on white and on black, and markers, of series that have no role of their own."""
_APART = len(_SERIES) * len(DASHES)
"""Series until one has the marker and the dash of an earlier one."""


def _nth(number: int) -> Style:
    """From one round of the colours to the next, each colour takes the next one's marker, and markers the next dash."""
    turn, place = divmod(number, len(_SERIES))
    marker = (place + turn) % len(_SERIES)
    return Style(*_SERIES[place][:2], *_SERIES[marker][2:], list(DASHES)[(marker + turn) % len(DASHES)])


STYLES |= {f"series {number}": _nth(number) for number in range(_APART)}

DENSITY = {"light": ("#eef3f7", "#0b3a5b"), "dark": ("#20303c", "#bfe3fa")}
"""Colours of the least and the most of a density."""
DIVERGING = {"light": (BLUE, "#f7f7f5", VERMILLION), "dark": ("#56B4E9", "#24272c", "#f08a4b")}
"""Colours of the least, zero and the most of a diverging scale."""


def nth(number: int) -> str:
    """Role of the n-th of several series that have no role of their own."""
    return f"series {number % _APART}"
