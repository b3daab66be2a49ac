"""`hullspeed demo`: the whole main job, keyless."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import threading

import psycopg

from tests.cli.program import Program

SMALL = """
from app.cli import demo, root
demo.ROUTERS, demo.TRADEOFFS = ("cheapest", "knn"), (0.0,)
root.main()
"""
"""The demo with a twentieth of its calls."""


def test_demo(newcomer: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = newcomer.run("demo", "--port", str(port), "-o", "demo.html").stdout
    assert f"Port {port} is taken; using http://127.0.0.1:" in said
    assert "SIMULATED" in said.upper()
    for name in (
        "cheapest",
        "uniform",
        "length",
        "ladder",
        "knn",
        "ridge",
        "oracle",
        "zero router",
        "best single",
        "random",
    ):
        assert name in said
    page = (newcomer.folder / "demo.html").read_text()
    assert "simulated" in page.lower()
    assert not re.search(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="?https?:', page), (
        "the page asks no other host for anything"
    )
    with psycopg.connect(newcomer.environment["DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT (router, tradeoff, item)), count(*) FILTER (WHERE outcome = 'ok') "
            "FROM calls"
        ).fetchone()
    assert found == (5040, 5040, 5040)


def test_what_stay_shows_works_when_pasted(program: Program) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SMALL, "demo", "--stay", "--port", "0"],
        cwd=program.folder,
        env=program.environ(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(110, process.kill)
        watchdog.start()
        try:
            said = ""
            for line in process.stdout:
                said += line
                if line.startswith("Look at it:"):
                    break
            assert "Every call:" in line
            curl, python = said[said.index("curl -i") :].split("from openai", 1)
            python = "from openai" + python.split("Look at it:")[0]
            done = subprocess.run(shlex.split(curl.replace("\\\n", " ")), capture_output=True, text=True, check=True)
            assert "200 OK" in done.stdout
            assert "x-hullspeed-model: sim-" in done.stdout
            ran = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True)
            assert re.match(r"sim-\w+ says: \S", ran.stdout)
        finally:
            watchdog.cancel()
            process.terminate()
    assert process.returncode == 0
