"""The leaderboard in a terminal and the page: complete, legible at any width, and safe whatever things are called."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from rich.cells import cell_len
from rich.console import Console

from app.bench import wording
from app.bench.figures import ModelPrice, Report
from app.bench.render_csv import render_csv
from app.bench.render_html import policy_of, render_html
from app.bench.render_terminal import render_leaderboard
from app.bench.report import build_report
from app.bench.results import RouterResult
from app.bench.scoring import look_up
from tests.bench.tables import small_suite

EVIL = "</script><script>alert(1)</script>"
MODELS = ("tiny-model", "middle-model", "large-model")


def report_on(
    *,
    name: str = "small",
    models: tuple[str, ...] = MODELS,
    router: str = "mine",
    simulated: bool = False,
    called: bool = False,
    recorded: bool = True,
    free: bool = False,
    **kwargs: Any,
) -> Report:
    rng = np.random.default_rng(0)
    quality = (rng.random((80, 3)) < [0.5, 0.7, 0.9]).astype(float)
    cost = rng.uniform(0.8, 1.2, (80, 3)) * [0.0 if free else 0.0001, 0.003, 0.02]
    suite = small_suite(quality, cost, models=models, name=name, simulated=simulated)
    rows, outcomes = suite.rows("test", 1), suite.outcomes()
    settings = [look_up(outcomes, rows, np.full(len(rows), model), model / 2) for model in range(3)]
    if called:
        seconds = np.full(len(rows), 0.25)
        settings = [replace(setting, latency=seconds, overhead=seconds / 1000) for setting in settings]
    best = (outcomes.quality[rows] - outcomes.cost[rows]).argmax(axis=1)
    worst = (outcomes.quality[rows] - outcomes.cost[rows]).argmin(axis=1)
    results = (
        RouterResult(router, tuple(settings), {"k": 3}),
        RouterResult("seer", (look_up(outcomes, rows, best, 0.5),)),
        RouterResult("fool", (look_up(outcomes, rows, worst, 0.5),)),
    )
    given: dict[str, Any] = {"split": "test", "seed": 1, "quality_source": "recorded", "tradeoffs": (0.0, 0.5, 1.0)}
    given |= {"kind": "replay" if called else "score", "draws": 100}
    return build_report(
        suite=suite, rows=rows, results=results, outcomes=outcomes if recorded else None, **(given | kwargs)
    )


def printed(report: Report, width: int = 140) -> str:
    out = io.StringIO()
    render_leaderboard(report, Console(file=out, width=width))
    return out.getvalue()


# -------------------------------------------------------------------------------------------------- terminal


def test_the_leaderboard_holds_every_router_and_every_baseline() -> None:
    report = report_on()
    text = printed(report)
    for name in ("mine", "seer", "fool", "oracle", "know the dataset", "prompt length", "zero router", "random"):
        assert name in text
    for name in ("best single", "cheapest", "tiny-model", "large-model"):
        assert name in text
    router = next(router for router in report.routers if router.router == "seer")
    assert router.aiq is not None
    assert router.delta_aiq is not None
    delta = router.delta_aiq
    assert f"{router.aiq:.4f}" in text
    interval = f"[{wording.signed(delta.low)}, {wording.signed(delta.high)}]"
    assert f"{wording.signed(delta.value)} {interval}" in text
    assert text.index("seer ") < text.index("mine ") < text.index("fool ")
    assert text.index("fool ") < text.index("baselines")


def test_the_leaderboard_says_what_it_is_about() -> None:
    report = report_on()
    text = " ".join(printed(report).split())
    assert report.headline in text
    assert "24 test items · seed 1 · quality recorded · scored from recorded outcomes" in text
    assert "No difference shown: mine." in text
    for note in report.notes:
        assert note in text


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
@pytest.mark.parametrize("called", [False, True])
def test_no_figure_is_cut_at_any_width(width: int, called: bool) -> None:
    text = printed(report_on(called=called, simulated=True), width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    if width >= 80:
        rows = [line for line in text.splitlines() if re.match(r" (mine|seer|fool) ", line)]
        assert len(rows) == 3
        assert all(re.search(r"\d\.\d{4} +[−+ ]\d\.\d{4} \[[−+]?\d\.\d{4}, [−+]?\d\.\d{4}\]", row) for row in rows)
        assert not any("…" in row.split("%")[0] for row in rows)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_model_share_is_whole_at_any_width(width: int) -> None:
    text = printed(report_on(called=False, simulated=False), width)
    shares = text[text.index("Model share") :]
    for router in report_on(called=False, simulated=False).routers:
        for model in router.points[router.best_point].share:
            assert model in shares


def test_times_stand_only_where_something_was_called() -> None:
    silent, called = printed(report_on()), printed(report_on(called=True))
    assert "overhead" not in silent
    assert "Nothing was called" in silent
    assert "overhead" in called
    assert "250 ms" in called
    assert "250 µs" in called


def test_simulated_models_are_announced() -> None:
    assert "SIMULATED MODELS" in printed(report_on(simulated=True))
    assert "SIMULATED" not in printed(report_on())


def test_what_is_not_a_terminal_gets_plain_text_and_no_markup() -> None:
    text = printed(report_on(router="[red]mine[/red]", models=("[bold]a", "b", "c"), name="[link=x]s"))
    assert "\x1b" not in text
    assert "[red]mine[/red]" in text
    assert "[bold]a" in text
    assert "[link=x]s" in text


def test_without_recorded_outcomes_the_leaderboard_has_no_baselines() -> None:
    text = printed(report_on(recorded=False))
    assert "mine" in text
    assert "baselines," in text  # in the note
    assert "know the dataset" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0674, "0.0674"), (0.2, "0.200"), (4.7501, "4.75"), (1234.5, "1,234.50"), (1e-5, "<0.001")],
)
def test_money_is_written_as_precisely_as_it_matters(value: float, text: str) -> None:
    assert wording.money(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00025, "250 µs"), (0.0123, "12.3 ms"), (0.25, "250 ms"), (0.9999, "1.00 s"), (75.5, "75.50 s")],
)
def test_seconds_are_written_in_the_unit_that_fits(value: float, text: str) -> None:
    assert wording.seconds(value) == text


def two_models(**kwargs: Any) -> Report:
    """A report on a pool of two models, with a router that foretells and one that does not."""
    rng = np.random.default_rng(0)
    suite = small_suite((rng.random((60, 2)) < [0.5, 0.9]).astype(float), [[0.001, 0.01]] * 60, models=MODELS[:2])
    rows, outcomes = suite.rows("test", 1), suite.outcomes()
    setting = look_up(outcomes, rows, np.arange(len(rows)) % 2, 0.5)
    foretold = replace(setting, predicted_quality=np.full(len(rows), 0.75), predicted_cost=setting.cost * 2)
    return build_report(
        suite=suite,
        rows=rows,
        results=(RouterResult("prophet", (foretold,)), RouterResult("mute", (setting,))),
        outcomes=outcomes,
        **{"split": "test", "seed": 1, "quality_source": "recorded", "tradeoffs": (0.5,), "kind": "score", "draws": 100}
        | kwargs,
    )


def test_two_models_have_a_column_of_their_own() -> None:
    report = two_models()
    assert report.routers[0].pair is not None
    text = printed(report)
    assert f"{report.routers[0].pair.apgr:.3f}" in text
    assert "APGR: part of the gap" in text
    assert "APGR" not in printed(report_on())


def test_the_difference_to_the_best_single_model_stands_where_there_is_room() -> None:
    report = report_on()
    test = next(router for router in report.routers if router.router == "seer").against_best_single
    assert test is not None
    assert test.p_holm is not None
    text = printed(report, 160)
    assert f"{wording.signed(test.difference.value)} {wording.p_value(test.p_holm)}" in text
    assert "Δ best: quality over the best single model, large-model" in text
    assert "Δ best" not in printed(report, 80)


@pytest.mark.parametrize(("p", "text"), [(0.0004, "p < 0.001"), (0.031, "p 0.031"), (0.5, "p 0.50"), (1.0, "p 1.0")])
def test_a_p_value_is_written_as_precisely_as_it_matters(p: float, text: str) -> None:
    assert wording.p_value(p) == text


# ------------------------------------------------------------------------------------------------------ page


class Page(HTMLParser):
    """What a browser would see: visible text, elements that fetch something, the data of the figure."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.text = ""
        self.scripts = 0
        self.attributes: set[str] = set()
        self.fetches: list[str] = []
        self.figure: Any = None
        self._inside: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        self.attributes |= given.keys()
        self.fetches += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        if tag in {"script", "style", "title"}:
            self._inside.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1][0] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += data
        elif self._inside[-1][1].get("id") == "figure":
            self.figure = json.loads(data)


def test_the_page_stands_alone() -> None:
    document = render_html(report_on())
    assert Page(document).fetches == []
    assert "default-src 'none'" in document
    assert "Plotly" in document
    assert "@import" not in document.split("<body>")[0]
    assert "prefers-color-scheme: dark" in document


def test_the_page_holds_the_same_figures_as_the_report() -> None:
    report = report_on()
    page = Page(render_html(report))
    text = " ".join(page.text.replace("\xa0", " ").split())
    assert report.headline in text
    assert report.suite_digest in text
    for router in report.routers:
        assert router.delta_aiq is not None
        low, high = wording.signed(router.delta_aiq.low), wording.signed(router.delta_aiq.high)
        assert f"{wording.signed(router.delta_aiq.value)} [{low}, {high}]" in text
    for note in report.notes:
        assert note in text
    assert report.created_at.strftime("%Y-%m-%d %H:%M:%S") in text
    assert "No difference shown: mine" in text


def test_the_page_holds_every_paired_test() -> None:
    report = report_on()
    document = html.unescape(render_html(report))
    text = " ".join(Page(document).text.split())
    for router in report.routers:
        for test in (router.against_best_single, router.against_zero):
            assert test is not None
            assert test.p_holm is not None
            assert (
                f'<td>{wording.p_value(test.p_holm)[2:]}</td><td class="left">{wording.finding(test)}</td>' in document
            )
        assert router.conclusion is not None
        assert router.conclusion in text.replace("\xa0", " ")
    assert "zero router at equal cost" in text
    assert "Paired tests" not in Page(render_html(report_on(recorded=False))).text


def test_the_page_shows_two_models_and_calibration_where_there_are_any() -> None:
    report = two_models()
    pair, point = report.routers[0].pair, report.routers[0].points[0]
    assert pair is not None
    assert point.calibration is not None
    assert point.arena is not None
    document = render_html(report)
    assert "Between two models" in document
    assert f"<td>{pair.pgr:.3f}</td><td>{pair.apgr:.3f}</td><td>{pair.auc:.3f}</td>" in document
    calibration = f"<td>{point.calibration.brier:.3f}</td><td>{point.calibration.ece:.3f}</td><td>100%</td>"
    assert f"<td>{100 * point.arena:.1f}</td>{calibration}" in document
    other = render_html(report_on(recorded=False))
    assert "Between two models" not in other
    assert '<th scope="col">ECE</th>' not in other


def test_the_figure_draws_every_point() -> None:
    report = report_on()
    series = {one["name"]: one for one in Page(render_html(report)).figure["series"]}
    assert set(series) == {
        "mine", "seer", "fool", "single models", "zero router", "oracle curve", "random", "know the dataset",
        "prompt length",
    }  # fmt: skip
    mine = next(router for router in report.routers if router.router == "mine")
    assert series["mine"]["x"] == [point.cost_per_1k for point in mine.points]
    assert series["mine"]["y"] == [point.quality for point in mine.points]
    assert series["single models"]["labels"] == [single.model for single in report.pool]
    # The zero router's hull goes on flat to the dearest model, as AIQ counts it.
    assert series["zero router"]["x"][-1] == max(single.cost_per_1k for single in report.pool)


def test_shares_add_up_to_what_was_answered() -> None:
    document = render_html(report_on())
    tracks = re.findall(r'<div class="track">(.*?)</div>', document, flags=re.S)
    assert len(tracks) == 3 + 1 + 1 + 3 + 3  # settings of mine, seer, fool, know the dataset, prompt length
    for track in tracks:
        assert sum(float(width) for width in re.findall(r"width: ([\d.]+)%", track)) == pytest.approx(100, abs=0.01)


def test_names_cannot_break_out_of_the_page() -> None:
    models = (EVIL, '" onmouseover="alert(1)', "<b>&amp;</b>")
    report = report_on(name=EVIL, models=models, router=EVIL, run=EVIL, notes=[EVIL], upstream="{{ 7 * 7 }}")
    document = render_html(report)
    assert "<script>alert" not in document
    page = Page(document)
    assert page.scripts == Page(render_html(report_on())).scripts
    assert EVIL in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "onmouseover" not in page.attributes
    data = re.search(r'id="figure">(.*?)</script>', document, flags=re.S)
    assert data is not None
    assert not re.search("[<>&]", data[1])
    # plotly reads labels as markup of its own, so in them the names are escaped once more.
    labels = next(one["labels"] for one in page.figure["series"] if one["role"] == "models")
    assert all("<" not in label for label in labels)


def test_the_word_simulated_stands_on_top_only_where_it_is_true() -> None:
    badge = '<span class="badge">Simulated models</span>'
    assert badge in render_html(report_on(simulated=True))
    assert badge not in render_html(report_on())


def test_times_have_columns_only_where_something_was_called() -> None:
    assert '<th scope="col">overhead</th>' not in render_html(report_on())
    document = render_html(report_on(called=True))
    assert '<th scope="col">overhead</th>' in document
    assert "250 ms / 250 ms / 250 ms" in document


def test_a_page_without_recorded_outcomes() -> None:
    page = Page(render_html(report_on(recorded=False)))
    assert {one["name"] for one in page.figure["series"]} == {"fool", "mine", "seer"}
    assert "no pool recorded" in page.text
    assert "Nothing is recorded" in page.text


def test_a_free_model_rules_out_the_log_axis() -> None:
    assert Page(render_html(report_on(free=True))).figure["free"] is True
    assert Page(render_html(report_on())).figure["free"] is False


# ------------------------------------------------------------------------------------- categories, losses, prices


def many_categories(count: int, **kwargs: Any) -> Report:
    """Twelve items in each of `count` categories."""
    rng = np.random.default_rng(0)
    kinds = [f"kind {place % count}" for place in range(12 * count)]
    quality = (rng.random((len(kinds), 3)) < [0.5, 0.7, 0.9]).astype(float)
    suite = small_suite(quality, rng.uniform(0.5, 1, (len(kinds), 3)) * [0.001, 0.002, 0.01], categories=kinds)
    rows, outcomes = np.arange(len(kinds)), suite.outcomes()
    settings = [look_up(outcomes, rows, rng.integers(0, 3, len(rows)), place / 2) for place in range(3)]
    given: dict[str, Any] = {"split": "all", "seed": 1, "quality_source": "recorded", "tradeoffs": (0.5,)}
    given |= {"kind": "score", "draws": 50, "outcomes": outcomes}
    return build_report(suite=suite, rows=rows, results=(RouterResult("mine", tuple(settings)),), **(given | kwargs))


def plots(document: str) -> list[str]:
    return re.findall(r'<svg class="small" .*?</svg>', document, flags=re.S)


@pytest.mark.parametrize("count", [2, 60])
def test_every_category_has_a_plot_a_line_and_a_bar(count: int) -> None:
    report = many_categories(count)
    document = render_html(report)
    assert len(plots(document)) == count
    for plot in plots(document):
        assert plot.count('class="dot-mark"') == 3
        assert plot.count('class="model"') == 3
        assert plot.count('class="bar"') == 1
        assert "NaN" not in plot
        for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', plot):
            assert 0 <= float(x) <= 320
            assert 0 <= float(y) <= 214
    assert document.count('<th scope="row"') == count
    tracks = re.findall(r'<div class="track">', document)
    assert len(tracks) == 3 + 1 + 1 + count  # settings of mine, know the dataset, prompt length; the categories
    assert ("48 smaller categories" in document) == (count == 60)
    delta = report.categories[0].routers[0].delta_aiq
    assert delta is not None
    assert f"{wording.signed(delta.value)} [{wording.signed(delta.low)}, {wording.signed(delta.high)}]" in document


def test_one_category_has_no_plot_of_its_own() -> None:
    document = render_html(report_on())
    assert "All 24 items are of one category, only" in Page(document).text
    assert plots(document) == []


def test_categories_without_a_pool_have_plots_and_no_differences() -> None:
    document = render_html(many_categories(3, outcomes=None))
    assert len(plots(document)) == 3
    assert "Δ AIQ over the zero router" not in document


def test_a_free_model_puts_every_plot_on_a_linear_axis() -> None:
    report = many_categories(2)
    free = [
        replace_struct(category, pool=(replace_struct(category.pool[0], cost_per_1k=0.0), *category.pool[1:]))
        for category in report.categories
    ]
    for plot in plots(render_html(replace_struct(report, categories=tuple(free)))):
        assert ">$0<" in plot


def test_what_was_foretold_is_drawn_and_written_out() -> None:
    report = two_models()
    found = report.routers[0].points[0].calibration
    assert found is not None
    document = render_html(report)
    assert document.count('<svg class="small square"') == 2  # prophet, and the length baseline
    (part,) = found.bins
    interval = f"[{part.interval.low:.3f}, {part.interval.high:.3f}]"
    assert f"<td>{part.predicted:.3f}</td><td>{part.observed:.3f} {interval}</td>" in document
    silent = report_on(recorded=False)
    assert "Calibration</h2>" not in render_html(silent)


def test_losses_are_read_with_both_replies_escaped() -> None:
    report = report_on()
    router = next(router for router in report.routers if router.router == "fool")
    assert router.losses is not None
    loss = replace_struct(
        router.losses.items[0], item=EVIL, prompt=f"{EVIL} {{{{ 7 * 7 }}}}", reply=f"picked {EVIL}", best_reply=None
    )
    changed = replace_struct(router, losses=replace_struct(router.losses, items=(loss,)))
    routers = tuple(changed if one is router else one for one in report.routers)
    document = render_html(replace_struct(report, routers=routers))
    page = Page(document)
    assert "<script>alert" not in document
    assert f"picked {EVIL}" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "The reply was not stored." in page.text
    assert f"worse than the best model on {router.losses.worse} of 24 items" in " ".join(page.text.split())
    assert page.scripts == Page(render_html(report)).scripts


def test_prices_stand_where_they_are_known() -> None:
    price = ModelPrice(model="tiny-model", input_per_1m=0.15, output_per_1m=0.6, source="config")
    stranger = ModelPrice(model="stranger", input_per_1m=3, output_per_1m=15, source="litellm 1.2")
    document = " ".join(Page(render_html(report_on(prices=[price, stranger]))).text.split())
    assert "Rates as the calls were billed at" in document
    document = render_html(report_on(prices=[price, stranger]))
    assert '<td>0.15</td><td>0.6</td><td class="left">config</td>' in document
    assert '<td>3</td><td>15</td><td class="left">litellm 1.2</td>' in document
    assert "Recorded costs: every outcome states what it cost" in render_html(report_on())


def test_a_report_stored_before_these_figures_still_loads_and_shows() -> None:
    raw = json.loads(two_models().to_json())
    del raw["categories"], raw["prices"]
    for router in [*raw["routers"], raw["baselines"]["length"]]:
        router.pop("losses")
        for point in router["points"]:
            if point["calibration"] is not None:
                del point["calibration"]["bins"]
    for single in raw["pool"]:
        del single["quality_interval"], single["cost_interval"]
    old = Report.from_json(json.dumps(raw))
    assert (old.categories, old.prices, old.routers[0].losses) == ((), (), None)
    page = Page(render_html(old))
    assert "By category" not in page.text
    assert "Where it lost most" not in page.text
    assert "Calibration" not in page.text
    assert "prophet" in printed(old)
    assert "prophet" in render_csv(old)


@pytest.mark.parametrize(
    ("cost", "text"),
    [(0, "$0"), (0.00247, "$0.00247"), (0.0000771234, "$0.0000771"), (12.345, "$12.35"), (0.1, "$0.1")],
)
def test_the_cost_of_one_call(cost: float, text: str) -> None:
    assert wording.usd(cost) == text


def test_the_page_runs_its_own_scripts_and_no_other() -> None:
    page = render_html(report_on(name=EVIL, router=EVIL))
    policy = policy_of(page)
    scripts = re.findall(r"<script(?: [^>]*)?>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    # The first one is data; plotly.js and the page's own follow.
    assert policy.split(";")[1].split() == ["script-src", *(f"'sha256-{digest}'" for digest in digests[1:])]
    assert len(digests) == 3
    with pytest.raises(ValueError, match="not a report's page"):
        policy_of("<html></html>")
