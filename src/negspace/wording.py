"""Internal: lists and numbers of things in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things: "1 neuron", "4,608 neurons".

    Args:
        plural: of nouns that do not take an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[object]) -> str:
    """Names for a message: the first dozen."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "") or "none"
