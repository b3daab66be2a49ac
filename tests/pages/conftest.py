"""The pages as a user sees them: a served proxy with a large ledger, and a real browser that complains of nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from app.store import migrate
from app.store.database import Database
from benchmarks.many_calls import load
from tests import chromium
from tests.cli.program import Program, Served
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import models

CALLS = 100_000
PATIENCE = 90_000
"""Milliseconds that a machine may be busy with other things. What pages leave to commands beside the proxy stands back
behind all else: four seconds become a minute where every core is wanted."""
LOOKS = [(390, "light"), (1440, "dark")]
"""Widths and colour schemes that every page is looked at in. Each width and each scheme, not each with each: the style
lays out by the width alone and colours by the scheme alone, which `test_style` holds it to."""
KEY, ADMIN = "hs-test-key-5f1c2a9d7e", "hs-admin-key-b27e90aa41"


def pytest_itemcollected(item: pytest.Item) -> None:
    # One worker has the browser and the ledger.
    item.add_marker(pytest.mark.xdist_group("browser"))


@dataclass(frozen=True)
class Site:
    """A served proxy."""

    served: Served
    program: Program
    database_url: str
    upstream: FakeOpenAI

    @property
    def url(self) -> str:
        return self.served.url


@dataclass
class Visitor:
    """A browser's window on a site."""

    page: Page
    said: list[str] = field(default_factory=list)
    """What the console complained of."""
    elsewhere: list[str] = field(default_factory=list)
    """Addresses asked that are not the site's."""

    def sign_in(self, path: str, key: str = ADMIN) -> None:
        """Go to a page by way of the form that asks for the key."""
        self.page.goto(path)
        self.page.get_by_label("Admin key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()

    def is_quiet(self) -> None:
        """The page as it is now: nothing complained, nobody else asked, nothing wider than the window."""
        assert self.said == []
        assert self.elsewhere == []
        overflow = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"the page is {overflow} px wider than the window"

    def check(self) -> None:
        """As `is_quiet`, and axe-core finds nothing serious; that takes a second on a long page, so each state of a
        page is checked once."""
        self.is_quiet()
        assert chromium.barriers(self.page) == []


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed after the last test of a page: as long as it is there its event loop runs, and no test that has one of its
    own could follow in the same process."""
    expect.set_options(timeout=PATIENCE)
    with chromium.launched() as browser:
        yield browser


@contextmanager
def visiting(browser: Browser, url: str, width: int = 1440, scheme: str = "light") -> Iterator[Visitor]:
    """A new window, without a session."""
    context: BrowserContext = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    context.set_default_timeout(PATIENCE)
    visitor = Visitor(context.new_page())

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visitor.said.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            visitor.elsewhere.append(request.url)

    visitor.page.on("console", on_console)
    visitor.page.on("pageerror", lambda error: visitor.said.append(str(error)))
    visitor.page.on("request", on_request)
    yield visitor
    context.close()


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    """Opens a path of the site in a new window: `visit("/ui/", width=390, scheme="dark")`."""
    with ExitStack() as stack:

        def open_page(path: str, width: int = 1440, scheme: str = "light") -> Visitor:
            visitor = stack.enter_context(visiting(browser, site.url, width, scheme))
            visitor.page.goto(path)
            return visitor

        yield open_page


@pytest.fixture(scope="session")
def site(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A proxy that serves two models and has a hundred thousand calls in its ledger; texts are stored."""
    folder = tmp_path_factory.mktemp("site")
    url = new_database()
    # In a thread of its own: where the browser came first, Playwright's loop runs in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, fill(url, CALLS)).result()
    with FakeOpenAI() as upstream:
        (folder / "hullspeed.yaml").write_text(yaml.safe_dump(config(upstream.url)))
        program = Program(folder, {"HULLSPEED_DATA_DIR": str(folder / "data"), "DATABASE_URL": url})
        with program.serving("--config", "hullspeed.yaml") as served:
            yield Site(served, program, url, upstream)


@pytest.fixture(scope="session")
def locked(site: Site) -> Iterator[str]:
    """The address of the same proxy with keys."""
    with site.program.serving("--config", "hullspeed.yaml", HULLSPEED_API_KEY=KEY, HULLSPEED_ADMIN_KEY=ADMIN) as served:
        yield served.url


@pytest.fixture(scope="session")
def adrift(site: Site) -> Iterator[str]:
    """The address of a proxy with a key and without Postgres, that sends comments when a model is slow; any other
    model of its provider is reached by name."""
    entries = models(site.upstream.url, "small", "medium", "large")
    entries.append({"model_name": "any-*", "litellm_params": {**entries[0]["litellm_params"], "model": "openai/any-*"}})
    (site.program.folder / "adrift.yaml").write_text(
        yaml.safe_dump({"model_list": entries, "routing": {"keep_alive": 0.05}})
    )
    environ = {"DATABASE_URL": "postgresql://127.0.0.1:9/none", "HULLSPEED_API_KEY": ADMIN}
    environ["HULLSPEED_DATA_DIR"] = str(site.program.folder / "adrift")
    with site.program.serving("--config", "adrift.yaml", **environ) as served:
        yield served.url


def config(upstream: str) -> dict[str, Any]:
    """Three models of three prices, some routers, texts kept."""
    return {
        "model_list": models(upstream, "small", "medium", "large"),
        "routing": {
            "routers": {"spread": {"router": "uniform"}, "dear": {"router": "fixed", "params": {"model": "large"}}}
        },
        "ledger": {"store_text": True},
    }


async def fill(url: str, calls: int) -> None:
    """A ledger of thirty days up to now."""
    database = Database(url, Path())
    await database.open()
    try:
        await migrate.upgrade(database)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        await load(database, url, calls, today, loaders=1)
    finally:
        await database.close()
