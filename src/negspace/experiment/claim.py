"""What a run says of one claim of the paper: it holds, it does not, or that is undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from negspace.experiment.words import amount, between, nats, points

Answer = Literal["holds", "does not hold", "undecided", "cannot be judged"]
Scale = Literal["points", "nats", "ratio", ""]
NAN = float("nan")


@dataclass(frozen=True)
class Claim:
    """A claim and what one run says of it."""

    key: str
    """A name that the same claim has in every run: "ablate", "matched", ..."""
    claim: str
    """The claim in words, as one would write it where it holds."""
    of: str
    """What it was tried on: a suite, the perplexity, the tasks; empty where there is no choice."""
    share: float | None
    """Share of neurons; None where it does not depend on one."""
    answer: Answer
    """What the run says."""
    finding: str
    """The finding that says so: harm, equivalent, established, ..."""
    scale: Scale = ""
    """What the numbers are in: accuracy (0.01 is one point), nats, a ratio; empty: the finding says them."""
    estimate: float = NAN
    """The estimate."""
    low: float = NAN
    """Lower end of its interval."""
    high: float = NAN
    """Upper end."""
    reason: str = ""
    """What cannot be judged, and what to add."""

    @property
    def numbers(self) -> str:
        """Estimate and interval in words; empty without."""
        if not np.isfinite(self.estimate) or not self.scale:
            return ""
        if self.scale == "ratio":
            return amount("perplexity", self.estimate, self.low, self.high)
        if self.scale == "nats":
            return f"{nats(self.estimate)} nats {between(self.low, self.high, nats)}"
        return f"{points(self.estimate)} points {between(self.low, self.high)}"


_HARM: Mapping[str, Answer] = {"harm": "holds", "gain": "does not hold", "equivalent": "does not hold"}
_INTACT: Mapping[str, Answer] = {"equivalent": "holds", "harm": "does not hold", "gain": "does not hold"}


def harmed(
    key: str, claim: str, of: str, share: float | None, row: Mapping[str, Any], *, intact: bool = False
) -> list[Claim]:
    """The claim that a contrast is harm (or that it is none), on accuracy and on margins.

    Args:
        row: of a table, in the columns of `effects.DIFFERENCE`.
        intact: whether the claim is that nothing changes.
    """
    answers = _INTACT if intact else _HARM
    main: Scale = "ratio" if row["score"] == "perplexity" else "points"
    claims = []
    for scale, finding, name, ends in (
        (main, row["finding"], "difference", ("low", "high")),
        ("nats", row.get("nats_finding"), "difference_nats", ("difference_nats_low", "difference_nats_high")),
    ):
        if not isinstance(finding, str) or not finding:
            continue
        answer: Answer = "cannot be judged" if finding == "cannot be judged" else answers.get(finding, "undecided")
        numbers = (NAN,) * 3 if finding == "cannot be judged" else (row[name], *(row[end] for end in ends))
        called = f"{of}, margins" if scale == "nats" else of
        reason = str(row["reason"]) if finding == "cannot be judged" else ""
        claims.append(Claim(key, claim, called, share, answer, finding, scale, *map(float, numbers), reason))  # type: ignore[arg-type]
    return claims
