"""Pages in a real browser: opening them, and checking them with axe-core."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start Chromium; skips the test if playwright is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def open_page(
    browser: Any, address: Path | str, **options: Any
) -> tuple[Any, list[str], list[str]]:
    """Open a file or URL; return the page, what the console says, and the requested URLs."""
    page = browser.new_page(**{"viewport": {"width": 1300, "height": 900}} | options)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address.as_uri() if isinstance(address, os.PathLike) else address)
    return page, said, asked


def list_violations(page: Any) -> list[str]:
    """Return what axe-core finds on the page as it is: rule, impact and elements of each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node.get('failureSummary', '')}"
        for rule in found
        for node in rule["nodes"]
    ]
