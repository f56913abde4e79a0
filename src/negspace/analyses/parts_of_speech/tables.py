"""Tables of excess surprisal by tag, made from token surprisals: for one ablation, and for one with its controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from negspace.analyses.parts_of_speech.cells import KIND
from negspace.analyses.parts_of_speech.columns import EXCESS, SCAFFOLD, TABLES
from negspace.errors import StudyError
from negspace.experiment.analysis import Book
from negspace.experiment.condition import NEAREST
from negspace.experiment.words import percent
from negspace.significance import Contrast, Nesting, compare_with_sets, correct, correct_rows
from negspace.significance.clustered import clustered_mean
from negspace.significance.interval import FEWEST
from negspace.wording import counted

_KEYS = ["window", "position", "start", "end", "word", "upos", "dep"]


def excess_by_tag(
    baseline: pd.DataFrame, ablated: pd.DataFrame, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The table of excess surprisal: from the items that `surprisal` gave without and with an ablation.

    Intervals and tests have windows as units; Holm's correction is over the tags of one kind. Tags in so few windows
    that no p-value could reach 1 - level have none, and do not count towards the correction.

    Returns:
        One row a tag, columns as in `EXCESS`.

    Raises:
        StudyError: the two are not of the same tokens.
    """
    items = joined(baseline, ablated)
    has_word = items["word"] >= 0
    groups = {
        "all": pd.Series(np.where(has_word, "with a word", "without a word"), items.index),
        "upos": items["upos"][has_word],
        "dep": items["dep"][has_word],
    }
    parts = []
    for kind, tags in groups.items():
        rows = []
        for tag, part in items.loc[tags.index].groupby(tags.astype(str), sort=True):
            difference = (part["ablated"] - part["baseline"]).to_numpy()
            made = clustered_mean(difference, part["window"].to_numpy(), level=level, draws=draws, seed=seed)
            rows.append(
                {
                    "kind": kind,
                    "tag": str(tag),
                    "tokens": made.items,
                    "windows": made.clusters,
                    "baseline": float(part["baseline"].mean()),
                    "ablated": float(part["ablated"].mean()),
                    "excess": made.mean.estimate,
                    "low": made.mean.low,
                    "high": made.mean.high,
                    "p": made.p,
                }
            )
        table = pd.DataFrame(rows, columns=[name for name in EXCESS.names if name != "p_holm"])
        table["p_holm"] = correct(table["p"].to_numpy(np.float64), alpha=1 - level).p
        parts.append(table.sort_values(["excess", "tag"], ascending=[False, True], kind="stable"))
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return table.astype({"kind": "str", "tag": "str", "tokens": "int64", "windows": "int64"})[EXCESS.names]


def joined(baseline: pd.DataFrame, ablated: pd.DataFrame) -> pd.DataFrame:
    """The tokens with both surprisals."""
    if not baseline[_KEYS].equals(ablated[_KEYS]):
        raise StudyError(
            "to compare surprisals token by token",
            f"items of different tokens ({len(baseline)} and {len(ablated)})",
            "take both from the same windows and tags",
        )
    return baseline[_KEYS].assign(baseline=baseline["nll"], ablated=ablated["nll"])


def _among_sets(top: NDArray[np.float64], sets: NDArray[np.float64], window: ArrayLike, alpha: float) -> Contrast:
    """Return the top set's effect beyond random sets, with a prediction interval for sets that were not drawn.

    Surprisal is negative margin: of log-probabilities a fall is harm.

    Args:
        top: [tokens] excess surprisal, or whatever has the contrast as its mean.
        sets: [R, tokens] the same under each random set.
    """
    return compare_with_sets(-top, -sets, Nesting.tokens(window), scale="nats", alpha=alpha)


def _said(found: Contrast) -> dict[str, Any]:
    """Columns of a contrast with random sets, in surprisal."""
    return {"low": -found.high, "high": -found.low, "p": found.p, "reason": found.reason}


def _beyond_random(book: Book, plain: pd.DataFrame, top: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The contrasts with random sets, tag by tag: these sets are a sample of all."""
    members = [condition for condition in book.conditions if condition.role == "random"]
    drawn = np.stack([book.record(member.cells[KIND]).items["nll"].to_numpy(np.float64) for member in members])
    own, window, has_word = top["nll"].to_numpy(np.float64), plain["window"].to_numpy(), (plain["word"] >= 0).to_numpy()
    rows, claims = [], []
    for _, row in table.iterrows():
        if row["kind"] == "all":
            here = has_word == (row["tag"] == "with a word")
        else:
            here = has_word & (plain[row["kind"]].astype(str) == row["tag"]).to_numpy()
        claims.append(_among_sets(own[here], drawn[:, here], window[here], book.alpha))
        rows.append({**row, **_said(claims[-1])})
    made = pd.DataFrame(rows)
    for where in made.groupby("kind").indices.values():
        family = {row: claims[place] for row, place in enumerate(where)}
        made.loc[made.index[where], "p_holm"] = correct_rows(made["p"].to_numpy(np.float64)[where], family)
    made.loc[made["reason"] != "", "contrast"] = np.nan
    return made


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    frames, about = _frames(book)
    plain = frames.pop("baseline")
    excesses = {role: excess_by_tag(plain, frame, **book.bootstrap) for role, frame in frames.items()}
    parts = [table.assign(**about[role], role=role) for role, table in excesses.items()]
    contrasts, scaffold = [], [_scaffold(plain, frame, role, about[role], book) for role, frame in frames.items()]
    for role in frames:
        if role in ("top", NEAREST):  # what does other damage is no control
            continue
        table = excess_by_tag(frames[role], frames["top"], **book.bootstrap)
        for column, of in (("top", "top"), ("reference", role)):
            table[column] = table.merge(excesses[of], on=["kind", "tag"], suffixes=("_", ""))["excess"]
        table = table.rename(columns={"excess": "contrast"}).assign(control=about[role]["condition"], role=role)
        contrasts.append(_beyond_random(book, plain, frames["top"], table) if role == "random" else table)
        both = {"condition": f"{about['top']['condition']} against {about[role]['condition']}"}
        scaffold.append(_scaffold(frames[role], frames["top"], f"top against {role}", both, book))
    claims = {n: row.pop("claim") for n, row in enumerate(scaffold) if "claim" in row}
    flipped = [row for row in scaffold if "windows" in row]
    for row in flipped:
        row["reason"] = too_few(row.pop("windows"), len(flipped), book.alpha, "comparison")
    made = {
        "parts_of_speech": pd.concat(parts, ignore_index=True),
        "parts_of_speech_contrasts": pd.concat(contrasts, ignore_index=True) if contrasts else pd.DataFrame(),
        "parts_of_speech_scaffold": pd.DataFrame(scaffold),
    }
    for name in ("parts_of_speech_contrasts", "parts_of_speech_scaffold"):
        if len(made[name]):
            made[name]["reason"] = made[name]["reason"].fillna("") if "reason" in made[name] else ""
    table = made["parts_of_speech_scaffold"]
    table["p_holm"] = correct_rows(table["p"].to_numpy(np.float64), claims)
    return {name: TABLES[name].of(one) for name, one in made.items()}


def _frames(book: Book) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]]]:
    """Role -> items (of the random sets the mean, token by token), and what to call it."""
    frames: dict[str, pd.DataFrame] = {}
    about: dict[str, dict[str, Any]] = {}
    for role in ("baseline", "top", "random", "matched", NEAREST):
        members = [condition for condition in book.conditions if condition.role == role]
        if not members:
            continue
        items = [book.record(member.cells[KIND]).items for member in members]
        for other in items[1:]:
            joined(items[0], other)  # refuses items of other tokens
        frames[role] = items[0].assign(nll=np.mean([item["nll"].to_numpy() for item in items], axis=0))
        name = members[0].name if role != "random" else f"random {percent(book.part['share'])}, mean of {len(items)}"
        about[role] = {"condition": name, "sets": len(items)}
    return frames, about


def _scaffold(
    before: pd.DataFrame, after: pd.DataFrame, role: str, about: Mapping[str, Any], book: Book
) -> dict[str, Any]:
    """Mean excess on scaffolding minus that on all other words; with the contrast, where it is with random sets.

    With d the excess of a token, and N tokens of which A are scaffolding, the difference of means D is the mean of the
    tokens' influences D + (d - mean) * N / A, and of D - (d - mean) * N / (N - A) for the others: a mean over tokens,
    with interval and test clustered by window, exact to first order in what the windows hold.
    """
    items = joined(before, after)
    kept = (items["word"] >= 0).to_numpy()
    items = items[kept]
    excess = (items["ablated"] - items["baseline"]).to_numpy(np.float64)
    here = items["upos"].isin(SCAFFOLD).to_numpy()
    row: dict[str, Any] = {
        "compared": about["condition"],
        "role": role,
        "tokens": int(here.sum()),
        "others": int((~here).sum()),
    }
    if not here.any() or here.all():
        lacking = "word outside" if here.all() else "word of"
        reason = f"no {lacking} {', '.join(SCAFFOLD)}; use a tagger that gives universal parts of speech"
        return {**row, "p": np.nan, "reason": reason}
    row |= {"scaffold": excess[here].mean(), "rest": excess[~here].mean()}
    row["difference"] = row["scaffold"] - row["rest"]
    if role == "top against random":
        members = [condition for condition in book.conditions if condition.role == "random"]
        drawn = [book.record(member.cells[KIND]).items["nll"].to_numpy(np.float64)[kept] for member in members]
        # What is common to all sets and to the top set, the plain surprisal, cancels in the contrast.
        own = _influences(items["ablated"].to_numpy(np.float64), here)
        sets = np.stack([_influences(nll, here) for nll in drawn])
        found = _among_sets(own, sets, items["window"].to_numpy(), book.alpha)
        return {**row, **_said(found), "claim": found, **({"difference": np.nan} if found.reason else {})}
    made = clustered_mean(_influences(excess, here), items["window"].to_numpy(), **book.bootstrap)
    return {**row, "low": made.mean.low, "high": made.mean.high, "p": made.p, "windows": made.clusters}


def too_few(windows: int, tests: int, alpha: float, noun: str, plural: str = "") -> str:
    """Return why none of several tests over windows could succeed, whatever the effect, or "".

    Sign flips of n windows give p of 2 / 2^n at least, and Holm's correction multiplies the lowest of m by m. Fewer
    than five windows allow no interval either.

    Args:
        windows: n, of the test that has most.
        tests: m.
        noun, plural: what is tested.
    """
    needed = max(FEWEST, 1 + math.ceil(math.log2(tests / alpha)))
    if windows >= needed:
        return ""
    return f"{counted(windows, 'window')}; sign flips over windows need {needed} for {counted(tests, noun, plural)}"


def _influences(values: NDArray[np.float64], here: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[tokens] values whose mean is the mean of `values` here minus that elsewhere; see `_scaffold`."""
    means = values[here].mean(), values[~here].mean()
    own, other = (values - means[0]) * here.size / here.sum(), -(values - means[1]) * here.size / (~here).sum()
    return means[0] - means[1] + np.where(here, own, other)
