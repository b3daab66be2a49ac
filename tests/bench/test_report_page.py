"""The report in a real browser: it draws, complains of nothing, asks nobody for anything, and fits a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Request

from app.bench import bundled
from app.bench.plan import Plan, RouterSpec
from app.bench.render_html import render_html
from app.bench.run import score
from tests import chromium

OUTSIDE = """
[...document.querySelectorAll('svg.small')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    const across = box.left < frame.left - 1 || box.right > frame.right + 1;
    return across || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map(text => text.textContent);
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    specs = tuple(RouterSpec.parse(text) for text in ("cheapest", "uniform", "ridge"))
    report = score(Plan(bundled.load(), specs, (0.0, 0.4, 1.0)))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(report))
    return path


@pytest.mark.xdist_group("browser")
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_page(browser: Browser, page_file: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            said.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            asked.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", on_request)
    page.goto(page_file.as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert page.locator("text=SIMULATED").count() or page.locator("text=simulated").count()
    assert page.locator(".js-plotly-plot .scatterlayer .trace").count() >= 3
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"the page is {overflow} px wider than the window"
    assert page.locator("svg.small").count() >= 8, "a plot for each category, and a reliability diagram"
    # The longest texts of the page are in what opens on demand.
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert page.locator("details.loss pre").first.is_visible()
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"opened, the page is {overflow} px wider than the window"
    assert chromium.barriers(page) == []
    cut = page.evaluate(OUTSIDE)
    assert cut == [], "labels that stand outside their plot"
    page.get_by_text("linear", exact=True).click()
    page.wait_for_function("document.querySelector('.js-plotly-plot').layout.xaxis.type === 'linear'")
    assert said == []
    assert asked == []
    context.close()
