"""Throughput of two workers against one, on the cores of this machine: `python -m benchmarks.workers`.

One upstream that answers at once, one `hullspeed serve` at a time, a Postgres for the ledger, and the load beside them
on the same cores: wrk where it is installed, otherwise a small client of our own. Prints requests a second for each
number of workers and the ratio to one; several rounds in turn, medians with spread. Where cores are few, load,
upstream and Postgres take a good part of what the second worker could use: the ratio is that of the whole machine.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import yaml

from app.store.embedded import EmbeddedServer
from benchmarks.startup import ASK, answers, free_port, upstream


def serve_upstream(told: multiprocessing.SimpleQueue[str]) -> None:
    """The life of the upstream's process."""
    with upstream() as url:
        told.put(url)
        time.sleep(1e9)


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer."""

    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._data = transport, b""
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        self._request = head + b"content-length: %d\r\n\r\n" % len(ASK) + ASK
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self._data = b""
            _Client.answered += head.startswith(b"HTTP/1.1 200")
            self._transport.write(self._request)


async def own_load(port: int, connections: int, seconds: float) -> float:
    """Requests a second with our own client."""
    loop = asyncio.get_running_loop()
    before, began = _Client.answered, time.perf_counter()
    made = [await loop.create_connection(_Client, "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(seconds)
    rate = (_Client.answered - before) / (time.perf_counter() - began)
    for transport, _ in made:
        transport.abort()
    return rate


def wrk_load(port: int, connections: int, seconds: float, folder: Path) -> float:
    """Requests a second with wrk. Raises where any was not answered well."""
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method='POST'\nwrk.body=[[{ASK.decode()}]]\nwrk.headers['Content-Type']='application/json'\n"
    )
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(script), url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told:
        raise SystemExit(told)
    found = re.search(r"Requests/sec:\s*([\d.]+)", told)
    assert found is not None, told
    return float(found[1])


def one_round(workers: int, config: Path, environ: dict[str, str], options: argparse.Namespace) -> tuple[float, float]:
    """Requests a second, and CPU milliseconds that the proxy took for each."""
    port = free_port()
    arguments = ["serve", "--config", str(config), "--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen([sys.executable, "-m", "app", *arguments], env=environ, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        root = psutil.Process(process.pid)
        family = [root, *root.children()] if workers > 1 else [root]
        before = sum(sum(one.cpu_times()[:2]) for one in family)
        if options.load == "wrk":
            rate = wrk_load(port, options.connections, options.seconds, config.parent)
        else:
            rate = asyncio.run(own_load(port, options.connections, options.seconds))
        used = sum(sum(one.cpu_times()[:2]) for one in family) - before
        return rate, used / (rate * options.seconds) * 1000
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--load", choices=("wrk", "own"), default="wrk" if shutil.which("wrk") else "own")
    options = parser.parse_args()
    told: multiprocessing.SimpleQueue[str] = multiprocessing.SimpleQueue()
    provider = multiprocessing.Process(target=serve_upstream, args=(told,), daemon=True)
    provider.start()
    url = told.get()
    assert urlsplit(url).port
    with tempfile.TemporaryDirectory(prefix="hs-") as name:
        config = Path(name) / "config.yaml"
        model = {"model": "openai/gpt-4o-mini", "api_base": url, "api_key": "none"}
        config.write_text(yaml.safe_dump({"model_list": [{"model_name": "m", "litellm_params": model}]}))
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        server = EmbeddedServer(Path(name) / "own" / "postgres")
        environ |= {"DATABASE_URL": server.start(), "HULLSPEED_DATA_DIR": str(Path(name) / "data")}
        counts = [1, options.workers]
        found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
        try:
            for _ in range(options.rounds):
                for count in counts:
                    found[count].append(one_round(count, config, environ, options))
        finally:
            server.stop()
            provider.terminate()
    alone = statistics.median(rate for rate, _ in found[1])
    print(f"{os.cpu_count()} cores, {options.connections} connections, load by {options.load}")
    for count in counts:
        rates = sorted(rate for rate, _ in found[count])
        rate, cpu = statistics.median(rates), statistics.median(cost for _, cost in found[count])
        print(
            f"{count} worker{'s' if count > 1 else ' '}  {rate:8,.0f} requests/s (from {rates[0]:,.0f} to "
            f"{rates[-1]:,.0f}), {cpu:.3f} CPU-ms a request, x {rate / alone:.2f}"
        )


if __name__ == "__main__":
    main()
