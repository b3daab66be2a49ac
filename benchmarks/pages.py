"""The pages over a large ledger: `python -m benchmarks.pages [--calls 10000000]`.

Loads calls of thirty days into an embedded Postgres of its own, serves, and prints

- how long each page takes to open: until the server has replied, until Chromium has painted it, which is with all its
  figures in words, and until it has drawn it with its charts; cold (a browser that has nothing, for the first page with
  a Postgres and a proxy that have just started) and warm;
- what a client of the proxy notices of it: p50 and p99 of calls that arrive at a steady rate, timed from when they
  were due, with nobody looking and with ten browsers' worth of looking, in turn, and their ratio.

Pages that are not there are passed over. Goals: the overview drawn in under a second; a p99 with and without lookers
that differ by less than the rounds do. Ten million calls take 20 GB of disk and a quarter of an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import itertools
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import yaml

from app.store import migrate
from app.store.database import Database
from app.store.embedded import EmbeddedServer
from app.store.queries.overview import is_empty
from benchmarks.many_calls import load
from benchmarks.startup import ASK, answers, free_port
from benchmarks.workers import serve_upstream

PAGES = (
    "/ui/",
    "/ui/?period=1h",
    "/ui/?period=7d",
    "/ui/?period=30d&source=all",
    "/ui/?period=all",
    "/ui/?router=knn&show=spend",
    "/ui/calls",
    "/ui/calls?model=small",
    "/ui/calls?model=seldom",
    "/ui/calls?outcome=error&router=cascade",
    "/ui/calls?text=narwhal",
    "/ui/calls/{call}",
    "/ui/bench",
    "/ui/routers",
    "/ui/try",
)
"""`{call}` is the newest call's id."""
MODELS = ("small", "medium", "large")
WARM = 8
"""Times that a page is opened again; the median counts."""
PAUSE_SECONDS = 1.2
"""Between two: longer than answers are kept that took no time."""
OPEN_EVERY = 5.0
"""Seconds after which a browser goes to another page; meanwhile it asks again for the parts that are live."""
EMPTY = ".chart[data-figure]:not([data-drawn])"
"""A chart that is not drawn yet."""
PAINTED = """() => new Promise((done) => new PerformanceObserver((list) => {
  const [painted] = list.getEntriesByName("first-contentful-paint");
  if (painted) done(painted.startTime);
}).observe({ type: "paint", buffered: true }))"""
"""Milliseconds from asking for the page (w3.org/TR/paint-timing)."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_LIVE = re.compile(r"<[^>]*\bdata-look=\"(?P<seconds>[\d.]+)\"[^>]*>")
_CHART = re.compile(r"<[^>]*\bdata-figure=\"(?P<url>[^\"]+)\"[^>]*>")


@dataclass
class Site:
    """A proxy that serves, and the Postgres behind it."""

    folder: Path
    postgres: EmbeddedServer
    url: str
    """Of the database."""
    upstream: str
    workers: int
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve on a free port, and wait until it answers."""
        config = self.folder / "hullspeed.yaml"
        entries = [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{name}", "api_base": self.upstream, "api_key": "none",
                    "input_cost_per_token": 1e-7 * 4**place, "output_cost_per_token": 4e-7 * 4**place,
                },
            }
            for place, name in enumerate(MODELS)
        ]  # fmt: skip
        config.write_text(
            yaml.safe_dump({"model_list": entries, "routing": {"routers": {"even": {"router": "uniform"}}}})
        )
        self.port = free_port()
        arguments = ["serve", "--config", str(config), "--port", str(self.port), "--workers", str(self.workers)]
        environ = {**os.environ, "DATABASE_URL": self.url, "HULLSPEED_DATA_DIR": str(self.folder / "data")}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "app", *arguments]
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        while not answers(self.port):
            if self.process.poll() is not None:
                raise SystemExit(f"the proxy ended with exit code {self.process.returncode}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def restart(self) -> None:
        """Both anew: Postgres has nothing in its memory."""
        self.stop()
        self.postgres.stop()
        self.url = self.postgres.start()
        self.start()

    def paths(self) -> list[str]:
        """The pages that are there."""
        with httpx.Client(base_url=self.base, trust_env=False, timeout=60) as http:
            (newest,) = http.get("/v1/calls", params={"limit": 1}).json()["data"]
            known = [path.format(call=newest["id"]) for path in PAGES]
            return [path for path in known if http.get(path).status_code == 200]


async def fill(url: str, calls: int) -> None:
    """Load the ledger, where it has no calls yet."""
    database = Database(url, Path(), statement_timeout=3600)
    await database.open()
    try:
        await migrate.upgrade(database)
        if await is_empty(database):
            today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            await load(database, url, calls, today)
    finally:
        await database.close()


def replies(site: Site, paths: Sequence[str]) -> Iterator[tuple[str, float, float, int]]:
    """Path, seconds of the first reply, median of the others, bytes."""
    with httpx.Client(base_url=site.base, trust_env=False, timeout=60) as http:
        for path in paths:
            spent = []
            for _ in range(1 + WARM):
                begun = time.perf_counter()
                reply = http.get(path)
                spent.append(time.perf_counter() - begun)
                time.sleep(PAUSE_SECONDS)
            yield path, spent[0], statistics.median(spent[1:]), len(reply.content)


def drawings(site: Site, paths: Sequence[str]) -> Iterator[tuple[str, list[float]]]:
    """Path; seconds until it was painted and until it was drawn, each in a browser that has nothing yet and as the
    median of the times that follow."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for path in paths:
            context = browser.new_context(base_url=site.base, viewport={"width": 1440, "height": 900})
            page = context.new_page()
            painted, drawn = [], []
            for _ in range(1 + WARM):
                begun = time.perf_counter()
                page.goto(path, wait_until="load")
                page.locator(EMPTY).first.wait_for(state="detached")
                drawn.append(time.perf_counter() - begun)
                painted.append(page.evaluate(PAINTED) / 1000)
                page.goto("about:blank")
                time.sleep(PAUSE_SECONDS)
            context.close()
            yield path, [value for all_of in (painted, drawn) for value in (all_of[0], statistics.median(all_of[1:]))]
        browser.close()


def print_openings(site: Site) -> None:
    """Every page, as the server replies and as a browser draws."""
    paths = site.paths()
    site.restart()
    print(f"\n{'':36}{'replied, ms':>18}{'painted, ms':>18}{'drawn, ms':>18}")
    print(f"{'page':36}" + f"{'cold':>9}{'warm':>9}" * 3)
    replied = {path: (cold, warm) for path, cold, warm, _ in replies(site, paths)}
    opened: dict[str, list[float]] = {}
    if CHROMIUM is not None:
        site.restart()
        opened = dict(drawings(site, paths))
    for path in paths:
        figures = [*replied[path], *opened.get(path, [float("nan")] * 4)]
        late = "  OVER THE GOAL" if path.startswith("/ui/?") or path == "/ui/" else ""
        late = late if max(figures) >= 1.0 else ""
        print(f"{path[:35]:36}" + "".join(f"{figure * 1000:9.0f}" for figure in figures) + late, flush=True)


@dataclass
class Timed:
    """Seconds that calls took, from when they were due."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def quantile(self, share: float) -> float:
        found = sorted(self.seconds)
        return found[min(int(share * len(found)), len(found) - 1)] if found else float("nan")


async def steadily(base: str, rate: float, seconds: float) -> Timed:
    """Calls at a steady rate, each of its own account: one that is late keeps none of those after it from starting."""
    timed = Timed()
    connector = aiohttp.TCPConnector(limit=256)
    headers = {"content-type": "application/json"}

    async def call(http: aiohttp.ClientSession, due: float) -> None:
        try:
            async with http.post(f"{base}/v1/chat/completions", data=ASK, headers=headers) as reply:
                await reply.read()
                if reply.status != 200:
                    timed.failed += 1
        except (aiohttp.ClientError, TimeoutError):
            timed.failed += 1
        timed.seconds.append(time.perf_counter() - due)

    async with aiohttp.ClientSession(connector=connector, trust_env=False) as http, asyncio.TaskGroup() as group:
        begun = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(call(http, due))
    return timed


async def look(base: str, paths: Sequence[str], number: int, until: float) -> int:
    """What a browser asks for that goes from page to page; gives the number of requests."""
    asked = 0
    async with aiohttp.ClientSession(trust_env=False) as http:

        async def get(path: str) -> str:
            nonlocal asked
            asked += 1
            async with http.get(f"{base}{path}") as reply:
                return await reply.text()

        await asyncio.sleep(OPEN_EVERY * number / 10)
        for path in itertools.islice(itertools.cycle(paths), number, None):
            if time.perf_counter() >= until:
                return asked
            left = time.perf_counter() + OPEN_EVERY
            text = await get(path)
            charts = [html.unescape(found["url"]) for found in _CHART.finditer(text)]
            lives = [
                (html.unescape(address[1]), float(found["seconds"]))
                for found in _LIVE.finditer(text)
                if (address := re.search(r"hx-get=\"([^\"]+)\"", found[0]))
            ]
            for chart in charts:
                await get(chart)
            while (now := time.perf_counter()) < min(left, until):
                await asyncio.sleep(min([seconds for _, seconds in lives] + [min(left, until) - now]))
                for live, _ in lives:
                    await get(live)
    return asked


def watch(base: str, paths: Sequence[str], browsers: int, seconds: float) -> int:
    """So many browsers for so long, in a process of its own; gives the number of requests."""

    async def all_of_them() -> int:
        until = time.perf_counter() + seconds
        return sum(await asyncio.gather(*(look(base, paths, number, until) for number in range(browsers))))

    return asyncio.run(all_of_them())


def print_load(site: Site, options: argparse.Namespace) -> None:
    """Calls with nobody and with somebody looking, in turn."""
    site.start() if site.process is None else None
    paths = site.paths()
    context = multiprocessing.get_context("spawn")
    found: dict[bool, list[Timed]] = {False: [], True: []}
    asked = 0
    with context.Pool(1) as pool:
        asyncio.run(steadily(site.base, options.rate, 3.0))
        pool.apply(watch, (site.base, paths, 1, 3.0))  # the first looker has the pages made
        for number in range(options.rounds):
            for watched in (False, True) if number % 2 else (True, False):
                looking = (
                    pool.apply_async(watch, (site.base, paths, options.browsers, options.seconds)) if watched else None
                )
                found[watched].append(asyncio.run(steadily(site.base, options.rate, options.seconds)))
                asked += looking.get() if looking is not None else 0
    looked = asked / options.seconds / options.rounds
    print(
        f"\n{options.rate:g} calls/s for {options.seconds:g} s in {options.rounds} rounds; "
        f"{options.browsers} browsers, {len(paths)} pages: {looked:.1f} requests/s"
    )
    print(f"{'':24}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'p99.9 ms':>10}{'worst ms':>10}{'failed':>8}")
    shares = (0.5, 0.9, 0.99, 0.999, 1.0)
    whole = {}
    for watched, name in ((False, "nobody looks"), (True, "watched")):
        merged = Timed(
            [one for timed in found[watched] for one in timed.seconds], sum(t.failed for t in found[watched])
        )
        whole[watched] = [merged.quantile(share) for share in shares]
        print(f"{name:24}" + "".join(f"{value * 1000:10.2f}" for value in whole[watched]) + f"{merged.failed:8}")
    print(f"{'ratio':24}" + "".join(f"{b / a:10.2f}" for a, b in zip(whole[False], whole[True], strict=True)))
    for share in (0.5, 0.99):
        ratios = sorted(b.quantile(share) / a.quantile(share) for a, b in zip(found[False], found[True], strict=True))
        middle = statistics.median(ratios)
        alone = sorted(timed.quantile(share) for timed in found[False])
        print(
            f"p{share * 100:g} by round: ratio {middle:.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f}); "
            f"unwatched rounds among themselves differ by {alone[-1] / alone[0]:.2f}"
        )


@contextmanager
def upstream() -> Iterator[str]:
    """One that answers at once, in a process of its own."""
    told: multiprocessing.SimpleQueue[str] = multiprocessing.SimpleQueue()
    provider = multiprocessing.Process(target=serve_upstream, args=(told,), daemon=True)
    provider.start()
    try:
        yield told.get()
    finally:
        provider.terminate()


def main(options: argparse.Namespace, folder: Path) -> None:
    """Load, open, look."""
    postgres = EmbeddedServer(folder / "postgres")
    try:
        url = postgres.start()
        asyncio.run(fill(url, options.calls))
        with upstream() as provider:
            site = Site(folder, postgres, url, provider, options.workers)
            try:
                site.start()
                if options.only != "load":
                    print_openings(site)
                if options.only != "open":
                    print_load(site, options)
            finally:
                site.stop()
    finally:
        postgres.stop()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000_000, help="calls to load")
    parser.add_argument("--folder", type=Path, help="keep the ledger here, and use the one that is here already")
    parser.add_argument("--only", choices=("open", "load"), help="one of the two measurements")
    parser.add_argument("--rate", type=float, default=300.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round's half")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--browsers", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    arguments: Any = parse()
    place = arguments.folder or Path(tempfile.mkdtemp(prefix="hs-"))
    try:
        main(arguments, place)
    finally:
        if arguments.folder is None:
            shutil.rmtree(place)
