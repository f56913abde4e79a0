"""Internal: arguments of public functions, of which an error says what they are before anything is done with them."""

from __future__ import annotations

from numbers import Integral
from typing import Any, TypeVar

from negspace.errors import NegspaceError

Kind = TypeVar("Kind")


def named(given: Any) -> str:
    """What something is, in words: "an int"."""
    kind = type(given).__name__
    return f"{'an' if kind[0] in 'AEIOaeio' else 'a'} {kind}"


def checked(given: Any, kind: type[Kind], error: type[NegspaceError], asked: str, todo: str) -> Kind:
    """What was given, if it is of a kind.

    Raises:
        NegspaceError: it is something else; as `error`.
    """
    if isinstance(given, kind):
        return given
    raise error(asked, f"{named(given)} instead of one", todo)


def check_count(name: str, given: Any, error: type[NegspaceError], least: int = 1, what: str = "") -> None:
    """Refuse what is no whole number from `least` on; None, which stands for a default, passes.

    Args:
        name: of the argument.
        what: what it is an argument of.

    Raises:
        NegspaceError: as `error`.
    """
    if given is None:
        return
    found = ""
    if isinstance(given, bool) or not isinstance(given, Integral):
        found = "not a whole number"
    elif given < least:
        found = f"it must be at least {least}"
    if found:
        raise error(f"{what}{' with ' if what else ''}{name}={given!r}", found, f"give {name}={least} or more")
