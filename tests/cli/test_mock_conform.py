"""`hullspeed mock` and `hullspeed conform` as a user runs them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from tests.cli.program import Program


@contextmanager
def mocking(program: Program, *arguments: str) -> Iterator[list[str]]:
    """`hullspeed mock` until the block ends; gives the lines it said."""
    process = subprocess.Popen(
        program.command("mock", *arguments),
        cwd=program.folder,
        env=program.environ(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        while not lines or "/mock/requests" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        yield lines
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()


def neighbours() -> int:
    """A port that is free, as the one after it."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port: int = first.getsockname()[1]
            try:
                stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
            except (OSError, OverflowError):
                continue
            return port


def test_mock(program: Program) -> None:
    with mocking(program, "--port", "0", "--key", "sk-x") as lines:
        url = lines[0].split()[5]
        said = "".join(lines)
        assert "mock-cut-midevent" in said
        assert f"api_base: {url}/v1" in said
        body = {"model": "mock-503", "messages": [{"role": "user", "content": "hi"}]}
        sent = f"{url}/v1/chat/completions"
        assert httpx.post(sent, json=body, trust_env=False).status_code == 401
        headers = {"authorization": "Bearer sk-x"}
        assert httpx.post(sent, json=body, headers=headers, trust_env=False).status_code == 503
        assert len(httpx.get(f"{url}/mock/requests", trust_env=False).json()) == 2
        port = url.rpartition(":")[2]
        assert "cannot be bound" in program.fails("mock", "--port", port)


def test_conform(program: Program) -> None:
    mock = f"127.0.0.1:{neighbours()}"
    only = ("--only", "9", "--only", "refuses-api-base", "--mock-address", mock)
    config = program.run("conform", "--print-config", "hullspeed", *only).stdout
    (program.folder / "conform.yaml").write_text(config)
    with program.serving("--config", "conform.yaml") as served:
        asked = ("conform", "--base-url", served.url, *only)
        found = json.loads(program.run(*asked, "--json").stdout)
        table = program.run(*asked[:3], "--mock-address", mock, "--only", "refuses-api-base").stdout
        other = program.fails(*asked[:3], "--mock-address", mock, "--only", "5")
        keyless = program.fails(*asked, "--api-key", "sk-wrong")
    assert found["points"] == {"1": "kept", "9": "kept"}
    assert "kept" in table
    assert "every point that could be judged is kept" in table
    assert "--print-config hullspeed" in other
    assert "--api-key" in keyless


def test_usage(program: Program) -> None:
    assert "does not answer" in program.fails("conform", "--base-url", "http://127.0.0.1:1", "--only", "9")
    assert "--dialect" in program.fails("conform", "--dialect", "klingon")
    assert "--gateway" in program.fails("conform", "--gateway", "nginx")
    assert "--only" in program.fails("conform", "--only", "no-such-check")
    assert "--mock-address" in program.fails("conform", "--mock-address", "8090")
    assert "--base-url" in program.fails("conform", "--base-url", "localhost")
    assert "model_list" in program.run("conform", "--print-config", "litellm", "--only", "3").stdout
