"""`Idempotency-Key`: the reply is kept and repeated, across processes, and nothing is paid for twice."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from app.store.database import Database
from app.store.kept import KeptReplies
from app.store.tables import kept_replies
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, Gate, HttpError
from tests.serving import Running, StartProxy, models, proxies

KEY = {"idempotency-key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


async def ready(proxy: Running) -> Running:
    assert await proxy.proxy.ledger.ready(10)
    return proxy


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_same_request_gets_the_first_reply(
    start_proxy: StartProxy, openai_server: FakeOpenAI, stream: bool
) -> None:
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    first, second = [await proxy.chat("a", stream=stream, headers=KEY) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["x-hullspeed-call-id"] == first.headers["x-hullspeed-call-id"]
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(openai_server.chats) == 1
    assert (await proxy.call()).call.id == first.headers["x-hullspeed-call-id"]


async def test_another_process_repeats_it_too(
    start_proxy: StartProxy, openai_server: FakeOpenAI, database: Database, tmp_path: Path
) -> None:
    config = {"model_list": models(openai_server.url, "a")}
    first = await (await ready(await start_proxy(config))).chat("a", headers=KEY)
    (tmp_path / "other").mkdir()
    async with proxies(database, tmp_path / "other") as start_other:
        second = await (await ready(await start_other(config))).chat("a", headers=KEY)
    assert second.content == first.content
    assert len(openai_server.chats) == 1


async def test_another_body_is_refused(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    await proxy.chat("a", headers=KEY)
    reply = await proxy.chat("a", text="something else", headers=KEY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert reply.json()["error"]["param"] == "Idempotency-Key"
    assert sorted(logged.call.outcome for logged in await proxy.calls()) == ["ok", "rejected"]


async def test_while_the_first_runs_the_second_is_told_to_wait(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    first = asyncio.ensure_future(proxy.chat("a", headers=KEY))
    await openai_server.arrived(1)
    second = await proxy.chat("a", headers=KEY)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert second.headers["retry-after"] == "1"
    gate.open()
    assert (await first).status_code == 200
    assert (await proxy.chat("a", headers=KEY)).headers["idempotency-replayed"] == "true"


async def test_of_many_at_once_one_is_called(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    asked = [asyncio.ensure_future(proxy.chat("a", headers=KEY)) for _ in range(8)]
    waiting = set(asked)
    while len(waiting) > 1:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    gate.open()
    assert sorted(reply.status_code for reply in await asyncio.gather(*asked)) == [200] + [409] * 7
    assert len(openai_server.chats) == 1


@pytest.mark.parametrize(
    ("failure", "stream"),
    [(HttpError(500), False), (HttpError(400, "no"), True), (Fault("cut_mid_event", after=1), True)],
    ids=["error", "refused", "broken stream"],
)
async def test_a_failure_is_not_kept(
    start_proxy: StartProxy, openai_server: FakeOpenAI, failure: HttpError | Fault, stream: bool
) -> None:
    openai_server.next(failure)
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    first = await proxy.chat("a", stream=stream, headers=KEY)
    assert "error" in first.text
    second = await proxy.chat("a", stream=stream, headers=KEY)
    assert second.status_code == 200
    assert "idempotency-replayed" not in second.headers
    assert "error" not in second.text
    assert len(openai_server.chats) == 2


async def test_a_client_that_hangs_up_finds_the_reply_when_it_comes_back(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    first = asyncio.ensure_future(proxy.chat("a", headers=KEY))
    await openai_server.arrived(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open()
    for _ in range(200):
        reply = await proxy.chat("a", headers=KEY)
        if reply.status_code != 409:
            break
        await asyncio.sleep(0.02)
    assert reply.headers["idempotency-replayed"] == "true"
    assert len(openai_server.chats) == 1


async def test_a_key_belongs_to_an_api_key_and_an_endpoint(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    await proxy.chat("a", headers={**KEY, "authorization": "Bearer one"})
    other = await proxy.chat("a", headers={**KEY, "authorization": "Bearer two"})
    assert "idempotency-replayed" not in other.headers
    # The same key said in another way.
    same = await proxy.chat("a", headers={"idempotency-key": KEY["idempotency-key"].strip('"'), "x-api-key": "one"})
    assert same.headers["idempotency-replayed"] == "true"


async def test_keys_that_are_none(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    for key in ("", '""', "k" * 256):
        reply = await proxy.chat("a", headers={"idempotency-key": key})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "Idempotency-Key")


async def test_a_reply_is_kept_for_its_time_only(
    start_proxy: StartProxy, openai_server: FakeOpenAI, database: Database
) -> None:
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    await proxy.chat("a", headers=KEY)
    async with database.begin() as connection:
        await connection.execute(sa.update(kept_replies).values(expires_at=sa.func.now() - timedelta(seconds=1)))
    again = await proxy.chat("a", headers=KEY)
    assert "idempotency-replayed" not in again.headers
    assert (await proxy.chat("a", headers=KEY)).headers["x-hullspeed-call-id"] == again.headers["x-hullspeed-call-id"]


async def test_expired_replies_are_deleted(database: Database) -> None:
    replies = KeptReplies(database, seconds=-1)
    await replies.claim(b"a", b"request", "00000000-0000-7000-8000-000000000001")
    await KeptReplies(database, seconds=60).claim(b"b", b"request", "00000000-0000-7000-8000-000000000002")
    await replies.purge()
    async with database.begin() as connection:
        assert (await connection.execute(sa.select(kept_replies.c.key))).scalars().all() == [b"b"]


async def test_what_a_dead_process_claimed_is_free_again(database: Database) -> None:
    replies = KeptReplies(database, seconds=60)
    ours, theirs = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"
    assert await replies.claim(b"k", b"request", theirs) is None
    claimed = await replies.claim(b"k", b"request", ours)
    assert claimed is not None
    assert claimed.reply is None
    await replies.hold(b"k", theirs)
    async with database.begin() as connection:
        await connection.execute(sa.update(kept_replies).values(held_until=sa.func.now() - timedelta(seconds=1)))
    assert await replies.claim(b"k", b"request", ours) is None
    # Should it not be dead but late, it takes nothing from the new owner.
    await replies.release(b"k", theirs)
    assert await replies.claim(b"k", b"request", theirs) is not None


async def test_a_reply_that_is_too_large_is_not_kept(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.default = Answer("x" * 5_000_000, chunks=20)
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    for stream in (False, True):
        headers = {"idempotency-key": f"large {stream}"}
        for _ in range(2):
            reply = await proxy.chat("a", stream=stream, headers=headers)
            assert reply.status_code == 200
            assert "idempotency-replayed" not in reply.headers
    assert len(openai_server.chats) == 4


async def test_without_postgres_calls_are_served_and_say_so(
    openai_server: FakeOpenAI, tmp_path: Path, start_proxy: StartProxy
) -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/nowhere", tmp_path, connect_timeout=1)
    await away.open()
    try:
        async with proxies(away, tmp_path) as start:
            proxy = await start({"model_list": models(openai_server.url, "a")})
            for stream in (False, True):
                reply = await proxy.chat("a", stream=stream, headers=KEY)
                assert reply.status_code == 200
                assert reply.headers["x-hullspeed-idempotency"] == "unguarded"
    finally:
        await away.close()


async def test_switched_off(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    config = {"model_list": models(openai_server.url, "a"), "ledger": {"idempotency_seconds": 0}}
    proxy = await ready(await start_proxy(config))
    replies = [await proxy.chat("a", headers=KEY) for _ in range(2)]
    assert [reply.headers["x-hullspeed-idempotency"] for reply in replies] == ["unguarded"] * 2
    assert len(openai_server.chats) == 2


async def test_keep_alive_comments_are_not_repeated(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("one two", gate=gate))
    config = {"model_list": models(openai_server.url, "a"), "routing": {"keep_alive": 0.05}}
    proxy = await ready(await start_proxy(config))
    body = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with proxy.http.stream("POST", "/v1/chat/completions", json=body, headers=KEY) as reply:
        parts = reply.aiter_raw()
        first = await anext(parts)
        gate.open()
        rest = b"".join([part async for part in parts])
    assert first.startswith(b": keep-alive")
    again = await proxy.http.post("/v1/chat/completions", json=body, headers=KEY)
    assert again.content == (first + rest).replace(b": keep-alive\n\n", b"")
    assert json.loads(again.text.splitlines()[0].removeprefix("data: "))["choices"]


async def test_nothing_is_asked_of_postgres_without_the_header(
    start_proxy: StartProxy, openai_server: FakeOpenAI, database: Database
) -> None:
    proxy = await ready(await start_proxy({"model_list": models(openai_server.url, "a")}))
    reply: httpx.Response = await proxy.chat("a")
    assert not any(name.startswith(("idempotency", "x-hullspeed-idempotency")) for name in reply.headers)
    async with database.begin() as connection:
        assert (await connection.execute(sa.select(sa.func.count()).select_from(kept_replies))).scalar() == 0
