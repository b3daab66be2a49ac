"""`hullspeed check`, `calls` and `stats` as processes: what they show, what they keep to themselves, how they end."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.core.metrics import Metrics
from app.core.types import Call
from app.store import migrate
from app.store.database import Database
from app.store.journal import Journal
from app.store.writer import Ledger
from tests.cli.program import Program
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import models
from tests.store.samples import full_call, small_call


def put(program: Program, *calls: Call) -> None:
    """Write calls to the program's ledger."""

    async def work() -> None:
        database = Database(program.environment["DATABASE_URL"], program.folder)
        await database.open()
        ledger = Ledger(database, Journal(program.folder / "put", max_bytes=1 << 24), Metrics())
        await ledger.start()
        for call in calls:
            ledger.record(call)
        assert await ledger.ready(30)
        assert await ledger.flush(30)
        await ledger.close()
        await database.close()

    asyncio.run(work())


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def recent(ago: float = 60, **fields: Any) -> Call:
    return full_call(**{"started_at": datetime.now(UTC) - timedelta(seconds=ago), "source": "live", **fields})


# ------------------------------------------------------------------ check


CONFIG = """\
model_list:
  - model_name: small
    litellm_params: {model: openai/gpt-4o-mini, api_key: sk-planted-secret-1, weight: 3}
  - model_name: large
    litellm_params: {model: anthropic/claude-sonnet-4-5}
  - model_name: ours
    litellm_params: {model: hosted_vllm/qwen3-32b, api_base: "http://10.0.0.7:8000/v1"}
guardrails: []
routing:
  models: [small, large]
  routers:
    spread: {router: uniform, params: {weights: {small: 3, large: 1}}}
"""


def test_check_shows_what_would_be_served(program: Program) -> None:
    (program.folder / "c.yaml").write_text(CONFIG)
    put(program)
    more = {"HULLSPEED_API_KEY": "hs-planted-secret-2"}
    done = program.run("check", "-c", "c.yaml", "--port", free_port(), "--json", **more)
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["needs_key"] is True
    assert [(one["name"], one["upstream"], one["key"], one["routed"]) for one in found["models"]] == [
        ("small", "direct", "set", True),
        ("large", "litellm", "missing", True),
        ("ours", "direct", "not needed", False),
    ]
    assert found["models"][0]["input_usd_per_million"] == 0.15
    assert found["models"][0]["context_window"] == 128_000
    assert "tools" in found["models"][0]["capabilities"]
    assert found["models"][2]["input_usd_per_million"] is None
    spread = next(one for one in found["routers"] if one["default"])
    assert (spread["name"], spread["router"], spread["models"]) == ("spread", "uniform", ["small", "large"])
    assert (found["ledger"]["state"], found["ledger"]["revision"]) == ("ok", migrate.head())
    said = "\n".join(found["warnings"])
    assert "guardrails (line 8); model_list.litellm_params.weight (line 3)" in said
    assert "`large` has no key; set ANTHROPIC_API_KEY" in said
    assert "the price of `ours` is not known" in said
    screen = program.run("check", "-c", "c.yaml", "--port", free_port(), **more).stdout
    assert "ready to serve" in screen
    assert "auto = auto/spread" in screen
    for shown in (done.stdout, screen):
        assert "planted-secret" not in shown
        assert program.environment["DATABASE_URL"].partition("@")[0] not in shown


def test_check_fails_where_serve_would(program: Program) -> None:
    (program.folder / "c.yaml").write_text("model_list: []\nrouting: {defalt: knn}\n")
    done = program.run("check", "-c", "c.yaml", "--json", code=1)
    (problem,) = json.loads(done.stdout)["problems"]
    assert "c.yaml, line 2" in problem
    assert "did you mean `default`?" in problem
    (program.folder / "c.yaml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        shown = program.run("check", "-c", "c.yaml", "--port", port, code=1).stdout
    assert f"port {port} on 127.0.0.1 is taken by something else" in shown
    shown = program.run("check", "-c", "c.yaml", "--host", "0.0.0.0", "--port", free_port(), code=1).stdout
    assert "set HULLSPEED_API_KEY first" in " ".join(shown.split())
    assert "There is no model to serve" in program.run("check", "--port", free_port(), code=1).stdout


def test_check_of_a_ledger_that_is_away_is_a_warning(program: Program) -> None:
    (program.folder / "c.yaml").write_text(CONFIG)
    url = "postgresql://someone:planted-secret@127.0.0.1:9/nowhere"
    journal = program.folder / "data" / "journal"
    journal.mkdir(parents=True)
    (journal / "00000000000000000001-1-abcdef01.rows").write_bytes(b"C{}\nC{}\n")
    done = program.run("check", "-c", "c.yaml", "--port", free_port(), "--json", DATABASE_URL=url)
    found = json.loads(done.stdout)
    assert (found["ledger"]["state"], found["ledger"]["journal_rows"]) == ("unreachable", 2)
    assert "does not answer" in found["warnings"][1]
    assert "planted-secret" not in done.stdout


def test_check_beside_a_running_proxy(program: Program, openai_server: FakeOpenAI) -> None:
    (program.folder / "c.yaml").write_text(yaml.safe_dump({"model_list": models(openai_server.url, "small")}))
    with program.serving("-c", "c.yaml") as served:
        port = served.url.rpartition(":")[2]
        found = json.loads(program.run("check", "-c", "c.yaml", "--port", port, "--json").stdout)
    assert (found["address_state"], found["problems"]) == ("a proxy serves here", [])


def test_check_makes_nothing(program: Program) -> None:
    (program.folder / "c.yaml").write_text(CONFIG)
    found = json.loads(program.run("check", "-c", "c.yaml", "--port", free_port(), "--json", DATABASE_URL="").stdout)
    assert found["ledger"]["state"] == "not made yet"
    assert [path.name for path in program.folder.iterdir()] == ["c.yaml"]


# ------------------------------------------------------------------ calls


def test_tail_shows_the_newest_in_one_line_each(program: Program) -> None:
    old, failed, newest = (
        recent(300, model="large"),
        recent(200, model=None, outcome="error", error_message="every model failed"),
        recent(100),
    )
    put(program, newest, old, failed)
    lines = program.run("calls", "tail", "--no-follow").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["utility", "failed", "utility"]
    assert [call.id in line for call, line in zip((old, failed, newest), lines, strict=True)] == [True] * 3
    assert re.search(r"ok +knn → large +3\.3 s \$0\.000262 +812\+233", lines[0])
    (line,) = program.run("calls", "tail", "--no-follow", "--outcome", "error", "--json").stdout.splitlines()
    assert json.loads(line)["id"] == failed.id
    (line,) = program.run(
        "calls", "tail", "--no-follow", "-n", "1", "--since", "250s", "--model", "small"
    ).stdout.splitlines()
    assert newest.id in line


@pytest.mark.parametrize("columns", [80, 120])
def test_lines_fit_the_terminal(program: Program, columns: int) -> None:
    put(program, recent(60, model="a-model-with-a-rather-long-name-2026-11-24", session="s"), recent(50))
    shown = program.on_terminal(columns, "calls", "tail", "--no-follow")
    lines = shown.splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= columns
    assert "…" in lines[0]
    for command in (("calls", "show"), ("stats",)):
        lines = program.on_terminal(columns, *command).splitlines()
        assert max(map(len, lines)) <= columns


def test_tail_follows_a_running_proxy(program: Program, openai_server: FakeOpenAI) -> None:
    (program.folder / "c.yaml").write_text(yaml.safe_dump({"model_list": models(openai_server.url, "small", "large")}))
    put(program, recent(60))
    with program.serving("-c", "c.yaml") as served:
        tail = subprocess.Popen(
            program.command("calls", "tail", "-n", "1", "--json"),
            cwd=program.folder,
            env=program.environ(PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["model"] == "small"
        made = []
        for model in ("small", "large"):
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            reply = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=30, trust_env=False)
            made.append(reply.headers["x-hullspeed-call-id"])
        # Each once, in order, although every look goes back over what was shown.
        assert [json.loads(tail.stdout.readline())["id"] for _ in made] == made
        body = {"model": "small", "messages": [{"role": "user", "content": "again"}]}
        reply = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=30, trust_env=False)
        assert json.loads(tail.stdout.readline())["id"] == reply.headers["x-hullspeed-call-id"]
        tail.terminate()
        tail.wait(30)
        tail.stdout.close()


def test_show(program: Program) -> None:
    first, newest = recent(60), recent(5, outcome="error", error_type="server_error", error_message="[red]no[/red]")
    put(program, first, newest)
    shown = program.run("calls", "show", first.id, "--text").stdout
    for part in (first.id, "router knn (version 1): best utility", "rate_limited", "0.100", "28 – done 🙂"):
        assert part in shown
    assert "server_error: [red]no[/red]" in program.run("calls", "show").stdout
    as_json = json.loads(program.run("calls", "show", first.id, "--json").stdout)
    assert as_json["decision"]["ranking"][0] == {"model": "small", "quality": 0.1, "cost": 1e-7, "probability": 0.9}
    assert as_json["scores"] == []
    assert "There is no call 'nothing'" in program.fails("calls", "show", "nothing", code=1)


# ------------------------------------------------------------------ stats


def test_stats(program: Program, new_database: Callable[[], str], tmp_path: Path) -> None:
    hour = [recent(60, model="small"), recent(120, model="large"), recent(180, model="small", outcome="error")]
    put(program, *hour, recent(7200), recent(90_000), full_call(started_at=datetime.now(UTC)), small_call())
    found = json.loads(program.run("stats", "--json").stdout)
    assert [window["total"]["calls"] for window in found["windows"]] == [4, 5]
    assert {key: sums["calls"] for key, sums in found["by"]["model"].items()} == {"small": 3, "large": 1}
    assert found["by"].keys() == {"model", "router"}
    shown = program.run("stats", "--since", "1h", "--by", "outcome,session").stdout
    assert "By outcome" in shown
    assert "By session" in shown
    assert "1 refused for what was asked" in shown
    assert "there are model, router, outcome, session" in program.fails("stats", "--by", "modl")
    assert "neither a span" in program.fails("stats", "--since", "yesterday")
    empty = json.loads(program.run("stats", "--json", DATABASE_URL=new_database()).stdout)
    assert empty["windows"][0]["total"]["calls"] == 0
    assert "Calls" in program.run("stats", DATABASE_URL=new_database()).stdout
