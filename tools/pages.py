"""The pages of the documentation that are made from the code: commands, study files, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_command
from typer.testing import CliRunner

from negspace.cli import app
from negspace.cli.guard import OUR_ERROR, STOPPED, USER_ERROR
from negspace.experiment.config import Study
from negspace.experiment.examples import EXAMPLES
from negspace.experiment.schema import describe
from negspace.experiment.schema import schema as schema_of
from negspace.study.presets import PRESETS
from negspace.study.registry import OWN, analysis

ROOT = Path(__file__).parents[1]
EXIT = {
    0: "success",
    OUR_ERROR: "an internal error; `negspace --debug ...` shows where. `negspace calibrate`: a verdict is wrong. "
    "`negspace doctor`: something that every study needs is broken",
    USER_ERROR: "a user error: the message says what was asked, what was found and what to do",
    STOPPED: "stopped by Ctrl-C; the records are kept, and the same command resumes",
}
"""Exit status -> meaning."""


def commands() -> str:
    """Return the page of commands: arguments, options and defaults, from the command line itself."""
    parts = [
        "# Commands",
        "The output of `negspace COMMAND --help`. Results go to standard output; progress, notes and errors go to "
        "standard error. With `--json`, standard output contains only JSON.",
        "## Exit status",
        _table(["status", "meaning"], [[f"`{status}`", meaning] for status, meaning in EXIT.items()]),
        "## Shell completion",
        "`negspace --install-completion` installs completion for your shell (bash, zsh, fish, PowerShell); "
        "`negspace --show-completion` prints it instead.",
        "## negspace",
        _fence("text", _help()),
    ]
    for name in names():
        parts += [f"## negspace {name}", _fence("text", _help(name))]
    return _join(parts)


def names() -> list[str]:
    """The commands, in the order in which `--help` lists them."""
    return [name for name, command in get_command(app).commands.items() if not command.hidden]  # type: ignore[attr-defined]


def study_file() -> str:
    """Every field of a study file, and the settings of each analysis."""
    parts = [
        "# Study file",
        "A study is a YAML mapping. `negspace run STUDY.yaml --out RUN` runs it; `negspace run MODEL` creates one from "
        "a preset instead. Each field is also an option of the command; options override the file and the preset. "
        "`--set ANALYSIS.NAME=VALUE` changes a setting of an analysis. The run folder keeps the complete study in "
        "`study.yaml`, in the same form. Unknown fields are refused.",
        _fence(
            "yaml",
            "model: EleutherAI/pythia-1.4b\n"
            "text: wikitext-2\n"
            "blimp: blimp/\n"
            "shares: [0.01, 0.05]\n"
            "analyses:\n"
            "  ablation: {}\n"
            "  dose: {points: 6}",
        ),
        "## Fields of a study",
        _fields(Study),
        "## Presets",
    ]
    names = {"analyses": lambda value: "all of them" if len(value) == len(OWN) else ", ".join(value)}
    rows = [
        [f"`{name}`", "; ".join(f"{key}: {names.get(key, str)(value)}" for key, value in preset.items())]
        for name, preset in PRESETS.items()
    ]
    parts += [_table(["preset", "sets"], rows)]
    for name in OWN:
        kind = analysis(name)
        own = _fields(kind.section) if kind.section.model_fields else "No settings of its own."
        parts += [f"## {name}", f"{kind.title}: {_first(kind.__doc__)}", own]
    return _join(parts)


def tables() -> str:
    """Every table with the meaning of its columns."""
    parts = [
        "# Tables",
        "A run's tables are in `RUN/tables`, each as Parquet and as CSV, with this schema in `COLUMNS.md`. "
        "Intervals have the study's level, 1 − `alpha`. p-values are two-sided. A missing value is missing, never 0.",
    ]
    parts += ["## Every run", describe(schema_of(EXAMPLES)).replace("## ", "### ")]
    for name in OWN:
        kind = analysis(name)
        schema = describe(kind.schema).replace("## ", "### ")
        parts += [f"## {kind.title}", schema]
    return _join(parts)


def contributing() -> str:
    """CONTRIBUTING.md, its links as they are from here."""
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("(docs/", "(")


def changes() -> str:
    """CHANGELOG.md, its links as they are from here."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("(docs/", "(")


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/study_file.md": study_file,
    "reference/tables.md": tables,
    "contributing.md": contributing,
    "changes.md": changes,
}
"""Path in the documentation -> what makes the page."""


def _help(*command: str) -> str:
    """What the command line prints for --help, as wide as a page."""
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="negspace", env={"COLUMNS": "96", "NO_COLOR": "1"})
    if shown.exit_code:
        raise RuntimeError(f"negspace {' '.join(command)} --help: {shown.output}")
    return "\n".join(line.rstrip() for line in shown.output.strip().splitlines())


def _fields(kind: type[BaseModel]) -> str:
    """The fields of a configuration with their defaults; the line under each says what it is."""
    rows = []
    for name, field in kind.model_fields.items():
        default = f"`{_plain(field.get_default(call_default_factory=True))}`"
        meaning = " ".join((field.description or "").split())
        rows.append([f"`{name}`", "required" if field.is_required() else default, meaning])
    return _table(["field", "default", "meaning"], rows)


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_plain(one)}' for key, one in value.items())}}}"
    return str(value)


def _first(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])


def _fence(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"
