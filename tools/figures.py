"""Draw the figures of the concepts page from the bundled model, and record the numbers that stand beside them.

`python tools/figures.py` writes docs/figures/*.svg and docs/records/figures.json; `python tools/readme.py` then writes
the numbers into the page. A test fails when the bundled model is no longer the one of the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

import negspace as ns
from negspace.figures.style import STYLES
from negspace.models.model import Model
from negspace.neurons.scan import Scan
from negspace.significance.ranks import spearman
from negspace.text.source import read_text
from negspace.text.windows import make_windows

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
SHARE = 0.01
INK, GREY = STYLES["gaussian"].light, STYLES["rest"].light
TOP, BELOW = STYLES["top"].light, STYLES["negative"].light
SETTINGS: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "negspace",
}


def activations(_: Model, __: Scan, canvas: Figure) -> dict[str, Any]:
    """Activation functions near zero, and what the interventions make of one."""
    left, right = canvas.subplots(1, 2, sharey=True)
    a = torch.linspace(-4, 2.2, 311, dtype=torch.float64)
    functions = {"GELU": torch.nn.functional.gelu, "SiLU": torch.nn.functional.silu, "ReLU": torch.relu}
    for number, (name, function) in enumerate(functions.items()):
        style = STYLES[f"series {number}"]
        left.plot(a, function(a), color=style.light, ls=("-", "--", ":")[number], label=name)
    gelu = functions["GELU"](a)
    typical = torch.tensor(-0.6, dtype=torch.float64)
    changed = {
        "zero_negative": functions["GELU"](a.clamp(min=0)),
        "sign_flip": torch.where(gelu < 0, -gelu, gelu),
        "negative_mean": torch.where(a < 0, functions["GELU"](typical), gelu),
        "relu_on_positives": torch.where(a > 0, a, gelu),
    }
    right.plot(a, gelu, color=GREY, lw=3, alpha=0.45, label="GELU")
    for number, (name, values) in enumerate(changed.items()):
        style = STYLES[f"series {number}"]
        right.plot(a, values, color=style.light, lw=1.2, ls=("-", "--", "-.", ":")[number], label=name)
    for axes, title in ((left, "activation functions"), (right, "interventions, on GELU")):
        axes.axvline(0, color=INK, lw=0.6)
        axes.axhline(0, color=INK, lw=0.4)
        axes.set(xlabel="pre-activation $a$", title=title, xlim=(-4, 2.2), ylim=(-0.45, 1.2))
        axes.legend(loc="upper left")
    left.set_ylabel("activation")
    return {}


def distance(model: Model, scan: Scan, canvas: Figure) -> dict[str, Any]:
    """The neuron of largest WD and one of median WD: histogram, Gaussian, and the area between the distributions."""
    table = scan.table.sort_values("wd", ascending=False, kind="stable")
    rows = [table.iloc[0], table.iloc[len(table) // 2]]
    panels = canvas.subplots(2, 2, sharex=True)
    for row, (above, below), colour in zip(rows, panels.T, (TOP, GREY), strict=True):
        values = read(model, scan, int(row["layer"]), int(row["neuron"]))
        z = np.sort((values - values.mean()) / values.std())
        zero = -values.mean() / values.std()
        grid = np.linspace(-4.5, 4.5, 301)
        above.hist(z.clip(-4.5, 4.5), bins=120, range=(-4.5, 4.5), density=True, color=colour, alpha=0.75)
        above.plot(grid, stats.norm.pdf(grid), color=INK, lw=1, ls="--")
        share = np.searchsorted(z, grid, side="right") / len(z)
        below.plot(grid, share, color=colour, lw=1.2, label="neuron $F$")
        below.plot(grid, stats.norm.cdf(grid), color=INK, lw=1, ls="--", label="Gaussian $\\Phi$")
        for part, fill, name in ((grid <= zero, BELOW, "below zero"), (grid >= zero, "#e69f00", "above zero")):
            below.fill_between(grid, share, stats.norm.cdf(grid), where=part, color=fill, alpha=0.45, lw=0, label=name)
        for axes in (above, below):
            axes.axvline(zero, color=INK, lw=0.6)
        above.set_title(f"layer {row['layer']:.0f}, neuron {row['neuron']:.0f}: WD = {row['wd']:.3f}")
        above.set_yticks([])
        below.set_xlabel("standardised pre-activation")
    panels[0, 0].set_ylabel("density")
    panels[1, 0].set_ylabel("share of tokens")
    panels[1, 0].legend(loc="upper left", fontsize=7)
    kept = ("layer", "neuron", "wd", "negative_share", "fraction_negative")
    return {name: {key: float(row[key]) for key in kept} for name, row in zip(("top", "median"), rows, strict=True)}


def layers(_: Model, scan: Scan, canvas: Figure) -> dict[str, Any]:
    """WD of all neurons and of the top share, and the negative share of the latter, by layer."""
    left, right = canvas.subplots(1, 2)
    top = table_of(scan, scan.top(SHARE))
    places = sorted(scan.table["layer"].unique())
    for axes, column in ((left, "wd"), (right, "negative_share")):
        everyone = [scan.table.loc[scan.table["layer"] == layer, column].dropna() for layer in places]
        axes.boxplot(everyone, positions=places, widths=0.5, showfliers=False, medianprops={"color": INK})
        axes.scatter(top["layer"], top[column], s=9, color=TOP, label=f"top {SHARE:.0%} of the layer by WD", zorder=3)
        axes.set(xlabel="layer", xticks=places, xticklabels=[f"{layer}" for layer in places])
    left.set_ylabel("Wasserstein distance")
    left.legend(loc="upper left")
    right.set(ylabel="negative share", ylim=(0, 1))
    rest = scan.table.drop(top.index)
    return {
        "neurons": len(scan.table),
        "top": len(top),
        **{f"top_{name}": float(top[name].median()) for name in ("wd", "negative_share")},
        **{f"rest_{name}": float(rest[name].median()) for name in ("wd", "negative_share")},
    }


def difficulty(_: Model, scan: Scan, canvas: Figure) -> dict[str, Any]:
    """MD against WD, neuron by neuron, and their rank correlation in each layer."""
    axes = canvas.subplots()
    top = table_of(scan, scan.top(SHARE))
    axes.scatter(scan.table["wd"], scan.table["md"], s=3, color=GREY, alpha=0.4, lw=0, rasterized=True, label="neurons")
    axes.scatter(top["wd"], top["md"], s=9, color=TOP, label=f"top {SHARE:.0%} of each layer by WD")
    axes.set(xlabel="Wasserstein distance", ylabel="mapping difficulty", xscale="log")
    axes.legend()
    found = {
        int(layer): spearman(part["wd"], part["md"]).estimate
        for layer, part in scan.table.dropna(subset=["wd", "md"]).groupby("layer")
    }
    return {"rho": {str(layer): round(float(value), 4) for layer, value in found.items()}}


DRAWN: dict[str, tuple[Callable[[Model, Scan, Figure], dict[str, Any]], float, float]] = {
    "activations": (activations, 6.75, 2.6),
    "distance": (distance, 6.75, 4.0),
    "layers": (layers, 6.75, 2.6),
    "difficulty": (difficulty, 4.2, 2.8),
}
"""Figure -> what draws it, width and height in inches."""


def table_of(scan: Scan, neurons: ns.NeuronSet) -> pd.DataFrame:
    """The rows of a set's neurons."""
    return scan.table.iloc[neurons.rows]


def read(model: Model, scan: Scan, layer: int, neuron: int) -> np.ndarray:
    """Pre-activations of one neuron at the tokens that the scan counted, float64."""
    text = read_text(ns.reference.text_path(), role="statistics")
    windows = make_windows(
        text, model.tokenizer, window=scan.info.window, windows=scan.info.windows, context=model.context
    )
    found: list[np.ndarray] = []
    kept = ~windows.special

    def note(site: ns.Site, a: torch.Tensor, _: torch.Tensor | None) -> None:
        if site.layer == layer:
            found.append(a.reshape(-1, site.width)[:, neuron].double().numpy())

    with torch.inference_mode(), ns.tap(model, before=note):
        for row in windows.tokens:
            model.module(input_ids=torch.from_numpy(row)[None], use_cache=False)
    return np.concatenate(found)[kept.reshape(-1)]


def main() -> None:
    """Draw all figures and keep their numbers."""
    torch.set_num_threads(1)
    model = ns.load(ns.reference.model_path())
    scan = ns.scan(model, ns.reference.text_path())
    record: dict[str, Any] = {"fingerprint": model.fingerprint, "tokens": scan.info.tokens}
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, (draw, width, height) in DRAWN.items():
        with matplotlib.rc_context(SETTINGS):
            canvas = Figure(figsize=(width, height), layout="constrained", facecolor="white")
            record[name] = draw(model, scan, canvas)
            canvas.savefig(FIGURES / f"{name}.svg", metadata={"Date": None}, dpi=160)
    text = json.dumps(record, indent=1) + "\n"
    (ROOT / "docs" / "records" / "figures.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
