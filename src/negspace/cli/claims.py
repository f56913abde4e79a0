"""`negspace claims`: which of the paper's claims hold in one run or several, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from negspace.cli.guard import guarded
from negspace.cli.terminal import output


@guarded
def claims(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or files written by --json; each run becomes a column.", metavar="RUN"),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", help="Name of a run folder's column; one for each, in their order.", metavar="NAME"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of a table.")] = False,
) -> None:
    """Say which of the paper's claims hold in these runs. Others do not hold, are undecided, or cannot be judged."""
    from negspace.errors import StudyError
    from negspace.report.claims import markdown, table, warnings
    from negspace.report.tables import plain, show_answers
    from negspace.study.claims import read_answers, to_json
    from negspace.wording import escape

    if as_json and as_markdown:
        raise StudyError("claims with --json and --markdown", "two forms of one table", "give one of the two")
    answers = read_answers(runs, labels or ())
    by_run = {each.run: each.claims for each in answers}
    if as_json:
        typer.echo(to_json(answers))
    elif as_markdown:
        typer.echo("\n\n".join([markdown(by_run), *map(escape, warnings(answers))]))
    else:
        headings, body = table(by_run)
        show_answers("Claims of the paper", headings, body, output())
        for sentence in warnings(answers):
            output().print(plain(sentence), soft_wrap=not output().is_terminal)
