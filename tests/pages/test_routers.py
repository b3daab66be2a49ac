"""The pages of routers and the playground."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from app.api.pages.routers import card_verdict, figure
from routers.knn import KnnRouter
from tests.fakes.replies import Answer, Fault, HttpError, rate_limited
from tests.pages.conftest import LOOKS, Site, Visitor, visiting
from tests.routers import toy
from tests.routers.test_card import CARD
from tests.serving import models

HOSTILE = '"><img src=x onerror=boom()>'
PROMPT = "add total apples price 12"


@pytest.fixture(scope="module")
def lab(site: Site) -> Iterator[str]:
    """The address of a proxy of the same ledger with a trained router, and with names that mean harm."""
    folder = site.program.folder
    router = KnnRouter.fit(toy.outcomes_once(), k=9)
    router.card = CARD
    router.save(folder / "artifacts" / "knn")
    entries = models(site.upstream.url, *toy.MODELS, HOSTILE)
    entries[0]["model_info"] = {"supports_function_calling": False, "max_input_tokens": 4000}
    config = {
        "model_list": entries,
        "routing": {
            "default": "near",
            "routers": {
                "near": {"artifact": "artifacts/knn", "tradeoff": 0.3},
                HOSTILE: {"router": "fixed", "params": {"model": HOSTILE}},
            },
        },
    }
    (folder / "lab.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    with site.program.serving("--config", "lab.yaml") as served:
        yield served.url


@pytest.fixture
def enter(browser: Browser, lab: str) -> Iterator[Callable[..., Visitor]]:
    """Opens a path of the lab in a new window."""
    with contextlib.ExitStack() as stack:

        def open_page(path: str, width: int = 1440, scheme: str = "light") -> Visitor:
            visitor = stack.enter_context(visiting(browser, lab, width, scheme))
            visitor.page.goto(path)
            return visitor

        yield open_page


@pytest.fixture
def http(lab: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lab, trust_env=False, timeout=30) as client:
        yield client


def harmless(page: Page) -> None:
    expect(page.locator("main img")).to_have_count(0)
    expect(page.get_by_role("main")).to_contain_text(HOSTILE)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_looks(enter: Callable[..., Visitor], width: int, scheme: str) -> None:
    visitor = enter("/ui/routers", width, scheme)
    page = visitor.page
    expect(page.get_by_role("heading", name="Routers", exact=True)).to_be_visible()
    page.get_by_text("YAML for rules").click()
    visitor.check()
    harmless(page)
    page.get_by_role("link", name="near", exact=True).first.click()
    expect(page.locator(".chart .main-svg").first).to_be_visible(timeout=30_000)
    visitor.check()
    page.goto(f"/ui/routers/playground?prompt={PROMPT}&system={HOSTILE}&tools=1")
    for summary in page.get_by_text("Over all tradeoffs").all()[:2]:
        summary.click()
    expect(page.locator(".strip")).to_have_count(2)
    visitor.check()
    harmless(page)


def test_what_is_said_of_routers_and_models(enter: Callable[..., Visitor]) -> None:
    page = enter("/ui/routers").page
    expect(page.locator(".hint").first).to_contain_text("auto is decided by near, as routing.default says")
    card = page.get_by_role("article").filter(has=page.get_by_role("link", name="near"))
    for text in ("auto", "trained", "knn, version 1", "0.3 where a request sets none", "toy, 240 items",
                 "+0.0200 [+0.0100, +0.0300]", "better than the zero router", "Knows nothing of"):  # fmt: skip
        expect(card).to_contain_text(text)
    row = page.get_by_role("row").filter(has_text="small-target")
    expect(row).to_contain_text("$1.00")
    expect(row).to_contain_text("4000")
    expect(page.locator(".chain li")).to_have_text([*toy.MODELS, HOSTILE])
    expect(page.get_by_role("row").filter(has_text="needs parameters")).to_have_count(2)


def test_a_model_that_is_down(enter: Callable[..., Visitor], site: Site, http: httpx.Client) -> None:
    site.upstream.next(rate_limited(retry_after="200"), model="poet-target")
    body = {"model": "poet", "messages": [{"role": "user", "content": "hello"}]}
    assert http.post("/v1/chat/completions", json=body).status_code == 429
    page = enter("/ui/routers").page
    expect(page.get_by_role("row").filter(has_text="poet-target")).to_contain_text(
        re.compile("down *it asked to be left alone, set aside for .*, tried again in ")
    )
    part = http.get("/ui/routers/parts/models")
    assert "<html" not in part.text
    assert "tried again" in part.text


def test_a_model_card(enter: Callable[..., Visitor], site: Site, http: httpx.Client) -> None:
    visitor = enter("/ui/routers/near")
    page = visitor.page
    tile = page.locator(".tile")
    expect(tile.filter(has_text="ΔAIQ")).to_contain_text("+0.0200")
    expect(tile.filter(has_text="Verdict")).to_contain_text("better than the zero router")
    expect(tile.filter(has_text="Quality of large")).to_contain_text("40%of its cost, at tradeoff 0.1")
    settings = page.get_by_role("table", name="What tradeoff")
    expect(settings.get_by_role("row")).to_have_count(1 + len(CARD.points))
    expect(settings.get_by_role("row").nth(2)).to_contain_text("$4.00")
    expect(page.get_by_role("table", name="Each model asked").get_by_role("row")).to_have_count(1 + len(CARD.singles))
    kept = [path for path in (site.program.folder / "artifacts" / "knn").iterdir() if path.name != "manifest.json"]
    expect(page.get_by_text("as written")).to_have_count(len(kept))
    expect(page.locator("#retrain")).to_contain_text("hullspeed train knn --suite toy -o")
    expect(page.locator("#retrain")).to_contain_text("--param=k=9")
    figure = http.get("/ui/routers/parts/curve/near").json()
    names = [trace["name"] for trace in figure["data"]]
    assert names == ["zero router: blind mixing", "one model for all", "near: mixing its settings", "its settings"]
    assert figure["data"][3]["x"] == [9, 4, 2, 1]


def test_no_difference_shown() -> None:
    assert card_verdict(replace(CARD, delta_low=-0.01)) == "no difference shown"
    # Of a card without the figures of models, the best single one alone; nothing that plotly would take for markup.
    old = figure("<b>x", replace(CARD, singles=()))
    assert [trace["name"] for trace in old["data"]] == [
        "one model for all",
        "‹b›x: mixing its settings",
        "its settings",
    ]
    assert old["data"][0]["text"] == ["large"]
    wide = figure("x", replace(CARD, best_cost=1.0))
    assert wide["layout"]["xaxis"]["type"] == "log"
    free = figure("x", replace(CARD, best_cost=0.0))
    assert free["layout"]["xaxis"]["type"] == "linear"


def test_a_damaged_artifact_is_seen(site: Site, http: httpx.Client) -> None:
    path = site.program.folder / "artifacts" / "knn" / "items.json"
    kept = path.read_bytes()
    try:
        path.write_text("[]")
        assert http.get("/ui/routers/near").text.count("damaged") == 1
        path.unlink()
        assert "cannot be read" in http.get("/ui/routers/near").text
    finally:
        path.write_bytes(kept)
    assert "damaged" not in http.get("/ui/routers/near").text


def test_a_router_without_a_card(enter: Callable[..., Visitor], http: httpx.Client) -> None:
    page = enter("/ui/routers/length").page
    expect(page.locator("#retrain")).to_have_text("hullspeed train length --suite SUITE -o artifacts/length")
    expect(page.get_by_role("main")).to_contain_text("no call asked for auto/length")
    assert http.get("/ui/routers/parts/curve/length").status_code == 404
    missing = http.get("/ui/routers/nope")
    assert missing.status_code == 404
    assert "there are: near" in missing.text


def test_what_it_picked_in_the_last_day(http: httpx.Client) -> None:
    body = {"model": f"auto/{HOSTILE}", "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(3):
        assert http.post("/v1/chat/completions", json=body).status_code == 200
    # Reading calls waits until what was recorded is in Postgres.
    assert http.get("/v1/calls?limit=1").status_code == 200
    text = http.get(f"/ui/routers/{quote(HOSTILE, safe='')}").text
    assert HOSTILE not in text
    picked = text[text.index("What it picked in the last 24 h") :]
    assert html.escape(HOSTILE) in picked.replace("&#34;", "&quot;")
    assert "<span>100%</span>" in picked


def test_snippets_work_as_they_are(enter: Callable[..., Visitor]) -> None:
    visitor = enter("/ui/routers/near")
    page = visitor.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy").first
    button.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    curl = page.evaluate("() => navigator.clipboard.readText()")
    assert curl == page.locator("#snippet-1").text_content()
    if shutil.which("curl"):
        done = subprocess.run(shlex.split(curl.replace("\\\n", "")), capture_output=True, text=True, check=True)
        assert "x-hullspeed-router: near" in done.stdout
    python = page.locator("#snippet-2").text_content() or ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(python, "snippet", "exec"), {})
    assert "Echo: What is 12 + 30?" in said.getvalue()


def test_decisions_side_by_side_without_a_call(enter: Callable[..., Visitor], site: Site) -> None:
    visitor = enter("/ui/routers/playground")
    page = visitor.page
    expect(page.get_by_text("Nothing asked yet")).to_be_visible()
    before = len(site.upstream.requests)
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_label("Tradeoff as a slider").fill("0.2")
    expect(page.get_by_label("Tradeoff 0 =")).to_have_value("0.2")
    page.get_by_role("button", name="Decide").click()
    cards = page.locator("article.decision")
    expect(cards.first).to_contain_text("near")
    expect(cards.first).to_contain_text("predicted")
    expect(cards.first).to_contain_text("tradeoff 0.2")
    names = cards.locator("h3").all_text_contents()
    assert names[:2] == ["near", HOSTILE]
    assert {"cheapest", "length", "uniform"} <= set(names)
    expect(page.locator("#who")).to_contain_text(f"{len(names)} routers")
    given = parse_qs(urlsplit(page.url).query)
    assert given == {"prompt": [PROMPT], "tradeoff": ["0.2"]}
    assert len(site.upstream.requests) == before
    page.reload()
    expect(cards.first).to_contain_text("tradeoff 0.2")
    page.go_back()
    expect(page.get_by_text("Nothing asked yet")).to_be_visible()
    assert visitor.said == []


def test_the_odd_one_stands_out(http: httpx.Client) -> None:
    page = http.get("/ui/routers/playground", params={"prompt": PROMPT, "tradeoff": "1"}).text
    odd = re.findall(r'<article class="card decision odd" id="router-([^"]*)"', page)
    assert "near" not in odd
    assert len(odd) >= 1
    assert page.count(">differs<") == len(odd)
    same = http.get("/ui/routers/playground", params={"prompt": PROMPT, "models": "coder"}).text
    assert "differs" not in same
    assert "is not a candidate" not in same


def test_who_is_no_candidate_and_why(http: httpx.Client) -> None:
    page = html.unescape(http.get("/ui/routers/playground", params={"prompt": PROMPT, "tools": "1"}).text)
    assert "lacks tools" in page
    page = http.get("/ui/routers/playground", params={"prompt": PROMPT, "max_cost": "0.01"}).text
    assert "is expected to cost" in page
    refused = http.get("/ui/routers/playground", params={"prompt": PROMPT, "max_cost": "0.0000001"}).text
    assert "Refused, as a call with it would be: No model can serve this request" in refused


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "x", "tradeoff": "1.5"}, "from 0 (quality only) to 1"),
        ({"prompt": "x", "tradeoff": "much"}, "from 0 (quality only) to 1"),
        ({"prompt": "x", "max_cost": "nan"}, "A positive number of USD"),
        ({"prompt": "x", "max_cost": "inf"}, "A positive number of USD"),
        ({"prompt": "x", "models": ["small", HOSTILE + "?"]}, "There is no model"),
        ({"body": "{"}, "This is not JSON"),
        ({"body": "[" * 100_000}, "This is not JSON"),
        ({"body": "[1]"}, "A JSON object"),
        ({"body": "{}"}, "`messages` is missing"),
        ({"body": '{"messages": [{"role": "user", "content": "x"}], "api_base": "http://x"}'}, "is not accepted"),
        ({"body": '{"messages": [{"role": "user", "content": "x"}], "routing": {"models": ["gone"]}}'}, "gone"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(http: httpx.Client, given: dict[str, str], said: str) -> None:
    # As a form without scripts sends it.
    reply = http.post("/ui/routers/playground", data=given)
    assert reply.status_code == 200
    assert "</html>" in reply.text
    text = html.unescape(reply.text)
    assert said in text
    for value in given.values():
        for one in [value] if isinstance(value, str) else value[:1]:
            assert one in text
    assert "<img" not in re.sub(r'<img src="/ui/files[^>]*>', "", reply.text)


def test_a_whole_request(http: httpx.Client) -> None:
    body = {"model": "gone", "messages": [{"role": "user", "content": PROMPT}], "routing": {"target_quality": 0.9}}
    text = http.post("/ui/routers/playground", data={"body": json.dumps(body)}).text
    assert "tradeoff 0.3" in text, "the setting that keeps 90 % of the quality"
    assert "needs a router that was validated" in text, "said of each that was not"


def test_a_long_prompt_is_asked_all_the_same(enter: Callable[..., Visitor]) -> None:
    page = enter("/ui/routers/playground?prompt=short").page
    page.get_by_label("Prompt", exact=True).fill("apples " * 3000)
    page.get_by_role("button", name="Decide").click()
    expect(page.get_by_text("too long for an address to share")).to_be_visible()
    assert urlsplit(page.url).query == ""


def test_asking_the_picks(enter: Callable[..., Visitor], site: Site, http: httpx.Client) -> None:
    visitor = enter(f"/ui/routers/playground?prompt={PROMPT}&models=small&models=large&models=coder")
    page = visitor.page
    picks = json.loads(page.locator("[data-ask]").get_attribute("data-ask") or "")["models"]
    assert len(picks) > 1
    expect(page.locator(".ask-row")).to_contain_text("about $")
    answers = dict(zip(picks, ("The answer is **42**.", "So the answer is 42", "The answer is 7."), strict=False))
    for name, text in answers.items():
        site.upstream.next(Answer(text=text), model=f"{name}-target")
    page.get_by_role("button", name="Ask these models").click()
    status = page.locator("#replies [role=status]")
    expect(status).to_contain_text(f"{len(picks)} of {len(picks)} answered, for $0.")
    expect(page.locator("#replies article")).to_have_count(len(picks))
    expect(page.locator("#replies strong")).to_have_text("42")
    expect(page.locator("#replies .badge.good").first).to_have_text("answers 42")
    expect(status).to_contain_text("2 different answers" if len(picks) > 2 else "All agree")
    visitor.check()
    session = parse_qs(urlsplit(page.get_by_role("link", name="Their calls").get_attribute("href") or "").query)[
        "session"
    ]
    assert session[0].startswith("playground-")
    logged = http.get("/v1/calls", params={"session": session[0]}).json()["data"]
    assert {call["model"] for call in logged} == set(picks)


def test_asking_when_models_fail(enter: Callable[..., Visitor], site: Site) -> None:
    page = enter(f"/ui/routers/playground?prompt={PROMPT}&models=large&models=coder&tradeoff=0").page
    for model in ("large-target", "coder-target"):
        site.upstream.next(HttpError(400, f"no {HOSTILE}"), model=model)
    page.get_by_role("button", name="Ask these models").click()
    expect(page.locator("#replies [role=status]")).to_contain_text("0 of 2 answered")
    expect(page.locator("#replies .notice.bad").first).to_contain_text(HOSTILE)
    harmless(page)


def test_asking_is_stopped(enter: Callable[..., Visitor], site: Site) -> None:
    visitor = enter(f"/ui/routers/playground?prompt={PROMPT}&models=coder")
    page = visitor.page
    site.upstream.next(Fault("stall_mid_stream", after=1, answer=Answer(text="never ends")), model="coder-target")
    page.get_by_role("button", name="Ask this model").click()
    expect(page.locator("#replies .spoken")).to_contain_text("never")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#replies .notice")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Ask this model")).to_be_visible()
    assert visitor.said == []


def test_an_example_is_taken(enter: Callable[..., Visitor]) -> None:
    page = enter("/ui/routers/playground").page
    page.get_by_role("link", name="arithmetic").click()
    expect(page.get_by_label("Prompt", exact=True)).not_to_have_value("")
    expect(page.locator("article.decision").first).to_be_visible()
