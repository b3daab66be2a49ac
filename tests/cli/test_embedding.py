"""`--embedding`: a router trained on sentence embeddings scores, replays and serves the same."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.cli.program import Program
from tests.cli.test_bench import write_files
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import models
from tests.tiny_onnx import write_model


@pytest.fixture
def suite(program: Program, tmp_path: Path) -> Program:
    outcomes, items = write_files(tmp_path, limit=100)
    program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s")
    write_model(program.folder / "tiny")
    return program


def figures(program: Program, *arguments: str) -> list[object]:
    """What came of each setting, without the times that only a replay has."""
    report = json.loads(program.run("bench", *arguments, "--json", "-").stdout)
    points = [point for router in report["routers"] for point in router["points"]]
    return [(point["share"], round(point["quality"], 9), round(point["cost_per_1k"], 9)) for point in points]


def test_trained_scored_replayed_and_served(suite: Program) -> None:
    said = suite.run("train", "knn", "--suite", "s", "-o", "art", "--embedding", "onnx:tiny@64").stdout
    assert "  embedding: {onnx: tiny, tokens: 64}\n" in said
    common = ("s", "-r", "art", "--tradeoffs", "0,0.3,1", "--grader", "recorded", "--embedding", "onnx:tiny@64")
    scored, replayed = (figures(suite, how, *common) for how in ("score", "run"))
    assert scored
    assert scored == replayed
    refused = suite.fails("bench", "score", "s", "-r", "art")
    assert "--embedding: router `art` was trained with embeddings of `onnx:" in refused
    config = said.partition("Serve it with:\n\n")[2].replace("default: knn", "default: knn\n  deadline: 10")
    (suite.folder / "c.yaml").write_text(config)
    with suite.serving("--config", "c.yaml", "--recorded", "s") as served:
        body = {"model": "auto", "messages": [{"role": "user", "content": "the moon"}]}
        decision = httpx.post(f"{served.url}/v1/decisions", json=body).json()
    assert decision["reason"] == "predicted"


def test_by_a_model_of_the_config(suite: Program, openai_server: FakeOpenAI) -> None:
    listed = models(openai_server.url, "embed")
    listed[0]["model_info"] = {"mode": "embedding"}
    (suite.folder / "c.yaml").write_text(json.dumps({"model_list": listed}))
    embedding = ("--embedding", "model:embed", "--config", "c.yaml")
    suite.run("train", "ridge", "--suite", "s", "-o", "art", *embedding)
    assert json.loads((suite.folder / "art" / "embedder.json").read_text()) == ["model:embed@256"]
    common = ("s", "-r", "art", "--tradeoffs", "0,1", "--grader", "recorded", *embedding)
    scored, replayed = (figures(suite, how, *common) for how in ("score", "run"))
    assert scored
    assert scored == replayed


def test_what_cannot_be_trained(suite: Program) -> None:
    for router, embedding, message in (
        ("knn", "tiny", "--embedding tiny: write onnx:FOLDER or model:NAME"),
        ("knn", "onnx:nowhere", "model.onnx cannot be read"),
        ("knn", "onnx:tiny@4", "greater than or equal to 8"),
        ("bandit", "onnx:tiny", "it learns from the words of prompts alone; leave out --embedding"),
    ):
        assert message in suite.fails("train", router, "--suite", "s", "-o", "art", "--embedding", embedding)
        assert not (suite.folder / "art").exists()
