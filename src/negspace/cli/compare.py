"""`negspace compare`: several models side by side: which claims hold, and the effects pooled over models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from negspace.cli.guard import guarded
from negspace.cli.options import AsJson
from negspace.cli.terminal import output


@guarded
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of different models, two or more.", metavar="RUN")],
    as_json: AsJson = False,
) -> None:
    """Compare models: claims side by side, contrasts pooled. Heterogeneity between the models is part of both."""
    from negspace.errors import StudyError
    from negspace.report.claims import table, warnings
    from negspace.report.pooled import HEADINGS, notes, pooled, words
    from negspace.report.tables import plain, records, show_answers
    from negspace.study.claims import answers_of, unlike
    from negspace.study.reading import read_runs

    if len(runs) < 2:
        raise StudyError("to compare runs", "one run", "give the folders of two or more; of one, see negspace claims")
    read = read_runs(runs)
    together = pooled(read)
    headings, body = table({run.label: list(run.claims) for run in read})
    answers = [answers_of(run) for run in read]
    if as_json:
        content = {"claims": [dict(zip(headings, row, strict=True)) for row in body]}
        content |= {"unlike": unlike(answers), "pooled": records(together)}
        typer.echo(json.dumps(content, indent=1))
        return
    console = output()
    show_answers("Claims of the paper", headings, body, console)
    for sentence in warnings(answers):
        console.print(plain(sentence), soft_wrap=not console.is_terminal)
    cells = [words(row) for _, row in together.iterrows()]
    show_answers("Pooled over models", HEADINGS, cells, console)
    for sentence in notes(together):
        console.print(plain(sentence), soft_wrap=not console.is_terminal)
