"""`hullspeed bench` and `train` from a file to a report, and every way to ask for them wrongly."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from app.bench import bundled
from tests.cli.program import Program
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer


def write_files(folder: Path, limit: int = 120) -> tuple[str, str]:
    """The bundled suite as the files of recorded outcomes that users bring."""
    suite = bundled.load()
    recorded = suite.recorded
    assert recorded is not None
    items = suite.items[::4][:limit]
    position = {item.id: place for place, item in enumerate(suite.items)}
    rows = [
        {
            "sample_id": item.id,
            "dataset": item.category,
            "prompt": item.messages[0]["content"],
            "model": model,
            "quality": recorded.quality[position[item.id], column],
            "prompt_tokens": recorded.prompt_tokens[position[item.id], column],
            "completion_tokens": recorded.completion_tokens[position[item.id], column],
            "cost_usd": recorded.cost[position[item.id], column],
            "response": recorded.replies[position[item.id], column],
        }
        for item in items
        for column, model in enumerate(recorded.models)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "outcomes.parquet")
    asked = [
        {"id": item.id, "category": item.category, "input": item.messages[0]["content"], "target": item.target}
        for item in items
    ]
    pq.write_table(pa.Table.from_pylist(asked), folder / "items.parquet")
    return str(folder / "outcomes.parquet"), str(folder / "items.parquet")


@pytest.fixture
def imported(program: Program, tmp_path: Path) -> Program:
    outcomes, items = write_files(tmp_path)
    said = program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s").stdout
    assert "Suite `s`: 120 items in 8 categories" in said
    assert "complete: 600 outcomes of 5 models on 120 items" in said
    return program


def test_import_run_score_report(imported: Program) -> None:
    asked = ("-r", "cheapest", "-r", "knn:k=10", "--tradeoffs", "0,0.5", "--seed", "1")
    imported.run("bench", "run", "s", *asked, "--json", "run.json", "-o", "run.html")
    replayed = json.loads((imported.folder / "run.json").read_bytes())
    assert replayed["suite"] == "s"
    assert replayed["quality_source"] == "recorded"
    assert replayed["kind"] == "replay"
    scored = json.loads(imported.run("bench", "score", "s", *asked, "--json", "-").stdout)
    for ours, theirs in zip(replayed["routers"], scored["routers"], strict=True):
        assert ours["aiq"] == theirs["aiq"]
        assert ours["delta_aiq"] == theirs["delta_aiq"]
        for point, other in zip(ours["points"], theirs["points"], strict=True):
            assert {k: point[k] for k in ("tradeoff", "n", "coverage", "quality", "cost_per_1k", "share")} == {
                k: other[k] for k in ("tradeoff", "n", "coverage", "quality", "cost_per_1k", "share")
            }
            assert point["latency"] is not None
            assert other["latency"] is None
    assert replayed["baselines"] == scored["baselines"]
    page = (imported.folder / "run.html").read_text()
    assert "knn:k=10" in page
    listed = json.loads(imported.run("bench", "list", "--json").stdout)
    (run,) = listed["runs"]
    assert (run["id"], run["status"]) == (replayed["run"], "done")
    again = json.loads(imported.run("bench", "report", run["id"][:10], "--json", "-").stdout)
    assert again == replayed
    imported.run("bench", "report", run["id"], "--csv", "run.csv", "-o", "again.html")
    table = list(csv.DictReader((imported.folder / "run.csv").read_text().splitlines()))
    assert [(row["name"], float(row["quality"])) for row in table if row["kind"] == "router"] == [
        (router["router"], point["quality"]) for router in replayed["routers"] for point in router["points"]
    ]
    assert imported.run("bench", "report", run["id"], "--csv", "-").stdout == (imported.folder / "run.csv").read_text()
    assert "one of them to a file" in imported.fails("bench", "report", run["id"], "--csv", "-", "--json", "-")
    table = imported.run("bench", "report", run["id"]).stdout
    assert "best single" in table
    assert run["id"][:18] in imported.run("bench", "list").stdout


def test_comparing_runs_and_gates_for_ci(imported: Program) -> None:
    asked = ("bench", "run", "s", "--tradeoffs", "0,0.5", "--split", "all", "--json", "-")

    def run(router: str, *more: str, code: int = 0) -> str:
        done = imported.run(*asked, "-r", router, *more, code=code)
        if code:
            assert done.stderr.splitlines()[-1].startswith("failed: ")
        return str(json.loads(done.stdout)["run"])

    good, same = run("cheapest"), run("cheapest", "--fresh", "--fail-under", "0.1")
    assert run("cheapest", "--fail-under", "0.9", code=1) not in (good, same)
    run("cheapest", "--fail-if-worse-than", good[:30])
    compared = json.loads(imported.run("bench", "compare", good, same, "--json").stdout)
    assert [change["difference"]["value"] for change in compared["aiq"]] == [0.0]
    assert "no difference" in imported.run("bench", "compare", good, same).stdout
    other = json.loads(imported.run(*asked[:-4], "--limit", "20", "-r", "cheapest", "--json", "-").stdout)["run"]
    assert "items" in imported.fails("bench", "compare", good, other)


def test_predictions_for_other_benchmarks(imported: Program) -> None:
    asked = ("bench", "run", "s", "-r", "cheapest", "--tradeoffs", "0.5", "--limit", "6", "--json", "-")
    run = json.loads(imported.run(*asked).stdout)["run"]
    imported.run("bench", "predictions", run, "-o", "run.csv")
    assert len((imported.folder / "run.csv").read_text().splitlines()) >= 7
    arena = ("bench", "predictions", run, "--format", "routerarena", "-o", "arena.json")
    assert "give --router and --tradeoff" in imported.fails(*arena)
    imported.run(*arena, "--router", "cheapest", "--tradeoff", "0.5")
    assert len(json.loads((imported.folder / "arena.json").read_bytes())) == 6
    assert "no result" in imported.fails(*arena, "--router", "knn", "--tradeoff", "0.5")


def test_splits_and_leakage(imported: Program) -> None:
    def score(*more: str) -> dict[str, Any]:
        asked = ("bench", "score", "s", "--tradeoffs", "0.5", "--json", "-", *more)
        report: dict[str, Any] = json.loads(imported.run(*asked).stdout)
        return report

    left_out = score("-r", "ridge", "--split-by", "leave-out:lookup")
    assert (left_out["n"], left_out["split_by"]) == (15, "leave-out:lookup")
    assert "no category `nope`" in imported.fails("bench", "score", "s", "-r", "ridge", "--split-by", "leave-out:nope")
    imported.run("train", "ridge", "--suite", "s", "-o", "all", "--split", "all")
    notes = score("-r", "all")["notes"]
    assert any("all was fitted to" in note and "(100.0%)" in note for note in notes)
    assert not any("was fitted to" in note for note in score("-r", "ridge")["notes"])


def test_seeds_say_how_much_training_varies(imported: Program) -> None:
    asked = ("bench", "score", "s", "-r", "ridge", "--tradeoffs", "0.1,0.5", "--seeds", "3")
    report = json.loads(imported.run(*asked, "--json", "-").stdout)
    assert report["routers"][0]["seeds"]["n"] == 3
    assert len(report["routers"][0]["seeds"]["delta_aiq"]["values"]) == 3


def test_graded_runs(imported: Program) -> None:
    asked = ("bench", "run", "s", "-r", "uniform", "--tradeoffs", "0", "--limit", "20", "--split", "all")
    report = json.loads(imported.run(*asked, "--grader", "answer", "--json", "-").stdout)
    assert (report["quality_source"], report["n"]) == ("grader:answer", 20)


def test_train_then_serve_the_artifact(imported: Program) -> None:
    said = imported.run("train", "knn", "--suite", "s", "-o", "knn-artifact", "--param", "k=10").stdout
    assert "Trained `knn` on" in said
    assert {file.suffix for file in (imported.folder / "knn-artifact").iterdir()} <= {".json", ".npz"}
    assert "choose another folder" in imported.fails("train", "knn", "--suite", "s", "-o", "knn-artifact")
    # The artifact's models are the pool; a fake provider stands in for them.
    with FakeOpenAI(default=Answer("42")) as fake:
        names = ["sim-nano", "sim-mini", "sim-coder", "sim-pro", "sim-max"]
        entries = [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_base": fake.url, "api_key": "k"}}
            for name in names
        ]
        routing = {"routers": {"mine": {"artifact": "knn-artifact"}}}
        path = imported.folder / "c.yaml"
        path.write_text(yaml.safe_dump({"model_list": entries, "routing": routing}))
        with imported.serving("--config", str(path)) as served:
            body = {"model": "auto", "messages": [{"role": "user", "content": "What is 12 + 30?"}]}
            reply = httpx.post(f"{served.url}/v1/chat/completions", json=body, trust_env=False)
            assert reply.headers["x-hullspeed-router"] == "mine"
            assert reply.headers["x-hullspeed-reason"].startswith("predicted")
            call = httpx.get(f"{served.url}/v1/calls/{reply.headers['x-hullspeed-call-id']}", trust_env=False).json()
            assert all(ranked["quality"] is not None for ranked in call["decision"]["ranking"])
            # The same proxy can be benchmarked from outside, live.
            live = ("bench", "run", "s", "-r", "mine", "--url", served.url, "--tradeoffs", "0.5", "--limit", "5")
            assert "confirm with --yes" in imported.run(*live, "--grader", "answer", code=2).stderr
            report = json.loads(imported.run(*live, "--grader", "answer", "--yes", "--json", "-").stdout)
            assert report["upstream"] == "live"
            assert report["baselines"] is None
            assert report["routers"][0]["points"][0]["coverage"] == 1.0
            assert "has no router `ridge`" in imported.fails(
                "bench", "run", "s", "-r", "ridge", "--url", served.url, "--grader", "answer"
            )


def test_a_served_recording_scores_as_its_suite_does(imported: Program) -> None:
    asked = ("s", "-r", "length", "-r", "cheapest", "--tradeoffs", "0,0.5", "--split", "all", "--json", "-")
    with imported.serving("--recorded", "s") as served:
        report = json.loads(imported.run("bench", "run", *asked, "--url", served.url).stdout)
    assert report["upstream"] == "recorded"
    assert report["baselines"] is not None
    # The served `length` is untrained; `cheapest` is the same wherever it stands.
    scored = json.loads(imported.run("bench", "score", *asked).stdout)
    names = [router["router"] for router in report["routers"]]
    ours, theirs = (entry["routers"][names.index("cheapest")] for entry in (report, scored))
    assert ours["aiq"] == theirs["aiq"]


def test_a_dry_run_says_what_it_would_ask(imported: Program) -> None:
    asked = ("bench", "run", "s", "-r", "cheapest", "-r", "knn", "--tradeoffs", "0,1", "--limit", "10", "--dry-run")
    assert "10 items of `s`, 40 calls, answered by recorded models. That is free." in imported.run(*asked).stdout
    found = json.loads(imported.run(*asked, "--json", "-").stdout)
    assert (found["calls"], found["items"], found["cost"], found["resumes"]) == (40, 10, None, None)
    assert "--grader" in imported.fails(*asked, "--grader", "recorded", "--upstream", "live", OPENAI_API_KEY="k")


def test_a_live_run_asks_before_it_spends(imported: Program) -> None:
    with FakeOpenAI(default=Answer("42")) as fake:
        entry = {
            "model_name": "m",
            "litellm_params": {
                "model": "openai/m",
                "api_base": fake.url,
                "api_key": "k",
                "input_cost_per_token": 0.001,
                "output_cost_per_token": 0.001,
            },
        }
        path = imported.folder / "c.yaml"
        path.write_text(yaml.safe_dump({"model_list": [entry]}))
        live = [
            "bench",
            "run",
            "s",
            "-r",
            "cheapest",
            "--upstream",
            "live",
            "--grader",
            "answer",
            "--config",
            str(path),
        ]
        live += ["--tradeoffs", "0", "--limit", "10"]
        unasked = imported.run(*live, code=2)
        assert "10 calls to live providers will cost between $" in unasked.stderr
        assert "confirm with --yes" in unasked.stderr
        assert not fake.chats
        assert "All of them will cost between $" in imported.run(*live, "--dry-run").stdout
        assert not fake.chats
        told = imported.folder / "run-id"
        capped = imported.run(
            *live, "--yes", "--max-cost", "0.1", "--concurrency", "1", "--run-file", str(told), code=1
        )
        assert "stopped at --max-cost" in capped.stderr
        assert f"Run {told.read_text()} goes on: " in imported.run(*live, "--dry-run").stdout
        assert 0 < len(fake.chats) < 10
        rest = imported.run(*live, "--yes", "--json", "-")
        assert json.loads(rest.stdout)["n"] == 10
        assert len(fake.chats) == 10, "the run went on where it had stopped"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "run", "nope", "-r", "cheapest"), "There is no suite named 'nope'"),
        (("bench", "score", "nope", "-r", "cheapest"), "There is no suite named 'nope'"),
        (("bench", "report", "0123"), "There is no run '0123'"),
        (("train", "knn", "--suite", "nope", "-o", "x"), "There is no suite named 'nope'"),
    ],
)
def test_what_is_not_there(program: Program, arguments: tuple[str, ...], words: str) -> None:
    assert words in program.fails(*arguments, code=1)


def test_wrong_arguments(imported: Program) -> None:
    for arguments, words in (
        (("bench", "run", "s", "-r", "knm"), "no router is named 'knm'; did you mean 'knn'"),
        (("bench", "run", "s", "-r", "fixed:model=gpt"), "router `fixed:model=gpt`"),
        (("bench", "score", "s", "-r", "knn:k=0"), "router `knn:k=0`"),
        (("bench", "score", "s", "-r", "knn:kk=1"), "no parameter 'kk'"),
        (("bench", "score", "s", "-r", "cheapest", "--tradeoffs", "0,2"), "tradeoff 2 is outside [0, 1]"),
        (("bench", "score", "s", "-r", "cheapest", "--tradeoffs", "a"), "not a comma-separated list of numbers"),
        (("bench", "score", "s", "-r", "cheapest", "-r", "cheapest"), "is named twice"),
        (("bench", "score", "s", "-r", "cheapest", "--grader", "anser"), "anser"),
        (("bench", "score", "s", "-r", "cheapest", "--json", "no/such/folder.json"), "cannot be written"),
        (("bench", "run", "s", "-r", "cheapest", "--url", "http://127.0.0.1:9"), "no proxy answers there"),
        (("train", "cheapest", "--suite", "s", "-o", "x"), "cannot be trained"),
        (("train", "knn", "--suite", "s", "-o", "x", "--param", "k"), "not of the form name=value"),
    ):
        assert words in imported.fails(*arguments)


def test_a_run_of_models_that_cannot_be_judged(program: Program) -> None:
    (program.folder / "items.jsonl").write_text(
        '{"id": "1", "category": "c", "input": "2+2?", "target": "4", "grader": "number"}\n'
    )
    program.run("bench", "import", "items", "items.jsonl", "--name", "live")
    assert "has no recorded outcomes" in program.fails("bench", "score", "live", "-r", "cheapest")
    assert "has no recorded outcomes" in program.fails("bench", "run", "live", "-r", "cheapest", "--split", "all")


def test_bad_files_leave_nothing_behind(program: Program, tmp_path: Path) -> None:
    outcomes, items = write_files(tmp_path, limit=4)
    table = pq.read_table(outcomes)
    (tmp_path / "text.parquet").write_text("not parquet")
    pq.write_table(table.slice(1), tmp_path / "hole.parquet")
    pq.write_table(table.drop(["quality"]), tmp_path / "column.parquet")
    for file, words in (
        ("nope.parquet", "nope.parquet"),
        ("text.parquet", "text.parquet"),
        ("hole.parquet", "missing"),
        ("column.parquet", "quality"),
    ):
        line = program.fails("bench", "import", "outcomes", str(tmp_path / file), "--items", items, "--name", "s")
        assert words in line
    assert json.loads(program.run("bench", "list", "--json").stdout) == {"suites": [], "runs": []}
    program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s")
    again = program.fails("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s")
    assert "There is a suite named 's' already" in again
    program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s", "--replace")


def test_a_postgres_that_is_not_there(program: Program) -> None:
    url = "postgresql://someone:planted-secret@127.0.0.1:9/nowhere"
    for arguments in (("migrate",), ("bench", "list"), ("bench", "score", "s", "-r", "cheapest")):
        line = program.fails(*arguments, code=1, DATABASE_URL=url)
        assert "127.0.0.1" in line
        assert "DATABASE_URL" in line
        assert "planted-secret" not in line
