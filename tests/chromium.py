"""The browser that the tests of pages drive, and what axe-core finds in a page (github.com/dequelabs/axe-core)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, sync_playwright

# The shell is the same browser without what draws windows, and takes a machine a third less of the work.
PROGRAM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

_ALIKE = [["tbody > tr:nth-child(n + 9)"], [".lines > li:nth-child(n + 9)"]]
"""What axe-core passes over: rows of long lists after the first eight, which the same template makes. Contrasts take
it most of its time, text by text."""
_SERIOUS = """(alike) => axe.run({exclude: alike}, {resultTypes: ["violations"], iframes: false})
  .then(({violations}) => violations
    .filter(({impact}) => ["serious", "critical"].includes(impact))
    .map(({id, help, nodes}) => `${id}: ${help}: ${nodes.slice(0, 3).map(({html}) => html).join(" ")}`))"""
"""A frame is not asked: a report's is shut off from its page, and the console complains of whoever writes to it."""


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    if PROGRAM is None:
        pytest.skip("no chromium on this machine; Debian's package `chromium-headless-shell` or `chromium` brings it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        yield browser
        browser.close()


def barriers(page: Page) -> list[str]:
    """What keeps some readers out of the page as it is now: whatever axe-core calls serious or critical."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(_SERIOUS, _ALIKE)
    return found
