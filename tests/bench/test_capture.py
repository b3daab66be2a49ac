"""Capturing a suite from logged calls: what becomes an item, what is hidden, what is drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.bench import library
from app.bench.capture import SMALLEST_CATEGORY, Captured, capture, load_redaction, mask
from app.core.errors import ConfigError, HullspeedError
from app.core.metrics import Metrics
from app.core.types import Call, DecisionRecord
from app.store import queries
from app.store.database import Database
from app.store.journal import Journal
from app.store.queries.calls import CallFilter
from app.store.writer import Ledger
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer
from tests.serving import StartProxy, models
from tests.store.samples import NOW, full_call, score

Store = Callable[..., Awaitable[None]]
ALL = CallFilter()


@pytest.fixture
async def store(database: Database, tmp_path: Path) -> AsyncIterator[Store]:
    """Records calls and scores and returns once they can be read."""
    ledger = Ledger(database, Journal(tmp_path / "journal", max_bytes=1 << 24), Metrics())
    await ledger.start()

    async def run(*rows: Any) -> None:
        for row in rows:
            (ledger.record if isinstance(row, Call) else ledger.record_score)(row)
        assert await ledger.flush(30)

    yield run
    await ledger.close()


def logged(text: str, minute: int = 0, *, system: str | None = None, **fields: Any) -> Call:
    """A client's call with its text, `minute` minutes after NOW."""
    messages = [{"role": "system", "content": system}] if system else []
    body = {"model": "auto", "messages": [*messages, {"role": "user", "content": text}], **fields.pop("body", {})}
    return full_call(
        **{
            "source": "live",
            "started_at": NOW + timedelta(minutes=minute),
            "request_text": json.dumps(body),
            "reply_text": f"reply to {text}",
            **fields,
        }
    )


def texts(found: Captured) -> list[str]:
    return [item.messages[-1]["content"] for item in found.suite.items]


async def test_a_call_through_the_proxy_becomes_an_item(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    openai_server.default = Answer("Ask ann@example.com.", usage={"prompt_tokens": 9, "completion_tokens": 4})
    config = {"model_list": models(openai_server.url, "a")}
    silent = await start_proxy(config)
    await silent.chat(text="not kept")
    await silent.calls()
    with pytest.raises(ConfigError, match=r"None of the 1 calls has its text.*store_text: true"):
        await capture(database, "c", ALL)
    proxy = await start_proxy({**config, "ledger": {"store_text": True}})
    await proxy.chat(text="Who helps?")
    await proxy.chat(text="Who helps\n there?", stream=True)
    await proxy.calls()
    found = await capture(database, "c", ALL)
    assert (found.calls, found.without_text, found.left_out, found.distinct, found.judged) == (3, 1, 0, 2, 0)
    assert texts(found) == ["Who helps?", "Who helps\n there?"]
    recorded = found.suite.recorded
    assert recorded is not None
    assert recorded.models == ("a",)
    assert recorded.replies.tolist() == [["Ask [e-mail]."]] * 2
    assert recorded.prompt_tokens.tolist() == [[9], [9]]
    assert recorded.cost == pytest.approx(np.full((2, 1), 9e-6 + 4 * 2e-6), rel=1e-12)
    assert np.isnan(recorded.quality).all(), "nobody judged them"
    await library.save(database, found.suite)
    kept = await library.load(database, "c")
    assert kept.items == found.suite.items
    assert kept.recorded is not None
    assert kept.recorded.replies.tolist() == recorded.replies.tolist()


async def test_the_same_chat_is_one_item(database: Database, store: Store) -> None:
    first = logged("What  is\n2+2?", 0, model="small", cost_usd=Decimal("0.001"), reply_text="four")
    other = logged("What is 2+2?", 1, model="large", cost_usd=Decimal("0.01"), reply_text="4!")
    judged = logged(" What is 2+2? ", 2, model="small", cost_usd=Decimal("0.002"), reply_text="4")
    newest = logged("What is 2+2?", 3, model="small", cost_usd=None, reply_text="vier")
    await store(first, other, judged, newest, logged("What is 2+3?", 4, model="large"))
    opinions = [score(judged.id, value=value) for value in (0.5, 1.0)]
    await store(*opinions)
    found = await capture(database, "c", ALL)
    assert texts(found) == ["What  is\n2+2?", "What is 2+3?"]
    recorded = found.suite.recorded
    assert recorded is not None
    assert recorded.models == ("large", "small")
    assert recorded.replies.tolist() == [["4!", "4"], ["reply to What is 2+3?", None]]
    assert recorded.quality[0, 1] == 0.75
    assert recorded.cost[0].tolist() == [0.01, 0.002]
    assert found.judged == 1
    assert not found.suite.simulated
    # A score that says it is the quality goes before all others.
    await store(score(judged.id, name="quality", value=0.25))
    found = await capture(database, "c", ALL)
    assert found.suite.recorded is not None
    assert found.suite.recorded.quality[0, 1] == 0.25


async def test_what_messages_do_not_tell_is_left_out(database: Database, store: Store) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    await store(
        logged("plain", 1),
        logged("with tools", 2, body={"tools": [tool]}),
        logged("as JSON", 3, body={"response_format": {"type": "json_object"}}),
        logged("twice", 4, body={"n": 2}),
        logged("broken", 5, request_text='{"messages": [{"role": "user"'),
        logged("failed", 6, outcome="error", status=500),
        logged("of a bench", 7, source="replay"),
        logged("no text", 8, request_text=None, reply_text=None),
    )
    found = await capture(database, "c", ALL)
    assert texts(found) == ["plain"]
    assert (found.calls, found.without_text, found.left_out, found.distinct) == (6, 1, 4, 1)


async def test_filters_and_nothing_found(database: Database, store: Store) -> None:
    def by(router: str) -> DecisionRecord:
        return DecisionRecord(router=router, version="1", reason="r", tradeoff=0.5, ranking=())

    await store(
        logged("a", 1, decision=by("knn"), model="m1"),
        logged("b", 2, decision=by("ridge"), model="m1"),
        logged("c", 3, decision=by("knn"), model="m2"),
        logged("tool", 4, decision=by("other"), body={"tools": [{"type": "function"}]}),
    )
    minutes = [NOW + timedelta(minutes=minute) for minute in range(5)]
    for wanted, expected in (
        (CallFilter(router="knn"), ["a", "c"]),
        (CallFilter(model="m1"), ["a", "b"]),
        (CallFilter(since=minutes[2], router="knn"), ["c"]),
        (CallFilter(since=minutes[1], until=minutes[3]), ["a", "b"]),
    ):
        assert texts(await capture(database, "c", wanted)) == expected
    with pytest.raises(HullspeedError, match="No answered call fits"):
        await capture(database, "c", CallFilter(until=minutes[0]))
    with pytest.raises(HullspeedError, match="None of the 1 calls with text"):
        await capture(database, "c", CallFilter(router="other"))


async def test_categories_are_applications(database: Database, store: Store) -> None:
    many = [logged(f"shop {k}", k, system="You sell  shoes.") for k in range(SMALLEST_CATEGORY)]
    few = [logged(f"dated {k}", 50 + k, system=f"Today is day {k}.") for k in range(3)]
    await store(*many, *few, logged("alone", 99))
    found = await capture(database, "c", ALL)
    categories = [item.category for item in found.suite.items]
    assert len(set(categories[:SMALLEST_CATEGORY])) == 1
    assert categories[0].startswith("system:")
    assert set(categories[SMALLEST_CATEGORY:]) == {"captured"}


async def test_a_sample_is_drawn_by_chat_and_seed(
    database: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_TEXTS", 7)  # so that the calls come in several pages
    await store(*(logged(f"question {k % 30}", k, model=f"m{k // 30}") for k in range(60)))
    draws = {seed: texts(await capture(database, "c", ALL, sample=8, seed=seed)) for seed in (0, 1, 2)}
    assert [len(draw) for draw in draws.values()] == [8, 8, 8]
    assert len({tuple(draw) for draw in draws.values()}) == 3
    again = await capture(database, "c", ALL, sample=8, seed=1)
    assert texts(again) == draws[1]
    assert again.distinct == 30
    assert again.suite.recorded is not None
    assert all(reply is not None for reply in again.suite.recorded.replies.flat), "both models' calls of each chat"
    # The draw is of chats: that half the calls are gone changes neither ids nor choice.
    half = await capture(database, "c", CallFilter(model="m0"), sample=8, seed=1)
    assert [item.id for item in half.suite.items] == [item.id for item in again.suite.items]
    assert len((await capture(database, "c", ALL, sample=100)).suite.items) == 30


async def test_redaction_comes_first(database: Database, store: Store) -> None:
    await store(
        logged("I am Ann", 1, reply_text="Hello Ann"), logged("I am Bob", 2, reply_text="Hello Bob", model="large")
    )

    def nameless(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for message in messages:
            message["content"] = message["content"].replace("Ann", "X").replace("Bob", "X")
        return messages

    found = await capture(database, "c", ALL, redact=nameless)
    assert texts(found) == ["I am X"]
    assert found.suite.recorded is not None
    assert found.suite.recorded.replies.tolist() == [["Hello X", "Hello X"]]


async def test_a_redaction_that_fails_stops_the_capture(database: Database, store: Store) -> None:
    call = logged("planted-secret")
    await store(call)

    def raises(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        raise KeyError(messages[0]["content"])

    with pytest.raises(HullspeedError) as failed:
        await capture(database, "c", ALL, redact=raises)
    assert f"failed on call {call.id} (KeyError, test_capture.py line " in failed.value.message
    assert "planted-secret" not in failed.value.message
    for wrong in (None, [], "text", [{"content": "no role"}]):
        with pytest.raises(HullspeedError, match="no list of messages"):
            await capture(database, "c", ALL, redact=lambda _messages, wrong=wrong: wrong)
    with pytest.raises(HullspeedError, match="failed on call"):
        await capture(database, "c", ALL, redact=lambda _messages: [{"role": "user", "content": object()}])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail a.b+c@mail.example.co.uk!", "mail [e-mail]!"),
        ("call +49 30 1234567 or +1 (415) 555-2671.", "call [phone] or [phone]."),
        ("(415) 555-2671, 415-555-2671, 1-415-555-2671", "[phone], [phone], [phone]"),
        ("020 7946 0958 / 0171-1234567 / 06 12 34 56 78", "[phone] / [phone] / [phone]"),
        ("sk-proj-abcdefghijklmnop1234 AKIAABCDEFGHIJKLMNOP", "[key] [key]"),
        ("ghp_abcdefghijklmnopqrstuvwx xoxb-1234567890-abc", "[key] [key]"),
        ("Authorization: Bearer abcdefghijklmnopqrstuv==", "Authorization: [key]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "[key]"),
        ("DB_PASSWORD=hunter22 api_key: 'abc123def456'", "DB_PASSWORD=[key] api_key: '[key]'"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[key]"),
        # What only looks like one stays: a suite of masked sums would be worth nothing.
        # Nor is all that begins like a picture one.
        ("data: ann@example.com called +49 30 1234567", "data: [e-mail] called [phone]"),
        ("data:text/plain;base64,aGk= from ann@example.com", "data:text/plain;base64,aGk= from [e-mail]"),
        ("2024-01-15, 01-02-2024, 192.168.100.100, 3.14159265358979", None),
        ("5 + 12345678 = 12345683; x = 1234567890", None),
        ("x+12345678 and 4 x 415 = 1660; 0.1234 5678", None),
        ("What is a token: a piece of a word? A password: something secret", None),
        ("user @home, a@b, task-management-is-a-long-word", None),
    ],
)
def test_what_the_default_masks(text: str, masked: str | None) -> None:
    expected = text if masked is None else masked
    assert mask([{"role": "user", "content": text}]) == [{"role": "user", "content": expected}]


def test_the_default_masks_wherever_text_stands() -> None:
    picture = "data:image/png;base64," + "sk-" + "A" * 40
    chat = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a@b.example.com"},
                {"type": "image_url", "image_url": {"url": picture}},
            ],
        },
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"arguments": '{"to": "a@b.example.com"}'}}]},
    ]
    assert mask(chat) == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "[e-mail]"}, {"type": "image_url", "image_url": {"url": picture}}],
        },
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"arguments": '{"to": "[e-mail]"}'}}]},
    ]


def test_a_redaction_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_redaction.py").write_text("def nothing(messages):\n    return messages\n\n\nlimit = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    chat = [{"role": "user", "content": "a@b.example.com"}]
    assert load_redaction("our_redaction:nothing")(chat) == chat
    assert load_redaction("none")(chat) == chat
    for text, words in (
        ("our_redaction", "not of the form module:function"),
        (":f", "not of the form"),
        ("no_such_module:f", "cannot be imported"),
        ("our_redaction:missing", "cannot be imported"),
        ("our_redaction:limit", "`limit` cannot be called"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_redaction(text)
