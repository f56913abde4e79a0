"""The page as a file: whole, the same each time, harmless, and free of anything to fetch."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_up_run import HOSTILE, NOT_LETTERS, TABLED, ablation_part, made_up, pairs_part
from negspace.errors import RecordError
from negspace.experiment.claim import UNJUDGED, Claim
from negspace.report.neurons import explorer
from negspace.report.page import render, write_report
from negspace.report.text import plotly_text, visible, visible_all
from negspace.report.views import view
from negspace.study.reading import read_history, read_runs


def _blocks(html: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', html, re.DOTALL)
    return {key: json.loads(text) for key, text in found}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_cannot_be_seen_is_shown_and_can_be_written(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & set(NOT_LETTERS)
    shown.encode("utf-8")
    assert visible(shown) == shown


def test_controls_become_pictures_and_letters_stay() -> None:
    assert visible("a\nb\tc\x00\x7f") == "a↵b⇥c␀␡"
    assert visible("\u202e\ud800") == "⟨U+202E⟩⟨U+D800⟩"
    assert visible("naïve שלום 你好 👍 −½") == "naïve שלום 你好 👍 −½"
    assert visible_all({"a\x00": ["b\x07", 1, None]}) == {"a␀": ["b␇", 1, None]}


def test_plotly_reads_neither_markup_nor_formulas() -> None:
    assert plotly_text("<b>&$x$") == "&lt;b&gt;&amp;&#36;x&#36;"


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    one = write_report([made_up()], tmp_path / "one.html").read_bytes()
    assert one == write_report([made_up()], tmp_path / "two.html").read_bytes()
    assert one.startswith(b"<!doctype html>")


def test_the_policy_names_the_two_scripts_and_nothing_else_may_run() -> None:
    html = render([made_up()])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy[1].split(";")[1]
    assert not re.search(r"<(link|img|iframe|object|embed)\b|\bsrc=|@import|url\(", html.replace(scripts[1], ""))


def test_without_scripts_every_section_is_shown_and_what_is_missing_is_said() -> None:
    html = render([made_up()])
    (style, notice) = re.findall(r"<noscript>(.*?)</noscript>", html, re.DOTALL)
    assert ".panel[hidden] { display: block !important; }" in style
    assert "style-src 'unsafe-inline'" in html
    assert "shows its claims, findings and facts" in notice


def test_findings_are_not_announced_by_a_number_that_they_do_not_have() -> None:
    part = replace(ablation_part(), sentences=[f"finding {number}" for number in range(30)])
    claim = Claim("ablate", "it costs grammar", "BLiMP", 0.01, "holds", "harm")
    html = render([replace(made_up(parts=(part,)), claims=(claim,))])
    overview = html[html.index('id="panel-overview"') : html.index('id="panel-scan"')]
    assert "25 more findings in the section" in overview
    assert re.findall("<summary>(.*?)</summary>", overview) == ["Findings in words"]


def test_colours_of_text_can_be_read_on_every_ground() -> None:
    css = (files("negspace.report") / "page" / "style.css").read_text("utf-8")
    for theme in (":root ", ':root[data-theme="dark"] '):
        colours = dict(re.findall(r"--(\w+): (#\w{6})", css[css.index(theme + "{") :].partition("}")[0]))
        for name in ("ink", "muted", "accent", "problem"):
            for ground in ("paper", "card", "soft"):
                assert _contrast(colours[name], colours[ground]) >= 4.5, (theme, name, ground)
    texts = set(re.findall(r"(?<![-\w])color: var\(--(\w+)\)", css))
    assert texts == {"ink", "muted", "accent", "problem"}


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1's ratio of the luminances of two colours."""
    light = []
    for colour in (one, other):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light.append(float(np.dot(linear, (0.2126, 0.7152, 0.0722))) + 0.05)
    return max(light) / min(light)


def test_hostile_text_stays_in_its_block() -> None:
    part = ablation_part(groups=TABLED, name=HOSTILE[0])
    html = render([made_up(HOSTILE[2], parts=(part, pairs_part(("2.7",), TABLED)), notes=HOSTILE)])
    assert not set(html) & set(NOT_LETTERS)
    blocks = _blocks(html)
    for key, text in re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', html, re.DOTALL):
        assert not set(text) & set("<>&"), key
        assert text.isascii(), key
    assert html.count("<script") == len(blocks) + 2
    sides = blocks["neurons-0"]["details"]["2.7"]["pairs"]
    assert [side["sides"][0]["token"] for side in sides] == [visible(text) for text in TABLED[: len(sides)]]
    assert "window.hit = 1</script>" not in html


def test_what_was_asked_and_with_what_is_said() -> None:
    html = render([made_up("some-model", notes=("a note",))])
    for said in (
        "some-model",
        "f" * 16,
        "harm, -8.0 points [-10.0, -6.0]",
        "2026-01-02, 30 min",
        "paper",
        "a note",
        "x86_64",
        "95%; t over the highest level with enough units",
        "where a column says bootstrap, 2,000 resamples",
    ):
        assert said in html, said
    assert "At the top 1%. Perplexity: harm against the plain model, more harm than random sets. BLiMP: harm" in html


def test_several_runs_stand_beside_each_other_with_what_one_must_know() -> None:
    claim = Claim("ablate", "it costs grammar", "BLiMP", 0.01, "undecided", "undecided", "points", -0.03, -0.05, -0.01)
    unjudged = replace(claim, key="random", finding=UNJUDGED, answer=UNJUDGED, reason="few sets")
    one, two = (replace(made_up(label), claims=(claim, unjudged)) for label in ("one", "two"))
    data = {**two.manifest["data"], "blimp": ["blimp", "other", 400]}
    html = render([one, replace(two, manifest={**two.manifest, "data": data})])
    comparison = html[html.index('id="panel-comparison"') : html.index('id="panel-overview-1"')]
    assert '<th scope="col">one</th><th scope="col">two</th>' in comparison
    for said in ("[1] few sets.", "answers are corrected for the number of tests", "BLiMP: not the same in all runs"):
        assert said in comparison
    assert comparison.count("<td>cannot be judged [1]</td>") == 2
    assert "Findings in words" not in comparison  # a headline is one sentence: nothing to fold


def test_neurons_are_packed_without_loss() -> None:
    run = made_up(layers=3, width=7)
    found = explorer(run)
    assert found is not None
    assert run.scan is not None
    columns = {column["key"]: column for column in found["columns"]}
    wd = np.frombuffer(base64.b64decode(columns["wd"]["data"]), "<f4")
    np.testing.assert_array_equal(wd, run.scan.table["wd"].to_numpy(np.float32))
    ranks = np.frombuffer(base64.b64decode(columns["wd_rank"]["data"]), "<u4")
    for layer in range(3):
        rows = run.scan.table["layer"] == layer
        assert run.scan.table.loc[rows, "wd"].to_numpy()[np.argmin(ranks[rows])] == run.scan.table.loc[rows, "wd"].max()
    members = {one["name"]: one["data"] for one in found["sets"]}
    bits = np.unpackbits(np.frombuffer(base64.b64decode(members["top 10% by wd"]), np.uint8), bitorder="little")
    assert int(bits.sum()) == len(run.sets["top 10% by wd"])


def test_an_interval_stands_beside_its_estimate() -> None:
    table = ablation_part().tables["contrasts"]
    made = view("Contrasts", table, {"difference": "meaning"})
    columns = {column["key"]: column for column in made["columns"]}
    assert columns["difference"]["kind"] == "interval"
    assert columns["difference"]["names"] == ["difference", "low", "high"]
    assert columns["difference"]["low"][0] == pytest.approx(table["low"].iloc[0])
    assert columns["difference"]["meaning"] == "meaning"
    assert "low" not in columns
    assert columns["p_holm"]["kind"] == "p"
    assert columns["against"]["kind"] == "text"


def test_a_log_with_a_torn_line_is_read(tmp_path: Path) -> None:
    lines = [
        {"time": "2026-01-01T10:00:00+0000", "event": "start", "model": "m", "python": "3.11"},
        {"time": "2026-01-01T10:00:05+0000", "event": "computed", "seconds": 4.5},
        {"time": "2026-01-01T10:01:05+0000", "event": "end"},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"time": "2026-01-0'
    (tmp_path / "run.log.jsonl").write_text(text)
    history = read_history(tmp_path)
    assert (history.cells, history.seconds, history.starts) == (1, 4.5, 1)
    assert history.surroundings == {"python": "3.11"}
    assert read_history(tmp_path / "none").started == ""


def test_one_run_twice_and_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="twice"):
        read_runs([tmp_path, tmp_path])
    with pytest.raises(RecordError, match="the run"):
        read_runs([tmp_path])
    with pytest.raises(RecordError, match="to write"):
        write_report([made_up()], tmp_path / "no" / "folder.html")
