"""Shares of a site's neurons, exact in decimal: p = 0.01 means one hundredth, not its nearest binary number."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

from negspace.errors import SelectionError

Share = float | int | str | Fraction | Decimal


def size_of(p: Share, neurons: int) -> int:
    """ceil(p * (neurons - 1)), computed exactly: how many neurons a share p of a site means.

    Raises:
        SelectionError: p is not a number from 0 to 1.
    """
    return math.ceil(share(p) * (neurons - 1)) if neurons else 0


def share(p: Share) -> Fraction:
    """A share as the decimal that the user wrote.

    Raises:
        SelectionError: p is not a number from 0 to 1.
    """
    try:
        exact = Fraction(str(p))
    except (ValueError, ZeroDivisionError):
        exact = None
    if exact is None or isinstance(p, bool) or not 0 <= exact <= 1:
        raise SelectionError(
            f"a share p={p!r} of the neurons", "not a number from 0 to 1", "give a fraction, such as 0.01 for 1%"
        )
    return exact
