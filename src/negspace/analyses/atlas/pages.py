"""One page of Markdown for each neuron of the atlas. Whatever comes from data is escaped: it cannot be markup."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from negspace.experiment.analysis import Book
from negspace.experiment.words import unjudgeable
from negspace.wording import escape

SHOWN = 8
"""Drivers of one kind that a page shows for a mode."""
_KINDS = {"token": "Tokens", "upos": "Parts of speech", "dep": "Dependency labels", "phenomenon": "Phenomena"}


def mark_spaces(text: str) -> str:
    """Escaped, with the spaces at either end as "␣": how a token is named."""
    body = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - len(text.rstrip(" ")) if body else 0
    return "␣" * before + escape(body) + "␣" * after


def pages(book: Book, tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Name of a neuron -> its page."""
    alpha = book.alpha
    made = {}
    for _, neuron in tables["atlas"].iterrows():
        mine = {
            name: table[table["name"] == neuron["name"]] for name, table in tables.items() if name.startswith("atlas_")
        }
        lines = [f"# Neuron {neuron['name']}", "", *_head(neuron, book), *_modes(mine, alpha)]
        made[neuron["name"]] = "\n".join([*lines, *_contrasts(mine, alpha), *_alone(mine, book, alpha)]) + "\n"
    return made


_BRANCHES = {"shared": ", the expert that every token passes", "second": ", the second MLP"}


def _head(neuron: pd.Series, book: Book) -> list[str]:
    place = f"Layer {neuron['layer']}"
    place += f", expert {neuron['expert']}" if neuron["expert"] >= 0 else ""
    place += _BRANCHES.get(neuron["branch"], "")
    lines = [
        f"{place}, index {neuron['neuron']}; number {neuron['rank']} of {len(book.part['neurons'])} by "
        f"{book.part['by']}.",
        "",
        "| WD | share of it below zero | MD | mean | std | tokens below zero | skewness | excess kurtosis |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| "
        + " | ".join(
            _number(neuron[name], form)
            for name, form in (
                ("wd", ".3f"),
                ("negative_share", ".1%"),
                ("md", ".2f"),
                ("mean", ".3f"),
                ("std", ".3f"),
                ("fraction_negative", ".1%"),
                ("skewness", ".2f"),
                ("kurtosis", ".2f"),
            )
        )
        + " |",
        "",
    ]
    if pd.isna(neuron["modes"]):
        return [*lines, "No token of the passages reached this neuron: it has no modes.", ""]
    peaks = "one peak" if neuron["peaks"] == 1 else f"{neuron['peaks']} peaks"
    return [
        *lines,
        f"Read at {neuron['tokens']:,} tokens of {escape(str(book.part['passages']['text']))}, tagged by "
        f"{escape(str(book.part['passages']['tagger']))}. Mixture of {neuron['modes']} Gaussian"
        f"{'s' if neuron['modes'] != 1 else ''}, {peaks}.",
        "",
    ]


def _modes(mine: Mapping[str, pd.DataFrame], alpha: float) -> list[str]:
    lines = []
    for _, mode in mine["atlas_modes"].iterrows():
        lines += [
            f"## Mode {mode['mode']}: {mode['mean']:.2f} ± {mode['std']:.2f}, {mode['share']:.1%} of the tokens",
            "",
            f"From {_number(mode['low'], '.2f')} to {_number(mode['high'], '.2f')}; "
            f"{_number(mode['fraction_negative'], '.1%')} of them below zero.",
            "",
        ]
        drivers = mine["atlas_drivers"][mine["atlas_drivers"]["mode"] == mode["mode"]]
        sure = drivers[drivers["p_bh"] <= alpha]
        for kind, title in _KINDS.items():
            for sign, words in ((1, "more than elsewhere"), (-1, "less than elsewhere")):
                rows = sure[(sure["kind"] == kind) & (sign * sure["excess"] > 0)]
                rows = rows.sort_values(["lift", "tokens", "value"], ascending=[sign < 0, False, True])
                # The test is of the excess within passages; the lift also holds what differs between them.
                alike = sign * (rows["lift"] - 1) > 0
                for where, part in (("", rows[alike]), (" in the same passages, but not over all", rows[~alike])):
                    if len(part):
                        listed = [_driver(row) for _, row in part.head(SHOWN).iterrows()]
                        lines += [f"{title}, {words}{where}: {', '.join(listed)}.", ""]
        if len(drivers) and sure.empty:
            lines += [_nothing(drivers), ""]
        examples = mine["atlas_examples"][mine["atlas_examples"]["mode"] == mode["mode"]]
        lines += [_example(row) for _, row in examples.iterrows()] + [""]
    return lines


def _nothing(drivers: pd.DataFrame) -> str:
    """Return the sentence for a mode in which nothing is significantly more or less frequent."""
    if drivers["p"].notna().any():
        return "Nothing is shown to fall in it more or less often than by chance."
    why = "there are too few passages or phenomena to permute; read more tokens, or pairs of more phenomena"
    if (drivers["base"] == 0).all() or (drivers["base"] == 1).all():
        why = "no token falls in it" if drivers["base"].iloc[0] == 0 else "every token falls in it"
    return f"Whether anything falls in it more or less often than by chance {unjudgeable(why)}."


def _driver(row: pd.Series) -> str:
    return f"{mark_spaces(row['value'])} (×{row['lift']:.2g}, {row['count']:,} of {row['tokens']:,})"


def _example(row: pd.Series) -> str:
    tokens = json.loads(row["context"])
    focus = int(row["focus"])
    token = tokens[focus] or row["token"]  # the rest of a character has no text of its own
    inner = token.strip(" ")
    # Spaces stay outside the bold part: inside they would undo it.
    gaps = (token[: len(token) - len(token.lstrip(" "))], token[len(token.rstrip(" ")) :]) if inner else ("", "")
    before, after = escape("".join(tokens[:focus])), escape("".join(tokens[focus + 1 :]))
    return f"- {row['activation']:+.2f}: {before}{gaps[0]}**{escape(inner) or mark_spaces(token)}**{gaps[1]}{after}"


def _contrasts(mine: Mapping[str, pd.DataFrame], alpha: float) -> list[str]:
    table = mine.get("atlas_contrasts")
    if table is None or table.empty:
        return []
    lines = [
        "## Where good and bad sentences differ",
        "",
        "Pre-activation in the good minus in the bad sentence at the first differing token, in standard deviations.",
        "",
        "| suite | group | pairs | good - bad | interval | magnitude | in different modes | p (Holm) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for _, row in table.sort_values("apart", ascending=False, kind="stable").head(SHOWN).iterrows():
        star = " \\*" if row["p_holm"] <= alpha else ""
        lines.append(
            f"| {row['suite']} | {escape(row['group'])} | {row['pairs']} | {row['difference']:+.2f} | "
            f"{_range(row['low'], row['high'], '+.2f')} | {row['apart']:.2f} | {row['parted']:.0%} | "
            f"{_number(row['p_holm'], '.3f')}{star} |"
        )
    return [*lines, ""]


def _alone(mine: Mapping[str, pd.DataFrame], book: Book, alpha: float) -> list[str]:
    table = mine.get("atlas_alone")
    if table is None or table.empty:
        return []
    lines = [
        f"## Ablated alone ({book.part['alone']['intervention']})",
        "",
        "Change of the margin of good over bad sentences, in nats (TSE: per token), and of accuracy; each suite's "
        "worst first. \\*: p at most the level, and the interval off zero. n/a: cannot be judged.",
        "",
        "| suite | group | pairs | margin | interval | p (Holm) | accuracy, points | p (Holm) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    shown = table.groupby("suite", sort=False).head(SHOWN)
    shown = shown.assign(
        margin=shown["margin"].where(shown["margin_p_holm"].notna()),
        points=100 * shown["change"].where(shown["p_holm"].notna()),
    )
    for _, row in shown.iterrows():
        sure = row["margin_p_holm"] <= alpha and not row["margin_low"] <= 0 <= row["margin_high"]
        star = " \\*" if sure else ""
        lines.append(
            f"| {row['suite']} | {escape(row['group'])} | {row['pairs']} | {_number(row['margin'], '+.3f')} | "
            f"{_range(row['margin_low'], row['margin_high'], '+.3f')} | {_number(row['margin_p_holm'], '.3f')}{star} | "
            f"{_number(row['points'], '+.1f')} | {_number(row['p_holm'], '.3f')} |"
        )
    return [*lines, ""]


def _number(value: Any, form: str) -> str:
    return f"{value:{form}}" if pd.notna(value) and math.isfinite(value) else "n/a"


def _range(low: float, high: float, form: str) -> str:
    return f"[{low:{form}}, {high:{form}}]" if math.isfinite(low) and math.isfinite(high) else ""
