"""The load: wrk for rates and latencies, a plain socket for the time to the first token."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hop.traffic import FIRST_TOKEN

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_DONE = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m)")
_QUANTILE = r"\s{}%\s+([\d.]+)(us|ms|s|m)"
_TROUBLE = re.compile(r"(?:Non-2xx or 3xx responses|Socket errors): .*")


@dataclass(frozen=True)
class Target:
    """Where requests go, and which."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str]

    def answers(self) -> bool:
        """Whether one request is answered with 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", self.path, self.body, dict(self.headers))
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class Ran:
    """What wrk saw."""

    rate: float
    """Whole replies per second."""
    p50: float
    """Milliseconds."""
    p99: float
    trouble: str
    """Errors, in wrk's words; empty where there were none."""


def wrk(target: Target, *, connections: int, seconds: float, core: int, folder: Path) -> Ran:
    """Keep `connections` requests in flight for some seconds."""
    script = folder / "post.lua"
    headers = "\n".join(f"wrk.headers[ {_lua(name)} ] = {_lua(value)}" for name, value in target.headers.items())
    script.write_text(f'wrk.method = "POST"\nwrk.body = {_lua(target.body.decode())}\n{headers}\n')
    url = f"http://127.0.0.1:{target.port}{target.path}"
    said = subprocess.run(
        ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s",
         "--timeout", "30s", "--latency", "-s", str(script), url],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    done = _DONE.search(said)
    assert done is not None, said
    lasted = float(done[2]) * _UNITS[done[3]] / 1e3
    return Ran(int(done[1]) / lasted, _quantile(said, 50), _quantile(said, 99), " ".join(_TROUBLE.findall(said)))


def _quantile(said: str, percent: int) -> float:
    found = re.search(_QUANTILE.format(percent), said)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def _lua(text: str) -> str:
    return f"[==[{text}]==]"


def first_tokens(target: Target, streams: int) -> list[float]:
    """Milliseconds from sending a request to having the first token, for each stream, one after another."""
    head = [f"POST {target.path} HTTP/1.1", f"host: 127.0.0.1:{target.port}", f"content-length: {len(target.body)}"]
    head += [f"{name}: {value}" for name, value in target.headers.items()]
    request = "\r\n".join(head).encode() + b"\r\n\r\n" + target.body
    took = []
    with socket.create_connection(("127.0.0.1", target.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(streams):
            started = time.perf_counter()
            connection.sendall(request)
            seen, first = b"", None
            # The whole text is short; the end of a chunked body is the only thing that ends in this.
            while not seen.endswith(b"\r\n0\r\n\r\n"):
                piece = connection.recv(65536)
                if not piece:
                    raise ConnectionError(f"the stream broke off after {seen[-200:]!r}")
                seen += piece
                if first is None and FIRST_TOKEN in seen:
                    first = time.perf_counter()
            if first is None:
                raise ConnectionError(f"no token in {seen[:300]!r}")
            took.append((first - started) * 1e3)
    return took
