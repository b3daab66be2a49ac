"""`hullspeed serve` under SIGHUP and under a changed file, as a process."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import httpx

from tests.cli.program import Program, Served
from tests.cli.test_serve import ask, config_file, rows
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Gate


def names(served: Served) -> set[str]:
    listed = httpx.get(f"{served.url}/v1/models", timeout=30, trust_env=False).json()["data"]
    return {entry["id"] for entry in listed}


def reloads(served: Served, result: str) -> int:
    lines = httpx.get(f"{served.url}/metrics", timeout=30, trust_env=False).text.splitlines()
    (line,) = [line for line in lines if line.startswith(f'hullspeed_config_reloads_total{{result="{result}"}}')]
    return int(float(line.split()[-1]))


def wait_for(served: Served, result: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while reloads(served, result) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sighup_serves_by_the_new_config(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    gate = Gate()
    openai_server.on("large-target", Answer("one two three", gate=gate, gate_after=1))
    path = Path(config_file(tmp_path, openai_server))
    replies: list[httpx.Response] = []
    with program.serving("--config", str(path), HULLSPEED_RELOAD_SECONDS="0") as served:
        asking = threading.Thread(target=lambda: replies.append(ask(served.url, model="large", stream=True)))
        asking.start()
        assert gate.wait_reached()
        good = path.read_text()
        path.write_text(good.replace("model_name: large", "model_name: huge"))
        served.process.send_signal(signal.SIGHUP)
        wait_for(served, "ok", 1)
        assert {"small", "huge"} <= names(served)
        assert ask(served.url, model="large").status_code == 404
        path.write_text("model_list: [")
        served.process.send_signal(signal.SIGHUP)
        wait_for(served, "failed", 1)
        assert ask(served.url, model="small").status_code == 200
        gate.open()
        asking.join(20)
    assert replies[0].text.endswith("data: [DONE]\n\n")
    said = "".join(served.said)
    assert "The config is not used, the one before goes on serving" in said
    assert f"{path}, line 1" in said
    assert rows(program) == 3


def test_a_changed_file_is_noticed(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    path = Path(config_file(tmp_path, openai_server))
    with program.serving("--config", str(path), HULLSPEED_RELOAD_SECONDS="0.05") as served:
        good = path.read_text()
        path.write_text(good.replace("model_name: large", "model_name: huge"))
        wait_for(served, "ok", 1)
        assert "huge" in names(served)
        path.write_text("rooting: {}")
        wait_for(served, "failed", 1)
        assert "huge" in names(served)
        path.write_text(good)
        wait_for(served, "ok", 2)
        assert reloads(served, "failed") == 1, "a file that is wrong is read once"


def test_without_a_config_file_sighup_changes_nothing(program: Program) -> None:
    with program.serving(OPENAI_API_KEY="sk-a") as served:
        served.process.send_signal(signal.SIGHUP)
        before = names(served)
        assert served.process.poll() is None
        assert names(served) == before
    assert "There is no config file to read again" in "".join(served.said)
