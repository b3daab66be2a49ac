"""The list of calls: narrowed, paged, followed, taken away."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages.conftest import LOOKS, Site, Visitor
from tests.pages.planting import HOSTILE, call, plant


def client(site: Site) -> httpx.Client:
    return httpx.Client(base_url=site.url, trust_env=False, timeout=60)


def shown(page: Page) -> list[str]:
    """Ids of the calls in the table."""
    return [str(row.get_attribute("id")) for row in page.locator("#rows tr").all()]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_looks(visit: Callable[..., Visitor], width: int, scheme: str) -> None:
    visitor = visit("/ui/calls", width, scheme)
    page = visitor.page
    expect(page).to_have_title("Calls – Hullspeed")
    expect(page.locator("#rows tr")).to_have_count(50)
    visitor.check()
    page.get_by_text("More filters").click()
    page.get_by_text("Export, or ask the API").click()
    page.get_by_text("custom").click()
    expect(page.get_by_label("Since", exact=True)).to_be_visible()
    page.get_by_label("Outcome", exact=True).select_option("client_cancelled")
    expect(page.locator("#rows .c-outcome").first).to_contain_text("client cancelled")
    page.get_by_label("Latency, at least").fill("soon")
    expect(page.locator("#problem-min_latency")).to_have_text("Seconds, such as 1.5, or 250ms.")
    visitor.check()


def test_filters_narrow_the_list_live_and_stand_in_the_address(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/ui/calls")
    page = visitor.page
    page.get_by_label("Model", exact=True).select_option("coder")
    page.wait_for_url("**/ui/calls?model=coder")
    expect(page.locator("#rows .c-route strong").first).to_have_text("coder")
    page.get_by_label("Outcome", exact=True).select_option("error")
    # A call that failed has no model that answered.
    expect(page.locator("#found")).to_contain_text(re.compile("found nothing|No call matches"))
    page.get_by_label("Outcome", exact=True).select_option("client_cancelled")
    page.wait_for_url("**outcome=client_cancelled**")
    expect(page.get_by_label("Filters that are set").get_by_role("listitem")).to_have_count(3)
    assert {text.strip() for text in page.locator("#rows .c-route strong").all_inner_texts()} == {"coder"}
    page.get_by_role("link", name="Remove the filter model coder").click()
    page.wait_for_url("**/ui/calls?outcome=client_cancelled")
    expect(page.get_by_label("Model", exact=True)).to_have_value("")
    page.go_back()
    expect(page.get_by_label("Model", exact=True)).to_have_value("coder")
    expect(page.get_by_label("Outcome", exact=True)).to_have_value("client_cancelled")
    visitor.check()


def test_what_is_typed_narrows_once(visit: Callable[..., Visitor]) -> None:
    page = visit("/ui/calls").page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Text in request, reply or error").type("narwhals nowhere", delay=5)
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_contain_text(re.compile("found nothing|No call matches"))
    page.get_by_label("Model", exact=True).focus()
    expect(page.get_by_label("Text in request, reply or error")).to_have_value("narwhals nowhere")
    assert page.url.endswith("/ui/calls?text=narwhals%20nowhere")
    assert len([url for url in asked if url.endswith("nowhere")]) == 1


def test_a_wrong_value_is_said_at_its_field(visit: Callable[..., Visitor], site: Site) -> None:
    visitor = visit("/ui/calls?model=small")
    page = visitor.page
    page.get_by_text("More filters").click()
    field = page.get_by_label("Cost, at least")
    field.fill("cheap")
    field.press("Enter")
    expect(page.locator("#problem-min_cost_usd")).to_have_text("Dollars, such as 0.002.")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("cheap")
    expect(page.get_by_text("Nothing was searched: cost")).to_be_visible()
    field.fill("0.0005")
    expect(page.locator("#problem-min_cost_usd")).to_have_text("")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#rows tr").first).to_be_visible()
    visitor.check()
    with client(site) as http:
        for wrong in ("min_cost_usd=x", "outcome=maybe", "min_attempts=-1", "since=yesterday", "last=3h", "limit=0"):
            reply = http.get(f"/ui/calls?{wrong}")
            name = wrong.partition("=")[0]
            assert reply.status_code == 422, wrong
            assert f'id="problem-{name}"></p>' not in reply.text, wrong
        reply = http.get("/ui/calls?min_latency=2&max_latency=1")
        assert "Below the lowest latency" in reply.text
        assert http.get("/ui/calls?cursor=x").status_code == 400


def test_pages_older_and_newer(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/ui/calls?limit=25&router=ridge&last=30d")
    page = visitor.page
    first = shown(page)
    assert len(first) == 25
    page.locator("#older-bottom").click()
    page.wait_for_url("**cursor=**")
    expect(page.locator(f"#{first[0]}")).to_have_count(0)
    second = shown(page)
    assert len(second) == 25
    assert not set(first) & set(second)
    visitor.check()
    page.locator("#newer-bottom").click()
    expect(page.locator(f"#{first[0]}")).to_be_visible()
    assert shown(page) == first
    page.go_back()
    expect(page.locator(f"#{second[0]}")).to_be_visible()
    page.locator("#newest-top").click()
    expect(page.locator(f"#{first[0]}")).to_be_visible()


def test_a_row_leads_to_its_call(visit: Callable[..., Visitor]) -> None:
    page = visit("/ui/calls?model=small").page
    row = shown(page)[3].removeprefix("call-")
    page.locator(f"#call-{row} .c-cost").click()
    page.wait_for_url(f"**/ui/calls/{row}?model=small")
    page.get_by_role("link", name="Older →").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("small answered")
    assert page.url.endswith("?model=small")
    page.get_by_role("navigation").get_by_role("link", name="Calls").click()
    expect(page).to_have_title("Calls – Hullspeed")


def test_times_are_the_readers(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url, timezone_id="America/New_York")
    page = context.new_page()
    page.goto("/ui/calls?since=2026-01-02T03:04:00Z&until=2026-07-02T03:04:00Z")
    expect(page.get_by_label("Since", exact=True)).to_have_value("2026-01-01T22:04")
    expect(page.get_by_label("Until", exact=True)).to_have_value("2026-07-01T23:04")
    page.get_by_label("Until", exact=True).fill("2026-07-01T20:00")
    page.wait_for_url("**until=2026-07-02T00%3A00Z**")
    assert "since=2026-01-02T03%3A04Z" in page.url
    page.get_by_text("24 h").click()
    page.wait_for_url("**/ui/calls?last=24h")
    # The page's script writes it.
    expect(page.locator("#rows time").first).to_have_attribute("title", re.compile("UTC"))
    context.close()


def test_new_calls_arrive_without_moving_the_others(visit: Callable[..., Visitor], site: Site) -> None:
    visitor = visit("/ui/calls?limit=25")
    page = visitor.page
    page.get_by_label("Live").check()
    page.wait_for_url("**live=1**")
    expect(page.locator("#rows")).to_have_attribute("data-live", "25")
    before = shown(page)
    page.evaluate("document.querySelector('#rows tr').marked = true")
    with client(site) as http:
        body = {"model": "small", "messages": [{"role": "user", "content": f"Is {HOSTILE} live?"}]}
        made = http.post("/v1/chat/completions", json=body).headers["x-hullspeed-call-id"]
    row = page.locator(f"#call-{made}")
    expect(row).to_be_visible()
    expect(row.locator(".c-prompt")).to_contain_text("Is <script>")
    after = shown(page)
    assert after.index(f"call-{made}") < after.index(before[0])
    assert [one for one in after if one in before] == before
    assert page.evaluate(f"document.getElementById('{before[0]}').marked")
    visitor.check()
    # An address without the switch stands still.
    page.get_by_label("Live").uncheck()
    expect(page.locator("#rows")).not_to_have_attribute("data-live", "25")


def test_hostile_texts_are_texts(visit: Callable[..., Visitor], site: Site) -> None:
    request = json.dumps({"messages": [{"role": "user", "content": HOSTILE}]})
    odd = call(
        session=HOSTILE,
        run=HOSTILE,
        model=HOSTILE,
        outcome="error",
        error_type=HOSTILE,
        error_message=HOSTILE,
        request_text=request,
    )
    plant(site.database_url, odd)
    with client(site) as http:
        reply = http.get("/ui/calls", params={"session": HOSTILE, "text": HOSTILE})
        assert odd.id in reply.text
        assert "<img" not in reply.text.partition('<main id="main"')[2]
    visitor = visit(f"/ui/calls?{httpx.QueryParams(session=HOSTILE)}")
    page = visitor.page
    expect(page.locator(f"#call-{odd.id} .c-prompt")).to_contain_text("<script>")
    expect(page.get_by_label("Filters that are set")).to_contain_text("<script>")
    expect(page).to_have_title("Calls – Hullspeed")
    visitor.check()


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_export(site: Site, visit: Callable[..., Visitor], kind: str) -> None:
    page = visit("/ui/calls?outcome=rejected&limit=25").page
    page.get_by_text("Export, or ask the API").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV" if kind == "csv" else "JSON lines").click()
    assert download.value.suggested_filename == f"hullspeed-calls.{kind}"
    text = download.value.path().read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text))) if kind == "csv" else [json.loads(x) for x in text.splitlines()]
    assert len(rows) > 200
    assert {row["outcome"] for row in rows} == {"rejected"}
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    with client(site) as http:
        newest = http.get("/v1/calls?outcome=rejected&limit=25").json()["data"]
        assert [row["id"] for row in newest] == ids[:25]
        assert http.get(f"/ui/calls/export/calls.{kind}?min_latency=x").status_code == 422
        assert http.get("/ui/calls/export/calls.xlsx").status_code == 422


def test_the_command_asks_the_same(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/calls?model=fast&min_latency=250ms&since=2026-01-01&limit=25&text=it's").page
    page.get_by_text("Export, or ask the API").click()
    words = shlex.split(page.locator("#curl").inner_text().replace("\\\n", " "))
    assert words[:2] == ["curl", "-G"]
    given = dict(word.split("=", 1) for word in words[4::2])
    assert given == {
        "model": "fast",
        "text": "it's",
        "min_latency": "0.25",
        "since": "2026-01-01T00:00:00Z",
        "limit": "25",
    }
    del given["text"]
    with client(site) as http:
        rows = http.get(words[2], params=given).json()["data"]
        listed = http.get("/ui/calls?model=fast&min_latency=250ms&since=2026-01-01&limit=25").text
    assert [row["id"] for row in rows] == re.findall(r'id="call-([\w-]+)"', listed)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
