"""Calls of other harnesses become a run: found by item, by id or by what was asked, and judged by suite or harness."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.bench import library
from app.bench.adopt import Adopted, adopt
from app.bench.compare import Finished, compare
from app.bench.local import recorded_catalog, recorded_upstream
from app.bench.plan import Plan, RouterSpec
from app.bench.report import Report
from app.bench.run import score
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError, HullspeedError, NotFound
from app.store import runs
from app.store.database import Database
from app.store.queries.runs import scores_of
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, HttpError
from tests.serving import Running, StartProxy, models

LENGTHS = (10, 200, 900, 4000)
"""The untrained length router sends these to different models."""


def suite_of(name: str = "sums", *, grader: str | None = "answer", recorded: bool = True) -> Suite:
    """Eight questions; `large` knows all answers, `small` every other one."""
    questions = [f"What is {n} + {n}? {'Think. ' * (LENGTHS[n % 4] // 7)}".strip() for n in range(8)]
    items = tuple(
        Item(
            id=f"q {n}",
            category="even" if n % 2 else "odd",
            messages=[{"role": "user", "content": q}],
            target=f"{2 * n}",
        )
        for n, q in enumerate(questions)
    )
    right = np.array([[float(n % 2), 1.0] for n in range(8)])
    tokens = np.full((8, 2), 5)
    replies = np.array([[f"It is {2 * n if n % 2 else 99}.", f"It is {2 * n}."] for n in range(8)], dtype=np.object_)
    cost = np.array([[0.001 * (n + 1), 0.02 * (n + 1)] for n in range(8)])
    outcomes = Recorded(("small", "large"), right, cost, tokens, tokens, replies)
    return Suite(name, items, grader=grader, recorded=outcomes if recorded else None)


async def recorded_proxy(start_proxy: StartProxy, suite: Suite, **settings: Any) -> Running:
    upstream = recorded_upstream(suite)
    catalog = recorded_catalog(suite, upstream)
    return await start_proxy(catalog=catalog, upstreams={"recorded": upstream}, **settings)


async def ask(proxy: Running, model: str, messages: Any, tag: str = "r", **headers: str) -> httpx.Response:
    """As a harness does that can set a key and nothing else."""
    body = {"model": model, "messages": messages}
    given = {"authorization": f"Bearer none+run={tag}", **headers}
    return await proxy.http.post("/v1/chat/completions", json=body, headers=given)


async def adopted(proxy: Running, tag: str = "r", **options: Any) -> Adopted:
    assert await proxy.proxy.ledger.flush(10)
    return await adopt(proxy.proxy.database, tag, **options)


def points(report: Report) -> list[tuple[str, float, float, float, float, dict[str, float]]]:
    return [
        (router.router, point.tradeoff, point.quality, point.cost_per_1k, point.coverage, dict(point.share))
        for router in report.routers
        for point in router.points
    ]


def left_out(found: Adopted) -> list[str]:
    return [note for note in found.report.notes if "left out" in note]


# --------------------------------------------------------------------------------------------------- by a suite


@pytest.mark.parametrize("grader", ["answer", None])
async def test_a_suites_items_are_found_by_what_was_asked(
    start_proxy: StartProxy, database: Database, grader: str | None
) -> None:
    suite = suite_of(grader=grader)
    await library.save(database, suite)
    proxy = await recorded_proxy(start_proxy, suite)
    for item in suite.items:
        text = item.messages[0]["content"]
        for model in ("auto/cheapest", "auto/length"):
            # Other clients write the same chat in other ways.
            await ask(proxy, model, [{"role": "user", "content": [{"type": "text", "text": text}]}])
        await ask(proxy, "auto/length", item.messages, tag="other")
    found = await adopted(proxy, suite="sums")
    assert (found.calls, found.used) == (16, 16)
    specs = tuple(RouterSpec.parse(name) for name in ("cheapest", "length"))
    scored = score(Plan(suite, specs, (0.5,), split="all"))
    assert {model for *_, share in points(scored) for model in share} == {"small", "large"}
    assert points(found.report) == points(scored)
    assert found.report.baselines == scored.baselines
    assert [router.delta_aiq for router in found.report.routers] == [router.delta_aiq for router in scored.routers]
    assert found.report.quality_source == ("grader:answer" if grader else "recorded")
    assert (found.report.upstream, found.report.n, left_out(found)) == ("recorded", 8, [])
    assert all(p.latency is not None and p.overhead is not None for r in found.report.routers for p in r.points)


async def test_a_found_run_is_a_run_like_any_other(start_proxy: StartProxy, database: Database) -> None:
    suite = suite_of()
    await library.save(database, suite)
    proxy = await recorded_proxy(start_proxy, suite)
    for item in suite.items:
        await ask(proxy, "auto", item.messages)
        await ask(proxy, "large", item.messages, tag="direct")
    one, two = await adopted(proxy, suite="sums"), await adopted(proxy, suite="sums")
    run, stored = await runs.get_run(database, one.run)
    assert (run.status, run.spec["routers"], run.spec["tag"]) == ("done", ["length"], "r")
    assert stored is not None
    finished = [
        Finished((await runs.get_run(database, each.run))[0], await runs.load_results(database, each.run), each.report)
        for each in (one, two)
    ]
    assert [change.difference.value for change in compare(*finished).aiq] == [0.0]
    # Adopted twice, a call is scored once.
    rows = await runs.load_results(database, one.run)
    judged = await scores_of(database, [row.call_id or "" for row in rows])
    assert [[(s.name, s.source) for s in own] for own in judged.values()] == [[("quality", "grader:answer")]] * 8
    direct = await adopted(proxy, "direct", suite="sums")
    assert [router.router for router in direct.report.routers] == ["model:large"]
    assert direct.report.routers[0].points[0].quality == 1.0


async def test_a_header_names_the_item_where_the_chat_is_another(start_proxy: StartProxy, database: Database) -> None:
    suite = suite_of()
    await library.save(database, suite)
    proxy = await recorded_proxy(start_proxy, suite)
    for item in suite.items[:3]:
        wrapped = [{"role": "user", "content": f"Question: {item.messages[0]['content']}\nAnswer:"}]
        await ask(proxy, "large", wrapped, **{"x-hullspeed-item": item.id.replace(" ", "%20")})
        await ask(proxy, "large", wrapped)
    found = await adopted(proxy, suite="sums")
    assert (found.report.n, found.used, found.calls) == (3, 3, 6)
    assert left_out(found) == ["3 of 6 calls asked no item of suite `sums` as it stands there: left out."]


async def test_what_does_not_fit_is_said(start_proxy: StartProxy, database: Database) -> None:
    suite = suite_of()
    await library.save(database, suite)
    proxy = await recorded_proxy(start_proxy, suite)
    for item in suite.items:
        await ask(proxy, "large", item.messages)
    for item in suite.items[:6]:
        await ask(proxy, "small", item.messages)
    await ask(proxy, "large", [{"role": "user", "content": "Who are you?"}])
    await ask(proxy, "auto/nobody", suite.items[0].messages)
    found = await adopted(proxy, suite="sums")
    assert left_out(found) == [
        "1 of 15 calls asked no item of suite `sums` as it stands there: left out.",
        "1 calls were refused before a router was asked: left out.",
        "2 of 8 items were not asked at every setting: left out.",
    ]
    assert (found.report.n, found.calls, found.used) == (6, 16, 12)
    with pytest.raises(HullspeedError, match=r"no call is tagged as run 'x'.*x-hullspeed-run: x.*KEY\+run=x"):
        await adopted(proxy, "x", suite="sums")
    await library.save(
        database,
        Suite(
            "else",
            (Item(id="a", category="c", messages=[{"role": "user", "content": "?"}], target="b"),),
            grader="answer",
        ),
    )
    with pytest.raises(HullspeedError, match="15 of 15 calls asked no item of suite `else`"):
        await adopted(proxy, suite="else")


async def test_items_that_ask_the_same_share_the_calls(start_proxy: StartProxy, database: Database) -> None:
    asked = [{"role": "user", "content": "Say yes."}]
    items = tuple(Item(id=name, category="c", messages=asked, target="yes") for name in ("a", "b"))
    await library.save(database, Suite("twice", items, grader="contains"))
    with FakeOpenAI(default=Answer("yes")) as fake:
        proxy = await start_proxy({"model_list": models(fake.url, "small"), "ledger": {"store_text": True}})
        for _ in range(2):
            await ask(proxy, "small", asked)
        found = await adopted(proxy, suite="twice")
    assert (found.report.n, found.used, left_out(found)) == (2, 2, [])


async def test_live_replies_are_graded_by_their_text(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of(recorded=False)
    await library.save(database, suite)
    config = {"model_list": models(openai_server.url, "small")}
    proxy = await start_proxy({**config, "ledger": {"store_text": True}})
    broken = HttpError(500, "no")
    # The first item fails for good, the second once, the third is asked twice.
    for said, item in ((broken, 0), (broken, 1), (Answer("2"), 1), (Answer("4"), 2), (Answer("wrong"), 2)):
        openai_server.on("small-target", said)
        await ask(proxy, "small", suite.items[item].messages)
    found = await adopted(proxy, suite="sums")
    rows = {row.item: row for row in await runs.load_results(database, found.run)}
    assert {item: (row.quality, row.answered) for item, row in rows.items()} == {
        "q 0": (0.0, False),
        "q 1": (1.0, True),
        "q 2": (0.5, True),
    }
    assert "no" in (rows["q 0"].error or "")
    calls = [logged.call for logged in await proxy.calls()][::-1]
    assert rows["q 2"].cost_usd == sum(call.cost_usd or Decimal(0) for call in calls[3:]) / 2
    assert rows["q 1"].latency == pytest.approx(calls[1].latency + calls[2].latency)
    assert rows["q 1"].call_id == calls[2].id
    assert (found.report.baselines, found.report.upstream, found.report.n) == (None, "live", 3)
    assert any("asked 1.33 times on average" in note for note in found.report.notes)
    assert any("took 1.25 calls on average" in note for note in found.report.notes)


async def test_live_replies_without_their_text_cannot_be_graded(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of(recorded=False)
    await library.save(database, suite)
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    await ask(proxy, "small", suite.items[0].messages)
    with pytest.raises(ConfigError, match=r"none of the 1 replies can be graded.*store_text.*--log"):
        await adopted(proxy, suite="sums")
    await library.save(database, suite_of("bare", grader=None))
    with pytest.raises(ConfigError, match=r"live replies have no recorded quality; name one with --grader"):
        await adopted(proxy, suite="bare")


# ---------------------------------------------------------------------------------------------------- by a log


def inspect_sample(
    name: str, chats: Sequence[Any], replies: Sequence[httpx.Response], **changes: Any
) -> dict[str, Any]:
    """A sample as inspect_ai 0.3.285 writes it: one model event a chat, its texts attached, its messages in a pool."""
    text = chats[0][0]["content"]
    pool = [{"id": f"m{i}", **message} for i, message in enumerate(chats[-1])]
    pool[0]["content"] = "attachment://0a1b"
    spans = [
        {"event": "span_begin", "id": "s1", "type": "solvers", "name": "solvers", "span_id": "s1"},
        {"event": "span_begin", "id": "s2", "type": "scorers", "name": "scorers", "span_id": "s2"},
        {"event": "span_begin", "id": "s3", "parent_id": "s2", "type": "scorer", "name": "match", "span_id": "s3"},
    ]
    events = [
        {
            "event": "model",
            "span_id": "s1",
            "model": "openai-api/hullspeed/auto/length",
            "input": [],
            "input_refs": [[0, len(chat)]],
            "request_ids": [
                {"id": reply.headers["x-request-id"], "header": "x-request-id", "status": reply.status_code}
            ],
            "call": {"request": {"model": "auto/length"}, "response": {}, "call_refs": [[0, len(chat)]]},
            "output": {"model": "small", "choices": []},
        }
        for chat, reply in zip(chats, replies, strict=True)
    ]
    judge = {**events[0], "span_id": "s3", "request_ids": [], "input_refs": [[0, 1]]}
    cached = {**events[0], "cache": "read", "request_ids": []}
    other = {**events[0], "model": "openai/gpt-4o", "request_ids": []}
    return {
        "id": name,
        "epoch": 1,
        "input": text,
        "target": "yes",
        "messages": [*chats[-1], {"role": "assistant", "content": "said"}],
        "output": {"model": "small", "completion": "said", "choices": []},
        "scores": {"match": {"value": "C"}},
        "events": [*spans, *events, judge, cached, other],
        "events_data": {"messages": pool, "calls": pool},
        "attachments": {"0a1b": text},
        **changes,
    }


def inspect_log(folder: Path, samples: Sequence[dict[str, Any]], model: str = "auto/length", task: str = "qa") -> Path:
    spec = {"task": task, "model": f"openai-api/hullspeed/{model}", "created": "2026-11-24T00:43:35+00:00"}
    path = folder / f"{model.replace('/', '-')}.json"
    path.write_text(json.dumps({"version": 2, "status": "success", "eval": spec, "samples": list(samples)}))
    return path


async def chat_of_two(proxy: Running, item: Item, tag: str = "r") -> tuple[list[Any], list[httpx.Response]]:
    """A sample that takes two calls, the second with the first's reply in its chat."""
    first = list(item.messages)
    said = await ask(proxy, "auto/length", first, tag)
    tool = {"id": "c1", "type": "function", "function": {"name": "check", "arguments": '{"sure": true}'}}
    reply = {"role": "assistant", "content": said.json()["choices"][0]["message"]["content"], "tool_calls": [tool]}
    second = [*first, reply, {"role": "user", "content": item.messages[0]["content"]}]
    return [first, second], [said, await ask(proxy, "auto/length", second, tag)]


@pytest.mark.parametrize("by", ["id", "digest", "input"])
async def test_inspects_log(start_proxy: StartProxy, database: Database, tmp_path: Path, by: str) -> None:
    suite = suite_of()
    proxy = await recorded_proxy(start_proxy, suite)
    samples = []
    for place, item in enumerate(suite.items[:4]):
        chats, replies = await chat_of_two(proxy, item)
        value = ("C", "I", "P", 0.25)[place]
        samples.append(inspect_sample(item.id, chats, replies, scores={"match": {"value": value}}))
    for event in (event for sample in samples for event in sample["events"] if event["event"] == "model"):
        event["request_ids"] = event["request_ids"] if by == "id" else None
        event["call"] = None if by == "input" else event["call"]
    for message in (message for sample in samples for message in sample["events_data"]["messages"] if by == "input"):
        calls = message.get("tool_calls") or ()
        message["tool_calls"] = [{"id": "c1", "function": "check", "arguments": {"sure": True}} for _ in calls]
    found = await adopted(proxy, logs=[inspect_log(tmp_path, samples)])
    assert (found.calls, found.used, left_out(found)) == (8, 8, [])
    assert found.report.quality_source == "harness:match"
    assert (found.report.suite, found.report.n, found.report.baselines) == ("qa", 4, None)
    rows = {row.item: row for row in await runs.load_results(database, found.run)}
    assert {item: row.quality for item, row in rows.items()} == {
        "qa/q 0": 1.0, "qa/q 1": 0.0, "qa/q 2": 0.5, "qa/q 3": 0.25,
    }  # fmt: skip
    calls = [logged.call for logged in await proxy.calls()][::-1]
    for place, item in enumerate(suite.items[:4]):
        own = calls[2 * place : 2 * place + 2]
        row = rows[f"qa/{item.id}"]
        assert row.cost_usd == sum(call.cost_usd or Decimal(0) for call in own)
        assert row.latency == pytest.approx(sum(call.latency for call in own))
        assert row.call_id == own[-1].id
    made = await library.load(database, "qa")
    assert [item.messages for item in made.items] == [item.messages for item in suite.items[:4]]


async def test_what_of_inspects_log_does_not_fit_is_said(
    start_proxy: StartProxy, database: Database, tmp_path: Path
) -> None:
    suite = suite_of()
    proxy = await recorded_proxy(start_proxy, suite)
    asked = [await chat_of_two(proxy, item) for item in suite.items[:6]]
    elsewhere = await chat_of_two(proxy, suite.items[6], tag="another")
    samples = [inspect_sample(item.id, *own) for item, own in zip(suite.items, [*asked, elsewhere], strict=False)]
    samples[1]["scores"] = {}
    samples[2] |= {"scores": {}, "error": {"message": "the sandbox broke"}}
    lost = samples[3]["events"][4]
    lost["request_ids"], lost["call"] = [{"id": "gone", "status": 200}], None
    samples[3]["events_data"]["messages"][1] = {"role": "assistant", "content": "never said"}
    del samples[4]
    found = await adopted(proxy, logs=[inspect_log(tmp_path, samples)])
    assert left_out(found) == [
        "1 of 6 samples of the log have no call in this run: left out.",
        "1 of 6 samples lack some of their calls in this run: left out.",
        "3 of 12 calls belong to no sample of the log: left out.",
        "1 of 4 samples were not scored by the harness: left out.",
    ]
    rows = {row.item: row for row in await runs.load_results(database, found.run)}
    assert {item: (row.quality, row.answered, row.error) for item, row in rows.items()} == {
        "qa/q 0": (1.0, True, None),
        "qa/q 2": (0.0, False, "the sandbox broke"),
        "qa/q 5": (1.0, True, None),
    }
    assert rows["qa/q 2"].cost_usd == Decimal("0.12"), "what failed was paid for all the same"


async def test_a_log_of_another_run_leaves_nothing_behind(
    start_proxy: StartProxy, database: Database, tmp_path: Path
) -> None:
    suite = suite_of()
    proxy = await recorded_proxy(start_proxy, suite)
    chats, replies = await chat_of_two(proxy, suite.items[0])
    await ask(proxy, "large", suite.items[1].messages, tag="another")
    log = inspect_log(tmp_path, [inspect_sample("q", chats, replies)])
    with pytest.raises(HullspeedError, match="1 of 1 samples of the log have no call in this run"):
        await adopted(proxy, "another", logs=[log])
    with pytest.raises(NotFound):
        await library.load(database, "qa")
    assert await runs.list_runs(database) == []


async def test_a_log_of_each_model_makes_one_run(start_proxy: StartProxy, database: Database, tmp_path: Path) -> None:
    suite = suite_of()
    await library.save(database, suite)
    proxy = await recorded_proxy(start_proxy, suite)
    logs = []
    for model, value in (("auto/length", "C"), ("large", "C")):
        samples = []
        for item in suite.items:
            sample = inspect_sample(item.id, [item.messages], [await ask(proxy, model, item.messages)])
            sample["scores"] = {"match": {"value": value}, "style": {"value": 1}}
            for event in sample["events"]:
                if event.get("model") != "openai/gpt-4o":
                    event["model"], event["request_ids"] = f"openai-api/hullspeed/{model}", None
            samples.append(sample)
        logs.append(inspect_log(tmp_path, samples, model))
    with pytest.raises(ConfigError, match="name the scorer that counts"):
        await adopted(proxy, logs=logs, suite="sums")
    found = await adopted(proxy, logs=logs, suite="sums", scorer="match")
    assert [router.router for router in found.report.routers] == ["length", "model:large"]
    assert (found.report.n, found.used, left_out(found)) == (8, 16, [])
    # The harness calls right what the recording calls wrong, so baselines of the recording would mean nothing.
    assert found.report.baselines is None
    assert any(re.search(r"differ on [1-9] of 16 replies, so no baselines", note) for note in found.report.notes)
    alone = await adopted(proxy, logs=logs[1:], suite="sums", scorer="match")
    assert alone.report.baselines is not None
    assert left_out(alone) == ["8 of 16 calls belong to no sample of the log: left out."]


def lm_eval_line(number: int, chat: Any, reply: str, value: float, way: str, repeats: int = 1) -> dict[str, Any]:
    """A sample as lm-eval 0.4.13 writes it."""
    return {
        "doc_id": number,
        "doc": {"question": "?"},
        "target": "yes",
        "arguments": {"gen_args_0": {"arg_0": [json.dumps(chat)], "arg_1": {"until": []}}},
        "resps": [[reply] * repeats],
        "filtered_resps": [reply],
        "filter": way,
        "metrics": ["exact_match"],
        "prompt_hash": "not ours",
        "exact_match": value,
    }


def lm_eval_logs(folder: Path, lines: Sequence[dict[str, Any]], model: str = "auto/length") -> Path:
    own = folder / model.replace("/", "__")
    own.mkdir(parents=True)
    time = "2026-11-24T00-43-02.206610"
    (own / f"samples_local_qa_{time}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (own / f"results_{time}.json").write_text(json.dumps({"results": {}, "model_name": model}))
    return own


async def test_lm_evals_samples(start_proxy: StartProxy, database: Database, tmp_path: Path) -> None:
    suite = suite_of()
    proxy = await recorded_proxy(start_proxy, suite)
    for model in ("auto/length", "auto/cheapest"):
        lines = []
        for number, item in enumerate(suite.items):
            for _ in range(2):
                reply = await ask(proxy, model, item.messages)
            said = reply.json()["choices"][0]["message"]["content"]
            for way, value in (("strict", 0.0), ("flexible", float(number < 6))):
                lines.append(lm_eval_line(number, item.messages, said, value, way, repeats=2))
        lm_eval_logs(tmp_path / "out", lines, model)
    with pytest.raises(ConfigError, match=r"was scored by exact_match,strict, exact_match,flexible: name"):
        await adopted(proxy, logs=[tmp_path / "out"])
    with pytest.raises(ConfigError, match=r"was not scored by 'f1' but by exact_match,strict"):
        await adopted(proxy, logs=[tmp_path / "out"], scorer="f1")
    found = await adopted(proxy, logs=[tmp_path / "out"], scorer="exact_match,flexible")
    assert (found.calls, found.used, left_out(found)) == (32, 32, [])
    assert (found.report.suite, found.report.quality_source) == ("local_qa", "harness:exact_match,flexible")
    assert [(router, quality) for router, _, quality, *_ in points(found.report)] == [
        ("cheapest", 0.75),
        ("length", 0.75),
    ]
    made = await library.load(database, "local_qa")
    assert [(item.id, item.target) for item in made.items][:2] == [("local_qa/0", "yes"), ("local_qa/1", "yes")]
    # Both tries of a document are its cost: the ledger's and the report's totals agree.
    spent = sum(call.call.cost_usd or Decimal(0) for call in await proxy.calls())
    told = sum(point.cost_per_1k * point.n / 1000 for router in found.report.routers for point in router.points)
    assert told == pytest.approx(float(spent))


async def test_samples_that_do_not_say_of_which_model(
    start_proxy: StartProxy, database: Database, tmp_path: Path
) -> None:
    suite = suite_of()
    proxy = await recorded_proxy(start_proxy, suite)
    lines = [lm_eval_line(number, item.messages, "x", 1.0, "none") for number, item in enumerate(suite.items)]
    for item in suite.items:
        await ask(proxy, "large", item.messages)
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    found = await adopted(proxy, logs=[path])
    assert (found.report.n, [router.router for router in found.report.routers]) == (8, ["model:large"])
    await ask(proxy, "small", suite.items[0].messages)
    with pytest.raises(ConfigError, match=r"does not name its model.*results_\*\.json"):
        await adopted(proxy, logs=[path])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exact_match": 1.5}, "has score 1.5: only scores in"),
        ({"exact_match": ["a", "b"]}, "no number for a single document"),
        (
            {"arguments": {"gen_args_0": {"arg_0": "Q: what?"}}},
            "line 1: was not asked as a chat.*--apply_chat_template",
        ),
        ({"arguments": {}}, "line 1: has no 'arguments'"),
        ({"metrics": []}, "names no 'metrics'"),
    ],
)
async def test_samples_that_cannot_be_adopted(
    database: Database, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "samples_x_2026.jsonl"
    line = {**lm_eval_line(0, [{"role": "user", "content": "?"}], "x", 1.0, "none"), **change}
    path.write_text(json.dumps(line))
    with pytest.raises(ConfigError, match=words):
        await adopt(database, "r", logs=[path])


async def test_asked_for_wrongly(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a log brings its own scores"):
        await adopt(database, "r", logs=[tmp_path], grader="answer")
    with pytest.raises(ConfigError, match="name the suite that has the items"):
        await adopt(database, "r")
    with pytest.raises(ConfigError, match="holds no log"):
        await adopt(database, "r", logs=[tmp_path])
