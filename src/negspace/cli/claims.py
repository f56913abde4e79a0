"""`negspace claims`: which of the paper's claims hold in one run or several, side by side."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from negspace.cli.guard import guarded
from negspace.cli.terminal import output


@guarded
def claims(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; each becomes a column.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of a table.")] = False,
) -> None:
    """Test the paper's claims on these runs: each holds, does not hold, or is undecided."""
    from negspace.report.claims import markdown, table
    from negspace.report.tables import rows
    from negspace.study.reading import read_runs

    read = read_runs(runs)
    found = {run.label: list(run.claims) for run in read}
    if as_json:
        made: list[dict[str, Any]] = [
            {
                "run": run.label,
                "fingerprint": run.manifest["identity"]["fingerprint"],
                "claims": [_plain(asdict(claim)) for claim in run.claims],
            }
            for run in read
        ]
        typer.echo(json.dumps(made, indent=1, ensure_ascii=False))
    elif as_markdown:
        typer.echo(markdown(found))
    else:
        headings, body = table(found)
        output().print(rows("Claims of the paper", [(heading, "left") for heading in headings], body))


def _plain(claim: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if isinstance(value, float) and value != value else value for name, value in claim.items()}
