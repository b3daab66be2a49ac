"""The bench's pages: suites, a run that is started, watched, reported on and compared."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import psutil
import pytest
from playwright.sync_api import Page, expect

from app.bench import library
from app.bench.suite import Item, Recorded, Suite
from app.store import runs
from app.store.database import Database
from tests.bench.tables import shared_suite
from tests.fakes.replies import Answer, Fault
from tests.pages.conftest import ADMIN, KEY, LOOKS, Site, Visitor

T = TypeVar("T")
BAD = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'&"
ODD = f"odd {BAD}"
MODELS = (f"small {BAD}", "dear")
RUN = ("--tradeoffs", "0,1", "--split", "all", "--seed", "3")


@dataclass(frozen=True)
class Benched:
    """What the module's ledger holds beside the calls."""

    before: str
    """A finished run of the odd suite."""
    after: str
    """Another of the same items, by another router too."""
    other: str
    """One of other items."""


def odd_suite(n: int = 30) -> Suite:
    """Texts that mean harm, and a model that is right on half of the items, for a tenth."""
    quality = np.array([[float(place % 2), 1.0] for place in range(n)])
    return Suite(
        name=ODD,
        items=tuple(
            Item(
                id=f"i{place}" + (f" {BAD}" if place == 0 else ""),
                category=f"c{place % 3} {BAD}",
                messages=[{"role": "system", "content": BAD}, {"role": "user", "content": f"question {place} {BAD}"}],
                target=f"{place} {BAD}",
            )
            for place in range(n)
        ),
        recorded=Recorded(
            MODELS,
            quality,
            np.tile([0.001, 0.01], (n, 1)),
            np.full((n, 2), 7),
            np.full((n, 2), 9),
            np.array([[f"reply {place} {BAD}", f"dear reply {place}"] for place in range(n)], dtype=object),
        ),
        description=BAD,
    )


def zeroeval() -> Suite:
    """A hundred items that real models answered; skips where the data is not on this machine."""
    whole = shared_suite("zeroeval_4sets_8models")
    picked = np.sort(np.random.default_rng(0).choice(len(whole.items), 100, replace=False))
    return whole.take(picked)


def within(site: Site, what: Callable[[Database], Awaitable[T]]) -> T:
    """What it gives of the site's database."""

    async def work() -> T:
        database = Database(site.database_url, Path())
        await database.open()
        try:
            return await what(database)
        finally:
            await database.close()

    # Playwright has an event loop of its own in this thread.
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(asyncio.run, work()).result()


def save(site: Site, suite: Suite) -> None:
    within(site, lambda database: library.save(database, suite, replace=True))


async def another_run(database: Database) -> str:
    """One of other items, finished."""
    await library.save(database, replace(odd_suite(), name="another"), replace=True)
    run = await runs.create_run(database, suite="another", suite_digest="d" * 64, spec={"routers": ["cheapest"]})
    await runs.finish_run(database, run.id, "done", {"headline": "It is another one.", "routers": []})
    return run.id


@pytest.fixture(scope="session", autouse=True)
def site_before_the_browser(site: Site) -> None:
    """It is made in an event loop, which there cannot be once the browser has one."""


@pytest.fixture(scope="module")
def benched(site: Site) -> Benched:
    save(site, odd_suite())

    def run(suite: str, *arguments: str) -> str:
        told = site.program.folder / "run"
        site.program.run("bench", "run", suite, *arguments, *RUN, "--run-file", str(told))
        return told.read_text()

    both = ("-r", "fixed:model=dear", "-r", "cheapest")
    return Benched(run(ODD, *both), run(ODD, *both, "-r", "uniform"), within(site, another_run))


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, trust_env=False, timeout=60) as client:
        yield client


def inert(page: Page) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img[src=x]").count() == 0


def suite_path() -> str:
    return f"/ui/bench/suites/{quote(ODD)}"


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_in_every_look(
    visit: Callable[..., Visitor], site: Site, benched: Benched, width: int, scheme: str
) -> None:
    run = f"/ui/bench/runs/{benched.after}"
    paths = {
        "/ui/bench": "Bench",
        f"{suite_path()}?q=question": ODD,
        f"{suite_path()}/items/0": f"i0 {BAD}",
        "/ui/bench/new?suite=basics": "New run",
        run: benched.after[:13],
        f"{run}/items?only=wrong": ODD,
        f"{run}/report": ODD,
        "/ui/bench/compare": "Compare two runs",
        f"/ui/bench/compare?a={benched.before}&b={benched.after}": f"{ODD}: what changed",
        f"/ui/bench/compare?a={benched.before}&b={benched.other}": "another: what changed",
    }
    visitor = visit("/ui/bench", width, scheme)
    for path, title in paths.items():
        visitor.page.goto(path)
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text(title)
        if path.endswith("report"):
            frame = visitor.page.frame_locator("iframe")
            expect(frame.locator(".js-plotly-plot .main-svg").first).to_be_visible()
            frame.get_by_text("linear", exact=True).click()
            expect(frame.get_by_role("button", name="linear")).to_have_attribute("aria-pressed", "true")
        if path.endswith(benched.after) and "compare" in path:
            expect(visitor.page.locator("p.headline")).to_contain_text("No difference shown")
        visitor.check()
        inert(visitor.page)


def test_a_run_from_the_page(visit: Callable[..., Visitor], site: Site, benched: Benched) -> None:
    suite = zeroeval()
    save(site, suite)
    visitor = visit("/ui/bench/new?suite=basics")
    page = visitor.page
    page.get_by_label("Suite", exact=True).select_option(suite.name)
    expect(page.get_by_label("Suite", exact=True)).to_have_value(suite.name)
    page.get_by_label("Part").select_option("all")
    page.get_by_role("checkbox", name="ridge", exact=True).check()
    page.get_by_label("Others, one a line").fill("nearest")
    page.get_by_label("Tradeoffs").fill("0,2")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("2 fields need another look")
    expect(page.locator("#routers-problem")).to_contain_text("no router is named 'nearest'")
    expect(page.locator("#tradeoffs-problem")).to_contain_text("tradeoff 2 is outside [0, 1]")
    expect(page.get_by_role("checkbox", name="ridge", exact=True)).to_be_checked()
    assert [said for said in visitor.said if "422" not in said] == []
    visitor.said.clear()
    visitor.check()
    page.get_by_label("Others, one a line").fill("")
    page.get_by_label("Tradeoffs").fill("0,0.3")
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator("#estimate")).to_contain_text("600 (100 items)")
    expect(page.locator("#estimate")).to_contain_text("free: recorded models answer")
    expect(page.locator("#estimate code")).to_have_text(
        f"hullspeed bench run {suite.name} -r cheapest -r knn -r ridge --tradeoffs 0,0.3 --split all"
    )
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/bench/starts/*")
    page.wait_for_url("**/ui/bench/runs/*")
    # Watched while it goes on, or found done where it was faster than the browser.
    progress = page.get_by_role("progressbar", name="Calls done")
    report = page.get_by_role("link", name="Report", exact=True)
    expect(progress.or_(report)).to_be_visible()
    expect(report).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="done")).to_be_visible()
    expect(page.locator("p.headline")).to_contain_text("100 items")
    visitor.check()


def test_comparing_item_by_item(visit: Callable[..., Visitor], benched: Benched) -> None:
    visitor = visit(f"/ui/bench/compare?a={benched.before}&b={benched.after}")
    page = visitor.page
    expect(page.locator("#headline")).to_contain_text("2 routers on 30 items")
    counts = page.locator(".counts")
    expect(counts).to_contain_text("30 alike")
    page.get_by_label("Second", exact=True).select_option("0.0@cheapest")
    expect(counts).to_contain_text("15 worse")
    page.get_by_label("Show").select_option("regressions")
    expect(page.locator(".line")).to_have_count(15)
    assert "show=regressions" in page.url
    page.get_by_label("Text of id").fill("question 4 ")
    expect(page.locator(".line")).to_have_count(1)
    expect(counts).to_contain_text("of 1 item in both")
    page.locator(".line summary").click()
    replies = page.locator(".replies > div")
    expect(replies.nth(0)).to_contain_text("First: dear")
    expect(replies.nth(0).locator("pre")).to_have_text("dear reply 4")
    expect(replies.nth(1).locator("pre")).to_have_text(f"reply 4 {BAD}")
    visitor.check()
    inert(page)
    # The address holds all of it.
    page.reload()
    expect(page.locator(".line")).to_have_count(1)
    page.go_back()
    expect(page.locator(".line")).to_have_count(15)
    page.get_by_label("Show").select_option("improvements")
    expect(page.locator("#items")).to_contain_text("No item is like that")
    page.get_by_role("link", name="Swap").click()
    expect(counts).to_contain_text("30 alike")


def test_items_of_a_run_open_in_place(visit: Callable[..., Visitor], benched: Benched) -> None:
    visitor = visit(f"/ui/bench/runs/{benched.before}/items?setting=1.0@cheapest&only=wrong")
    page = visitor.page
    expect(page.locator(".line")).to_have_count(15)
    page.locator(".line summary").first.press("Enter")
    expect(page.locator(".inside pre").last).to_have_text(f"reply 0 {BAD}")
    page.get_by_label("Category").select_option(f"c1 {BAD}")
    expect(page.locator(".line")).to_have_count(5)
    visitor.check()
    inert(page)


def test_items_of_a_suite_are_found(visit: Callable[..., Visitor], benched: Benched) -> None:
    visitor = visit(suite_path())
    page = visitor.page
    expect(page.locator("#items tbody tr")).to_have_count(25)
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#items tbody tr")).to_have_count(5)
    assert page.url.endswith("page=2")
    page.get_by_label("Text of id").fill("onerror='window")
    expect(page.locator("#items tbody tr")).to_have_count(25)
    page.get_by_label("Text of id").fill("100%")
    expect(page.locator("#items")).to_contain_text("No item is like that")
    page.get_by_label("Text of id").fill("question 17 ")
    page.locator("#items tbody tr").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("i17")
    expect(page.locator(".outcomes details")).to_have_count(2)
    visitor.check()
    inert(page)


def test_a_bundled_suite_is_loaded_with_one_click(visit: Callable[..., Visitor], benched: Benched) -> None:
    visitor = visit("/ui/bench")
    visitor.page.get_by_role("button", name="Load tuning").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("tuning")
    expect(visitor.page.get_by_role("main")).to_contain_text("no recorded models")
    visitor.check()


def test_runs_that_cannot_be_compared_say_why(http: httpx.Client, benched: Benched) -> None:
    reply = http.get("/ui/bench/compare", params={"a": benched.before, "b": benched.other})
    assert "the runs cannot be compared" in reply.text
    assert "digest" in reply.text


def test_the_report_is_the_file_and_runs_nothing_else(site: Site, http: httpx.Client, benched: Benched) -> None:
    address = f"/ui/bench/runs/{benched.after}/report"
    reply = http.get(f"{address}.html")
    file = site.program.folder / "report.html"
    site.program.run("bench", "report", benched.after, "-o", str(file))
    assert reply.text == file.read_text()
    policy = reply.headers["content-security-policy"]
    scripts = re.search(r"script-src ([^;]*);", policy)
    assert scripts is not None
    assert re.fullmatch(r"('sha256-[\w+/]+=*' ?){2}", scripts[1])
    assert "sandbox allow-scripts;" in policy
    assert f'content="{policy.partition("; sandbox")[0]}"' in reply.text
    plain = http.get(f"{address}.html", headers={"accept-encoding": "identity"})
    assert plain.text == reply.text
    assert http.get(f"{address}.json").json()["run"] == benched.after
    table = http.get(f"{address}.csv", params={"download": True})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.headers["content-disposition"].startswith("attachment")


FORM = {"suite": ODD, "upstream": "recorded", "routers_recorded": "cheapest", "tradeoffs": "0"}
LIVE = {"suite": ODD, "upstream": "live", "routers_live": "dear", "tradeoffs": "0", "grader": "contains"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({**FORM, "suite": "nothing"}, "There is no suite named &#39;nothing&#39;"),
        ({**FORM, "routers_recorded": ""}, "no router is named"),
        ({"suite": ODD, "tradeoffs": "0"}, "Tick at least one router."),
        ({**FORM, "more": "cheapest"}, "router `cheapest` is named twice"),
        ({**FORM, "more": "knn:k"}, "parameter `k` is not of the form name=value"),
        ({**FORM, "more": "./evil.py:Router"}, "HULLSPEED_ALLOW_CODE"),
        ({**FORM, "tradeoffs": "a"}, "is not a comma-separated list of numbers"),
        ({**FORM, "limit": "0"}, "is no whole number from 1"),
        ({**FORM, "seed": "-1"}, "is no whole number from 0"),
        ({**FORM, "concurrency": "1001"}, "is no whole number from 1 to 1000"),
        ({**FORM, "split_by": "leave-out"}, "names no category"),
        ({**FORM, "split_by": "leave-out", "category": "x"}, "The suite has no category `x`"),
        ({**FORM, "grader": "exactly"}, "no grader is called &#39;exactly&#39;"),
        ({**FORM, "grader": "code"}, "switched off"),
        ({**FORM, "grader": "./evil.py:grade"}, "HULLSPEED_ALLOW_CODE"),
        ({**FORM, "judge": "judge:small"}, "Say at how many USD it is to stop"),
        (LIVE, "Say at how many USD it is to stop"),
        ({**LIVE, "max_cost": "-1", "confirm": "on"}, "is no amount of USD above 0"),
        ({**LIVE, "max_cost": "nan", "confirm": "on"}, "is no amount of USD above 0"),
        ({**LIVE, "max_cost": "1"}, "Say that it may be spent."),
        ({**LIVE, "routers_live": "knn", "max_cost": "1", "confirm": "on"}, "This proxy has no router `knn`"),
        ({**LIVE, "grader": "", "max_cost": "1", "confirm": "on"}, "choose one"),
    ],
)
def test_a_form_that_is_wrong_starts_nothing(
    http: httpx.Client, benched: Benched, fields: dict[str, str], said: str
) -> None:
    reply = http.post("/ui/bench/new", data=fields)
    assert reply.status_code == 422, reply.headers
    assert said in reply.text
    assert BAD not in reply.text


def test_what_no_form_of_ours_sends(http: httpx.Client, benched: Benched) -> None:
    assert http.post("/ui/bench/new", data={**FORM, "upstream": "elsewhere"}).status_code == 400
    assert http.post("/ui/bench/suites", data={"name": "--help"}).status_code == 404
    assert http.get("/ui/bench/runs/zzz").status_code == 404
    assert http.get(f"/ui/bench/runs/{benched.before[:23]}").status_code == 307
    assert http.get("/ui/bench/starts/..%2f..").status_code == 404
    assert http.get("/ui/bench/suites/nothing").status_code == 404
    assert http.get(f"{suite_path()}/items/99").status_code == 404
    assert http.get(f"/ui/bench/runs/{benched.before}/items?page=0").status_code == 422


def test_a_live_run_spends_no_more_than_was_said(site: Site, locked: str, benched: Benched) -> None:
    with httpx.Client(base_url=locked, trust_env=False, timeout=60, follow_redirects=False) as http:
        assert http.post("/ui/sign-in", data={"key": ADMIN}).status_code == 303
        wanted = {**LIVE, "split": "all"}
        estimate = http.post("/ui/bench/check", data=wanted).text
        assert "30 (30 items)" in estimate
        assert "whether the cheapest or the dearest model answers everything" in estimate
        asked = len(site.upstream.chats)
        wanted |= {"max_cost": "0.02", "confirm": "on", "concurrency": "1"}
        address = http.post("/ui/bench/new", data=wanted).headers["location"]
        seen = set()
        for _ in range(2000):
            reply = http.get(address)
            for process in psutil.process_iter(["cmdline"]):
                if "--run-file" in " ".join(process.info["cmdline"] or ()):
                    seen.add(" ".join(process.info["cmdline"]))
            address = reply.headers.get("location", address)
            if ">stopped</span>" in reply.text and "stopped at --max-cost" in reply.text:
                break
            time.sleep(0.05)
        else:
            raise AssertionError(reply.text)
        assert 0 < len(site.upstream.chats) - asked < 30
        assert "of $0.0200" in reply.text
        assert seen
        folder = site.program.folder / "data" / "bench"
        for key in (KEY, ADMIN):
            assert key not in "".join(seen) + reply.text
            assert not [file for file in folder.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]
        run = address.rpartition("/")[2]
        again = http.get("/ui/bench/new", params={"run": run}).text
        assert "it goes on where it stopped" in again
        assert 'value="0.02"' in again


def test_a_run_is_stopped_and_goes_on(visit: Callable[..., Visitor], site: Site, benched: Benched) -> None:
    visitor = visit(f"/ui/bench/new?suite={quote(ODD)}")
    page = visitor.page
    page.get_by_role("radio", name=re.compile("live")).check()
    page.get_by_role("checkbox", name="dear", exact=True).check()
    page.get_by_label("Tradeoffs").fill("0")
    page.get_by_label("Part").select_option("all")
    page.get_by_label("Grader").select_option("contains")
    page.get_by_label("Stop at so many USD").fill("5")
    page.get_by_label("It may spend that much").check()
    page.get_by_label("Calls in flight").fill("1")
    # Not the unfinished run of another test.
    page.get_by_label("Begin anew").check()
    # The third item is never answered, so that it does not end before it is stopped.
    asked = len(site.upstream.chats)
    site.upstream.next(Answer(text="one"), Answer(text="two"), Fault("stall"))
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/bench/runs/*")
    stopped = page.url
    expect(page.get_by_role("progressbar", name="Calls done")).to_have_attribute("value", "2")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status").filter(has_text="stopped")).to_be_visible()
    expect(page.locator("p.notice", has_text="interrupted; what is done is kept")).to_be_visible()
    visitor.check()
    page.get_by_role("link", name="Resume").click()
    expect(page.get_by_role("main")).to_contain_text("it goes on where it stopped")
    page.get_by_label("It may spend that much").check()
    page.get_by_label("Calls in flight").fill("64")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/bench/runs/*")
    assert page.url == stopped
    expect(page.get_by_role("link", name="Report", exact=True)).to_be_visible()
    assert len(site.upstream.chats) - asked == 30 + 1, "nothing but what was not answered is asked again"
    visitor.check()
