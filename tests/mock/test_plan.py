"""Telling the mock what to do from outside: in a request, by a posted plan, by chance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.mock.models import MODELS
from app.mock.plan import Chaos, Dice
from app.mock.server import Mock

HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    async with Mock(keep=50) as server:
        yield server


@pytest.fixture
async def http(mock: Mock) -> AsyncIterator[httpx.AsyncClient]:
    port = await mock.listen()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client


async def ask(http: httpx.AsyncClient, model: str = "m", **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    body = {"model": model, "messages": HELLO, **more}
    return await http.post("/v1/chat/completions", json=body, headers=headers)


async def test_by_model_name(http: httpx.AsyncClient) -> None:
    assert (await ask(http, "mock-503")).status_code == 503
    assert (await ask(http, "anything")).json()["choices"][0]["message"]["content"] == "Echo: hi"
    assert (await http.get("/mock/models")).json().keys() == MODELS.keys()
    assert {entry["id"] for entry in (await http.get("/v1/models")).json()["data"]} == set(MODELS)


async def test_by_the_request_itself(http: httpx.AsyncClient) -> None:
    assert (await ask(http, headers={"x-mock-reply": "mock-429"})).status_code == 429
    wanted = '{"error": {"status": 418, "message": "I am a teapot."}}'
    reply = await ask(http, headers={"x-mock-reply": wanted})
    assert (reply.status_code, reply.json()["error"]["message"]) == (418, "I am a teapot.")
    assert (await ask(http, mock_reply={"answer": {"text": "so"}})).json()["choices"][0]["message"]["content"] == "so"
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(http, mock_reply={"fault": {"kind": "cut_before_headers"}})


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("mock-nonsense", "mock-nonsense"),
        ({"fault": {"kind": "explode"}}, "explode"),
        ({"answer": {"text": 5}}, "answer"),
        ({"answer": {"gate": {}}}, "gate"),
        ({"answer": {}, "error": {}}, "one key"),
        ([], "object"),
    ],
)
async def test_a_reply_that_is_none(http: httpx.AsyncClient, spec: Any, named: str) -> None:
    for reply in (await ask(http, mock_reply=spec), await http.post("/mock/plan", json={"replies": [spec]})):
        assert reply.status_code == 400
        assert named in reply.json()["error"]["message"] or named == "one key"


async def test_by_a_plan(http: httpx.AsyncClient) -> None:
    plan = {"model": "m", "replies": ["mock-500", {"answer": {"text": "second"}}], "always": "mock-401"}
    assert (await http.post("/mock/plan", json=plan)).status_code == 200
    statuses = [(await ask(http)).status_code for _ in range(4)]
    assert statuses == [500, 200, 401, 401]
    assert (await ask(http, "other")).status_code == 200
    await http.delete("/mock/plan")
    assert (await ask(http)).status_code == 200


@pytest.mark.parametrize("plan", [{"odd": 1}, {"always": "mock-500"}, {"chaos": {"rate": 2}}, []])
async def test_a_plan_that_is_none(http: httpx.AsyncClient, plan: Any) -> None:
    assert (await http.post("/mock/plan", json=plan)).status_code == 400
    assert (await ask(http)).status_code == 200


async def test_requests_are_remembered(http: httpx.AsyncClient) -> None:
    await ask(http, "mock-429", headers={"x-mine": "yes"}, zz=[1.0])
    await http.get("/mock/models")  # no call
    (seen,) = (await http.get("/mock/requests")).json()
    assert (seen["method"], seen["path"], seen["model"]) == ("POST", "/v1/chat/completions", "mock-429")
    assert seen["headers"]["x-mine"] == "yes"
    assert seen["body"]["zz"] == [1.0]
    assert '"zz":[1.0]' in seen["raw"].replace(" ", "")
    assert seen["ended"] >= seen["arrived"]
    assert seen["disconnected"] is False
    await http.delete("/mock/requests")
    for _ in range(60):
        await ask(http)
    assert len((await http.get("/mock/requests")).json()) == 50  # `keep`


async def test_unknown_paths(http: httpx.AsyncClient) -> None:
    assert "/mock/plan" in (await http.get("/mock/nothing")).json()["error"]["message"]
    assert (await http.post("/v2/nothing", json={})).status_code == 404


async def test_key() -> None:
    async with Mock(key="sk-right") as mock:
        port = await mock.listen()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            assert (await ask(http)).status_code == 401
            assert (await ask(http, headers={"authorization": "Bearer sk-right"})).status_code == 200


def test_chance_is_repeatable() -> None:
    def draw(seed: int) -> list[bool]:
        dice = Dice(Chaos(seed=seed, rate=0.3))
        return [dice.throw() is not None for _ in range(1000)]

    assert draw(1) == draw(1) != draw(2)
    assert 240 < sum(draw(1)) < 360
    assert not any(Dice(Chaos(rate=0.0)).throw() for _ in range(100))
    assert Dice(Chaos(rate=1.0, replies=["mock-500"])).throw() == MODELS["mock-500"][1]


async def test_chance_is_served(http: httpx.AsyncClient) -> None:
    plan = {"chaos": {"seed": 3, "rate": 0.5, "replies": ["mock-500", "mock-503"]}}

    async def run() -> list[int]:
        await http.post("/mock/plan", json=plan)
        return [(await ask(http)).status_code for _ in range(30)]

    first = await run()
    assert set(first) == {200, 500, 503}
    assert await run() == first
