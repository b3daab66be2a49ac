"""What a process that serves does not import: each of these takes megabytes, and most proxies never need it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from tests.fakes.openai_server import FakeOpenAI
from tests.serving import models

SERVE = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules}))))
from app.cli.root import main
main()
"""
HEAVY = {
    "aiohttp", "alembic", "fastapi", "httpx", "jinja2", "litellm", "numpy", "openai", "opentelemetry", "plotly",
    "pyarrow", "requests", "rich", "scipy", "sklearn", "sqlalchemy",
}  # fmt: skip


async def imported(folder: Path, database_url: str, config: dict[str, object], *asked: tuple[str, str]) -> set[str]:
    """The packages that a proxy has imported in the end that served a call, was probed, shipped the call and was
    asked all these: a path, and a model where it is a chat."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    environ = {**os.environ, "DATABASE_URL": database_url, "HULLSPEED_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-c", SERVE, "serve", "--config", str(file), "--port", "0"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=pipe, stderr=pipe)
    assert process.stderr is not None
    said = ""
    try:
        while (url := re.search(r"serves on (http://\S+)/v1", said)) is None:
            line = await process.stderr.readline()
            assert line, said
            said += line.decode()
        async with httpx.AsyncClient(base_url=url[1], timeout=30, trust_env=False) as http:
            for path, model in (("/v1/chat/completions", "auto"), *asked):
                body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
                reply = await (http.post(path, json=body) if model else http.get(path))
                assert reply.status_code == 200, reply.text
            for path in ("/", "/healthz", "/readyz", "/v1/models", "/v1/models/auto", "/nowhere"):
                assert (await http.get(path)).status_code in (200, 307, 404)
            while not re.search(r'ledger_rows_total{result="written"} [1-9]', (await http.get("/metrics")).text):
                await asyncio.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        told, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return set(json.loads(told))


async def test_a_proxy_with_direct_upstreams_imports_none_of_it(
    new_database: Callable[[], str], openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    config: dict[str, object] = {"model_list": models(openai_server.url, "small", "large")}
    # A fresh database too: another process migrates it.
    assert await imported(tmp_path, new_database(), config) & HEAVY == set()


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        (("/v1/calls", ""), {"fastapi"}),
        (("/openapi.json", ""), {"fastapi"}),
        (("/v1/chat/completions", "auto/bandit"), {"numpy"}),
        (("/ui/", ""), {"jinja2"}),
        (("/ui/calls", ""), {"fastapi", "jinja2"}),
        (("/ui/bench", ""), {"fastapi", "jinja2", "numpy", "pyarrow", "sqlalchemy"}),
    ],
)
async def test_what_is_asked_for_is_imported_then(
    migrated_database: Callable[[], str],
    openai_server: FakeOpenAI,
    tmp_path: Path,
    asked: tuple[str, str],
    needed: set[str],
) -> None:
    config: dict[str, object] = {"model_list": models(openai_server.url, "small", "large")}
    found = await imported(tmp_path, migrated_database(), config, asked)
    # FastAPI imports that one where it is installed.
    assert found & HEAVY - {"opentelemetry"} == needed
