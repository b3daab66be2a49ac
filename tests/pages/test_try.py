"""The chat page: what it shows of a call, and that nothing that is said can harm it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fakes.replies import Answer, Fault, Gate, HttpError, ToolCall
from tests.pages.conftest import LOOKS, Site, Visitor, visiting

HOSTILE = "<img src=x onerror=boom()><script>boom()</script>"


@pytest.fixture(autouse=True)
def _forget(site: Site) -> Iterator[None]:
    yield
    site.upstream.clear()


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as client:
        yield client


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def replies(page: Page, count: int) -> None:
    """Wait until so many replies are complete."""
    expect(page.locator(".facts-line")).to_have_count(count)


def sent(site: Site) -> dict[str, object]:
    """What the provider was asked last."""
    body = site.upstream.last.body
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_looks(visit: Callable[..., Visitor], site: Site, width: int, scheme: str) -> None:
    visitor = visit("/ui/try", width, scheme)
    page = visitor.page
    expect(page.get_by_role("heading", name="Ask something")).to_be_visible()
    visitor.check()
    site.upstream.next(Answer(text="A list:\n\n- one\n- two\n\n```python\nprint(" + "1234567890" * 20 + ")\n```\n"))
    say(page, "word " * 100 + "w" * 300)
    replies(page, 1)
    page.get_by_role("button", name="Why?").click()
    expect(page.locator(".why-box")).to_contain_text("Router dear")
    site.upstream.next(HttpError(400, "too long a message " * 20))
    say(page, "again")
    replies(page, 2)
    # The console tells of every reply of 400.
    assert [text for text in visitor.said if "400" not in text] == []
    visitor.said.clear()
    visitor.check()


def test_a_reply_and_what_is_said_of_it(visit: Callable[..., Visitor], site: Site, http: httpx.Client) -> None:
    page = visit("/ui/try?model=auto/dear").page
    expect(page.get_by_label("Model or router")).to_have_value("auto/dear")
    site.upstream.next(Answer(text="Four.", prompt_tokens=1000, completion_tokens=500), model="large-target")
    say(page, "What is 2 + 2?")
    replies(page, 1)
    line = page.locator(".facts-line")
    expect(line).to_contain_text("dear →")
    for text in ("large", "fixed", "1 attempt", "first token", "in all", "1,000 + 500 tokens", "$0.2000"):
        expect(line).to_contain_text(text)
    call = (page.get_by_role("link", name="The call").get_attribute("href") or "").removeprefix("/ui/calls/")
    found = http.get(f"/v1/calls/{call}").json()
    assert (found["model"], found["stream"], found["source"]) == ("large", True, "live")
    assert found["session"].startswith("try-")
    assert found["cost_usd"] == pytest.approx(0.2)
    page.get_by_role("button", name="Why?").click()
    box = page.locator(".why-box")
    expect(box).to_contain_text("Router dear (version 1) at tradeoff 0.5: fixed")
    expect(box.get_by_role("row").nth(1)).to_contain_text("large")
    expect(page.locator("#spent")).to_have_text("$0.2000")
    expect(page.locator("#tokens")).to_have_text("1,000 + 500")
    expect(page.locator("#dearest-name")).to_have_text("≈ with large")
    expect(page.locator("#session")).to_have_attribute("href", re.compile(r"/ui/calls\?session=try-\w{12}$"))


def test_a_stream_is_shown_as_it_comes_and_told_once(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/try?model=small").page
    gate = Gate()
    site.upstream.next(
        Answer(chunks=("Begin ", "**and", " end**."), text="Begin **and end**.", gate=gate, gate_after=1)
    )
    say(page, "go")
    expect(page.locator(".spoken")).to_have_text("Begin")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator("#said")).to_have_text("")
    assert page.locator("#log").get_attribute("aria-live") == "off"
    gate.open()
    replies(page, 1)
    expect(page.locator(".spoken strong")).to_have_text("and end")
    expect(page.locator("#said")).to_have_text("small: Begin **and end**.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


@pytest.mark.parametrize("by_key", [True, False])
def test_stopping(visit: Callable[..., Visitor], site: Site, http: httpx.Client, by_key: bool) -> None:
    visitor = visit("/ui/try?model=small")
    page = visitor.page
    site.upstream.next(Fault("stall_mid_stream", after=2, answer=Answer(text="one two three four")))
    say(page, "go")
    expect(page.locator(".spoken")).to_have_text("one two")
    if by_key:
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Stop").click()
    expect(page.locator(".spoken .notice")).to_contain_text("client_cancelled")
    call = (page.get_by_role("link", name="The call").get_attribute("href") or "").removeprefix("/ui/calls/")
    expect(page.locator("#spent")).to_contain_text("1 call of unknown cost")
    # Whoever leaves is noticed a moment later.
    page.get_by_role("button", name="Why?").click()
    expect(page.locator(".why-box")).to_contain_text("You named the model")
    assert http.get(f"/v1/calls/{call}").json()["outcome"] == "client_cancelled"
    assert visitor.said == []


def test_a_conversation(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/try?model=small").page
    page.get_by_label("System prompt", exact=True).fill("Be short.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Max tokens").fill("77")
    site.upstream.next(Answer(text="first reply"), HttpError(400, "no"), Answer(text="second reply"))
    say(page, "one")
    replies(page, 1)
    say(page, "two")
    replies(page, 2)
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".spoken").nth(1)).to_have_text("second reply")
    body = sent(site)
    assert (body["temperature"], body["max_tokens"]) == (0.5, 77)
    assert body["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "first reply"},
        {"role": "user", "content": "two"},
    ]
    expect(page.locator("#calls")).to_have_text("3")
    # It lives in this tab: a reload keeps it, another tab has none of it.
    page.reload()
    replies(page, 2)
    expect(page.locator(".spoken").nth(1)).to_have_text("second reply")
    expect(page.get_by_label("System prompt", exact=True)).to_have_value("Be short.")
    other = page.context.new_page()
    other.goto("/ui/try")
    expect(other.get_by_role("heading", name="Ask something")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Ask something")).to_be_visible()
    expect(page.locator("#calls")).to_have_text("0")


def test_enter_and_shift_enter(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/try?model=small").page
    message = page.get_by_label("Message", exact=True)
    message.press_sequentially("one")
    message.press("Shift+Enter")
    message.press_sequentially("two")
    expect(message).to_have_value("one\ntwo")
    message.press("Enter")
    replies(page, 1)
    assert sent(site)["messages"] == [{"role": "user", "content": "one\ntwo"}]
    message.press("Enter")
    expect(page.locator(".exchange")).to_have_count(1)


def test_hostile_text_is_text(visit: Callable[..., Visitor], site: Site) -> None:
    visitor = visit("/ui/try?model=small")
    page = visitor.page
    text = f"# {HOSTILE}\n\n- **{HOSTILE}**\n1. `{HOSTILE}`\n\n```\n{HOSTILE}\n```\n[x](javascript:boom()) {HOSTILE}"
    site.upstream.next(Answer(text=text), HttpError(400, HOSTILE))
    say(page, HOSTILE)
    replies(page, 1)
    expect(page.locator(".mine")).to_contain_text(HOSTILE)
    for place in ("li strong", "li code", "pre code", "p strong"):
        expect(page.locator(f".spoken {place}").first).to_have_text(HOSTILE)
    say(page, "again")
    replies(page, 2)
    expect(page.locator(".spoken .notice.bad")).to_contain_text(HOSTILE)
    expect(page.locator("main img, main .spoken a, main .exchange script")).to_have_count(0)
    visitor.page.reload()
    replies(page, 2)
    expect(page.locator("main img, main .exchange script")).to_have_count(0)
    assert [said for said in visitor.said if "400" not in said] == []


def test_markdown_that_is_shown(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/try?model=small").page
    text = (
        "Some *light* text,\nwith 2 * 3 * 4 = 24.\n\n"
        "## Steps\n1. one\n   more of it\n2. two\n\n* a\n  * deeper\n* b\n\n"
        "```python\nx = '**not bold**'\n```\nand `` `ticks` `` stay.\n\n```\nno end"
    )
    site.upstream.next(Answer(text=text))
    say(page, "go")
    replies(page, 1)
    said = page.locator(".spoken")
    expect(said.locator("em")).to_have_text(["light"])
    expect(said.locator("p").first).to_contain_text("2 * 3 * 4 = 24")
    expect(said.locator("ol li")).to_have_text(["onemore of it", "two"])
    expect(said.locator("ul li")).to_have_text(["a", "deeper", "b"])
    expect(said.locator("pre")).to_have_text(["x = '**not bold**'", "no end"])
    expect(said.locator("p code")).to_contain_text("`ticks`")
    expect(said.locator("strong")).to_have_text(["Steps"])


@pytest.mark.parametrize(
    ("reply", "title", "message", "advice"),
    [
        (HttpError(400, "What is that?"), "Error 400", "What is that?", "Change what it names"),
        (HttpError(401, "Wrong key."), "Error", "", "The provider did not take the key"),
        (
            Fault("error_event", after=2, answer=Answer(text="one two three")),
            "The reply broke off",
            "",
            "What had come",
        ),
        (
            Fault("cut_between_events", after=2, answer=Answer(text="one two three")),
            "The reply broke off",
            "",
            "What had",
        ),
    ],
    ids=["refused", "key", "error in the stream", "cut"],
)
def test_errors(
    visit: Callable[..., Visitor], site: Site, reply: HttpError | Fault, title: str, message: str, advice: str
) -> None:
    page = visit("/ui/try?model=small").page
    site.upstream.next(reply)
    say(page, "go")
    replies(page, 1)
    notice = page.locator(".spoken .notice.bad")
    for text in (title, message, advice):
        expect(notice).to_contain_text(text)
    if title == "The reply broke off":
        expect(page.locator(".spoken p").first).to_have_text("one two")
    expect(page.locator("#said")).to_contain_text("Error: ")
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".spoken")).to_have_text("Echo: go")


def test_what_no_model_can_serve(visit: Callable[..., Visitor]) -> None:
    page = visit("/ui/try?max_cost=0.000000001").page
    say(page, "go")
    replies(page, 1)
    expect(page.locator(".spoken .notice.bad")).to_contain_text("no_usable_model")
    expect(page.locator(".spoken .notice.bad")).to_contain_text("Raise the max cost")
    page.get_by_role("button", name="Why?").click()
    expect(page.locator(".why-box")).to_contain_text("Nothing was decided")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("Tradeoff 0 =", "2", "from 0 to 1"),
        ("Max cost, USD", "-1", "a positive number"),
        ("Max tokens", "1.5", "whole"),
    ],
)
def test_a_wrong_setting_is_said(visit: Callable[..., Visitor], site: Site, field: str, value: str, said: str) -> None:
    page = visit("/ui/try").page
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    page.get_by_label(field).fill(value)
    say(page, "keep this")
    expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.get_by_label(field)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Message", exact=True)).to_have_value("keep this")
    assert posted == []
    assert [seen.body for seen in site.upstream.requests] == []
    page.get_by_label(field).fill("")
    page.get_by_label("Message", exact=True).press("Enter")
    replies(page, 1)
    assert len(posted) == 1


def test_settings_stand_in_the_address(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/try?prompt=hello").page
    expect(page.get_by_label("Message", exact=True)).to_have_value("hello")
    page.get_by_label("Model or router").select_option("auto/spread")
    page.get_by_label("Tradeoff as a slider").fill("0.25")
    expect(page).to_have_url(re.compile(r"\?model=auto%2Fspread&tradeoff=0\.25$"))
    page.reload()
    expect(page.get_by_label("Model or router")).to_have_value("auto/spread")
    say(page, "go")
    replies(page, 1)
    expect(page.locator(".facts-line")).to_contain_text("drawn")
    assert "routing" not in sent(site)


def test_a_second_attempt_is_counted(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/try?model=auto/dear").page
    site.upstream.next(HttpError(500, "broken"), model="large-target")
    say(page, "go")
    replies(page, 1)
    expect(page.locator(".facts-line")).to_contain_text("2 attempts")
    page.get_by_role("button", name="Why?").click()
    attempts = page.get_by_role("region", name="Attempts")
    expect(attempts.get_by_role("row").nth(1)).to_contain_text("error")
    expect(attempts.get_by_role("row").nth(2)).to_contain_text("ok")


def test_tools_and_the_end_of_tokens(visit: Callable[..., Visitor], site: Site) -> None:
    page = visit("/ui/try?model=small").page
    site.upstream.next(Answer(tool_calls=(ToolCall("look_up"),)), Answer(text="cut he", finish_reason="length"))
    say(page, "go")
    replies(page, 1)
    expect(page.locator(".spoken")).to_contain_text("It wants to call look_up")
    say(page, "go")
    replies(page, 2)
    expect(page.locator(".spoken").nth(1)).to_contain_text("Cut at the most tokens")


def test_what_is_copied_works(visit: Callable[..., Visitor], site: Site, http: httpx.Client) -> None:
    page = visit("/ui/try?model=auto/dear&tradeoff=0.1").page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    said = 'It\'s "quoted" and $HOME `x` \\ é 😀'
    say(page, said)
    replies(page, 1)
    page.get_by_role("button", name="Copy curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = shlex.split(page.evaluate("() => navigator.clipboard.readText()").replace("\\\n", ""))
    assert command[:3] == ["curl", "-i", f"{site.url}/v1/chat/completions"]
    body = json.loads(command[-1])
    assert body == {"model": "auto/dear", "routing": {"tradeoff": 0.1}, "messages": [{"role": "user", "content": said}]}
    assert http.post("/v1/chat/completions", json=body).status_code == 200
    page.get_by_role("button", name="Copy Python").click()
    expect(page.get_by_role("button", name="Copied")).to_have_count(2)
    names: dict[str, Any] = {}
    exec(compile(page.evaluate("() => navigator.clipboard.readText()"), "snippet", "exec"), names)
    assert names["reply"].choices[0].message.content == f"Echo: {said}"


def test_a_score(visit: Callable[..., Visitor], http: httpx.Client) -> None:
    if http.post("/ui/calls/00000000-0000-7000-8000-000000000000/scores", data={"value": "1"}).status_code == 405:
        pytest.skip("this proxy has no POST /ui/calls/{id}/scores")
    page = visit("/ui/try?model=small").page
    say(page, "go")
    replies(page, 1)
    call = (page.get_by_role("link", name="The call").get_attribute("href") or "").removeprefix("/ui/calls/")
    page.get_by_role("button", name="Good reply").click()
    expect(page.locator(".tools [role=status]")).to_have_text("Score kept.")
    expect(page.get_by_role("button", name="Good reply")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Bad reply").click()
    expect(page.get_by_role("button", name="Bad reply")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Good reply")).to_have_attribute("aria-pressed", "false")
    page.reload()
    expect(page.get_by_role("button", name="Bad reply")).to_have_attribute("aria-pressed", "true")
    assert {score["value"] for score in http.get(f"/v1/calls/{call}").json()["scores"]} == {0, 1}


def test_a_score_that_is_not_kept_is_said(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/ui/try?model=small")
    page = visitor.page
    say(page, "go")
    replies(page, 1)
    page.route("**/scores", lambda route: route.fulfill(status=503, body="away"))
    page.get_by_role("button", name="Good reply").click()
    expect(page.locator(".tools [role=status]")).to_have_text("The score was not kept (503).")
    expect(page.get_by_role("button", name="Good reply")).to_have_attribute("aria-pressed", "false")


def test_without_postgres_and_with_a_session(browser: Browser, adrift: str, site: Site) -> None:
    with visiting(browser, adrift) as visitor:
        page = visitor.page
        visitor.sign_in("/ui/try?model=any-thing")
        expect(page.get_by_label("Its name")).to_have_value("any-thing")
        gate = Gate()
        site.upstream.next(Answer(text="at last", gate=gate))
        # A comment opens the stream before it is known which model answers.
        with page.expect_response("**/ui/try/chat") as opened:
            say(page, "go")
        assert "x-hullspeed-model" not in opened.value.headers
        assert gate.wait_reached()
        gate.open()
        replies(page, 1)
        expect(page.locator(".spoken")).to_have_text("at last")
        expect(page.locator(".facts-line")).to_contain_text("any-thing")
        page.get_by_role("button", name="Why?").click()
        expect(page.locator(".why-box")).to_contain_text("waits in the journal")
        page.goto("/ui/routers")
        expect(page.get_by_role("main")).to_contain_text("The ledger does not answer just now")
        expect(page.get_by_role("main")).to_contain_text("any-*")
        page.goto("/ui/routers/length")
        expect(page.get_by_role("main")).to_contain_text("The ledger does not answer just now")
        expect(page.locator("#snippet-1")).to_contain_text("$HULLSPEED_API_KEY")
        visitor.check()
        page.goto("/ui/try?model=small")
        page.context.clear_cookies()
        say(page, "once more")
        replies(page, 2)
        page.get_by_role("link", name="Your session has ended: sign in again.").click()
        expect(page).to_have_title("Sign in – Hullspeed")


def test_a_proxy_that_is_gone(visit: Callable[..., Visitor]) -> None:
    page = visit("/ui/try?model=small").page
    page.route("**/ui/try/chat", lambda route: route.abort())
    say(page, "go")
    replies(page, 1)
    expect(page.locator(".spoken .notice.bad")).to_contain_text("The proxy cannot be reached")
