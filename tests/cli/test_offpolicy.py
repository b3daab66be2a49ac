"""`hullspeed bench off-policy`, as a user runs it on what a proxy has logged."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import yaml

from app.cli.offpolicy import build
from app.core.errors import ConfigError
from tests.cli.program import Program
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import models


def test_from_traffic_to_estimates(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    config = tmp_path / "hullspeed.yaml"
    routing = {
        "default": "coin",
        "routers": {"coin": {"router": "uniform"}, "steady": {"router": "fixed", "params": {"model": "large"}}},
    }
    config.write_text(yaml.safe_dump({"model_list": models(openai_server.url, "small", "large"), "routing": routing}))
    with (
        program.serving("--config", str(config)) as served,
        httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client,
    ):
        for place in range(100):
            body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "routing": {"seed": place}}
            reply = client.post("/v1/chat/completions", json=body)
            value = 1.0 if reply.headers["x-hullspeed-model"] == "large" else 0.25
            client.post(f"/v1/calls/{reply.headers['x-hullspeed-call-id']}/scores", json={"value": value})
    asked = ("--since", "1h", "-r", "steady", "-r", "fixed:model=small", "-r", "cheapest", "--config", str(config))
    found = json.loads(program.run("bench", "off-policy", *asked, "--json").stdout)
    assert (found["n"], found["logged_by"]) == (100, {"coin": 100})
    steady, small, cheapest = found["routers"]
    assert steady["quality"]["snips"]["value"] == pytest.approx(1)
    assert small["quality"]["snips"]["value"] == pytest.approx(0.25)
    assert small["cost_per_1k"]["value"] < steady["cost_per_1k"]["value"]
    assert cheapest["quality"] is None, "it goes by the length of prompts, which were not stored"
    shown = program.run("bench", "off-policy", *asked, "--logged-by", "coin").stdout
    assert "100 of 100 logged calls, decided by coin 100" in shown
    assert "1.000 [1.000, 1.000]" in shown
    assert "store_text" in shown


def test_no_calls_yet(program: Program) -> None:
    said = program.fails("bench", "off-policy", "--since", "1h", "-r", "uniform", code=1)
    assert "No call fits: look at --since" in said


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["unifrom"], "no router is named 'unifrom'"),
        (["uniform", "uniform"], "router `uniform` is named twice"),
        (["knn"], "train it"),
        (["oracle"], "router `oracle`"),
    ],
)
def test_routers_that_cannot_be_had(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(names, None)
