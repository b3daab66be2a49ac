"""`hullspeed serve --workers`: several processes on one port, as a platform sees them.

Each request of these tests takes a connection of its own, and the kernel spreads them: of 24 all reach one worker of
two about once in eight million runs.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import yaml

from tests.cli.program import Program, Served
from tests.cli.test_serve import ask, config_file, rows
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Gate, HttpError
from tests.serving import models

MANY = 24


def many(url: str, count: int = MANY, **fields: Any) -> list[int]:
    """The statuses of requests made side by side."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(url, **fields).status_code, range(count)))


def workers(served: Served) -> list[psutil.Process]:
    return psutil.Process(served.process.pid).children()


def wait_until(done: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def number(served: Served, metric: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    page = httpx.get(f"{served.url}/metrics", timeout=30, trust_env=False)
    assert page.status_code == 200, page.text
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    lines = [line for line in page.text.splitlines() if line.partition("{")[0].split()[0] == metric]
    return sum(float(line.split()[-1]) for line in lines if all(one in line for one in wanted))


def test_all_workers_serve_and_every_call_is_in_the_ledger_once(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    with program.serving("--config", config_file(tmp_path, openai_server), fresh=True, HULLSPEED_WORKERS="2") as served:
        assert many(served.url) + many(served.url, stream=True) == [200] * 2 * MANY
        assert number(served, "hullspeed_calls_total", outcome="ok") == 2 * MANY
        assert number(served, "hullspeed_call_duration_seconds_count") == 2 * MANY
        assert number(served, "hullspeed_inflight_calls") == 0
        assert number(served, "hullspeed_model_available", model="small") == 1
        # Whichever worker is asked, it shows what all of them have recorded.
        for _ in range(4):
            listed = httpx.get(f"{served.url}/v1/calls", params={"limit": 100}, timeout=30, trust_env=False)
            assert len(listed.json()["data"]) == 2 * MANY
        both = {worker.pid for worker in workers(served)}
        assert len(both) == 2
        for _ in range(MANY):
            call = ask(served.url).headers["x-hullspeed-call-id"]
            found = httpx.get(f"{served.url}/v1/calls/{call}", timeout=30, trust_env=False)
            assert found.json()["id"] == call
            score = httpx.post(f"{served.url}/v1/calls/{call}/scores", json={"value": 1}, timeout=30, trust_env=False)
            assert score.status_code == 201
    assert "workers  2" in "".join(served.said)
    assert rows(program) == 3 * MANY


def test_a_killed_worker_comes_back_and_no_counter_falls(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    with program.serving("--config", config_file(tmp_path, openai_server), "--workers", "2") as served:
        for round_ in range(1, 3):
            # Connections that the kernel gives to the dead one wait for the one that takes its place.
            assert many(served.url) == [200] * MANY
            assert number(served, "hullspeed_calls_total") == round_ * MANY
            assert number(served, "hullspeed_inflight_calls") == 0
            killed = workers(served)[0]
            killed.kill()
            wait_until(lambda killed=killed: not psutil.pid_exists(killed.pid))
        assert many(served.url) == [200] * MANY
        assert len(workers(served)) == 2
        assert number(served, "hullspeed_calls_total") == 3 * MANY
    assert "".join(served.said).count("was killed by SIGKILL") == 2
    assert rows(program) == 3 * MANY


def test_sigterm_lets_the_streams_of_all_workers_finish(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    gate = Gate()
    openai_server.default = Answer("one two three four", gate=gate, gate_after=2)
    path = config_file(tmp_path, openai_server)
    with program.serving("--config", path, "--workers", "2") as served, ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(ask, served.url, stream=True) for _ in range(MANY)]
        openai_server.wait_for(MANY)
        children = workers(served)
        # As a service manager does: to all processes, and then again.
        for _ in range(2):
            for process in children:
                process.terminate()
        served.process.terminate()
        wait_until(lambda: refused(served))
        assert served.process.poll() is None
        gate.open()
        assert all(one.result(30).text.endswith("data: [DONE]\n\n") for one in asked)
    assert rows(program) == MANY
    assert not any(child.is_running() for child in children)


def refused(served: Served) -> bool:
    """The workers drain: the port stays open, so that whoever asks is told so."""
    try:
        return httpx.get(f"{served.url}/readyz", timeout=30, trust_env=False).status_code == 503
    except httpx.TransportError as error:
        return isinstance(error, httpx.ConnectError)


def test_a_second_ctrl_c_does_not_wait(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    gate = Gate()
    openai_server.default = Answer("one two", gate=gate, gate_after=1)
    path = config_file(tmp_path, openai_server)
    with program.serving("--config", path, "--workers", "2") as served, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, served.url, stream=True)
        assert gate.wait_reached()
        served.process.send_signal(signal.SIGINT)
        wait_until(lambda: refused(served))
        assert served.process.poll() is None
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(30) == 0
        gate.open()
        last = asked.result(30).text.rstrip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "stopping"
    assert "lost" not in "".join(served.said)
    # In Postgres or, since nobody waited for that, in the journal.
    program.run("ledger", "drain")
    assert rows(program) == 1, "what was cut off is on record"


def test_sighup_reloads_all(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    path = Path(config_file(tmp_path, openai_server))
    with program.serving("--config", str(path), "--workers", "2", HULLSPEED_RELOAD_SECONDS="0") as served:
        path.write_text(path.read_text().replace("model_name: large", "model_name: huge"))
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: many(served.url, model="huge") == [200] * MANY)
        assert many(served.url, model="large") == [404] * MANY
        assert number(served, "hullspeed_config_reloads_total", result="ok") == 1
        # One that takes the place of another serves by the config as it is now.
        workers(served)[1].kill()
        wait_until(lambda: len(workers(served)) == 2)
        assert 404 not in many(served.url, model="huge")


def test_nobody_is_left_when_the_supervisor_is_killed(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    serving = program.serving("--config", config_file(tmp_path, openai_server), "--workers", "2")
    served = serving.__enter__()
    many(served.url)
    children = workers(served)
    served.process.kill()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    with pytest.raises(AssertionError):
        serving.__exit__(None, None, None)  # its exit code is not 0
    assert rows(program) == MANY, "they drained"


def test_two_replicas_with_two_workers_on_one_fresh_postgres(
    newcomer: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    path = config_file(tmp_path, openai_server)
    data = [str(tmp_path / name) for name in ("a", "b")]
    with ExitStack() as stack:
        started = ThreadPoolExecutor(2).map(
            lambda folder: stack.enter_context(
                newcomer.serving("--config", path, "--workers", "2", HULLSPEED_DATA_DIR=folder)
            ),
            data,
        )
        for served in started:
            assert many(served.url) == [200] * MANY
    for folder in data:
        # Whoever stops before the tables are made leaves its rows to the next start.
        newcomer.run("ledger", "drain", HULLSPEED_DATA_DIR=folder)
    assert rows(newcomer) == 2 * MANY
    with psycopg.connect(newcomer.environment["DATABASE_URL"]) as connection:
        versions = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
    assert versions == (1,)


def test_workers_share_one_embedded_postgres(
    tmp_path_factory: pytest.TempPathFactory, openai_server: FakeOpenAI
) -> None:
    folder = tmp_path_factory.mktemp("e")
    program = Program(folder, {"HULLSPEED_DATA_DIR": str(folder / "d")})
    with program.serving("--config", config_file(folder, openai_server), "--workers", "2") as served:
        assert many(served.url) == [200] * MANY
        listed = httpx.get(f"{served.url}/v1/calls", timeout=30, trust_env=False)
        assert listed.status_code == 200, listed.text
        assert len(listed.json()["data"]) == MANY
        # Those that stay keep it running.
        workers(served)[0].kill()
        wait_until(lambda: len(workers(served)) == 2)
        assert 200 in many(served.url)
    assert not (folder / "d" / "postgres" / "postmaster.pid").exists(), "the last to leave stops it"


def limited(folder: Path, fake: FakeOpenAI, routing: dict[str, Any] | None = None, **params: Any) -> str:
    path = folder / "hullspeed.yaml"
    routing = {"retries": 0, **(routing or {})}
    path.write_text(yaml.safe_dump({"model_list": models(fake.url, "m", **params), "routing": routing}))
    return str(path)


def test_a_rate_limit_holds_over_all_workers(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    with program.serving("--config", limited(tmp_path, openai_server, rpm=6), "--workers", "2") as served:
        # One after the other: the limit is told, not timed.
        statuses = [ask(served.url).status_code for _ in range(MANY)]
    # A unit comes back every ten seconds.
    assert 6 <= statuses.count(200) <= 7
    assert statuses[-1] == 503
    assert set(statuses) == {200, 503}


def test_a_cap_of_calls_in_flight_holds_over_all_workers(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    gate = Gate()
    openai_server.default = Answer("one", gate=gate)
    routing = {"max_inflight": 4, "queue_seconds": 0.2}
    path = limited(tmp_path, openai_server, routing)
    with program.serving("--config", path, "--workers", "2") as served, ThreadPoolExecutor(4) as pool:
        running = [pool.submit(ask, served.url) for _ in range(4)]
        openai_server.wait_for(4)
        assert [ask(served.url).status_code for _ in range(8)] == [503] * 8
        gate.open()
        assert [one.result(30).status_code for one in running] == [200] * 4
        # A killed worker leaves no place taken.
        assert many(served.url, 4) == [200] * 4


def test_one_worker_that_finds_a_model_down_tells_the_others(
    program: Program, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    openai_server.default = HttpError(500)
    routing = {"allowed_fails": 0, "cooldown": 60}
    path = config_file(tmp_path, openai_server, routing={**routing, "retries": 0, "default": "cheapest"})
    with program.serving("--config", path, "--workers", "2") as served:
        assert ask(served.url, model="small").status_code == 502
        assert number(served, "hullspeed_model_available", model="small") == 0
        openai_server.default = Answer("well")
        answered = {ask(served.url).headers["x-hullspeed-model"] for _ in range(MANY)}
    assert answered == {"large"}


def test_a_key_in_use_is_in_use_for_all_workers(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    gate = Gate()
    openai_server.default = Answer("once", gate=gate)
    path = config_file(tmp_path, openai_server)

    def again(_: int = 0) -> httpx.Response:
        body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"idempotency-key": "k"}
        return httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)

    with program.serving("--config", path, "--workers", "2") as served, ThreadPoolExecutor(1) as pool:
        assert httpx.get(f"{served.url}/v1/calls", timeout=30, trust_env=False).status_code == 200  # Postgres is there
        first = pool.submit(again)
        openai_server.wait_for(1)
        assert {again(place).status_code for place in range(MANY)} == {409}
        gate.open()
        body = first.result(30).content
        assert {again(place).content for place in range(MANY)} == {body}
    assert len(openai_server.chats) == 1


def test_what_keeps_it_from_starting_is_said_once(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    assert "HULLSPEED_WORKERS" in program.fails("serve", OPENAI_API_KEY="k", HULLSPEED_WORKERS="0")
    path = config_file(tmp_path, openai_server)
    with program.serving("--config", path, "--workers", "2") as served:
        port = served.url.rsplit(":", 1)[1]
        line = program.fails("serve", "--port", port, "--workers", "2", OPENAI_API_KEY="k")
        assert f"port {port} on 127.0.0.1 is taken" in line
