"""Pictures of a report, for the README: python tools/screenshots.py REPORT.html FOLDER [LINK ...]"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1280, "height": 900}


def main(report: Path, folder: Path, links: list[str]) -> None:
    """One picture of each link, in light and in dark."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for theme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=theme)  # type: ignore[arg-type]
            for link in links:
                page.goto("about:blank")
                page.goto(f"{report.resolve().as_uri()}#{link}")
                page.wait_for_selector("html[data-ready]")
                page.wait_for_timeout(500)
                name = link.replace("=", "-").replace(".", "-")
                page.screenshot(path=folder / f"report-{name}-{theme}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or ["overview", "neurons"])
