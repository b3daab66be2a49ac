"""`hullspeed tune`: models are asked, routers fitted, the best one becomes `auto`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.bench import bundled
from app.cli.config_file import add_router
from app.core.config import load_config
from app.core.errors import ConfigError
from tests.cli.program import Program

COMMENTED = """\
# Ours.
model_list:  # litellm's
  - model_name: a
    litellm_params: {model: openai/x, api_key: "k"}  # the key
routing:
  tradeoff: 0.2  # cheap enough
  routers:
    spread: {router: uniform}
"""


def test_a_config_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "hullspeed.yaml"
    path.write_text(COMMENTED)
    add_router(path, "tuned", tmp_path / "artifacts" / "tuned", 0.1)
    text = path.read_text()
    for comment in ("# Ours.", "# litellm's", "# the key", "# cheap enough"):
        assert comment in text
    config = load_config(path)
    assert config.routing.default == "tuned"
    assert set(config.routing.routers) == {"spread", "tuned"}
    assert str(config.routing.routers["tuned"].artifact) == "artifacts/tuned"
    assert list(tmp_path.iterdir()) == [path]


def test_a_config_that_would_break_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "hullspeed.yaml"
    path.write_text("routing: {nope: 1}\n")
    with pytest.raises(ConfigError, match="nope"):
        add_router(path, "tuned", tmp_path / "tuned", 0.1)
    assert path.read_text() == "routing: {nope: 1}\n"
    assert list(tmp_path.iterdir()) == [path]


def model(name: str, url: str, price: float) -> dict[str, Any]:
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"openai/{name}",
            "api_base": f"{url}/v1",
            "api_key": "none",
            "input_cost_per_token": price,
            "output_cost_per_token": 4 * price,
        },
    }


def test_from_models_to_auto(program: Program) -> None:
    # Another Hullspeed plays the provider: the bundled suite's simulated models behind a real HTTP server.
    items = bundled.load().items[::5]
    lines = [
        {"id": item.id, "category": item.category, "input": item.messages, "target": item.target, "grader": item.grader}
        for item in items
    ]
    (program.folder / "some.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    program.run("bench", "import", "items", "some.jsonl", "--name", "some")
    with program.serving("--recorded", "basics") as provider:
        config = {
            "model_list": [
                model("sim-nano", provider.url, 1e-7),
                model("sim-coder", provider.url, 1e-6),
                model("sim-max", provider.url, 1e-5),
            ]
        }
        (program.folder / "c.yaml").write_text("# mine\n" + yaml.safe_dump(config))
        arguments = ("tune", "--config", "c.yaml", "--suite", "some", "-r", "knn", "-r", "ridge")
        assert "confirm with --yes" in program.run(*arguments, code=2).stderr
        capped = program.run(*arguments, "--yes", "--max-cost", "0.001", code=1).stderr
        assert "the same command with a higher cap goes on from here" in capped
        done = program.run(*arguments, "--yes", "--report", "tuned.html")
        assert "resuming" in done.stderr or "calls over HTTP" in done.stderr
        assert "did best" in done.stdout
        again = program.run(*arguments)
        assert "recorded in suite `some-tuned` already" in again.stderr
        assert (program.folder / "c.yaml").read_text().startswith("# mine\n")
        assert (program.folder / "tuned.html").is_file()
        with program.serving("--config", "c.yaml") as served:
            reply = httpx.post(
                f"{served.url}/v1/chat/completions", json={"model": "auto", "messages": items[0].messages}
            )
            assert reply.headers["x-hullspeed-router"] == "tuned"
            body = {"model": "auto", "messages": items[0].messages, "routing": {"target_cost": 0.5}}
            assert httpx.post(f"{served.url}/v1/decisions", json=body).status_code == 200


def test_the_suite_made_for_it_is_asked_by_default(program: Program) -> None:
    with program.serving("--recorded", "basics") as provider:
        (program.folder / "c.yaml").write_text(
            yaml.safe_dump({"model_list": [model(name, provider.url, 1e-7) for name in ("sim-nano", "sim-max")]})
        )
        said = program.run("tune", "--config", "c.yaml", code=2).stderr
    assert f"{2 * len(bundled.load('tuning').items):,} calls to live providers" in " ".join(said.split())
    assert "tuning" in program.run("bench", "list").stdout


def test_errors(program: Program) -> None:
    assert "There is no model to serve" in program.fails("tune")
    with program.serving("--recorded", "basics") as provider:
        (program.folder / "c.yaml").write_text(yaml.safe_dump({"model_list": [model("sim-nano", provider.url, 1e-7)]}))
        tune = ("tune", "--config", "c.yaml", "--yes")
        assert "has no model `x`" in program.fails(*tune, "--models", "x")
        assert "There is no suite named 'nope'" in program.fails(*tune, "--suite", "nope", code=1)
