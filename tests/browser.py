"""A real browser for tests: Debian's chromium, driven by Playwright, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TOOLS = "TRICELL_CI_TOOLS"
"""Set to `required` where every program of another language must be there."""


def chromium() -> str:
    """Return the path of chromium, or skip the test."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        message = f"no chromium on the PATH (none of {', '.join(NAMES)})"
        if os.environ.get(TOOLS) == "required":
            pytest.fail(message)
        pytest.skip(message)
    return found


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
