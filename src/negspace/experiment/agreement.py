"""Internal: whether the top neurons are a fact about the model: what scans of several texts agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from negspace.errors import SelectionError
from negspace.experiment.ranking import (
    Common,
    Ranking,
    correlate,
    correlation_sentence,
    distinct,
    in_common,
    over_sites,
    split,
    too_small,
)
from negspace.experiment.words import percent
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, check_scan
from negspace.neurons.shares import Share
from negspace.wording import counted


@dataclass(frozen=True, eq=False)
class Agreement:
    """What scans of one model on several texts agree on."""

    rankings: tuple[Ranking, ...]
    """The scans, under names that differ."""
    share: Share
    """Share of each site's neurons in a top set."""
    correlations: Mapping[tuple[str, str], Mapping[str, float]]
    """Two texts -> rho, first, second, ceiling: rank correlation of WD, reliability of each scan, and the rho that
    these allow; medians over sites."""
    overlaps: Mapping[tuple[str, str], Common]
    """Two texts -> overlap of their top sets."""
    common: NeuronSet
    """The neurons that every text's top set has."""

    @property
    def correlated(self) -> list[str]:
        """How far the scans rank the neurons alike, pair by pair, in sentences."""
        return [correlation_sentence(*pair, medians) for pair, medians in self.correlations.items()]

    @property
    def sentences(self) -> list[str]:
        """What the scans agree on, pair by pair, and what to do where they have too little in common."""
        share = float(self.share)
        said = self.correlated + [common.sentence(*pair, share) for pair, common in self.overlaps.items()]
        if reason := too_small(self.common):
            said.append(f"in the top {percent(share)} by every text: {reason}")
        return said


def agreement(scans: Sequence[Scan], share: Share = 0.01) -> Agreement:
    """Compare what scans of one model on several texts say of its neurons.

    Args:
        scans: two or more, of one model and of texts that differ.
        share: share p of each site's neurons in the top sets.

    Raises:
        SelectionError: something else than scans, fewer than two, scans of several models, one text twice, or a share
            out of range.
    """
    scans = [check_scan(scan, "agreement") for scan in (scans if isinstance(scans, Iterable) else [scans])]
    asked = f"what {counted(len(scans), 'scan')} agree on"
    if len(scans) < 2:
        raise SelectionError(asked, "fewer than two", "give scans of two texts or more")
    infos = [scan.info for scan in scans]
    for info in infos[1:]:
        if (info.layout, info.fingerprint) != (infos[0].layout, infos[0].fingerprint):
            found = f"{info.text} was scanned with other weights or sites than {infos[0].text}"
            raise SelectionError(asked, found, "scan all texts with one model")
    names = distinct([(info.text, info.text_hash, info.windows_hash) for info in infos], asked)
    rankings = [
        Ranking.of(scan.table, scan.info.layout, name, scan.info.tokens)
        for name, scan in zip(names, scans, strict=True)
    ]
    layout = infos[0].layout
    chosen = [ranking.choose(share) for ranking in rankings]
    correlations, overlaps = {}, {}
    for one, two in combinations(range(len(rankings)), 2):
        first, second = rankings[one], rankings[two]
        pair = first.text, second.text
        correlations[pair] = over_sites([correlate(first, second, rows) for rows in layout.rows.values()])
        overlaps[pair] = in_common(chosen[one], chosen[two])
    common, _ = split([one.top for one in chosen])
    return Agreement(tuple(rankings), share, correlations, overlaps, common)
