"""Fill the marked blocks of README.md and of the documentation from records: `python tools/readme.py [--check] [RUN]`.

A block stands between `<!-- name -->` and `<!-- /name -->`. The demo's figures come from docs/records/demo.json, made
from the run folder RUN of `negspace demo --out RUN` when one is given; the benchmarks' from benchmarks/results.json,
those of `benchmarks:all` from the results of other devices too (`make bench`); those of `study:ANALYSIS` from
docs/records/study.json (tools/records.py), those of `figures:NAME` from docs/records/figures.json (tools/figures.py),
those of `scaling:PART` from docs/records/scaling.json (tools/scaling.py) and the benchmarks' results, those of
`calibration:PART` from docs/records/calibration.json (`negspace calibrate --simulations 500 --json`), those of
`claims:PART` from docs/records/claims.json (`negspace claims RUN ... --json`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from negspace.experiment.claim import Claim

ROOT = Path(__file__).parents[1]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _change(row: dict[str, Any], column: str, form: str, scale: int = 1) -> str:
    """A change against the baseline, with its interval where it has one (the mean of random sets has none)."""
    if row["role"] == "baseline":
        return ""
    value, low, high = (row[name] for name in (column, f"{column}_low", f"{column}_high"))
    shown = form.format(scale * value)
    return shown if low is None else f"{shown} [{form.format(scale * low)}, {form.format(scale * high)}]"


def benchmarks(which: str = "") -> str:
    """The rows of the README with the machine they were measured on; of `all`, every row of every machine and how."""
    head, parts = ["work", "measured", "target", "met"], []
    for run in _benchmark_runs("results-*.json" if which else None):
        if which:
            rows = [[*_measured(row), row.get("detail", "").replace("|", "\\|")] for row in run["targets"]]
            parts += [_machine(run["machine"]), _table([*head, "how"], rows)]
        elif shown := [_measured(row) for row in run["targets"] if row.get("readme", True)]:
            parts += [_table(head, shown), _machine(run["machine"])]
    return "\n\n".join(parts)


def _benchmark_runs(others: str | None) -> list[dict[str, Any]]:
    """The runs of benchmarks/results.json, and of other files of results whose names match."""
    folder = ROOT / "benchmarks"
    paths = [folder / "results.json", *(sorted(folder.glob(others)) if others else ())]
    return [run for path in paths for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]


def _measured(row: dict[str, Any]) -> list[str]:
    value = "not measured" if row["value"] is None else f"{row['value']:g}"
    return [row["name"], value, row["target"], _met(row)]


def _met(row: dict[str, Any]) -> str:
    """Whether a target is met. That a task is faster at all is not shown where the rounds' ratios lie on both sides of
    1."""
    ends = re.match(r"([\d.]+) to ([\d.]+) in \d+ interleaved rounds", row.get("detail", ""))
    if row["met"] and row["target"] == "> 1" and ends and float(ends[1]) <= 1 <= float(ends[2]):
        return "not shown"
    return {True: "yes", False: "no", None: ""}[row["met"]]


def _machine(machine: dict[str, Any]) -> str:
    """A machine, in a sentence."""
    device = machine.get("device", "cpu")
    kind = machine.get("model") or (f"models of the shape {machine['shape']}" if machine.get("shape") else "")
    model = f", {kind} in {machine['dtype']}" if kind else ""
    where = f"{machine['cores']} cores of {machine['cpu']}"
    on = where if device == "cpu" else f"{machine['gpu']} ({device}) with {where}"
    return f"Measured on {on}, torch {machine['torch']}{model}."


def demo() -> str:
    """The demo's summary and what it concludes."""
    record = json.loads((ROOT / "docs" / "records" / "demo.json").read_text())
    rows = []
    for row in record["tables"]["summary"]:
        if row["role"] == "random":  # the sets stand in the row of their mean
            continue
        rows.append(
            [
                row["condition"],
                f"{row['neurons']:,}",
                f"{row['perplexity']:.3f}",
                _change(row, "ratio", "{:.4f}"),
                f"{row['blimp_accuracy']:.2%}",
                _change(row, "blimp_change", "{:+.2f}", 100),
            ]
        )
    head = ["ablated", "neurons", "perplexity", "x baseline [95%]", "pairs right", "points [95%]"]
    return "\n".join([_table(head, rows), "", _table(["claim", "of", "answer"], record["claims"])])


def study(analysis: str) -> str:
    """What an analysis found in the study of the documentation, sentence by sentence."""
    record = _record("study")
    sentences = record["sentences"].get(analysis)
    if sentences is None:
        raise SystemExit(f"docs/records/study.json has no {analysis}: run python tools/records.py")
    return "\n".join(f"> - {sentence}" for sentence in sentences)


def calibration(part: str) -> str:
    """What the study said of models whose answer is known, how often simulated studies said what, or the main study's
    power at BLiMP's size, in a sentence."""
    record = _record("calibration")
    if part == "power":
        found = {
            rate["claim"]: f"{rate['rate']:.0%}"
            for rate in record["simulations"]
            if rate["case"] == "effect of the paper's size, real model" and rate["kind"] == "power"
        }
        return (
            "In [simulations](docs/analyses/calibration.md) with 100 pairs per paradigm, the main study finds an "
            f"effect of about the paper's size against the matched set in {found['blimp top vs matched']} of studies "
            f"(accuracy) and against five random sets in {found['blimp top vs random']}, and establishes the "
            f"dissociation in {found['blimp dissociation']}."
        )
    if part == "models":
        rows = [
            [
                case["model"],
                {"negative": "a < 0", "positive": "a > 0"}[case["zero"]],
                f"x {case['ratio']:.2f}",
                *(
                    _interval(case[name], case[low], case[high])
                    for name, low, high in (
                        ("grammar", "grammar_low", "grammar_high"),
                        ("tasks", "tasks_low", "tasks_high"),
                        ("interaction", "low", "high"),
                    )
                ),
                case["verdict"],
            ]
            for case in record["cases"]
        ]
        head = ["model", "zeroed", "perplexity", "grammar, points", "tasks, points", "interaction, points", "verdict"]
        return _table(head, rows)
    rows = [
        [
            rate["case"],
            rate["claim"],
            {"false": "false", "power": "right"}[rate["kind"]],
            f"{rate['said']} of {rate['studies']}",
            f"{rate['rate']:.1%} [{rate['interval'][0]:.1%}, {rate['interval'][1]:.1%}]",
        ]
        for rate in record["simulations"]
        if rate["claim"] == "any false sentence" or rate["kind"] == "power"
    ]
    return _table(["world", "claim", "sentence", "studies", "share"], rows)


def _interval(value: float | None, low: float, high: float) -> str:
    """Accuracy in points, with its interval."""
    return "" if value is None else f"{value * 100:+.1f} [{low * 100:+.1f}, {high * 100:+.1f}]"


def claims(part: str) -> str:
    """Which of the paper's claims hold.

    Args:
        part: "short", those on BLiMP, or "models", all of them, with a column per model; or a model, with a
            column per study.
    """
    from negspace.report.claims import markdown

    studies = _studies()
    if part not in ("short", "models"):
        return markdown(studies[part.replace("_", " ")])
    wanted = {
        model: [
            claim
            for claim in _first_judged(own)
            if part == "models" or (claim.key in _SHORT and claim.of.startswith("BLiMP"))
        ]
        for model, own in studies.items()
    }
    return markdown(wanted)


def _studies() -> dict[str, dict[str, Sequence[Claim]]]:
    """Model -> its studies -> what they say. A run's label in the record is "MODEL: STUDY"."""
    from negspace.study.claims import read_answers

    made: dict[str, dict[str, Sequence[Claim]]] = {}
    for each in read_answers([ROOT / "docs" / "records" / "claims.json"]):
        model, _, study = each.run.partition(": ")
        made.setdefault(model, {})[study] = each.claims
    return made


def _first_judged(studies: Mapping[str, Sequence[Claim]]) -> list[Claim]:
    """Each claim once: as the first study has it that could judge it, else as the first that asked."""
    made: dict[tuple[Any, ...], Claim] = {}
    for claim in (claim for claims in studies.values() for claim in claims):
        key = (claim.key, claim.of, claim.share)
        if key not in made or (made[key].answer == "cannot be judged" != claim.answer):
            made[key] = claim
    return list(made.values())


_SHORT = ("ablate", "random", "matched")


def figure(name: str) -> str:
    """The numbers that stand beside a figure of the concepts page."""
    record = _record("figures")
    found = record[name]
    if name == "distance":
        parts = [
            f"the one of {which} WD (layer {found[key]['layer']:.0f}, neuron {found[key]['neuron']:.0f}) has "
            f"WD {found[key]['wd']:.3f}, a negative share of {found[key]['negative_share']:.2f} and "
            f"{found[key]['fraction_negative']:.0%} of its tokens below zero"
            for which, key in (("largest", "top"), ("median", "median"))
        ]
        text = f"Two neurons of the bundled model over {record['tokens']:,} tokens: {'; '.join(parts)}."
        return f"*{text} The vertical line is pre-activation zero.*"
    if name == "layers":
        return (
            f"*The bundled model's {found['neurons']:,} neurons by layer; boxes hold all, dots are the "
            f"{found['top']} of the top 1% by WD. Median WD of these {found['top_wd']:.3f}, of the others "
            f"{found['rest_wd']:.3f}; median negative share {found['top_negative_share']:.2f} and "
            f"{found['rest_negative_share']:.2f}.*"
        )
    shown = ", ".join(f"{rho:.2f}" for rho in found["rho"].values())
    return f"*The bundled model: MD against WD. Rank correlation by layer, from the first: {shown}.*"


def scaling(part: str) -> str:
    """A part of the page on scaling: what was measured, what is assumed, or what is projected."""
    record = _record("scaling")
    found, made = record["measured"], record["projection"]
    if part == "measured":
        runs = [
            [str(worker["workers"]), f"{worker['cells']:.1f}", f"{worker['whole']:.1f}", f"{worker['start']:.1f}"]
            for worker in sorted(found["workers"], key=lambda worker: worker["workers"])
        ]
        head = ["workers", "cells, s", "whole study, s", "start-up before it, s"]
        machine = found["machine"]
        where = (
            f"{found['workers'][0]['count']} cells, {found['limit']} pairs of each paradigm; measured on "
            f"{machine['cores']} cores of {machine['processor']}, torch {machine['torch']}, at a load of "
            f"{machine['load_before']} before."
        )
        gain = (
            f"Two workers do {2 * found['efficiency']:.2f} times what one does: efficiency {found['efficiency']:.2f}."
        )
        return "\n\n".join([_table(head, runs), where, f"{gain}{_second_worker()}"])
    if part == "units":
        models = {"the bundled model": found, **({found["real"]["model"]: found["real"]} if "real" in found else {})}
        rows = [[name, *(f"{costs['units'][name]:.2f}" for costs in models.values())] for name in found["units"]]
        speeds = [
            f"{name[0].upper()}{name[1:]}: the plain pass reads {costs['forward_tokens_per_second']:,.0f} tokens per "
            f"second on one core; the model loads in {costs['load_seconds']:.2f} s."
            for name, costs in models.items()
        ]
        return "\n\n".join([_table(["cells of", *models], rows), *speeds])
    if part == "assumptions":
        rows = [
            [f"`{name}`", f"{assumption['value']:,.6g}", assumption["unit"], assumption["why"]]
            for name, assumption in made["assumptions"].items()
        ]
        return _table(["name", "value", "unit", "reason"], rows)
    if part == "hours":
        rows = [
            [dtype, gpus, _hours(hours["low"]), _hours(hours["high"])]
            for dtype, by_gpus in made["hours"].items()
            for gpus, hours in by_gpus.items()
        ]
        head = ["weights", "GPUs", "projected hours, longest units first", "projected hours, study after study"]
        return _table(head, rows)
    rows = [
        [
            model["name"],
            f"{model['parameters'] / 1e9:.3g}",
            str(model["checkpoints"] or ""),
            f"{model['cells']:,}",
            f"{model['tokens'] / 1e9:.2f}",
            *map(_hours, model["hours"].values()),
        ]
        for model in made["models"]
    ]
    dtypes = [f"projected GPU hours, {dtype}" for dtype in made["hours"]]
    head = ["model", "parameters, 10⁹", "checkpoints", "cells", "tokens, 10⁹", *dtypes]
    return _table(head, rows)


def _second_worker() -> str:
    """The gain of a second worker as the benchmarks have it, in a sentence; empty where they do not."""
    gains = []
    for run in _benchmark_runs("results-cpu-*.json"):
        model = (run["machine"].get("model") or "").removesuffix(".gguf")
        study = f"a smaller study of {model}" if model else "the same study"
        gains += [
            f"{row['value']:.2f} times for {study}"
            for row in run["targets"]
            if row["name"].startswith("study on Ray, time") and row["value"] is not None
        ]
    return f" The [benchmarks](../benchmarks.md) give {' and '.join(gains)}." if gains else ""


def _hours(value: float) -> str:
    """Three digits."""
    return f"{float(f'{value:.3g}'):,g}"


def _record(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "records" / f"{name}.json").read_text(encoding="utf-8"))


def block(name: str) -> str:
    """The content of the block of a name."""
    kind, _, what = name.partition(":")
    makers = {"study": study, "figures": figure, "scaling": scaling, "calibration": calibration, "claims": claims}
    if kind in makers:
        return makers[kind](what)
    return benchmarks(what) if kind == "benchmarks" else demo()


BLOCK = re.compile(r"(<!-- (?P<name>[a-z]+(?::[\w.-]+)?) -->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)


def fill(text: str) -> str:
    """`text` with every block made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{block(found['name'])}\n{found[3]}", text)


def pages() -> list[Path]:
    """The files that may have blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def record_demo(run: Path) -> None:
    """Keep the summary and the answers to the claims of a run of the demo; the rest names folders of one machine."""
    from negspace.report.claims import table
    from negspace.report.tables import to_json
    from negspace.runs.store import Store
    from negspace.study.tables import Tables

    tables = Tables(Store(run))
    made = json.loads(to_json(tables))
    kept = {"tables": {"summary": made["tables"]["summary"]}, "claims": table({"": tables.claims()})[1]}
    (ROOT / "docs" / "records" / "demo.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    for run in arguments:
        if not run.startswith("-"):
            record_demo(Path(run))
    stale = []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = fill(before)
        if before != after:
            stale.append(str(page.relative_to(ROOT)))
            if "--check" not in arguments:
                page.write_text(after, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"stale: {', '.join(stale)}; run python tools/readme.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
