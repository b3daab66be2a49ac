"""How long until the first answer, and how much memory an idle proxy takes: `python -m benchmarks.startup`.

Starts `hullspeed serve` again and again, asks it until it answers a chat completion from an upstream on this machine,
and prints the medians: seconds from the start of the process to the first 200, and the CPU seconds it took, which a
busy machine changes less. Bytecode is compiled beforehand. Once with a Postgres that runs (`--database-url`, or an
embedded one that this program keeps running), once with an embedded Postgres that starts with the proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import yaml

from app.store.embedded import EmbeddedServer

REPLY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,'
    b'"completion_tokens":2,"total_tokens":11}}'
)
ASK = b'{"model":"auto","messages":[{"role":"user","content":"What is the capital of France?"}]}'


@dataclass(frozen=True)
class Start:
    """One start."""

    seconds: float
    cpu_seconds: float
    megabytes: float


class _Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if found and len(body) >= length:
            self._data = b""
            answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(REPLY)
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.write(answer + REPLY)


@contextmanager
def upstream() -> Iterator[str]:
    """A fast upstream in a thread; gives its base URL."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(_Upstream, "127.0.0.1", 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        loop.call_soon_threadsafe(loop.stop)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    """Whether the proxy on this port answers a chat completion with 200."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.sendall(head + b"content-length: %d\r\n\r\n" % len(ASK) + ASK)
            return sock.recv(12).endswith(b"200")
    except OSError:
        return False


def start(config: Path, environ: dict[str, str], arguments: list[str], settle: float = 0.0) -> Start:
    """Start the proxy, wait for its first answer, and `settle` seconds more before the memory is looked at."""
    port = free_port()
    command = [sys.executable, "-m", "app", "serve", "--config", str(config), "--port", str(port), *arguments]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    seen = psutil.Process(process.pid)
    try:
        while not answers(port):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
            time.sleep(0.002)
        seconds = time.perf_counter() - began
        times = seen.cpu_times()
        time.sleep(settle)
        return Start(seconds, times.user + times.system, seen.memory_info().rss / 2**20)
    finally:
        process.terminate()
        process.wait(60)


def measure(title: str, rounds: int, config: Path, environ: dict[str, str], arguments: list[str]) -> None:
    """Start it `rounds` times, after one that does not count, and print the medians."""
    start(config, environ, arguments, settle=5.0)  # makes the schema
    starts = [start(config, environ, arguments, settle=1.0) for _ in range(rounds)]
    seconds = sorted(one.seconds for one in starts)
    cpu = statistics.median(one.cpu_seconds for one in starts)
    memory = statistics.median(one.megabytes for one in starts)
    print(
        f"{title:28} first answer {statistics.median(seconds):.2f} s (from {seconds[0]:.2f} to {seconds[-1]:.2f}), "
        f"{cpu:.2f} CPU-s, {memory:.0f} MB",
        flush=True,
    )


def main() -> None:
    """Print one line for each kind of ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--database-url", help="a Postgres that runs; without it an embedded one is kept running")
    parser.add_argument("arguments", nargs="*", help="passed on to `serve`, after `--`")
    options = parser.parse_args()
    for package in ("app", "routers", "migrations"):
        compileall.compile_dir(package, quiet=1)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="hs-") as name, upstream() as url:
        folder = Path(name)
        config = folder / "config.yaml"
        model = {"model": "openai/gpt-4o-mini", "api_base": url, "api_key": "none"}
        config.write_text(yaml.safe_dump({"model_list": [{"model_name": "m", "litellm_params": model}]}))
        environ["HULLSPEED_DATA_DIR"] = str(folder / "data")
        server = None if options.database_url else EmbeddedServer(folder / "own" / "postgres")
        try:
            there = {**environ, "DATABASE_URL": options.database_url or (server.start() if server else "")}
            measure("with a Postgres that runs", options.rounds, config, there, options.arguments)
        finally:
            if server:
                server.stop()
        environ.pop("DATABASE_URL", None)
        measure("with an embedded Postgres", options.rounds, config, environ, options.arguments)


if __name__ == "__main__":
    main()
