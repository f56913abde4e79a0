"""What every command line should do: completion in the shell, JSON wherever a table is printed, documented statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click import Context
from rich.console import Console
from typer.main import get_command

from negspace.cli import app, terminal
from negspace.runs.engine import Progress
from negspace.study.presets import PRESETS
from negspace.study.registry import OWN

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
WITHOUT_TABLES = {"figures"}
"""Commands that print file names only."""


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_TABLES))
def test_commands_that_print_tables_can_print_json(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_the_shell_completes_commands_and_options() -> None:
    completed = complete("negspace re", 1)
    assert "report" in completed.split()
    assert "--dry-run" in complete("negspace run --dry", 2).split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_a_shell(shell: str) -> None:
    made = run({"_NEGSPACE_COMPLETE": f"source_{shell}"})
    assert made.returncode == 0, made.stderr
    assert "_NEGSPACE_COMPLETE" in made.stdout


def test_a_scan_for_a_program(call: Any, tiny_model_path: Path, tiny_text_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan.parquet"
    options = ["--window", 64, "--windows", 4, "--md-pairs", 32, "--out", out, "--json"]
    shown = call("scan", tiny_model_path, "--text", tiny_text_path, *options)
    assert shown.status == 0, shown.err
    content, table = json.loads(shown.out), pd.read_parquet(out)
    assert [row["neurons"] for row in content["layers"]] == [64, 64]
    for row in content["layers"]:
        own = table[table["layer"] == row["layer"]]
        assert row["largest_wd"] == own["wd"].max()
        assert row["neuron"] == own.set_index("neuron")["wd"].idxmax()
        assert row["median_wd"] == pytest.approx(own["wd"].median())
    assert content["scan"]["windows"] == 4


def complete(line: str, words: int) -> str:
    """What bash would be offered after a line, the cursor at its end."""
    return run({"_NEGSPACE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(words)}).stdout


def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'negspace'; from negspace.cli import main; main()"]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


def test_python_m_negspace_is_the_command_line() -> None:
    shown = subprocess.run([sys.executable, "-m", "negspace", "--help"], capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    assert "negspace run MODEL" in shown.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_is_in_words(name: str) -> None:
    """No repr of Python's, such as a default of pydantic's, and no sentence that the list of commands cuts off."""
    command = COMMANDS[name]
    assert not command.get_short_help_str(65).endswith("..."), command.help
    for parameter in command.params:
        shown = parameter.get_help_record(Context(command)) or ("", "")  # type: ignore[attr-defined]
        assert not any(odd in text for text in shown for odd in ("Pydantic", "<class", "object at 0x")), shown


def test_the_help_of_run_names_every_preset_and_analysis() -> None:
    said = {parameter.name: parameter.help or "" for parameter in COMMANDS["run"].params}  # type: ignore[attr-defined]
    assert all(f"{name}:" in said["preset"] for name in PRESETS)
    assert all(name in said["analysis"] for name in OWN)


def test_notes_and_labels_send_no_codes_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "the column [red]a\x1b[31m"
    terminal.note(hostile)
    with terminal.Bar() as bar:
        bar.note(hostile)
        bar._said -= 60  # long enough ago for a line
        bar.run(Progress(0, 0, 3, spent=0, ahead=10, label=hostile))
    shown = capsys.readouterr().err
    assert shown.count("the column [red]a\\x1b[31m") == 3
    assert "\x1b" not in shown


def test_a_narrow_terminal_keeps_the_times_of_the_bar_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    console = partial(Console, file=screen, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(terminal, "Console", lambda **_: console())
    with terminal.Bar() as bar:
        bar.run(Progress(52, 0, 13, spent=0, ahead=1018, label="random 5%, seed 16: perplexity"))
        bar._bar.refresh()
    assert "random 5%, seed 16: perplexity" in screen.getvalue()
    assert "53 of ~65 cells 0:00:00 ~16 min 58 s left" in screen.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_a_name_that_is_not_utf_8_is_printed(
    call: Any, tiny_run: tuple[Path, Any], tiny_model_path: Path, tiny_text_path: Path, tmp_path: Path
) -> None:
    """What has been computed for hours does not end in an error of the print."""
    place = tmp_path / os.fsdecode(b"caf\xe9")
    scanned = ["scan", tiny_model_path, "--text", tiny_text_path, "--window", 64, "--windows", 2, "--md-pairs", 8]
    calls = [[*scanned, "--out", place], [*scanned, "--out", place, "--json"]]
    calls += [["report", tiny_run[0], "--out", f"{place}.html"]]
    calls += [["figures", tiny_run[0], "--only", "wd_by_layer", "--format", "svg", "--out", f"{place}-figures"]]
    for arguments in calls:
        shown = call(*arguments)
        assert shown.status == 0, shown.err
        assert "dce9" in shown.out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_a_run_in_a_folder_whose_name_is_not_utf_8(call: Any, tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps(tiny_fields))
    place = tmp_path / os.fsdecode(b"caf\xe9")
    shown = call("run", tmp_path / "study.yaml", "--out", place)
    assert shown.status == 0, shown.err
    assert r"caf\udce9/tables" in shown.out
    assert call("report", place, "--detail").status == 0


class Gone(StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("stream", "say"),
    [
        ("stdout", lambda: terminal.output().print("a result")),
        ("stderr", lambda: terminal.note("a sentence")),
        ("stderr", lambda: terminal.Bar().note("a sentence")),
    ],
)
def test_a_reader_that_has_gone_is_left_to_the_guard(
    monkeypatch: pytest.MonkeyPatch, stream: str, say: Callable[[], None]
) -> None:
    monkeypatch.setattr(sys, stream, Gone())
    with pytest.raises(BrokenPipeError):
        say()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_gone_is_no_error(tiny_model_path: Path, options: list[str]) -> None:
    """As with `| head`: status 0 for tables as for JSON, and no message."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "negspace", "sites", str(tiny_model_path), *options]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")
