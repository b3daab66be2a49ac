"""Who may see the pages, and what a page of somebody else's can do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files

import httpx
import pytest
from playwright.sync_api import Browser, expect

from app.api.pages.files import address
from tests.pages.conftest import ADMIN, KEY, LOOKS, Site, Visitor, visiting


def client(url: str, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30)


@contextmanager
def signed_in(url: str) -> Iterator[httpx.Client]:
    with client(url) as http:
        reply = http.post("/ui/sign-in", data={"key": ADMIN, "to": "/ui/"})
        assert reply.status_code == 303, reply.text
        yield http


@pytest.mark.parametrize("path", ["/", "/ui"])
def test_the_way_there(site: Site, path: str) -> None:
    with client(site.url) as http:
        reply = http.get(path)
        assert (reply.status_code, reply.headers["location"]) == (307, "/ui/")


def test_every_page_has_its_policy(site: Site) -> None:
    with client(site.url) as http:
        for path in ("/ui/", "/ui/nothing-here"):
            reply = http.get(path)
            policy = reply.headers["content-security-policy"]
            assert "script-src 'self';" in policy
            assert "default-src 'none'" in policy
            assert "unsafe-eval" not in policy
            assert "<script>" not in reply.text
            assert not re.search(r"\son\w+=", reply.text), "a handler within the page"
            assert reply.headers["x-content-type-options"] == "nosniff"


def test_without_a_session_every_page_asks_for_the_key(locked: str) -> None:
    with client(locked) as http:
        reply = http.get("/ui/calls?model=small")
        assert reply.status_code == 303
        assert reply.headers["location"] == "/ui/sign-in?to=%2Fui%2Fcalls%3Fmodel%3Dsmall"
        part = http.get("/ui/", headers={"hx-request": "true", "hx-current-url": f"{locked}/ui/calls"})
        assert part.headers["hx-redirect"] == "/ui/sign-in?to=%2Fui%2Fcalls"
        assert http.post("/ui/try/chat", json={"model": "small", "messages": []}).status_code == 401


def test_a_session(locked: str) -> None:
    with signed_in(locked) as http:
        (cookie,) = http.cookies.jar
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "lax"
        assert cookie.path == "/ui"
        assert ADMIN not in (cookie.value or "")
        assert http.get("/ui/").status_code == 200
        # The API takes keys, no cookies: a page elsewhere could send those.
        assert http.get("/v1/calls").status_code == 401
        http.post("/ui/sign-out")
        assert http.get("/ui/").status_code == 303


@pytest.mark.parametrize("value", ["", "1.2", "99999999999.", "99999999999.00", "²." + "0" * 64, "99999999999." + "é"])
def test_a_forged_session(locked: str, value: str) -> None:
    with signed_in(locked) as http:
        (cookie,) = http.cookies.jar
        name, good = cookie.name, cookie.value or ""
    until, _, seal = good.partition(".")
    for forged in (value, f"{int(until) + 1}.{seal}", f"{until}.{seal[:-1]}"):
        with client(locked) as http:
            reply = http.get("/ui/", headers={"cookie": f"{name}={forged}".encode()})
            assert reply.status_code == 303, forged


def test_the_admin_key_reads_and_the_other_one_calls(locked: str) -> None:
    admin, ordinary = {"authorization": f"Bearer {ADMIN}"}, {"x-api-key": KEY}
    with client(locked) as http:
        assert http.get("/v1/calls", headers=ordinary).status_code == 401
        assert "HULLSPEED_ADMIN_KEY" in http.get("/v1/calls", headers=ordinary).json()["error"]["message"]
        assert http.get("/v1/calls", headers=admin).status_code == 200
        assert http.get("/v1/models", headers=ordinary).status_code == 200
        assert http.get("/v1/models", headers=admin).status_code == 401
        assert http.post("/ui/sign-in", data={"key": KEY}).status_code == 401
        missing = "/v1/calls/00000000-0000-7000-8000-000000000000"
        assert http.get(missing, headers=ordinary).status_code == 401
        assert http.post(f"{missing}/scores", headers=ordinary, json={"value": 1}).status_code == 404


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/v1/calls", "javascript:alert(1)", "/uix"])
def test_signing_in_leads_nowhere_else(locked: str, to: str) -> None:
    with client(locked) as http:
        reply = http.post("/ui/sign-in", data={"key": ADMIN, "to": to})
        assert reply.headers["location"] == "/ui/"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_another_sites_page_changes_nothing(locked: str, site: Site, headers: dict[str, str]) -> None:
    with signed_in(locked) as http:
        assert http.post("/ui/sign-out", headers=headers).status_code == 403
        assert http.get("/ui/").status_code == 200
        reply = http.post("/ui/try/chat", headers=headers, json={"model": "small", "messages": []})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_from_here")
    with client(site.url) as http:
        reply = http.post("/ui/try/chat", headers=headers, json={"model": "small", "messages": []})
        assert reply.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_without_a_key_only_this_machines_names_are_answered(site: Site, host: str) -> None:
    with client(site.url) as http:
        assert http.get("/ui/", headers={"host": host}).status_code == 403
        assert http.get("/ui/", headers={"host": "localhost:1234"}).status_code == 200


def test_files_are_kept_by_browsers_under_the_name_of_their_content(site: Site) -> None:
    with client(site.url) as http:
        page = http.get("/ui/").text
        (path,) = re.findall(r"/ui/files/\w+/style\.css", page)
        reply = http.get(path)
        assert "immutable" in reply.headers["cache-control"]
        assert reply.headers["content-type"].startswith("text/css")
        assert http.get("/ui/files/old/style.css").headers["cache-control"] == "no-store"
        plain = http.get(path, headers={"accept-encoding": "identity"})
        assert plain.text == reply.text
        for name in ("../app.py", "..%2fapp.py", "nothing.css", "__init__.py", ".hidden.css"):
            assert http.get(f"/ui/files/x/{name}").status_code == 404, name


def test_the_script_of_charts_is_plotlys_with_a_hint_for_the_browser(site: Site) -> None:
    plotly = (files("app.pages") / "static" / "plotly-basic.min.js").read_text(encoding="utf-8")
    with client(site.url) as http:
        reply = http.get(address("plotly-basic.min.js"))
    assert "immutable" in reply.headers["cache-control"]
    assert reply.text == f"//# allFunctionsCalledOnLoad\n{plotly}", "it counts on the first line only"


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_signing_in_with_a_browser(browser: Browser, locked: str, width: int, scheme: str) -> None:
    with visiting(browser, locked, width, scheme) as visitor:
        page = visitor.page
        page.goto("/ui/")
        expect(page).to_have_title("Sign in – Hullspeed")
        visitor.check()
        page.get_by_label("Admin key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the key of this proxy.")
        # The console tells of every reply of 401.
        assert [text for text in visitor.said if "401" not in text] == []
        visitor.said.clear()
        page.get_by_label("Admin key").fill(ADMIN)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_title("Overview – Hullspeed")
        visitor.is_quiet()
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_title("Sign in – Hullspeed")


def test_a_page_that_is_not_there(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/ui/no-such-page")
    expect(visitor.page.get_by_role("main")).to_contain_text("There is no such page.")


def test_the_theme_is_kept(visit: Callable[..., Visitor]) -> None:
    page = visit("/ui/try").page
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
