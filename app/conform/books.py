"""Points 2, 11, 16, 18 and 19, as far as they stand in the ledger that `--ledger-url` names (Hullspeed's)."""

from __future__ import annotations

import secrets
from typing import Any

from app.conform.check import check, expect
from app.conform.stand import Case
from app.mock.replies import Answer, Fault, HttpError

SESSION = "x-hullspeed-session"


def _session() -> dict[str, str]:
    return {SESSION: f"conform-{secrets.token_hex(8)}"}


async def _only(case: Case, headers: dict[str, str]) -> dict[str, Any]:
    (row,) = await case.logged(headers[SESSION], 1)
    return row


def _row(name: str, said: Answer | Fault | HttpError, outcome: str, streamed: bool) -> None:
    @check(
        16,
        name=f"one-row-{name}",
        what=f"A call with outcome {outcome} ({name}) leaves exactly one row",
        needs="ledger",
    )
    async def rows(case: Case) -> str:
        case.always(said)
        headers = _session()
        await case.ask(headers=headers, stream=streamed)
        row = await _only(case, headers)
        expect(row["outcome"] == outcome, f"outcome {row['outcome']!r}, not {outcome!r}")
        asked, noted = len(case.seen), len(row["attempts"])
        expect(asked == noted, f"{noted} attempts in the row, {asked} at the upstream")
        return f"one row, outcome {outcome}, {noted} attempts as the upstream saw"


_row("answered", Answer("fine"), "ok", streamed=False)
_row("streamed", Answer("fine"), "ok", streamed=True)
_row("failed", HttpError(500), "error", streamed=False)
_row("cut-stream", Fault("cut_mid_event", after=2, answer=Answer("a b c d")), "truncated", streamed=True)


@check(11, needs="ledger")
async def gone_client_is_noted(case: Case) -> str:
    """A client that went leaves one row with outcome `client_cancelled`, never an upstream's fault."""
    case.says(Fault("stall"))
    headers = _session()
    _, body = case.body()
    async with case.connect() as connection:
        await connection.send("POST", "/v1/chat/completions", case.headers(headers), body)
        await case.arrived()
    row = await _only(case, headers)
    expect(row["outcome"] == "client_cancelled", f"outcome {row['outcome']!r}")
    attempts = [attempt["outcome"] for attempt in row["attempts"]]
    expect(attempts == ["client_cancelled"], f"attempts {attempts}")
    return "one row, client_cancelled, so is its attempt"


@check(16, needs="ledger")
async def rejected_is_noted(case: Case) -> str:
    """A request that is refused leaves one row without attempts."""
    headers = _session()
    reply = await case.ask(headers=headers, messages=[])
    expect(reply.status == 400, f"status {reply.status}")
    row = await _only(case, headers)
    expect((row["outcome"], row["attempts"]) == ("rejected", []), f"outcome {row['outcome']!r}")
    return "one row, outcome rejected, no attempts"


@check(2, needs="ledger")
async def clients_id_is_stored(case: Case) -> str:
    """A client's own `x-request-id` is stored, never used as a key: two calls with one id are two rows."""
    headers = {**_session(), "x-request-id": "always-the-same"}
    first = await case.ask(headers=headers)
    second = await case.ask(headers=headers)
    rows = await case.logged(headers[SESSION], 2)
    stored = [row["client_request_id"] for row in rows]
    expect(stored == ["always-the-same"] * 2, f"stored {stored}")
    ids = {first.headers.get("x-hullspeed-call-id"), second.headers.get("x-hullspeed-call-id")}
    expect({row["id"] for row in rows} == ids, "the rows' ids are not those of the replies")
    return "two rows with ids of their own, both with the client's"


def _cost(name: str, streamed: bool) -> None:
    @check(18, name=name, what=f"The cost is usage × price, exactly ({name})", needs="ledger")
    async def cost(case: Case) -> str:
        case.always(Answer("a b", prompt_tokens=1003, completion_tokens=7))
        headers = _session()
        await case.ask(headers=headers, stream=streamed)
        row = await _only(case, headers)
        attempt = row["attempts"][0]
        tokens = (attempt["usage"]["prompt_tokens"], attempt["usage"]["completion_tokens"])
        expect(tokens == (1003, 7), f"tokens {tokens}")
        # 1003 · 1e-6 + 7 · 2e-6, the prices of the printed configuration.
        got = attempt["cost_usd"]
        expect(got is not None and abs(float(got) - 0.001017) < 1e-12, f"cost {got}, not 0.001017")
        expect(attempt.get("price"), "no price stands with it")
        return f"${got} with its price"


_cost("cost", streamed=False)
_cost("cost-streamed", streamed=True)


@check(18, needs="ledger", priced=False)
async def unknown_price_is_null(case: Case) -> str:
    """An unknown price gives no cost, never 0."""
    headers = _session()
    await case.ask(headers=headers)
    row = await _only(case, headers)
    got = row["attempts"][0]["cost_usd"]
    expect(got is None, f"cost {got}")
    return "cost null"


@check(19, needs="ledger", fallback=True)
async def decision_is_stored(case: Case) -> str:
    """The decision is stored whole: ranking, probability, setting, router, version, reason."""
    headers = _session()
    await case.ask(headers=headers)
    decision = (await _only(case, headers)).get("decision") or {}
    missing = {"router", "version", "reason", "tradeoff", "ranking", "seed"} - set(decision)
    expect(not missing, f"no {', '.join(sorted(missing))}")
    first = decision["ranking"][0]
    expect(first["model"] == case.target, f"first is {first['model']!r}")
    expect(first["probability"] == 1.0, f"probability {first['probability']!r}")
    return f"router {decision['router']!r}, {len(decision['ranking'])} models ranked"
