"""The overview: true, live, and of use when there is nothing to see yet."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from playwright.sync_api import Browser, Locator, Page, Route, expect

from app.store import migrate
from tests.cli.program import Program
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import HttpError
from tests.pages.conftest import ADMIN, LOOKS, Site, Visitor, config, visiting
from tests.serving import models

HOSTILE = "<img src=x onerror=\"document.title='stolen'\"><script>document.title='stolen'</script>"


@contextmanager
def proxy(
    folder: Path, fake: FakeOpenAI, url: str, *, changed: dict[str, Any] | None = None, **environ: str
) -> Iterator[str]:
    """A proxy of its own; gives its address."""
    (folder / "hullspeed.yaml").write_text(yaml.safe_dump({**config(fake.url), **(changed or {})}))
    program = Program(folder, {"HULLSPEED_DATA_DIR": str(folder / "data"), "DATABASE_URL": url})
    with program.serving("--config", "hullspeed.yaml", **environ) as served:
        yield served.url


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=30)


def ask(url: str, **fields: Any) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], **fields}
    with client(url) as http:
        return http.post("/v1/chat/completions", json=body)


def figure(page: Page, name: str) -> str:
    """What a tile shows."""
    tile = page.locator(".tile").filter(has=page.locator("dt", has_text=re.compile(f"^{name}")))
    return tile.locator(".figure").inner_text()


def active(page: Page) -> str:
    """The text of what has the focus: windows of a browser that shows none have no focus themselves."""
    text: str = page.evaluate("document.activeElement.textContent")
    return text


def drawn(page: Page) -> None:
    """Wait until every chart has something in it."""
    for name in ("models", "times", "errors"):
        expect(page.locator(f"[data-figure*='charts/{name}'][data-drawn]").first).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_looks(visit: Callable[..., Visitor], width: int, scheme: str) -> None:
    visitor = visit("/ui/?period=30d", width, scheme)
    page = visitor.page
    expect(page).to_have_title("Overview – Hullspeed")
    drawn(page)
    expect(page.get_by_role("status").filter(has_text="models are up")).to_contain_text("The ledger takes calls")
    expect(page.locator("#models").get_by_role("link", name="small", exact=True)).to_be_visible()
    visitor.check()


WRITTEN = """
  const { fillText: write, clearRect: clear } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.clearRect = function () {
    this.canvas.written = [];
    return clear.apply(this, arguments);
  };
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    const { a, b, c, d, e, f } = this.getTransform();
    const measured = this.measureText(text);
    const [left, right] = [x - measured.actualBoundingBoxLeft, x + measured.actualBoundingBoxRight];
    const [top, bottom] = [y - measured.actualBoundingBoxAscent, y + measured.actualBoundingBoxDescent];
    this.canvas.written.push({ text, left: left + e, right: right + e, top: top + f, bottom: bottom + f });
    return write.apply(this, arguments);
  };
"""
"""Has each canvas keep what is written on it and where."""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("query", ["", "?show=spend&period=all", "?show=share&period=1h&source=all", "?period=7d"])
def test_labels_of_charts_have_room(visit: Callable[..., Visitor], site: Site, width: int, query: str) -> None:
    """None is cut, and none stands over another."""
    assert ask(site.url).status_code == 200
    page = visit("/ui/try", width, "light").page
    page.add_init_script(WRITTEN)
    page.goto(f"/ui/{query}")
    # Where nobody has called lately, the call is drawn when it is asked for the next time.
    expect(page.locator("[data-figure*='charts/times'] canvas")).to_be_visible()
    drawn(page)
    charts = page.evaluate("""() => [...document.querySelectorAll(".chart canvas")].map(
      ({ written, width, height }) => ({ width, height, labels: written }))""")
    assert charts
    for chart in charts:
        labels = chart["labels"]
        assert len(labels) > 4
        for label in labels:
            assert label["left"] >= 0, label
            assert label["top"] >= 0, label
            assert label["right"] <= chart["width"], label
            assert label["bottom"] <= chart["height"], label
        for one, other in itertools.combinations(labels, 2):
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            assert apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"], (one, other)


NAMES = ("^latency p99 ", "^latency p50 ", "^overhead p99 ", "^overhead p50 ")
"""The series of the chart of times, as it tells them."""


def told(page: Page, name: str) -> Locator:
    """What a chart tells of the step under the pointer."""
    return page.locator(f"[data-figure*='charts/{name}'] .chart-told")


def test_a_chart_tells_what_is_under_the_pointer(visit: Callable[..., Visitor], site: Site) -> None:
    visitor = visit("/ui/?period=30d&source=replay")
    page = visitor.page
    drawn(page)
    with client(site.url) as http:
        given = http.get("/ui/overview/charts/models?period=30d&source=replay").json()
    full = next(place for place, at in enumerate(given["at"]) if any(one["values"][place] for one in given["series"]))
    chart = page.locator("[data-figure*='charts/models']")
    left = chart.evaluate("(chart, place) => chart.plot.valToPos(chart.plot.data[0][place], 'x')", full)
    chart.locator(".u-over").hover(position={"x": left, "y": 100})
    there = [(one["name"], one["texts"][full]) for one in given["series"] if one["texts"][full] is not None]
    assert there
    expect(told(page, "models").locator("p:not(:first-child)")).to_have_text(
        [f"{name} {text}" for name, text in reversed(there)]
    )
    expect(told(page, "models").locator("p").first).to_have_text(re.compile(r"^[A-Z][a-z]{2} \d+"))
    page.mouse.move(0, 0)
    expect(told(page, "models")).to_be_hidden()
    visitor.is_quiet()


def test_a_chart_is_read_with_keys(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/ui/?period=30d")
    page = visitor.page
    drawn(page)
    page.locator("[data-figure*='charts/times']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Home")
    entries = told(page, "times").locator("p")
    while entries.count() == 2:
        expect(entries.last).to_have_text("nothing")
        page.keyboard.press("ArrowRight")
    expect(entries).to_have_text([re.compile("^[A-Z]"), *map(re.compile, NAMES)])
    before = entries.first.inner_text()
    page.keyboard.press("ArrowRight")
    expect(entries.first).not_to_have_text(before)
    visitor.check()
    page.keyboard.press("ArrowLeft")
    expect(entries.first).to_have_text(before)
    page.keyboard.press("Escape")
    expect(told(page, "times")).to_be_hidden()


def test_a_part_of_a_chart_stays_in_sight(visit: Callable[..., Visitor]) -> None:
    """What the reader has drawn over, while the figures come again, in other colours and in a window of another size; a
    double click shows all."""
    page = visit("/ui/try").page
    page.clock.install()
    page.goto("/ui/?period=30d")
    drawn(page)
    chart = page.locator("[data-figure*='charts/models']")
    seen = "chart => [chart.plot.scales.x.min, chart.plot.scales.x.max]"
    whole = chart.evaluate(seen)
    over = chart.locator(".u-over").bounding_box()
    assert over is not None
    page.mouse.move(over["x"] + 0.3 * over["width"], over["y"] + 50)
    page.mouse.down()
    page.mouse.move(over["x"] + 0.6 * over["width"], over["y"] + 50, steps=3)
    page.mouse.up()
    part = chart.evaluate(seen)
    assert part[1] - part[0] == pytest.approx(0.3 * (whole[1] - whole[0]), rel=0.05)
    chart.evaluate("chart => { window.before = chart.plot; }")
    page.clock.fast_forward(61_000)
    while chart.evaluate("chart => chart.plot === window.before"):
        page.wait_for_timeout(50)
    assert chart.evaluate(seen) == part
    colour = chart.evaluate("chart => chart.plot.axes[0].stroke()")
    page.locator("#theme").click()
    assert chart.evaluate("chart => chart.plot.axes[0].stroke()") != colour
    assert chart.evaluate(seen) == part
    page.set_viewport_size({"width": 900, "height": 900})
    while chart.evaluate("chart => chart.plot.width !== chart.clientWidth"):
        page.wait_for_timeout(50)
    assert chart.evaluate(seen) == part
    chart.locator(".u-over").dblclick()
    assert chart.evaluate(seen) == whole


def test_the_figures_of_charts_are_asked_for_once(visit: Callable[..., Visitor]) -> None:
    """By the page's head; what draws them takes what that has brought."""
    page = visit("/ui/try").page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/ui/?period=30d&show=share")
    drawn(page)
    charts = sorted(url.partition("charts/")[2] for url in asked if "/charts/" in url)
    assert charts == [f"{name}?period=30d&show=share" for name in ("errors", "models", "times")]
    by = page.evaluate("""() => performance.getEntriesByType("resource")
      .filter(({ name }) => name.includes("/charts/")).map(({ initiatorType }) => initiatorType)""")
    assert by == ["link"] * 3


def test_a_step_alone_is_seen(visit: Callable[..., Visitor]) -> None:
    """A line has two ends: without a dot, a step whose neighbours had no calls would not be drawn at all."""
    page = visit("/ui/try").page
    page.add_init_script("""
      window.dots = [];
      const arc = Path2D.prototype.arc;
      Path2D.prototype.arc = function (x, y) { window.dots.push([x, y]); return arc.apply(this, arguments); };
    """)
    hours = [3600 * hour for hour in range(6)]

    def figures(route: Route) -> None:
        some = {"colour": "--c0", "dotted": False, "texts": ["some"] * 6}
        series = [
            {**some, "name": "first", "values": [0.1, None, 0.3, 0.2, None, None]},
            {**some, "name": "second", "values": [0.1, 0.2, None, None, None, 0.3]},
            {**some, "name": "third", "values": [0.1, 0.2, 0.3, 0.3, None, None]},
        ]
        axis = {"powers": [[0.1, "100 ms"], [1, "1 s"]]}
        sides = {"since": 0, "until": 6 * 3600, "step": 3600, "at": hours}
        route.fulfill(json={**sides, "stack": False, "axis": axis, "series": series})

    page.route("**/ui/overview/charts/*", figures)
    page.goto("/ui/")
    drawn(page)
    chart = page.locator("[data-figure*='charts/times']")
    where = chart.evaluate("chart => chart.plot.data[0].map((at) => Math.round(chart.plot.valToPos(at, 'x', true)))")
    dots = page.evaluate("window.dots")
    assert {round(x) for x, _ in dots} == {where[0], where[5]}


def test_figures_are_those_of_the_ledger(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/?period=all&source=all").page
    with client(site.url) as http:
        metrics = http.get("/v1/calls", params={"limit": 1}).json()["data"]
    assert metrics
    calls = int(figure(page, "Calls").replace(",", ""))
    assert calls >= 100_000
    assert figure(page, "Spend").startswith("$")
    with client(site.url) as http:
        live, replays = (
            int(re.findall(r"<dt>Calls</dt>\s*<dd[^>]*><span>([\d,]+)", http.get(path).text)[0].replace(",", ""))
            for path in ("/ui/?period=all", "/ui/?period=all&source=replay")
        )
    assert replays > 1_000
    assert abs(live + replays - calls) < 100  # others call meanwhile
    # Every router's row leads to its calls.
    link = page.locator("#routers-title").locator("xpath=ancestor::section").get_by_role("link", name="knn")
    assert link.get_attribute("href") == "/ui/calls?router=knn"


def test_what_is_chosen_is_in_the_address(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/ui/")
    page = visitor.page
    page.get_by_role("navigation", name="Period").get_by_role("link", name="30 d").click()
    expect(page).to_have_url(re.compile(r"/ui/\?period=30d$"))
    expect(page.locator("#period-30d")).to_have_attribute("aria-current", "true")
    drawn(page)
    every = figure(page, "Calls")
    page.get_by_label("Router", exact=True).focus()
    page.get_by_label("Router", exact=True).select_option("knn")
    expect(page).to_have_url(re.compile(r"\?period=30d&router=knn$"))
    expect(page.locator("#router:focus")).to_be_attached()
    expect(page.locator("#tiles .figure").first).not_to_have_text(every)
    page.get_by_label("Compare with").select_option("large")
    expect(page.locator("#tiles")).to_contain_text("Saved against large")
    spend = page.get_by_role("link", name="Spend")
    expect(spend).to_have_attribute("href", re.compile(r"against=large&show=spend$"))
    spend.click()
    expect(page).to_have_url(re.compile(r"\?period=30d&router=knn&against=large&show=spend$"))
    chart = page.locator("[data-figure*='charts/models'][data-figure*='show=spend'][data-drawn]")
    expect(chart).to_be_visible()
    labels = chart.evaluate("chart => chart.plot.axes[1]._values")
    assert labels
    assert all(label.startswith("$") for label in labels), labels
    visitor.is_quiet()
    page.reload()
    expect(page.get_by_label("Compare with")).to_have_value("large")
    page.go_back()
    expect(page.get_by_label("Router", exact=True)).to_have_value("knn")
    expect(page.locator("#show-calls")).to_have_attribute("aria-current", "true")


def test_a_click_while_it_looks_again(visit: Callable[..., Visitor]) -> None:
    """It was lost once: a link that took over how the live part keeps its own questions apart."""
    visitor = visit("/ui/")
    page = visitor.page
    held: list[Route] = []
    page.route("**/ui/overview/live*", lambda route: held.append(route))
    with page.expect_request("**/ui/overview/live*"):
        pass
    page.get_by_role("link", name="Spend").click()
    expect(page).to_have_url(re.compile(r"/ui/\?show=spend$"))
    expect(page.locator("#show-spend")).to_have_attribute("aria-current", "true")
    assert held


def test_it_is_live_and_keeps_the_readers_place(visit: Callable[..., Visitor], site: Site) -> None:
    visitor = visit("/ui/?period=all&source=all")
    page = visitor.page
    drawn(page)
    page.evaluate("window.here = true")
    row = page.locator("#models").get_by_role("link", name="medium", exact=True)
    row.focus()
    page.evaluate("document.querySelector('#models').scrollIntoView()")
    before, at = figure(page, "Calls"), page.evaluate("scrollY")
    reply = ask(site.url, model="medium")
    call = reply.headers["x-hullspeed-call-id"]
    expect(page.locator(f"#call-{call}")).to_be_attached()
    expect(page.locator(f"#call-{call} a")).to_have_attribute("href", f"/ui/calls/{call}")
    assert int(figure(page, "Calls").replace(",", "")) > int(before.replace(",", ""))
    assert active(page) == "medium"
    assert page.evaluate("[window.here, scrollY]") == [True, at]
    expect(page.locator("#live-mark")).to_have_text("Live")
    drawn(page)
    visitor.is_quiet()


def test_it_does_not_ask_while_nobody_looks(visit: Callable[..., Visitor]) -> None:
    page = visit("/ui/try").page
    page.clock.install()
    page.goto("/ui/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true})")
    page.evaluate("window.away = true")
    asked.clear()
    page.clock.run_for(20_000)
    assert asked == []
    with page.expect_request("**/ui/overview/live"):
        page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("period=banana", "period: must be one of 1h, 24h, 7d, 30d, all."),
        ("source=x", "source: must be one of live, replay, all."),
        ("show=pie", "show: must be one of calls, spend, share."),
        (f"router={'r' * 300}", "router: must have 200 characters at most."),
    ],
)
def test_a_wrong_parameter_is_named(site: Site, query: str, said: str) -> None:
    with client(site.url) as http:
        for path in ("/ui/", "/ui/overview/live", "/ui/overview/charts/models"):
            reply = http.get(f"{path}?{query}")
            assert reply.status_code == 422
            assert f"<p>{said}</p>" in reply.text


@pytest.mark.parametrize("query", ["router=%00", "router=none", "against=nobody", "router=nobody&period=all"])
def test_odd_parameters_do_no_harm(site: Site, query: str) -> None:
    with client(site.url) as http:
        for path in ("/ui/", "/ui/overview/live", "/ui/overview/charts/models"):
            assert http.get(f"{path}?{query}").status_code == 200


@pytest.fixture(scope="module")
def troubled(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[], str]
) -> Iterator[tuple[FakeOpenAI, str]]:
    """A provider, and the address of a proxy of an empty ledger that sets its models aside soon; names mean harm."""
    with FakeOpenAI() as fake:
        entries = config(fake.url)
        entries["model_list"] += models(fake.url, HOSTILE)
        entries["routing"] = {"routers": {HOSTILE: {"router": "uniform"}}, "allowed_fails": 1, "cooldown": 600}
        with proxy(tmp_path_factory.mktemp("troubled"), fake, new_database(), changed=entries) as url:
            yield fake, url


def test_hostile_text_is_shown_as_text(browser: Browser, troubled: tuple[FakeOpenAI, str]) -> None:
    """In names of models, in what upstreams say, in the address."""
    _, url = troubled
    for _ in range(2):
        assert ask(url, model=HOSTILE).status_code == 200
    with visiting(browser, url) as visitor:
        page = visitor.page
        page.goto(f"/ui/?router=&against={HOSTILE}")
        drawn(page)
        expect(page.locator("#models").get_by_role("link").first).to_have_text(HOSTILE)
        page.goto("/ui/", wait_until="load")
        page.get_by_label("Router", exact=True).select_option(HOSTILE)
        expect(page.locator("#none-here")).to_contain_text(HOSTILE)
        expect(page).to_have_title("Overview – Hullspeed")
        assert page.locator("img:not([alt=''])").count() == 0
        visitor.is_quiet()


def test_a_model_that_is_down(browser: Browser, troubled: tuple[FakeOpenAI, str]) -> None:
    fake, url = troubled
    assert ask(url, model="small").status_code == 200
    with visiting(browser, url) as visitor:
        page = visitor.page
        page.goto("/ui/")
        expect(page.locator("#health")).to_contain_text("All 4 models are up")
        fake.on("small-target", HttpError(500, f"out of memory {HOSTILE}"))
        for _ in range(3):
            ask(url, model="small")
        expect(page.locator("#health")).to_contain_text("3 of 4 models are up")
        expect(page.locator("#problems")).to_contain_text("small is down: ")
        expect(page.locator("#problems")).to_contain_text(f"out of memory {HOSTILE}")
        expect(page.locator("#model-small .badge")).to_have_text("down")
        expect(page.get_by_role("region", name="Latest failures")).to_contain_text(HOSTILE)
        expect(page).to_have_title("Overview – Hullspeed")
        visitor.check()


def test_the_page_of_a_ledger_that_is_not_ready(
    browser: Browser, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    """It becomes that of an empty ledger once the tables are made."""
    database = new_database()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (migrate._LOCK,))
        with (
            FakeOpenAI() as fake,
            proxy(tmp_path, fake, database) as url,
            visiting(browser, url) as visitor,
        ):
            page = visitor.page
            page.goto("/ui/")
            expect(page.locator("#problems")).to_contain_text("The ledger is not ready yet")
            connection.execute("SELECT pg_advisory_unlock(%s)", (migrate._LOCK,))
            expect(page.get_by_role("heading", name="Make the first call")).to_be_visible()
            visitor.check()


@pytest.mark.parametrize("key", [None, "hs-test-key-0a1b2c3d4e"])
def test_the_first_call(browser: Browser, tmp_path: Path, new_database: Callable[[], str], key: str | None) -> None:
    """The page of an empty ledger shows a command that works, and becomes the live one."""
    environ = {} if key is None else {"HULLSPEED_API_KEY": key}
    with (
        FakeOpenAI() as fake,
        proxy(tmp_path, fake, new_database(), **environ) as url,
        visiting(browser, url) as visitor,
    ):
        page = visitor.page
        if key is None:
            page.goto("/ui/")
        else:
            visitor.sign_in("/ui/", key)
        expect(page.get_by_role("heading", name="Make the first call")).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="Waiting for the first call")).to_be_visible()
        visitor.check()
        command = page.locator("#first-curl").inner_text()
        assert f"{url}/v1/chat/completions" in command
        assert shutil.which("curl"), "curl is not installed"
        done = subprocess.run(
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin", **environ},
        )
        assert '"choices"' in done.stdout, done
        expect(page.locator("#tiles .figure").first).to_have_text("1")
        drawn(page)
        visitor.is_quiet()


def test_without_postgres(browser: Browser, adrift: str) -> None:
    """Calls are served, and the page says so and what it knows all the same."""
    with client(adrift) as http:
        body = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"authorization": f"Bearer {ADMIN}"}
        assert http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    with visiting(browser, adrift) as visitor:
        page = visitor.page
        visitor.sign_in("/ui/")
        expect(page.locator("#health")).to_contain_text("All 3 models are up")
        expect(page.locator("#problems")).to_contain_text("Calls are served all the same")
        expect(page.get_by_role("region", name="Ledger and configuration")).to_contain_text(re.compile("[1-9] rows? "))
        assert figure(page, "Calls") == "–"
        expect(page.locator("[data-figure*='charts/models']")).to_contain_text("The ledger does not answer")
        expect(page.locator("#model-small .badge")).to_have_text("up")
        visitor.check()
