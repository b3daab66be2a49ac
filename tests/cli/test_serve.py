"""`hullspeed serve` as a process: start, greeting, drain, and every way to start it wrongly."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml

from app.api.server import MOST_BYTES
from tests.cli.program import Program
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Gate
from tests.serving import models


def config_file(folder: Path, fake: FakeOpenAI, **sections: object) -> str:
    path = folder / "hullspeed.yaml"
    path.write_text(yaml.safe_dump({"model_list": models(fake.url, "small", "large"), **sections}))
    return str(path)


def rows(program: Program) -> int:
    with psycopg.connect(program.environment["DATABASE_URL"]) as connection:
        found = connection.execute("SELECT count(*) FROM calls").fetchone()
    assert found is not None
    return int(found[0])


def ask(url: str, **fields: object) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], **fields}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30, trust_env=False)


def test_serves_and_keeps_every_call(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    with program.serving("--config", config_file(tmp_path, openai_server), fresh=True) as served:
        for _ in range(20):
            assert ask(served.url).status_code == 200
    said = "".join(served.said)
    assert "models   2 from" in said
    assert "router `length` (untrained; see `hullspeed train`)" in said
    assert rows(program) == 20, "flushed at shutdown"


def test_sigterm_lets_a_stream_finish(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    gate = Gate()
    openai_server.default = Answer("one two three four", gate=gate, gate_after=2)
    replies: list[httpx.Response] = []
    with program.serving("--config", config_file(tmp_path, openai_server)) as served:
        asking = threading.Thread(target=lambda: replies.append(ask(served.url, stream=True)))
        asking.start()
        assert gate.wait_reached()
        new = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
        new.connect()
        served.process.terminate()
        # The port stays open, so that whoever asks hears that it drains.
        while httpx.get(f"{served.url}/readyz", trust_env=False).status_code != 503:
            time.sleep(0.01)
        assert httpx.get(f"{served.url}/healthz", trust_env=False).status_code == 200
        late = ask(served.url)
        assert (late.status_code, late.json()["error"]["code"], late.headers["retry-after"]) == (503, "stopping", "1")
        assert late.headers["connection"] == "close"
        # So does whoever had just connected.
        new.request("GET", "/readyz")
        assert new.getresponse().status == 503
        new.close()
        with pytest.raises(subprocess.TimeoutExpired):
            served.process.wait(0.5)
        gate.open()
        asking.join(20)
    assert replies[0].text.endswith("data: [DONE]\n\n")
    assert rows(program) == 2, "the one that was refused too"


def test_however_often_it_is_told_to_stop_it_ends_well(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    # Past the end of the server a signal would find its default handler, which kills.
    with program.serving("--config", config_file(tmp_path, openai_server)) as served:
        assert ask(served.url).status_code == 200
        with suppress(ProcessLookupError):  # once it is gone
            while served.process.returncode is None:
                served.process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    served.process.wait(0.001)
        served.process.wait(30)
    assert rows(program) == 1


@pytest.mark.parametrize("again", [True, False], ids=["second signal", "end of patience"])
def test_what_cannot_be_waited_for_is_cut_off(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path, again: bool
) -> None:
    gate = Gate()
    openai_server.default = Answer(gate=gate)
    replies: list[httpx.Response] = []
    patience = "3600" if again else "0.2"
    with program.serving("--config", config_file(tmp_path, openai_server), HULLSPEED_DRAIN_SECONDS=patience) as served:
        asking = threading.Thread(target=lambda: replies.append(ask(served.url)))
        asking.start()
        assert gate.wait_reached()
        served.process.terminate()
        if again:
            while httpx.get(f"{served.url}/readyz", trust_env=False).status_code != 503:
                time.sleep(0.01)
            served.process.terminate()
        served.process.wait(30)
        asking.join(20)
    cut = replies[0]
    assert (cut.status_code, cut.json()["error"]["code"], cut.headers["retry-after"]) == (503, "stopping", "1")
    program.run("ledger", "drain")
    with psycopg.connect(program.environment["DATABASE_URL"]) as connection:
        query = "SELECT c.id::text, c.outcome, c.status, a.outcome FROM calls c JOIN attempts a ON a.call_id = c.id"
        found = connection.execute(query).fetchall()
    assert found == [(cut.headers["x-hullspeed-call-id"], "error", 503, "abandoned")]


@pytest.mark.parametrize("large", [False, True], ids=["the short way", "through ASGI"])
def test_a_stream_that_cannot_be_waited_for_says_so(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path, large: bool
) -> None:
    gate = Gate()
    openai_server.default = Answer("one two three four", gate=gate, gate_after=2)
    replies: list[httpx.Response] = []
    fields = {"stream": True, "user": "x" * (MOST_BYTES if large else 1)}
    with program.serving("--config", config_file(tmp_path, openai_server), HULLSPEED_DRAIN_SECONDS="0.2") as served:
        asking = threading.Thread(target=lambda: replies.append(ask(served.url, **fields)))
        asking.start()
        assert gate.wait_reached()
        served.process.terminate()
        served.process.wait(30)
        asking.join(20)
    last = replies[0].text.rstrip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "stopping"
    assert "[DONE]" not in replies[0].text
    program.run("ledger", "drain")
    with psycopg.connect(program.environment["DATABASE_URL"]) as connection:
        query = "SELECT c.outcome, c.error_code, a.outcome FROM calls c JOIN attempts a ON a.call_id = c.id"
        assert connection.execute(query).fetchall() == [("truncated", "stopping", "abandoned")]


def test_a_ledger_that_is_away_stops_nobody(newcomer: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    path = config_file(tmp_path, openai_server)
    url = "postgresql://someone:planted-secret@127.0.0.1:9/nowhere"
    with newcomer.serving("--config", path, DATABASE_URL=url) as served:
        assert ask(served.url).status_code == 200
        assert httpx.get(f"{served.url}/readyz", trust_env=False).status_code == 200
        assert httpx.get(f"{served.url}/v1/calls", timeout=30, trust_env=False).json()["error"]["code"] == (
            "ledger_unavailable"
        )
    assert "planted-secret" not in "".join(served.said)
    with newcomer.serving("--config", path) as served:
        for _ in range(200):
            listed = httpx.get(f"{served.url}/v1/calls", timeout=30, trust_env=False).json()
            if listed.get("data"):  # an error while the tables are made
                break
            time.sleep(0.1)
    assert rows(newcomer) == 1, "what was journalled arrives at the next start"


def test_keys_from_the_environment(program: Program) -> None:
    with program.serving(OPENAI_API_KEY="sk-a", ANTHROPIC_API_KEY="sk-b") as served:
        listed = httpx.get(f"{served.url}/v1/models", trust_env=False).json()["data"]
    owners = {entry["owned_by"] for entry in listed}
    assert owners == {"hullspeed", "openai", "anthropic"}
    said = "".join(served.said)
    assert "the keys in the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY)" in said
    assert "sk-a" not in said


def test_an_env_file_is_read(program: Program) -> None:
    (program.folder / ".env").write_text("GROQ_API_KEY=gsk-x\n")
    with program.serving() as served:
        listed = httpx.get(f"{served.url}/v1/models", trust_env=False).json()["data"]
    assert "groq" in {entry["owned_by"] for entry in listed}


def test_with_nothing_to_serve_it_says_what_to_do(program: Program) -> None:
    line = program.fails("serve")
    assert "OPENAI_API_KEY" in line
    assert "--config" in line
    assert "hullspeed demo" in line


def test_a_port_in_use(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = program.fails("serve", "--port", str(port), OPENAI_API_KEY="k")
    assert f"port {port} on 127.0.0.1 is taken" in line
    assert "--port" in line


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"HULLSPEED_HOST": "0.0.0.0"}, "set HULLSPEED_API_KEY first"),
        ({"HULLSPEED_PORT": "many"}, "HULLSPEED_PORT"),
        ({"HULLSPEED_CONFIG": "nope.yaml"}, "nope.yaml does not exist"),
        ({"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL"),
        ({"HULLSPEED_LOG_LEVEL": "loud"}, "HULLSPEED_LOG_LEVEL"),
    ],
)
def test_wrong_settings(program: Program, environ: dict[str, str], words: str) -> None:
    assert words in program.fails("serve", OPENAI_API_KEY="k", **environ)


def test_the_embedded_ledger_lives_in_the_data_folder(
    tmp_path_factory: pytest.TempPathFactory, openai_server: FakeOpenAI
) -> None:
    folder = tmp_path_factory.mktemp("e")
    program = Program(folder, {"HULLSPEED_DATA_DIR": str(folder / "d")})
    with program.serving("--config", config_file(folder, openai_server)) as served:
        call = ask(served.url).headers["x-hullspeed-call-id"]
        found = httpx.get(f"{served.url}/v1/calls/{call}", timeout=30, trust_env=False)
        assert found.json()["id"] == call
    assert (folder / "d" / "postgres").is_dir()
    assert "embedded Postgres" in "".join(served.said)
    again = json.loads(program.run("bench", "list", "--json").stdout)
    assert again == {"suites": [], "runs": []}


def test_the_sdk_against_the_process(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    from openai import AsyncOpenAI

    async def talk(url: str) -> str:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            stream = await client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    with program.serving("--config", config_file(tmp_path, openai_server)) as served:
        assert asyncio.run(talk(served.url)) == "Echo: hi"
