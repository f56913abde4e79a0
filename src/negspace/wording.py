"""Internal: lists, numbers and times in sentences, and text as Markdown."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

_MARKUP = frozenset("\\`*_{}[]|~$^")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_SHOWN = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things: "1 neuron", "4,608 neurons".

    Args:
        plural: of nouns that do not take an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A time in words: "2 h 5 min", "3 min 20 s", "8 s"; NaN: not known yet."""
    if math.isnan(seconds):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def listed(names: Iterable[object]) -> str:
    """Names for a message: the first dozen."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "") or "none"


def escape(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line, wherever in a line it stands but at its beginning.

    Nothing in it takes effect as Markdown, HTML or a link. Line breaks become "⏎"; control and formatting characters
    (those that change the direction of writing, too) and lone surrogates are written out as \\u{...}.
    """
    shown = []
    for at, character in enumerate(text):
        if character in _SHOWN:
            shown.append(_SHOWN[character])
        elif unicodedata.category(character) in _HIDDEN:
            shown.append(f"\\\\u\\{{{ord(character):x}\\}}")
        elif character in _MARKUP or (character == ":" and text[at + 1 : at + 2] == "/"):
            shown.append("\\" + character)
        elif character == "." and text[max(0, at - 3) : at].lower() == "www":
            shown.append("\\.")
        else:
            shown.append(_ENTITIES.get(character, character))
    return "".join(shown)
