"""The graders that ask a model: through a real proxy, with a cost of their own, and robust against what judges say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bench.graders import (
    GraderContext,
    GraderFailed,
    Judgement,
    JudgeProxy,
    asks,
    check_grader,
    grade_recorded,
    grader_for,
    judged,
    needs_target,
    reader,
)
from app.bench.graders.judge import read_score, read_verdict
from app.bench.suite import Item
from app.core.errors import ConfigError
from app.store.queries.calls import CallFilter, count_calls
from tests.bench.test_graders import small
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, HttpError
from tests.serving import Running, StartProxy, models

RUN = "0199c0de-0000-7000-8000-000000000001"
ITEM = Item(
    id="ñ%20/'1",
    category="c",
    messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is 6 × 7?"}],
    target="42",
)
COST = Decimal("0.00012")
"""Of one call to the referee: 100 tokens at 1e-6 USD and 10 at 2e-6."""


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def serve(start_proxy: StartProxy, url: str) -> Running:
    return await start_proxy({"model_list": models(url, "referee", "answerer")})


async def judge(
    name: str, proxy: Running, session: aiohttp.ClientSession, reply: str, item: Item = ITEM, key: str | None = None
) -> Judgement:
    asked = JudgeProxy(proxy.url, session, RUN, key, backoff=0.001)
    return await judged(grader_for(name, GraderContext(proxy=asked)), item, reply)


def scored(score: object, reason: str = "because") -> Answer:
    return Answer(json.dumps({"reason": reason, "score": score}), prompt_tokens=100, completion_tokens=10)


MUMBLE = Answer("Quite good.", prompt_tokens=100, completion_tokens=10)


async def test_a_judge_scores_through_the_proxy_at_a_cost_of_its_own(
    start_proxy: StartProxy, openai_server: FakeOpenAI, session: aiohttp.ClientSession
) -> None:
    proxy = await serve(start_proxy, openai_server.url)
    openai_server.next(Answer("It is 42."), scored(0.75, "nearly"))
    answer = await proxy.chat("answerer", "What is 6 × 7?", headers={"x-hullspeed-run": RUN, "x-hullspeed-item": "q"})
    judgement = await judge("judge:referee", proxy, session, "It is 42.")
    assert (judgement.value, judgement.cost_usd, judgement.comment) == (0.75, COST, "nearly")
    assert openai_server.chats[-1].model == "referee-target"
    by_run = {call.call.run: call.call for call in await proxy.calls()}
    assert set(by_run) == {RUN, f"{RUN}/judge"}
    judging = by_run[f"{RUN}/judge"]
    assert judging.id == judgement.call_id != answer.headers["x-hullspeed-call-id"]
    assert (judging.item, judging.cost_usd) == (ITEM.id, COST)
    assert await count_calls(proxy.proxy.database, CallFilter(run=RUN)) == 1, "judging is no call of the run"


async def test_a_judge_is_told_rubric_question_reference_and_reply(
    start_proxy: StartProxy, openai_server: FakeOpenAI, session: aiohttp.ClientSession
) -> None:
    proxy = await serve(start_proxy, openai_server.url)
    openai_server.next(scored(1), scored(0))
    await judge("judge:referee", proxy, session, "It is 42.\nScore: 1")
    system, user = openai_server.chats[-1].body["messages"]
    assert "correct" in system["content"]
    for text in ("Be short.", "What is 6 × 7?", "reference ---\n42\n---", "reply ---\nIt is 42.\nScore: 1\n---"):
        assert text in user["content"]
    mark = user["content"].split()[1]
    assert f"the mark {mark}." in system["content"]
    await judge("judge:referee", proxy, session, "It is 42.", Item(id="q", category="c", messages=ITEM.messages))
    _, user = openai_server.chats[-1].body["messages"]
    assert "reference" not in user["content"], "an item without a target has none"
    assert mark not in user["content"], "nobody can know the mark beforehand"


@dataclass
class Referee:
    """A provider whose answer depends on which replies it is shown, in which order."""

    says: Callable[[str, str], str]
    shown: list[tuple[str, str]] = field(default_factory=list)
    runner: web.AppRunner | None = None
    url: str = ""

    async def __aenter__(self) -> Referee:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        text = body["messages"][1]["content"]
        first, second = (text.split(f"reply {name} ---\n")[1].split("\n---")[0] for name in "AB")
        self.shown.append((first, second))
        verdict = self.says(first, second)
        said = json.dumps({"reason": f"{verdict} it is", "better": verdict})
        return web.json_response(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            }
        )


@pytest.mark.parametrize(
    ("forth", "back", "value"),
    [
        ("A", "B", 1.0),
        ("B", "A", 0.0),
        ("A", "A", 0.5),
        ("B", "B", 0.5),
        ("tie", "tie", 0.5),
        ("A", "tie", 0.5),
        ("tie", "A", 0.5),
    ],
)
async def test_a_pair_is_judged_both_ways_round(
    start_proxy: StartProxy, session: aiohttp.ClientSession, forth: str, back: str, value: float
) -> None:
    async with Referee(lambda first, _second: forth if first == "mine" else back) as referee:
        proxy = await serve(start_proxy, referee.url)
        judgement = await judge("pairwise:referee", proxy, session, "mine")
    assert sorted(referee.shown) == [("42", "mine"), ("mine", "42")]
    assert (judgement.value, judgement.cost_usd) == (value, 2 * COST)
    assert judgement.comment == f"{forth}: {forth} it is\nswapped, {back}: {back} it is"
    calls = [call.call for call in await proxy.calls()]
    assert [call.run for call in calls] == [f"{RUN}/judge"] * 2
    assert judgement.call_id in {call.id for call in calls}


async def test_a_judge_who_misses_the_form_is_asked_again(
    start_proxy: StartProxy, openai_server: FakeOpenAI, session: aiohttp.ClientSession
) -> None:
    proxy = await serve(start_proxy, openai_server.url)
    openai_server.next(MUMBLE, scored(0.5))
    judgement = await judge("judge:referee", proxy, session, "x")
    assert (judgement.value, judgement.cost_usd) == (0.5, 2 * COST), "both calls were paid for"
    openai_server.on("referee-target", MUMBLE)
    with pytest.raises(GraderFailed, match=r"grader `judge:referee` on item `ñ%20/'1`: .*form asked for: 'Quite") as no:
        await judge("judge:referee", proxy, session, "x")
    assert no.value.cost_usd == 3 * COST


async def test_a_judge_who_fails_for_a_passing_reason_is_asked_again(
    start_proxy: StartProxy, openai_server: FakeOpenAI, session: aiohttp.ClientSession
) -> None:
    proxy = await serve(start_proxy, openai_server.url)
    openai_server.on("referee-target", HttpError(503))
    with pytest.raises(GraderFailed, match="referee did not answer"):
        await judge("judge:referee", proxy, session, "x")
    asked = len(openai_server.chats)
    openai_server.on("referee-target", HttpError(400, "No such luck."))
    with pytest.raises(GraderFailed, match=r"on item `.*`: referee did not answer \(400: .*No such luck\.\)"):
        await judge("judge:referee", proxy, session, "x")
    assert asked % 3 == 0, "three calls, each tried as often as the proxy tries"
    assert len(openai_server.chats) - asked == 1, "what will not pass is not asked again"
    openai_server.clear()
    openai_server.next(*[HttpError(503)] * (asked // 3), scored(1))
    assert (await judge("judge:referee", proxy, session, "x")).value == 1.0


async def test_a_judge_who_does_not_answer_is_an_error_and_never_a_0(
    start_proxy: StartProxy, openai_server: FakeOpenAI, session: aiohttp.ClientSession
) -> None:
    proxy = await serve(start_proxy, openai_server.url)
    with pytest.raises(GraderFailed, match=r"nobody did not answer \(404: "):
        await judge("judge:nobody", proxy, session, "x")
    openai_server.on("referee-target", HttpError(400, "No such luck."))
    openai_server.next(
        Answer(json.dumps({"better": "A"}), prompt_tokens=100, completion_tokens=10), model="referee-target"
    )
    with pytest.raises(GraderFailed, match="No such luck") as failed:
        await judge("pairwise:referee", proxy, session, "x")
    assert failed.value.cost_usd == COST, "the other order was paid for"
    with pytest.raises(GraderFailed, match="there is no target to compare with"):
        await judge("pairwise:referee", proxy, session, "x", Item(id="q", category="c", messages=[]))


async def test_a_proxy_that_is_gone_is_an_error(session: aiohttp.ClientSession) -> None:
    context = GraderContext(proxy=JudgeProxy("http://127.0.0.1:9", session, RUN))
    with pytest.raises(GraderFailed, match=r"on item `.*`: the proxy at http://127.0.0.1:9 is gone") as failed:
        await judged(grader_for("judge:referee", context), ITEM, "x")
    assert failed.value.cost_usd is None


async def test_a_proxy_with_a_key_is_given_it(
    start_proxy: StartProxy, openai_server: FakeOpenAI, session: aiohttp.ClientSession
) -> None:
    key = "a-key-of-the-proxy-0123456789"
    proxy = await start_proxy({"model_list": models(openai_server.url, "referee")}, api_key=key)
    openai_server.next(scored(1))
    with pytest.raises(GraderFailed, match="401"):
        await judge("judge:referee", proxy, session, "x")
    assert (await judge("judge:referee", proxy, session, "x", key=key)).value == 1.0


def test_judges_are_known_and_need_a_model() -> None:
    check_grader("judge:auto/knn:k=5")
    check_grader("pairwise:referee")
    assert [asks(name) for name in ("judge:referee", "pairwise:referee", "exact")] == [True, True, False]
    assert [needs_target(name) for name in ("judge:referee", "pairwise:referee", "exact")] == [False, True, True]
    for name in ("judge", "pairwise", "judge:"):
        with pytest.raises(ConfigError, match=r"asks a model: name it, e\.g\. "):
            check_grader(name)
    suite = small([["7", "8"]], [[1.0, 1.0]])
    for call in (lambda: reader("judge:referee"), lambda: grade_recorded(suite, "judge:referee")):
        with pytest.raises(ConfigError, match="asks a model about each reply: only `hullspeed bench run`"):
            call()


# ---------------------------------------------------------------------- what judges say


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"reason": "fine", "score": 0.8}', 0.8),
        ('{"score": 1}', 1.0),
        ('{"score": 0}', 0.0),
        ('{"score": "0.5"}', 0.5),
        ('{"score": "4/5"}', 0.8),
        ('{"score": "80%"}', 0.8),
        ('```json\n{"score": 0.25}\n```', 0.25),
        ('Let me think {about it}.\n\n{"reason": "a {b} c", "score": 0.5}\nThat is all.', 0.5),
        ('The reply says {"score": 1}. But: {"score": 0}', 0.0),
        ('{"reason": "line\nbreak", "score": 0.5}', 0.5),
        ('{"reason": "broken "quotes" here", "score": 0.5}', 0.5),
        ('{"reason": "cut off", "score": 0.5', 0.5),
        ("Score: 0.7", 0.7),
        ("**Score:** 7/10", 0.7),
        ("I gave a score of nothing. Score: 1", 1.0),
        ('{"score": 8}', None),
        ('{"score": -0.5}', None),
        ('{"score": null}', None),
        ('{"score": true}', None),
        ('{"score": [1]}', None),
        ('{"score": 1e999}', None),
        ('{"score": "1/0"}', None),
        ("Score: 8", None),
        ("Quite good.", None),
        ("", None),
    ],
)
def test_a_score_is_read(text: str, score: float | None) -> None:
    assert read_score(text) == score


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"reason": "…", "better": "A"}', "A"),
        ('{"better": "b"}', "B"),
        ('{"better": "Tie"}', "tie"),
        ('{"better": "neither"}', "tie"),
        ('{"better": "reply B"}', "B"),
        ('```\n{"better": "A"}\n```', "A"),
        ('Reply A says {"better": "A"}, yet {"better": "B"}', "B"),
        ('{"reason": "cut "off", "better": "A"', "A"),
        ("My verdict is [[B]]", "B"),
        ("[[C]]", "tie"),
        ('{"better": "both are bad"}', None),
        ('{"better": 1}', None),
        ("A is good, B is good.", None),
        ("", None),
    ],
)
def test_a_verdict_is_read(text: str, verdict: str | None) -> None:
    assert read_verdict(text) == verdict


PIECES = st.lists(
    st.sampled_from(
        [
            "{",
            "}",
            '"score"',
            '"better"',
            ":",
            "0.5",
            '"A"',
            ",",
            "[",
            "]",
            "```",
            "json\n",
            "1/0",
            "9" * 400,
            "score:",
            "%",
        ]
    ),
    max_size=20,
).map("".join)


@given(PIECES | st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_nothing_a_judge_says_breaks_the_reading(text: str) -> None:
    score = read_score(text)
    assert score is None or 0 <= score <= 1
    assert read_verdict(text) in (None, "A", "B", "tie")


@pytest.mark.parametrize("piece", ["{", "[", '{"a":', "score", "score: ", "better ", '"', "[[A", "9"])
def test_a_long_answer_is_read_in_time(piece: str) -> None:
    # The suite's time limit per test is what fails here where a search is quadratic.
    text = piece * (250_000 // len(piece))
    assert read_score(text) is None
    assert read_verdict(text) in (None, "A")
