"""What a scan says of its own stability, and what scans of several texts agree on, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negspace.experiment.ranking import Ranking
from negspace.experiment.words import percent
from negspace.neurons.scan import Scan
from negspace.significance import reliability

SHARE = 0.01
"""Share of the top sets that are compared."""
ADVISED = 0.75
"""Overlap of the halves' top sets below which more text is advised: a convention, and no test."""


@dataclass(frozen=True)
class Stability:
    """How far two halves of the text rank the neurons alike."""

    share: float
    """Share of the top sets."""
    reliability: float
    """Median over sites of the reliability of the ranking by WD from all tokens (Spearman and Brown); NaN without
    halves."""
    needed: float
    """Median over sites of the tokens needed for a reliability of 0.9."""
    overlap: float
    """Share of the first half's top set that is in the second's."""
    tokens: int
    """Tokens of the scan."""


def stability(scan: Scan, share: float = SHARE) -> Stability | None:
    """What the halves of a scan's text say; None for a scan that kept none."""
    layout, tokens = scan.info.layout, scan.info.tokens
    ranking = Ranking.of(scan.table, layout, scan.info.text, tokens)
    tops = ranking.choose(share).halves
    if ranking.halves is None or not tops:
        return None
    first, second = ranking.halves
    sites = [reliability(first[rows], second[rows], tokens) for rows in layout.rows.values()]
    return Stability(
        share,
        float(np.nanmedian([site.reliability for site in sites])),
        float(np.nanmedian([site.tokens_needed for site in sites])),
        len(tops[0] & tops[1]) / max(len(tops[0]), 1),
        tokens,
    )


def said(found: Stability | None) -> list[str]:
    """Sentences: how reliable the ranking is, how far the halves agree, and where more text is advised."""
    if found is None:
        return []
    needed = f"{found.needed:,.0f} tokens" if np.isfinite(found.needed) else "no number of such tokens"
    lines = [
        f"reliability of the ranking by WD, from both halves of the text: {found.reliability:.2f} (0.9 takes about "
        f"{needed}); the halves' top {percent(found.share)} have {found.overlap:.0%} of their neurons in common"
    ]
    if found.overlap < ADVISED:
        lines.append(
            f"note: with {found.tokens:,} tokens that is less than {ADVISED:.0%}; scan more of the text before you "
            "call the set a fact about the model"
        )
    return lines
