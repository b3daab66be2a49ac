"""The proxy that one writes in an afternoon: FastAPI, httpx, nothing else.

`python -m benchmarks.hop.forwarder PORT UPSTREAM`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse


def create_app(upstream: str) -> FastAPI:
    """Forwards chat requests to `upstream`, a base URL."""
    client = httpx.AsyncClient(
        base_url=upstream,
        timeout=60,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        trust_env=False,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def forward(request: Request) -> Response:
        body = await request.body()
        headers = {"content-type": "application/json", "authorization": "Bearer k"}
        asked = client.build_request("POST", "/chat/completions", content=body, headers=headers)
        answer = await client.send(asked, stream=True)
        kind = answer.headers["content-type"]
        if not kind.startswith("text/event-stream"):
            return Response(await answer.aread(), answer.status_code, media_type=kind)

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in answer.aiter_raw():
                yield chunk
            await answer.aclose()

        return StreamingResponse(chunks(), answer.status_code, media_type=kind)

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
