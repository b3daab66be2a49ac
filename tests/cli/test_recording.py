"""`hullspeed bench record`, `capture`, `export` and `import folder`, as a user runs them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.bench.replay import Task
from app.bench.suite import Item
from app.cli import root
from app.cli.recording import estimate, parse_time
from app.core.errors import ConfigError
from routers import Candidate
from tests.cli.program import Program
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, HttpError
from tests.serving import models

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@dataclass(frozen=True)
class Said:
    stdout: str
    stderr: str


class Inside:
    """The program's own `main` in this process: a process for each command would take most of the time there is."""

    def __init__(self, program: Program, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self.program, self.folder = program, program.folder
        self._patch, self._output = patch, output

    def run(self, *arguments: str, code: int = 0) -> Said:
        self._patch.setattr(sys, "argv", ["hullspeed", *arguments])
        with pytest.raises(SystemExit) as ended:
            root.main()
        said = Said(*self._output.readouterr())
        assert (ended.value.code or 0) == code, said
        return said

    def fails(self, *arguments: str, code: int = 2) -> str:
        lines = self.run(*arguments, code=code).stderr.splitlines()
        assert len(lines) == 1, lines
        return lines[0]


@pytest.fixture
def inside(program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Inside]:
    for name, value in program.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(program.folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    logger = logging.getLogger()
    before, level = [*logger.handlers], logger.level
    yield Inside(program, monkeypatch, capsys)
    logger.handlers[:], logger.level = before, level


def write_config(folder: Path, fake: FakeOpenAI, *names: str, **more: Any) -> str:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({"model_list": models(fake.url, *names), **more}))
    return str(path)


def import_items(program: Inside, n: int = 3) -> None:
    lines = [{"id": f"i{k}", "category": "c", "input": f"{k}: 2 + 2?", "target": "4"} for k in range(n)]
    (program.folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)))
    program.run("bench", "import", "items", "items.jsonl", "--name", "s", "--grader", "number")


def test_record_asks_then_fills_the_matrix_and_is_scored(inside: Inside) -> None:
    import_items(inside)
    with FakeOpenAI(default=Answer("4", usage=USAGE)) as fake:
        config = write_config(inside.folder, fake, "a", "b")
        asked = ("bench", "record", "s", "--models", "a,b", "--config", config)
        unasked = inside.run(*asked, code=2)
        assert "6 calls to live providers will cost about $" in unasked.stderr
        assert "confirm with --yes" in unasked.stderr
        assert "has no model `c`; it has a, b" in inside.fails("bench", "record", "s", "--models", "c", "-c", config)
        assert not fake.chats
        fake.on("b-target", HttpError(400))
        fake.next(Answer("5", usage=USAGE), model="b-target")
        done = inside.run(*asked, "--yes", "--name", "filled", "--concurrency", "1", "--max-cost", "1")
        assert "stopped at $1.0" in done.stderr
        assert "6 calls over HTTP" in done.stderr
        assert "Suite `filled`: 3 items in 1 categories" in done.stdout
        assert "2 recorded models, 6 outcomes, 2 of them without quality or cost" in done.stdout
        assert "2 cells are missing: b 2; the same command asks for them again." in done.stdout
        assert "2 × 400: Model `b`" in done.stdout
    scored = inside.run("bench", "score", "filled", "-r", "fixed:model=b", "--split", "all", "--json", "-").stdout
    assert json.loads(scored)["routers"][0]["points"][0]["coverage"] == pytest.approx(1 / 3)
    run = json.loads(inside.run("bench", "list", "--json").stdout)["runs"][0]["id"]
    said = inside.run("bench", "report", run).stdout
    assert "Recording of s" in said
    assert "4 of 6 cells" in said
    assert "the same `bench record` command asks for what is missing" in said
    found = json.loads(inside.run("bench", "report", run, "--json", "-").stdout)
    assert (found["kind"], found["status"], found["items"], found["saved_in"]) == ("record", "failed", 3, ["filled"])
    assert [(model["model"], model["answered"], model["quality"]) for model in found["models"]] == [
        ("a", 3, 1.0),
        ("b", 1, 0.0),
    ]
    each = [Decimal(model["cost_usd"]) for model in found["models"]]
    assert sum(each) == Decimal(found["cost_usd"]) > 0
    assert [model["prompt_tokens"] for model in found["models"]] == [10, 10]
    lines = inside.run("bench", "report", run, "--csv", "-").stdout.splitlines()
    assert [line.split(",")[2:4] for line in lines] == [["model", "answered"], ["a", "3"], ["b", "1"]]
    refused = inside.fails("bench", "report", run, "-o", "page.html")
    assert "recorded a suite and scored no router" in refused
    assert "bench score filled" in refused


def test_record_at_a_server_that_is_no_hullspeed_proxy(inside: Inside) -> None:
    import_items(inside)
    with FakeOpenAI(models=("a",)) as fake:
        there = ("bench", "record", "s", "--models", "a", "--url", fake.url.removesuffix("/v1"))
        assert "what answers there is no Hullspeed proxy; name it as api_base" in inside.fails(*there)


def test_import_mt_bench_and_leave_contaminated_prompts_out(inside: Inside) -> None:
    def write(name: str, *lines: dict[str, Any]) -> None:
        (inside.folder / name).write_text("\n".join(map(json.dumps, lines)))

    write("question.jsonl", *({"question_id": k, "category": "c", "turns": [f"{k}?", "More?"]} for k in (1, 2)))
    write("j.jsonl", *({"question_id": k, "model": "m", "turn": t, "score": 5} for k in (1, 2) for t in (1, 2)))
    write("bad.jsonl", {"eval_prompt": "2?"})
    more = ("--price", "m=1/2", "--contaminated", "bad.jsonl")
    asked = ("bench", "import", "mt-bench", "j.jsonl", "--questions", "question.jsonl", "--name", "mt", *more)
    said = inside.run(*asked).stdout
    assert "Suite `mt`: 1 items in 1 categories" in said
    assert "1 contaminated questions left out." in said
    (inside.folder / "gsm8k_responses.csv").write_text("prompt,m\n1?,True\n2?,False\n")
    said = inside.run("bench", "import", "routellm", "gsm8k_responses.csv", "--name", "gsm8k", *more).stdout
    assert "Suite `gsm8k`: 1 items" in said
    assert "1 contaminated prompts left out." in said


def test_serve_capture_export_import(inside: Inside) -> None:
    (inside.folder / "ours.py").write_text("def shout(chat):\n    return [{**m, 'content': 'X'} for m in chat]\n")
    with FakeOpenAI(default=Answer("Write to ann@example.com", usage=USAGE)) as fake:
        config = write_config(inside.folder, fake, "a", ledger={"store_text": True})
        with inside.program.serving("--config", config) as served:
            for text in ("Hello from bob@example.com", "Hello  from eve@example.com", "Good bye"):
                body = {"model": "a", "messages": [{"role": "user", "content": text}]}
                reply = httpx.post(f"{served.url}/v1/chat/completions", json=body, trust_env=False)
                assert reply.status_code == 200
            # A running proxy can be asked too; its models cost money, so it is asked for.
            import_items(inside)
            there = ("bench", "record", "s", "--models", "a", "--url", served.url)
            assert "3 calls to live providers will cost about $" in inside.run(*there, code=2).stderr
            assert "has no model `auto/cheapest`; it has a" in inside.fails(
                "bench", "record", "s", "--models", "auto/cheapest", "--url", served.url
            )
            assert "1 recorded models, 3 outcomes, none missing" in inside.run(*there, "--yes").stdout
    capture = ("bench", "capture", "--since", "1h", "--name")
    said = inside.run(*capture, "c").stdout
    assert "Suite `c`: 2 items in 1 categories" in said
    assert "from 3 calls: 2 different chats; 0 judged replies" in said
    assert "There is a suite named 'c' already" in inside.fails(*capture, "c")
    assert "1 of them drawn" in inside.run(*capture, "c", "--replace", "--sample", "1", "--redact", "none").stdout
    inside.run(*capture, "x", "--redact", "ours:shout")
    inside.run("bench", "export", "x", "x-folder")
    assert "example.com" not in "".join(
        path.read_bytes().decode("latin-1") for path in Path(inside.folder, "x-folder").iterdir()
    )
    assert "holds a suite already" in inside.fails("bench", "export", "x", "x-folder")
    said = inside.run("bench", "import", "folder", "x-folder", "--name", "y").stdout
    assert "Suite `y`: 1 items in 1 categories" in said
    assert "There is a suite named 'y' already" in inside.fails("bench", "import", "folder", "x-folder", "--name", "y")
    suites = json.loads(inside.run("bench", "list", "--json").stdout)["suites"]
    digests = {suite["name"]: suite["digest"] for suite in suites}
    assert digests["x"] == digests["y"]


def test_wrong_arguments(inside: Inside) -> None:
    for code, arguments, words in (
        (2, ("capture", "--name", "c", "--since", "yesterday"), "neither a span (90m, 12h, 7d, 2w) nor an ISO date"),
        (1, ("capture", "--name", "c", "--since", "7d"), "No answered call fits"),
        (1, ("record", "nope", "--models", "a"), "There is no suite named 'nope'"),
        (2, ("import", "folder", "nope"), "cannot be read"),
    ):
        assert words in inside.fails("bench", *arguments, code=code)


def test_times() -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    for text, expected in (
        ("90m", now - timedelta(minutes=90)),
        ("2w", now - timedelta(weeks=2)),
        ("2026-04-01", datetime(2026, 4, 1, tzinfo=UTC)),
        ("2026-04-01T10:00:00+02:00", datetime(2026, 4, 1, 8, tzinfo=UTC)),
    ):
        assert parse_time(text, now, "--since") == expected
    for text in ("", "7", "7 days", "999999w", "2026-13-01"):
        with pytest.raises(ConfigError, match="--since"):
            parse_time(text, now, "--since")


def test_the_estimate_is_each_models_own() -> None:
    item = Item(id="i", category="c", messages=[{"role": "user", "content": "x" * 396}])  # 100 tokens
    tasks = [Task(f"model:{model}", 0.0, item, model) for model in ("a", "a", "b")]
    a = Candidate("a", input_price=0.01, output_price=0.001)
    b = Candidate("b", input_price=0.1, output_price=0.0)
    words = "(256 completion tokens each assumed: a $2.51, b $10.00)"
    assert estimate(tasks, {"a": a, "b": b}) == f"about $12.51 {words}"
    assert estimate(tasks, {"a": a, "b": Candidate("b")}).endswith("a $2.51), and an unknown amount for `b`")
    assert estimate(tasks[2:], {"b": Candidate("b")}) == "an unknown amount: no model has a price"
