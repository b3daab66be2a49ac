"""Every check fails where its point is broken: each is held against a gateway with the vice that it looks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.conform.check import Check
from app.conform.client import Base
from app.conform.gateways import GATEWAYS, KEY
from app.conform.run import Result, all_checks, run
from app.conform.stand import Stand
from app.mock.server import Mock
from tests.conform.stub import Careless, Mangler, Plain, Resigned, Stubborn

MANGLER = """
    unknown-parameter-passes odd-numbers-keep-their-form unknown-reply-fields-pass unknown-chunk-fields-pass
    steering-words-are-data-in-content large-body-passes huge-reply huge-reply-streamed tools-whole tools-streamed
    tool-deltas-untouched several-choices several-choices-streamed logprobs-pass response-format-passes refusal-passes
    pictures-and-sound-pass usage-is-openais invalid-json body-is-no-object invalid-utf8-body messages-missing
    unknown-model upstream-400 upstream-400-streamed upstream-context-length upstream-context-length-streamed
    upstream-408 upstream-408-streamed upstream-429 upstream-429-streamed upstream-quota upstream-quota-streamed
    unknown-path usage-when-asked no-usage-unasked stream-framing tokens-arrive-as-they-come reads-crlf-line-ends
    reads-comments-between-events reads-several-data-lines-an-event reads-no-space-after-data
    reads-every-byte-by-itself reads-all-of-that-at-once reads-line-separators whole-stays-whole
    stream-error-event upstream-503 upstream-503-streamed no-done-is-consistent
""".split()  # noqa: SIM905
STUBBORN = """
    slow-reader long-retry-after-is-not-waited-for does-not-retry-400 does-not-retry-context-length
    does-not-retry-quota retries-are-bounded clients-retries-count waits-retry-after no-splice
""".split()  # noqa: SIM905
RESIGNED = ["the-least-bad-is-tried", "set-aside-model-comes-back"]
CARELESS = """
    clients-key-stays-here wrong-key doors-are-locked no-reply-holds-a-secret head-leaves-the-connection-usable
    errors-keep-the-connection client-connections-are-kept calls-do-not-mix half-a-body-is-no-request
    one-row-answered one-row-streamed one-row-failed one-row-cut-stream gone-client-is-noted rejected-is-noted
    clients-id-is-stored cost cost-streamed unknown-price-is-null decision-is-stored
""".split()  # noqa: SIM905
NAMED = {*MANGLER, *STUBBORN, *RESIGNED, *CARELESS}
HASTE = 0.1
"""The stubs keep nobody waiting, unless for ever."""


async def judge(stub: type[Plain], checks: Sequence[Check]) -> list[Result]:
    async with Mock() as mock:
        port = await mock.listen()
        async with stub(port) as gateway:
            base = Base("127.0.0.1", gateway.port, False, "")
            # A second of silence is enough for a stub that never says a word.
            known = replace(GATEWAYS["hullspeed"], keep_alive=0.2)
            stand = Stand(base, known, mock, f"127.0.0.1:{port}", key=KEY, ledger=base, haste=HASTE)
            return await run(stand, checks)


@pytest.mark.parametrize(
    ("stub", "names"),
    [
        (Plain, [check.name for check in all_checks() if check.name not in NAMED]),
        (Mangler, MANGLER),
        (Stubborn, STUBBORN),
        (Resigned, RESIGNED),
        (Careless, CARELESS),
    ],
)
async def test_every_check_can_fail(stub: type[Plain], names: list[str]) -> None:
    known = {check.name: check for check in all_checks()}
    results = await judge(stub, [known[name] for name in names])
    assert [result for result in results if result.verdict != "broken"] == []
    assert all(result.evidence for result in results)


async def test_no_check_passes_on_a_gateway_that_is_not_there() -> None:
    """Refused connections are broken points, never an error of the program."""
    async with Mock() as mock:
        port = await mock.listen()
        nowhere = Base("127.0.0.1", 1, False, "")
        stand = Stand(nowhere, GATEWAYS["hullspeed"], mock, f"127.0.0.1:{port}", key=KEY, ledger=nowhere, haste=0.02)
        results = await run(stand, all_checks())
    # With no reply at all there is no secret in any, nor half a request at the upstream.
    assert {result.name for result in results if result.verdict == "kept"} <= {"no-reply-holds-a-secret"}
