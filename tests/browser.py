"""A real browser for tests: Debian's chromium, driven by Playwright, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TOOLS = "TRICELL_CI_TOOLS"
"""Set to `required` where every program of another language must be there."""
PROBE = Path(__file__).parent / "page_probe.js"
AXE = Path(__file__).parent / "readers" / "node_modules" / "axe-core" / "axe.min.js"


def chromium() -> str:
    """Return the path of chromium, or skip the test."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing(f"no chromium on the PATH (none of {', '.join(NAMES)})")
    return found


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where every tool must be there."""
    if os.environ.get(TOOLS) == "required":
        pytest.fail(what)
    pytest.skip(what)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start chromium; it is ended with the block."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Witness:
    """What a page complained about, and what it asked the network for."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def watch(page: Page, allowed: str = "") -> Witness:
    """Note errors and warnings of a page and refuse it the network but for `allowed`.

    Parameters
    ----------
    allowed : beginning of the addresses that it may ask for; none where it is empty.
    """
    witness = Witness()

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            witness.complaints.append(f"{message.type}: {message.text}")

    def asked(route: Route) -> None:
        if allowed and route.request.url.startswith(allowed):
            route.continue_()
            return
        witness.requests.append(route.request.url)
        route.abort()

    page.on("console", said)
    page.on("pageerror", lambda error: witness.complaints.append(f"exception: {error}"))
    page.route(lambda url: url.startswith(("http:", "https:", "ws:", "wss:")), asked)
    return witness


def load_probe(page: Page) -> None:
    """Give a page `window.probe`, see `page_probe.js`."""
    page.add_script_tag(path=PROBE)


def axe_violations(page: Page, impacts: Sequence[str]) -> list[str]:
    """Return what axe-core holds against a page, of these impacts; skip where it is missing."""
    if not AXE.is_file():
        missing(f"no axe-core in {AXE.parent}; `npm ci --prefix tests/readers` installs it")
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in impacts
        for node in each["nodes"]
    ]
