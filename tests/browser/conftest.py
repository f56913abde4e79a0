"""Chromium, and reports opened in it from a file, with whatever they complain of or ask for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tools.axe import SCRIPT, VERSION

from made_up_run import HOSTILE, TABLED, ablation_part, examples_of, made_up, pairs_part
from negspace.experiment.run import Run
from negspace.report.page import write_report


@dataclass
class Opened:
    """A page, and what it said."""

    page: Any
    """Playwright's page."""
    path: Path
    """The report's file."""
    problems: list[str] = field(default_factory=list)
    """Errors and warnings of its console, and exceptions."""
    requests: list[str] = field(default_factory=list)
    """What it asked for beyond its own file."""

    def go(self, link: str = "") -> None:
        """Open the report at a link, from scratch."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.path.as_uri()}#{link}")
        self.page.wait_for_selector("html[data-ready]")

    def turn(self, link: str) -> None:
        """Follow a link within the report, which stays as it is."""
        self.page.evaluate(
            """(link) => new Promise((done) => {
              if (location.hash === `#${link}`) return done();
              addEventListener("hashchange", () => requestAnimationFrame(done), { once: true });
              location.hash = link;
            })""",
            link,
        )

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true.

        Playwright's own `wait_for_function` evaluates its text inside the page, where the report's policy forbids it
        from the second look on.
        """
        late = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < late, f"not within {seconds:g} s: {condition}"
            self.page.wait_for_timeout(50)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    where = shutil.which("chromium")
    if where is None:
        pytest.skip("no chromium on the path (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where, headless=True, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, as `tools/axe.py` fetched it."""
    if not SCRIPT.exists():
        pytest.skip(f"no axe-core beside the environment (run python tools/axe.py, which fetches {VERSION})")
    return SCRIPT.read_text(encoding="utf-8")


@pytest.fixture
def open_report(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens a report of some runs, or a file; afterwards nothing may have gone wrong and nothing left the page."""
    opened: list[Opened] = []

    def open_it(*runs: Run, path: Path | None = None, at: str = "", **options: Any) -> Opened:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(60_000)
        page = context.new_page()
        one = Opened(page, path or write_report(runs, tmp_path / f"report-{len(opened)}.html"))
        own = one.path.as_uri()
        page.on(
            "console", lambda said: one.problems.append(f"{said.type}: {said.text}") if said.type != "log" else None
        )
        page.on("pageerror", lambda error: one.problems.append(f"exception: {error}"))
        page.on("request", lambda request: _note(one, request.url, own))
        opened.append(one)
        one.go(at)
        return one

    yield open_it
    for one in opened:
        one.page.context.close()
        assert not one.problems
        assert not one.requests


@pytest.fixture(scope="session")
def plain_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of one made-up run."""
    pairs = pairs_part(("2.7",), (" the", " dog"))
    runs = [made_up(parts=(ablation_part(), pairs), notes=("a note on the data",))]
    return write_report(runs, tmp_path_factory.mktemp("report") / "plain.html")


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which every text from data is hostile."""
    pairs = pairs_part(("2.7",), TABLED)
    parts = (ablation_part(groups=TABLED, name=HOSTILE[0]), pairs)
    examples = examples_of(("1.5",), TABLED)
    runs = [
        made_up(HOSTILE[1], parts=parts, notes=HOSTILE, examples=examples),
        made_up(HOSTILE[2], parts=parts, seed=1),
    ]
    return write_report(runs, tmp_path_factory.mktemp("report") / "hostile.html")


def _note(one: Opened, url: str, own: str) -> None:
    if url.partition("#")[0] not in (own, "about:blank") and not url.startswith(("data:", "blob:")):
        one.requests.append(url)
