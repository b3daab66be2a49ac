"""litellm really talks to the fakes of providers that do not speak OpenAI's protocol, and to nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.gemini_server import FakeGemini
from tests.fakes.replies import Answer, Fault, HttpError, Reply, ToolCall, rate_limited

pytestmark = pytest.mark.xdist_group("litellm")  # one child process for all

ROOT = Path(__file__).parents[2]
GOOD = Answer("one two", cached_tokens=64, cache_write_tokens=32, reasoning_tokens=5)
CALL = Answer(tool_calls=(ToolCall("weather", {"city": "Rome"}),))
REPLIES: list[Reply] = [
    GOOD,
    GOOD,
    CALL,
    CALL,
    rate_limited(retry_after="7"),
    HttpError(529),
    HttpError(503),
    HttpError(400, "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
    Fault("error_event", error=HttpError(529), answer=Answer("a b c")),
    Fault("cut_mid_event", answer=Answer("a b c")),
]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the child process saw."""
    with FakeAnthropic(key="key-right") as anthropic, FakeGemini(key="key-right") as gemini:
        anthropic.next(*REPLIES)
        gemini.next(*REPLIES)
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.fakes.litellm_client", anthropic.url, gemini.url],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        # One more than replies were taken: the call with the wrong key.
        assert [len(fake.chats) for fake in (anthropic, gemini)] == [len(REPLIES) + 1] * 2
        assert anthropic.chats[0].headers["x-api-key"] == "key-right"
        assert anthropic.chats[1].body["stream"] is True
        assert gemini.chats[0].path == "/v1beta/models/gemini-x:generateContent"
        assert gemini.chats[1].query == {"alt": "sse"}
        return result


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
def test_replies(found: dict[str, Any], name: str) -> None:
    got = found[name]
    assert got["whole"]["message"]["content"] == "one two"
    assert got["whole"]["finish_reason"] == "stop"
    assert got["stream"]["text"] == "one two"
    assert got["stream"]["finish"] == ["stop"]
    assert got["tools"]["finish_reason"] == "tool_calls"
    (call,) = got["tools"]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    assert got["tools_stream"]["finish"] == ["tool_calls"]
    assert json.loads(got["tools_stream"]["arguments"]) == {"city": "Rome"}


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
def test_usage_is_normalised(found: dict[str, Any], name: str) -> None:
    (streamed,) = found[name]["stream"]["usages"]
    for usage in (found[name]["whole"]["usage"], streamed):
        # 7 tokens of text, 64 cached and 32 written: both providers' ways of counting come to the same.
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (103, 7, 110)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 64
        assert usage["cache_read_input_tokens"] == 64
    if name == "anthropic":
        assert found[name]["whole"]["usage"]["cache_creation_input_tokens"] == 32
    else:
        assert found[name]["whole"]["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5


def test_errors(found: dict[str, Any]) -> None:
    assert found["anthropic"]["wrong_key"]["status"] == 401
    assert found["gemini"]["wrong_key"]["status"] == 401
    limited, overloaded, unavailable, too_long = found["anthropic"]["errors"]
    assert limited == {"type": "RateLimitError", "status": 429, "retry_after": "7"}
    assert overloaded["type"] == "InternalServerError"
    assert unavailable["status"] == 503
    assert too_long["type"] == "ContextWindowExceededError"
    limited, overloaded, unavailable, too_long = found["gemini"]["errors"]
    assert limited == {"type": "RateLimitError", "status": 429, "retry_after": "7"}
    assert overloaded["status"] == 529
    assert unavailable["status"] == 503
    assert too_long["type"] == "ContextWindowExceededError"


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
def test_broken_streams(found: dict[str, Any], name: str) -> None:
    assert found[name]["error_event"]["type"] == "MidStreamFallbackError"
    assert found[name]["cut"]["type"] == "MidStreamFallbackError"
