"""`hullspeed train` and `route`: from outcomes to an artifact with a card, and to decisions that aim at a target."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cli.program import Program
from tests.cli.test_bench import write_files
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import models


@pytest.fixture
def trained(program: Program, tmp_path: Path) -> Program:
    """An artifact `art` of knn on 240 items."""
    outcomes, items = write_files(tmp_path, limit=240)
    program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s")
    said = program.run("train", "knn", "--suite", "s", "-o", "art").stdout
    assert "items held out: AIQ" in said
    return program


def test_the_card_says_how_it_did(trained: Program) -> None:
    card = json.loads((trained.folder / "art" / "card.json").read_text())
    assert card["aiq_low"] <= card["aiq"] <= card["aiq_high"]
    assert card["delta_low"] <= card["delta_aiq"] <= card["delta_high"]
    assert card["held_out"] >= 20
    assert [point["tradeoff"] for point in card["points"]] == sorted(point["tradeoff"] for point in card["points"])
    again = trained.folder / "again"
    trained.run("train", "knn", "--suite", "s", "-o", "again")
    for path in sorted((trained.folder / "art").iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_targets_become_tradeoffs(trained: Program) -> None:
    card = json.loads((trained.folder / "art" / "card.json").read_text())
    (trained.folder / "c.yaml").write_text("routing: {default: r, routers: {r: {artifact: art}}}\n")
    with trained.serving("--config", "c.yaml", "--recorded", "s") as served:

        def decide(**routing: float) -> dict[str, float]:
            body = {"model": "auto", "messages": [{"role": "user", "content": "What is 7 × 8?"}], "routing": routing}
            decision: dict[str, float] = httpx.post(f"{served.url}/v1/decisions", json=body).json()
            return decision

        dear, cheap = decide(target_quality=1.0), decide(target_cost=0.01)
        assert dear["tradeoff"] < cheap["tradeoff"]
        within = [point for point in card["points"] if point["cost"] <= 0.5 * card["best_cost"]]
        assert decide(target_cost=0.5)["tradeoff"] in [point["tradeoff"] for point in within]
        shown = trained.run("route", "What is 7 × 8?", "--explain", "--target-cost", "0.5", "--url", served.url).stdout
    assert "by router `r`" in shown
    assert "predicted quality" in shown


def test_learning_from_scored_calls(program: Program, openai_server: FakeOpenAI) -> None:
    config = {
        "model_list": models(openai_server.url, "small", "large"),
        "routing": {"default": "uniform"},
        "ledger": {"store_text": True},
    }
    (program.folder / "c.yaml").write_text(yaml.safe_dump(config))
    with program.serving("--config", "c.yaml") as served, httpx.Client(base_url=served.url, timeout=30) as client:
        for number in range(30):
            kind = "poem" if number % 2 else "sum"
            body = {"model": "auto", "messages": [{"role": "user", "content": f"A {kind} of {number} please"}]}
            reply = client.post("/v1/chat/completions", json=body)
            right = reply.headers["x-hullspeed-model"] == "large" or kind == "sum"
            call = reply.headers["x-hullspeed-call-id"]
            if number < 28:
                assert client.post(f"/v1/calls/{call}/scores", json={"value": float(right)}).status_code == 201
    said = program.run("train", "knn", "--from-calls", "--since", "1h", "-o", "art").stdout
    assert "Trained `knn` on 28 logged prompts with scores" in said
    manifest = json.loads((program.folder / "art" / "manifest.json").read_text())
    assert sorted(manifest["trained_on"]["models"]) == ["large", "small"]


def test_errors(program: Program) -> None:
    assert "either --suite NAME or --from-calls" in program.fails("train", "knn", "-o", "x")
    assert "either --suite NAME or --from-calls" in program.fails("train", "knn", "-o", "x", "-s", "s", "--from-calls")
    assert "No answered call fits" in program.fails("train", "knn", "-o", "x", "--from-calls", code=1)
    assert "There is no model to serve" in program.fails("route", "hello")
    assert "no proxy answers there" in program.fails("route", "hello", "--url", "http://127.0.0.1:9")
