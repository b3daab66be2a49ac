"""A call's page: why that model, what happened, what it cost, what was said, and how good it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.core.types import Attempt, Call, RankedModel, Score, Usage
from tests.pages.conftest import LOOKS, Site, Visitor
from tests.pages.planting import HOSTILE, PRICE, attempt, call, decision, plant
from tests.store.samples import new_id

ID = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Planted:
    """Calls of this file, by what they are for."""

    plain: Call
    climbed: Call
    failed: Call
    hostile: Call
    bare: Call


def _attempts_of_a_climb() -> tuple[Attempt, ...]:
    late = attempt(
        "late", outcome="timeout", status=None, latency=0.5, usage=None, cost_usd=None, error="no reply within 0.5 s"
    )
    return (
        late,
        attempt("small", offset=0.7, latency=0.4),
        attempt("medium", offset=0.7, latency=0.6, time_to_first_token=None, price=None),
        attempt("large", offset=1.3, latency=0.7, cost_usd=None, price=None),
    )


@pytest.fixture(scope="module")
def planted(site: Site) -> Planted:
    chat = {
        "model": "auto",
        "temperature": 0,
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Will it rain on " + "the long way " * 40}]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": '{"at":"sea"}'}}]},
            {"role": "tool", "content": "rain"},
        ],
    }
    ladder = {
        "arm": ["small", "medium", "large"],
        "foretold_by": "learned",
        "quality": 0.91,
        "cost_usd": 0.002,
        "nearest_likeness": 0.7,
        "answers": {"small": "41", "medium": "42", "large": "42"},
        "agreed": ["medium", "large"],
        "dearest_usd": 0.012,
    }
    hostile = {
        "ranking": (RankedModel(HOSTILE, 0.5, 0.1, 0.4),),
        "reason": HOSTILE,
        "problem": HOSTILE,
        "detail": {HOSTILE: HOSTILE, "rule": 1, "when": {HOSTILE: [HOSTILE]}},
        "excluded": {HOSTILE: HOSTILE},
    }
    found = Planted(
        plain=call(request_text=json.dumps(chat), reply_text="Yes, at noon.", run="planted-run", item="item 1"),
        climbed=call(
            latency=2.0,
            model="large",
            decision=decision("climber", reason="agree", detail=ladder, excluded={"tiny": "lacks tools"}),
            attempts=_attempts_of_a_climb(),
            cost_usd=None,
        ),
        failed=call(
            outcome="error",
            status=502,
            model=None,
            decision=decision(reason="default:error", problem="ValueError: no such word"),
            attempts=(attempt(outcome="error", status=500, usage=None, cost_usd=None, error="it burst"),),
            usage=None,
            cost_usd=Decimal(0),
            error_type="server_error",
            error_code="upstream_failed",
            error_message="The model small failed: it burst.",
        ),
        hostile=call(
            model=HOSTILE,
            requested_model=HOSTILE,
            session=HOSTILE,
            run=HOSTILE,
            item=HOSTILE,
            client_request_id=HOSTILE,
            decision=decision(HOSTILE, **hostile),
            attempts=(attempt(HOSTILE, error=HOSTILE, upstream_model=HOSTILE, finish_reason=HOSTILE),),
            error_type=HOSTILE,
            error_code=HOSTILE,
            error_message=HOSTILE,
            request_text=json.dumps(
                {HOSTILE: 1, "messages": [{"role": HOSTILE, "content": HOSTILE}], "tools": [{"name": HOSTILE}]}
            ),
            reply_text=HOSTILE,
        ),
        bare=call(
            outcome="rejected",
            status=400,
            model=None,
            decision=None,
            attempts=(),
            usage=None,
            cost_usd=None,
            session=None,
            time_to_first_token=None,
            requested_model="",
        ),
    )
    judged = Score(
        id=new_id(),
        call_id=found.hostile.id,
        name=HOSTILE,
        value=0.25,
        source=HOSTILE,
        comment=HOSTILE,
        created_at=datetime.now(UTC),
    )
    plant(site.database_url, *(getattr(found, name) for name in Planted.__dataclass_fields__), judged)
    return found


@pytest.fixture
def see(visit: Callable[..., Visitor]) -> Callable[..., Visitor]:
    def open_call(one: Call, width: int = 1440, scheme: str = "light") -> Visitor:
        return visit(f"/ui/calls/{one.id}", width, scheme)

    return open_call


def card(page: Page, title: str) -> str:
    """What a card says, in one line."""
    text = page.get_by_role("region", name=re.compile(title)).inner_text()
    return " ".join(text.split())


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_looks(see: Callable[..., Visitor], planted: Planted, width: int, scheme: str) -> None:
    visitor = see(planted.climbed, width, scheme)
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("large answered, picked by climber")
    visitor.check()
    visitor = see(planted.plain, width, scheme)
    visitor.page.get_by_text("The request as it came").click()
    visitor.check()


def test_the_decision_in_words_and_figures(see: Callable[..., Visitor], planted: Planted) -> None:
    page = see(planted.plain).page
    said = card(page, "^Why small")
    assert "knn picked small: predicted quality 0.83 at $0.000120." in said
    assert (
        "medium would be 0.85 at $0.001200, 10 times the price; at a tradeoff of 0.3 (0 = quality only, 1 = cost only) "
        "0.02 more quality is not worth that."
    ) in said
    row = page.get_by_role("row", name=re.compile("^2 medium")).inner_text().split()
    # By a tradeoff of 0.3 and the dearest mean cost of $0.012.
    assert row[-2:] == [f"{0.85 - 0.3 / 0.7 / 0.012 * 0.0012:.3f}", "0"]


def test_what_happened_and_what_it_cost(see: Callable[..., Visitor], planted: Planted) -> None:
    page = see(planted.plain).page
    said = card(page, "What happened")
    assert "deciding 4.0 ms" in said
    assert "prompt 600 $1.00 $0.000600" in said
    assert "prompt, from the cache 400 $0.5000 $0.000200" in said
    assert "reply 200 $2.00 $0.000400" in said
    assert "do not add up" not in said
    texts = card(page, "What was said")
    assert "Tools offered: weather" in texts
    assert 'calls weather { "at": "sea" }' in texts
    assert "Yes, at noon." in texts
    page.get_by_role("link", name="planted-run").click()
    expect(page.locator(f"#call-{planted.plain.id}")).to_be_visible()


def test_several_attempts_and_the_rungs_behind(see: Callable[..., Visitor], planted: Planted) -> None:
    page = see(planted.climbed).page
    said = card(page, "^Why large")
    assert "climber compares replies: of small, medium, large it asked late, small, medium, large." in said
    assert "Two of their answers were the same, so that is the answer: that of large." in said
    assert "tiny lacks tools" in said
    assert "medium answered 42 agreed" in said
    happened = card(page, "What happened")
    assert "waiting 190 ms" in happened
    assert "no reply within 0.5 s" in happened
    page.get_by_text("How the cost comes about").click()
    happened = card(page, "What happened")
    assert "$0.001200, as the upstream stated it." in happened
    assert "No price is known for this model" in happened
    expect(page.locator(".tiles")).to_contain_text("a price is not known")


def test_an_error_in_its_own_words(see: Callable[..., Visitor], planted: Planted) -> None:
    visitor = see(planted.failed)
    page = visitor.page
    expect(page.get_by_role("main")).to_contain_text(
        "server_error (upstream_failed), HTTP 502: The model small failed: it burst."
    )
    said = card(page, "^Why")
    assert "The router knn failed (ValueError: no such word), so the configured order of models served the call" in said
    assert "No model answered; tried: small." in said
    visitor.check()
    visitor = see(planted.bare)
    assert "refused before any router saw it" in card(visitor.page, "^Why")
    visitor.check()


def test_hostile_texts_are_texts(see: Callable[..., Visitor], site: Site, planted: Planted) -> None:
    visitor = see(planted.hostile)
    expect(visitor.page).to_have_title(re.compile("^Call "))
    assert visitor.page.get_by_role("main").inner_text().count("<script>") > 15
    assert visitor.page.locator("main img, main script").count() == 0
    visitor.check()
    with httpx.Client(base_url=site.url, trust_env=False) as http:
        reply = http.get(f"/ui/calls/{planted.hostile.id}/json")
        assert reply.headers["content-type"] == "application/json"
        assert reply.json()["session"] == HOSTILE
        assert HOSTILE not in http.get(f"/ui/calls/{HOSTILE}").text


def test_scoring(see: Callable[..., Visitor], site: Site, planted: Planted) -> None:
    visitor = see(planted.plain)
    page = visitor.page
    expect(page.get_by_text("Nobody has judged this call.")).to_be_visible()
    page.get_by_role("button", name="Right").click()
    expect(page.locator("#scores").get_by_role("status")).to_contain_text("Scored 1.")
    page.get_by_label("What is judged").fill("tone")
    page.get_by_label("Comment").fill("rather dry")
    page.get_by_label("From 0 (useless)").fill("2")
    page.get_by_role("button", name="Give score").click()
    expect(page.locator("#score-value-problem")).to_have_text("A number from 0 (useless) to 1 (right).")
    expect(page.get_by_label("Comment")).to_have_value("rather dry")
    page.get_by_label("From 0 (useless)").fill("0.4")
    page.get_by_label("From 0 (useless)").press("Enter")
    expect(page.locator("#scores").get_by_role("status")).to_contain_text("Scored 0.4 for tone.")
    expect(page.locator("#scores tbody tr")).to_have_count(2)
    visitor.check()
    with httpx.Client(base_url=site.url, trust_env=False) as http:
        scores = http.get(f"/v1/calls/{planted.plain.id}").json()["scores"]
        assert [(one["name"], one["value"], one["source"]) for one in scores] == [
            ("quality", 1.0, "page"),
            ("tone", 0.4, "page"),
        ]
        assert scores[1]["comment"] == "rather dry"
        # Without a script.
        path = f"/ui/calls/{planted.bare.id}/scores"
        assert http.post(path, data={"verdict": "0"}).headers["location"] == f"/ui/calls/{planted.bare.id}#scores"
        assert http.get(f"/v1/calls/{planted.bare.id}").json()["scores"][0]["value"] == 0
        assert http.post(path, data={"value": "much"}).status_code == 422
        assert http.post(f"/ui/calls/{ID}/scores", data={"verdict": "1"}).status_code == 404
        cross = {"sec-fetch-site": "cross-site"}
        assert http.post(path, data={"verdict": "0"}, headers=cross).status_code == 403


def test_beside_it(visit: Callable[..., Visitor], planted: Planted) -> None:
    page = visit(f"/ui/calls/{planted.plain.id}?session=planted").page
    page.get_by_role("link", name=re.compile("Older|Newer")).first.click()
    assert page.url.endswith("?session=planted")
    assert planted.plain.id not in page.url


def test_a_call_just_made_is_there(site: Site, visit: Callable[..., Visitor]) -> None:
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as http:
        body = {"model": "auto/spread", "messages": [{"role": "user", "content": "hello"}]}
        made = http.post("/v1/chat/completions", json=body).headers["x-hullspeed-call-id"]
        reply = http.get(f"/ui/calls/{made}")
        assert reply.status_code == 200
        assert "Chance had a part in it" in reply.text
    visitor = visit(f"/ui/calls/{made}")
    visitor.page.get_by_role("button", name="Copy id").click()
    expect(visitor.page.get_by_role("button", name="Copied")).to_be_visible()
    visitor.check()


def test_no_such_call(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/ui/calls/session-1")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("No such call")
    expect(visitor.page.get_by_role("link", name="Is it a session?")).to_have_attribute(
        "href", "/ui/calls?session=session-1"
    )
    # The console tells of the reply's 404.
    assert [text for text in visitor.said if "404" not in text] == []
    visitor.said.clear()
    visitor.check()


def test_prices_and_usages_that_are_planted_agree() -> None:
    """What the tests above read off the page is what the gateway would have billed."""
    from app.gateway.pricing import cost_of

    assert cost_of(Usage(1000, 200, cached_tokens=400), PRICE) == Decimal("0.0012")
