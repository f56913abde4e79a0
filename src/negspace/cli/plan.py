"""The plan of a study: what each analysis will compute and what that costs, for people and for programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from negspace.cli.terminal import Console, messages
from negspace.wording import counted, duration

if TYPE_CHECKING:
    from negspace.study.budget import Budget, Shown
    from negspace.study.run import Plan


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """Print what each analysis will do, and what it costs; on stderr, unless told otherwise."""
    console = console or messages()
    from negspace.report.tables import plain, rows

    if plan.budget is not None:
        _show_budget(plan.budget, console)
    body = [
        (name, load.detail, f"{load.cells:,}", f"{load.tokens / 1e6:.2f}", duration(plan.times[name]))
        for name, load in plan.loads.items()
    ]
    columns = [("analysis", "left"), ("what", "left"), ("cells", "right"), ("M tokens", "right"), ("about", "right")]
    console.print(plain(plan.about), soft_wrap=True)
    for sentence in plan.shortfalls:
        console.print(plain(f"note: {sentence}"), soft_wrap=True)
    console.print(rows("Plan", columns, body))
    console.print(plain(" ".join(_sentences(plan))), soft_wrap=True)


def plan_json(plan: Plan) -> str:
    """A plan as JSON: under "plan" each analysis, and the sums."""
    loads = {
        name: {"what": load.detail, "cells": load.cells, "tokens": load.tokens, "seconds": plan.times[name]}
        for name, load in plan.loads.items()
    }
    rate = None if math.isnan(plan.rate) else plan.rate
    whole: dict[str, Any] = {
        "cells": plan.cells,
        "recorded": plan.recorded,
        "seconds": plan.seconds,
        "tokens_per_second": rate,
        "notes": [*plan.notes, *plan.shortfalls],
    }
    if (budget := plan.budget) is not None:
        contrasts = [
            {**asdict(contrast), "detectable": None if math.isnan(contrast.detectable) else contrast.detectable}
            for contrast in budget.contrasts
        ]
        whole["budget"] = {"sizes": dict(budget.sizes), "tests": budget.tests, "contrasts": contrasts}
    return json.dumps({"plan": loads, **whole}, indent=1)


def _show_budget(budget: Budget, console: Console) -> None:
    """Print the sizes that were chosen, and what each contrast costs and can show."""
    from negspace.report.tables import plain, rows
    from negspace.study.budget import MAIN, SOURCE

    body = [(contrast.name, duration(contrast.seconds), _effect(contrast)) for contrast in budget.contrasts]
    console.print(rows("Budget", [("contrast", "left"), ("cost", "right"), ("detectable", "left")], body))
    sizes = ", ".join(f"{name} = {size:,}" for name, size in budget.sizes.items())
    s = budget.study
    without = (
        ""
        if MAIN in s.analyses
        else (
            f"The contrasts are those of the main study ({MAIN}), which is not among the analyses asked for: sizes are "
            "chosen for it, and the time is that of the analyses. "
        )
    )
    console.print(
        plain(
            f"{without}chosen for {s.budget}: {sizes}. Detectable: the smallest true effect that is found with "
            f"probability 0.8 at level {s.alpha:g}, {budget.tests} tests corrected together; {SOURCE}. Contrasts share "
            "scores: their costs do not add up."
        ),
        soft_wrap=True,
    )


def _effect(one: Shown) -> str:
    if math.isnan(one.detectable):
        return f"cannot be judged: {one.reason}"
    if one.scale == "points":
        return f"{100 * one.detectable:.1f} points"
    return f"{100 * math.expm1(one.detectable):.1f}%"


def _sentences(plan: Plan) -> list[str]:
    recorded = f"Already recorded, at no cost: {counted(plan.recorded, 'cell')}." if plan.recorded else ""
    if math.isnan(plan.rate):
        return [f"Left: {counted(plan.cells, 'cell')}, for which the model is not needed.", recorded]
    how = f"the model reads {plan.rate:,.0f} tokens per second here, as just measured"
    if plan.recorded:
        how += ", and recorded cells show the time of their kind"
    return [f"{counted(plan.cells, 'cell')}, about {duration(plan.seconds)}: {how}.", recorded]
