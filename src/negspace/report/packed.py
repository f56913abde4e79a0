"""Arrays as text for the page."""

from __future__ import annotations

import base64

import numpy as np


def packed(values: np.ndarray, kind: str = "u1") -> str:
    """Base64 of an array's little-endian values of a type, such as "f4", as the page's `unpack` reads them."""
    return base64.b64encode(np.ascontiguousarray(values).astype(f"<{kind}").tobytes()).decode("ascii")
