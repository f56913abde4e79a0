"""Words for sentences: shares, scores and changes with their intervals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from negspace.neurons.layout import in_ranges
from negspace.text.suites import SUITES, TITLES, Unit

_IN_NO_FILE = re.compile(r"[^\w.@+]+")
_LONGEST = 150
"""Bytes of a file name before its ending: file systems take 255, of which a temporary name needs some."""


def amount(score: str, estimate: float, low: float, high: float) -> str:
    """A change with its interval in words: "x 1.2300 [1.1000, 1.4000]", or "-3.2 points [-5.0, -1.1]"."""
    if score == "perplexity":
        return f"x {ratio(estimate)} {between(low, high, ratio)}"
    return f"{points(estimate)} points {between(low, high, points)}"


def claim(
    row: Mapping[str, Any] | pd.Series,
    name: str = "difference",
    ends: tuple[str, str] = ("low", "high"),
    prefix: str = "",
) -> str:
    """A change or contrast of a table in words, the finding first: "harm, -3.1 points [-5.0, -1.2], margins -0.210 nats
    [-0.300, -0.120] (harm)"; or that it cannot be judged, and why. A finding that holds for some phenomena or families
    alone says so: "harm in these 3 families".

    Args:
        row: a row of a table with the columns of `effects.Changes`.
        name, ends, prefix: names of these columns.
    """
    finding, on_margins = row[f"{prefix}finding"], row.get(f"{prefix}nats_finding")
    where = inside(scope(row, prefix))
    said = f"{found(row, prefix)}{where}, {amount(row['score'], row[name], *(row[end] for end in ends))}"
    reason, on_margins_reason = str(row[f"{prefix}reason"]), row.get(f"{prefix}nats_reason")
    if finding == "cannot be judged":
        said = unjudgeable(reason)
    if on_margins == "cannot be judged":
        same = finding == on_margins and on_margins_reason in (reason, None)
        return said if same else f"{said}, margins {unjudgeable(str(on_margins_reason))}"
    margin = row.get(f"{name}_nats")
    if margin is not None and np.isfinite(margin):
        moved = on_margin(row["score"], margin, row[f"{name}_nats_low"], row[f"{name}_nats_high"])
        said += f", margins {moved} ({on_margins}{where if finding == 'cannot be judged' else ''})"
    return said


def contrast(
    row: Mapping[str, Any] | pd.Series,
    name: str = "difference",
    ends: tuple[str, str] = ("low", "high"),
    prefix: str = "",
) -> str:
    """The same of one ablation against another: "more harm, -3.1 points [-5.0, -1.2]"; arguments as of `claim`."""
    columns = (f"{prefix}finding", f"{prefix}nats_finding")
    return claim({**row, **{column: compared(row.get(column)) for column in columns}}, name, ends, prefix)


def compared(finding: Any) -> Any:
    """A finding on one ablation against another, where a gain is less harm: neither need raise a score."""
    return {"harm": "more harm", "gain": "less harm"}.get(finding, finding)


def found(row: Mapping[str, Any] | pd.Series, prefix: str = "") -> str:
    """The finding of a row, of equivalence with its margin: "equivalent within 1.00 points"."""
    finding = str(row[f"{prefix}finding"])
    return f"{finding} within {row[f'{prefix}margin'] * 100:.2f} points" if finding == "equivalent" else finding


def scope(row: Mapping[str, Any] | pd.Series, prefix: str = "") -> str:
    """The phenomena or families for which alone the findings of a row hold, "these 3 families"; empty where they hold
    for others like these.

    Args:
        row: its units are as `changes.rests_on` writes them.
    """
    return str(row.get(f"{prefix}units", "")).partition(", ")[2]


def scopes(rows: pd.DataFrame, prefix: str = "") -> str:
    """The same of several rows on the same items, some of which may not be judged."""
    return next(filter(None, (scope(row, prefix) for _, row in rows.iterrows())), "")


def inside(these: str) -> str:
    """A scope after a finding: " in these 3 families"."""
    return f" in {these}" if these else ""


def change(row: Mapping[str, Any] | pd.Series) -> str:
    """The same of a change against the plain model, in columns change, change_low, change_high."""
    return claim(row, "change", ("change_low", "change_high"))


def unjudged(rows: pd.DataFrame, prefix: str = "") -> str:
    """Why none of several contrasts can be judged; empty where one can."""
    judged = rows[f"{prefix}finding"] != "cannot be judged"
    return "" if judged.any() or not len(rows) else unjudgeable(str(rows[f"{prefix}reason"].iloc[0]))


def not_judged(rows: pd.DataFrame, prefix: str = "") -> str:
    """How many of several contrasts cannot be judged, in brackets; empty where all can."""
    count = int((rows[f"{prefix}finding"] == "cannot be judged").sum())
    return f" ({count} cannot be judged)" if count else ""


def unjudgeable(reason: str) -> str:
    """Return the sentence that something cannot be judged, and why."""
    return reason if reason.startswith("cannot be judged") else f"cannot be judged ({reason})"


def within(layers: Sequence[int] | None) -> str:
    """Return the layers that neurons are chosen from, in words: "in layers 0-3, 7"; "" for all of a model's."""
    return "" if layers is None else f"in layer{'s' if len(set(layers)) > 1 else ''} {in_ranges(set(layers))}"


def percent(share: Any) -> str:
    """A share as per cent, to four digits: "0.316%".

    Args:
        share: a number, also one that pandas gives as the key of a group, whose type it does not know.
    """
    return f"{float(share) * 100:.4g}%"


def in_names(share: Any) -> str:
    """A share in names of figures and files: "0.316pct"."""
    return percent(share).replace("%", "pct")


def file_names(names: Iterable[str]) -> list[str]:
    """Return a file name without its ending for each name, in order: no two alike, whatever the script, and none that
    leads out of a folder or hides there.

    Letters and digits of every script stay, and "_", ".", "@" and "+"; "%" becomes "pct", and all between becomes "-".
    Names that are then alike are numbered from the second on.
    """
    made: dict[str, str] = {}
    for name in names:
        text = unicodedata.normalize("NFC", name).replace("%", "pct")
        short = _IN_NO_FILE.sub("-", text).strip("-.").encode()[:_LONGEST].decode(errors="ignore") or "unnamed"
        file, number = short, 1
        while file.casefold() in made:  # some file systems take "A" and "a" for one
            number += 1
            file = f"{short}-{number}"
        made[file.casefold()] = file
    return list(made.values())


def title(score: str) -> str:
    """A score's name in a sentence."""
    return TITLES.get(score, score)


def capital(text: str) -> str:
    """The text with its first letter as at the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def ratio(value: float) -> str:
    """A ratio of perplexities: four decimals near 1, four digits where it is large."""
    return f"{value:.4f}" if value < 10 else f"{value:.4g}"


def points(change: float) -> str:
    """A change of accuracy in points, with its sign."""
    return f"{change * 100:+.1f}"


def nats(change: float) -> str:
    """A change of a margin in nats, with its sign."""
    return f"{change:+.3f}"


def unit(score: str) -> Unit:
    """The unit of a suite's margins: "nats", or "nats per token"."""
    return SUITES[score].unit if score in SUITES else "nats"


def on_margin(score: str, estimate: float, low: float, high: float) -> str:
    """A change of a suite's margins with its interval in words: "-0.210 nats [-0.300, -0.120]"."""
    return f"{nats(estimate)} {unit(score)} {between(low, high, nats)}"


def between(low: float, high: float, form=points) -> str:  # type: ignore[no-untyped-def]
    """An interval, each end as `form` says it."""
    return f"[{form(low)}, {form(high)}]" if np.isfinite(low) and np.isfinite(high) else "[no interval]"


_ON_NEGATIVES = ("negative", "sign_flip", "negative_mean")
"""What a study sets to zero, or its mode, where positive pre-activations stay as they are."""


def line_at_zero(study: Mapping[str, Any]) -> str:
    """What a caption says of the line at zero in a distribution of pre-activations.

    Args:
        study: the study's fields.
    """
    acts = ", left of which the intervention acts" if (study["mode"] or study["zero"]) in _ON_NEGATIVES else ""
    return f"The vertical line is zero{acts}."
