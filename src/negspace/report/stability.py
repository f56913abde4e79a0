"""Whether a scan's ranking is a fact about the model: what both halves of the text say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negspace.experiment.words import percent
from negspace.neurons import select
from negspace.neurons.scan import Scan
from negspace.significance import reliability

SHARE = 0.01
"""Share of the top sets that are compared."""
ENOUGH = 0.75
"""Overlap of the halves' top sets below which the text is called too short."""


@dataclass(frozen=True)
class Stability:
    """How far two halves of the text rank the neurons alike."""

    reliability: float
    """Median over sites of the reliability of the ranking by WD from all tokens (Spearman and Brown); NaN without
    halves."""
    needed: float
    """Median over sites of the tokens needed for a reliability of 0.9."""
    overlap: float
    """Share of the first half's top set that is in the second's."""
    tokens: int
    """Tokens of the scan."""


def stability(scan: Scan) -> Stability | None:
    """What the halves of a scan's text say; None for a scan that kept none."""
    table, layout, tokens = scan.table, scan.info.layout, scan.info.tokens
    halves = [table[name] for name in ("wd_first", "wd_second") if name in table]
    if len(halves) < 2 or any(half.notna().sum() < 3 for half in halves):
        return None
    first, second = (half.to_numpy(np.float64) for half in halves)
    sites = [reliability(first[rows], second[rows], tokens) for rows in layout.rows.values()]
    one, two = (select.top(table.assign(wd=half), layout, SHARE) for half in halves)
    return Stability(
        float(np.nanmedian([site.reliability for site in sites])),
        float(np.nanmedian([site.tokens_needed for site in sites])),
        len(one & two) / max(len(one), 1),
        tokens,
    )


def said(found: Stability | None) -> list[str]:
    """Sentences: how reliable the ranking is, and a warning where the text is too short."""
    if found is None:
        return []
    needed = f"{found.needed:,.0f} tokens" if np.isfinite(found.needed) else "no number of such tokens"
    lines = [
        f"reliability of the ranking by WD, from both halves of the text: {found.reliability:.2f} (0.9 takes about "
        f"{needed}); the halves' top {percent(SHARE)} have {found.overlap:.0%} of their neurons in common"
    ]
    if found.overlap < ENOUGH:
        lines.append(
            f"note: with {found.tokens:,} tokens the top {percent(SHARE)} depends on the text much; scan more of it "
            "before you call the set a fact about the model"
        )
    return lines
