"""Text from data, made visible: what could not be seen, or would act, becomes characters that say what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, joiners and fillers without a shape
    "\u200b-\u200f\u2028-\u202f\u205f-\u206f"  # zero-width, direction and line controls
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\ud800-\udfff"  # halves of a surrogate pair, which no encoding can hold
    "\U000e0000-\U000e0fff]"  # tags, and further variation selectors
)
_KEYS = {0x0A: "↵", 0x09: "⇥"}
"""Line feed and tab: as on keyboards, for they are frequent and few fonts have pictures of controls."""


def visible(text: str) -> str:
    """The text with controls as pictures (↵, ␀) and other unseen characters as code points (⟨U+202E⟩).

    The result holds no control character, no character that turns the direction of its neighbours, and no lone
    surrogate; it may be encoded in UTF-8. Letters of every script stay as they are.
    """
    return _UNSEEN.sub(_picture, text)


def visible_all(value: Any) -> Any:
    """The same for every string, key included, in a JSON value."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_all(key): visible_all(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [visible_all(element) for element in value]
    return value


def plotly_text(text: str) -> str:
    """Text that plotly shows as it is; plotly reads some HTML in its labels, and formulas between dollar signs."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in _KEYS:
        return _KEYS[code]
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"
