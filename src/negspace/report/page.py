"""The page: one HTML file with everything in it, which opens offline and asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from negspace.experiment.run import Run, check_runs
from negspace.figures.style import DENSITY, DIVERGING, STYLES
from negspace.files import write_whole
from negspace.report import plotly
from negspace.report.about import shown
from negspace.report.neurons import explorer
from negspace.report.sections import Section, sections
from negspace.report.text import visible_all
from negspace.report.views import view

_SCRIPTS = ("charts.js", "save.js", "grid.js", "neurons.js", "neuron.js", "main.js")


def write_report(runs: Sequence[Run], path: str | Path) -> Path:
    """Write the report of one run, or of several side by side, whole or not at all.

    Raises:
        RecordError: there is no run, something else than runs, or the file cannot be written.
    """
    return write_whole(Path(path), render(check_runs(runs, f"the report {path}")).encode("utf-8"))


def render(runs: Sequence[Run]) -> str:
    """The report as HTML. The same runs give the same bytes.

    Text from data reaches it in two ways only: through the template, which escapes it, and as JSON in blocks that are
    no scripts, where no character that HTML or JavaScript reads specially is left. In both, control characters and
    others that cannot be seen are shown as what they are.
    """
    made = sections(runs)
    blocks = _blocks(runs, made)
    charts, script = _charts(), "\n".join(_page(name) for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();\n'
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_page("template.html.j2")).render(
        **visible_all(_heading(runs)),
        policy=Markup(_policy(charts, script)),
        version=version("negspace"),
        sections=[visible_all(_shell(section)) for section in made],
        blocks=[(key, Markup(_json(value))) for key, value in blocks.items()],
        style=Markup(_page("style.css")),
        plotly=Markup(charts),
        script=Markup(script),
    )


def _heading(runs: Sequence[Run]) -> dict[str, str]:
    study = runs[0].study
    if len(runs) > 1:
        return {"title": " · ".join(run.label for run in runs), "subtitle": f"{len(runs)} runs side by side"}
    neurons = runs[0].manifest.get("neurons")
    size = f"{neurons:,} MLP neurons" if neurons else ""
    return {"title": runs[0].label, "subtitle": ", ".join(filter(None, (shown(study["model"]), size)))}


def _shell(section: Section) -> dict[str, Any]:
    """What the template writes of a section; figures and tables are drawn from their blocks."""
    return {
        "key": section.key,
        "title": section.title,
        "headline": section.headline,
        "headings": list(section.headings),
        "claims": [list(row) for row in section.claims],
        "asides": list(section.asides),
        "facts": [{"title": title, "rows": list(rows)} for title, rows in section.facts],
        "findings": [{"title": title, "sentences": list(said)} for title, said in section.findings],
        "figures": [
            {
                "id": f"{section.key}-{figure.name}",
                "title": figure.title,
                "caption": figure.caption,
                "columns": min(figure.columns, 4),
            }
            for figure in section.figures
        ],
        "tables": [
            {
                "id": f"{section.key}-table-{table.name}",
                "title": table.title,
                "family": table.family,
                "meanings": [(name, table.meanings[name]) for name in table.table.columns if name in table.meanings],
            }
            for table in section.tables
        ],
        "explorer": section.explorer,
    }


def _blocks(runs: Sequence[Run], made: Sequence[Section]) -> dict[str, Any]:
    """The page's data: JSON values by the id of their block."""
    figures = {f"{section.key}-{figure.name}": plotly.specs(figure) for section in made for figure in section.figures}
    roles = {role: {"light": s.light, "dark": s.dark, "symbol": s.symbol, "dash": s.dash} for role, s in STYLES.items()}
    blocks: dict[str, Any] = {
        "styles": {"roles": roles, "scales": {"density": DENSITY, "diverging": DIVERGING}},
        "figures": figures,
        "runs": [run.label for run in runs],
    }
    for section in made:
        for table in section.tables:
            blocks[f"data-{section.key}-table-{table.name}"] = view(
                table.title, table.table, table.meanings, table.source
            )
    if any(section.explorer for section in made):
        for place, run in enumerate(run for run in runs if run.scan is not None):
            blocks[f"neurons-{place}"] = explorer(run)
        blocks["runs"] = [run.label for run in runs if run.scan is not None]
    return blocks


def _json(value: Any) -> str:
    """JSON in ASCII without a character that HTML reads: every other one as its escape; lone surrogates are visible."""
    text = json.dumps(visible_all(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _policy(*scripts: str) -> str:
    """Content security policy: the page's own two scripts, by hash; its styles; pictures that it draws; no network."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _charts() -> str:
    """plotly.js as the plotly package ships it."""
    text = (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    if "</script" in text.lower():  # it would end the block that it stands in
        raise ValueError("this plotly.js cannot be written into a page")
    return text


def _page(name: str) -> str:
    return (files("negspace.report") / "page" / name).read_text(encoding="utf-8")
