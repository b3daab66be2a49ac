"""litellm against the fakes, in a process of its own: `python -m tests.fakes.litellm_client ANTHROPIC_URL GEMINI_URL`.

A process, because litellm's import takes seconds, changes logging for everyone and leaves a thread and a task behind.
Prints one JSON object: what each call gave, for `test_litellm.py` to judge.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

MESSAGES = [{"role": "user", "content": "Hello there"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


async def main(anthropic: str, gemini: str) -> dict[str, Any]:
    """Two good calls and a streamed one, a call with tools, and the errors, with each provider."""
    import litellm

    litellm.suppress_debug_info = True
    found: dict[str, Any] = {}
    for name, model, base in (
        ("anthropic", "anthropic/claude-x", anthropic),
        ("gemini", "gemini/gemini-x", gemini),
    ):
        # Without `_skip_mcp_handler` a call with tools imports a package that only the proxy extra brings.
        params: dict[str, Any] = {
            "model": model,
            "api_base": base,
            "api_key": "key-right",
            "messages": MESSAGES,
            "num_retries": 0,
            "max_retries": 0,
            "timeout": 20,
            "_skip_mcp_handler": True,
        }
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        found[name] = {
            "whole": await _whole(litellm.acompletion(**params)),
            "stream": await _stream(litellm.acompletion(**params, **asked)),
            "tools": await _whole(litellm.acompletion(**params, tools=TOOLS)),
            "tools_stream": await _stream(litellm.acompletion(**params, tools=TOOLS, **asked)),
            "wrong_key": await _error(litellm.acompletion(**{**params, "api_key": "key-wrong"})),
            "errors": [await _error(litellm.acompletion(**params)) for _ in range(4)],
            "error_event": await _error(litellm.acompletion(**params, **asked)),
            "cut": await _error(litellm.acompletion(**params, **asked)),
        }
    await litellm.close_litellm_async_clients()
    return found


async def _whole(call: Awaitable[Any]) -> dict[str, Any]:
    reply = await call
    return {**reply.choices[0].model_dump(exclude_none=True), "usage": reply.usage.model_dump()}


async def _stream(call: Awaitable[Any]) -> dict[str, Any]:
    text, arguments, reasons, usages = "", "", [], []
    async for chunk in await call:
        usage = getattr(chunk, "usage", None)
        if usage is not None:
            usages.append(usage.model_dump())
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasons.append(choice.finish_reason)
            for tool_call in choice.delta.tool_calls or []:
                arguments += tool_call.function.arguments or ""
    finish = [reason for reason in reasons if reason]
    return {"text": text, "arguments": arguments, "finish": finish, "usages": usages}


async def _error(call: Awaitable[Any]) -> dict[str, Any]:
    try:
        reply = await call
        if hasattr(reply, "__aiter__"):
            async for _ in reply:
                pass
    except Exception as error:
        headers = getattr(error, "litellm_response_headers", None)
        retry_after = headers.get("retry-after") if headers is not None else None
        status = getattr(error, "status_code", None)
        return {"type": type(error).__name__, "status": status, "retry_after": retry_after}
    return {"type": None}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
