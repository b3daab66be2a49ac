"""Graders as commands name them: functions in files, code that must be allowed, and judges that cost money."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from tests.cli.program import Program
from tests.cli.test_bench import write_files
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer
from tests.serving import models


@pytest.fixture
def imported(program: Program, tmp_path: Path) -> Program:
    outcomes, items = write_files(tmp_path, limit=24)
    program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s")
    return program


def test_a_function_is_named_and_code_is_off(imported: Program, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def grade(item, reply):\n    return 0.25\n")
    asked = ("bench", "score", "s", "-r", "cheapest", "--split", "all", "--tradeoffs", "0.5")
    report = json.loads(imported.run(*asked, "--grader", "./mine.py:grade", "--json", "-").stdout)
    assert report["quality_source"] == "grader:./mine.py:grade"
    assert report["routers"][0]["points"][0]["quality"] == 0.25
    said = imported.fails(*asked, "--grader", "code")
    assert "switched off: allow it with --allow-code, or set HULLSPEED_ALLOW_CODE=1" in said
    # Allowed, so that what is missed next is something else.
    nowhere = {"PATH": str(tmp_path)}
    assert "apt install bubblewrap" in imported.fails(*asked, "--grader", "code", "--allow-code", **nowhere)
    allowed = {**nowhere, "HULLSPEED_ALLOW_CODE": "1"}
    assert "apt install bubblewrap" in imported.fails(*asked, "--grader", "code", **allowed)


def test_a_judge_is_a_model_of_the_config(imported: Program, tmp_path: Path) -> None:
    verdict = Answer('{"reason": "fine", "score": 0.5}', prompt_tokens=10, completion_tokens=1)
    with FakeOpenAI(default=verdict) as fake:
        config = tmp_path / "c.yaml"
        config.write_text(yaml.safe_dump({"model_list": models(fake.url, "referee")}))
        asked = ("bench", "run", "s", "-r", "cheapest", "--split", "all", "--tradeoffs", "0.5", "-c", str(config))
        assert "the config has no model `nobody`; it has referee" in imported.fails(*asked, "--grader", "judge:nobody")
        unasked = imported.run(*asked, "--grader", "judge:referee", code=2).stderr
        assert "Judging up to 24 replies will cost what the judges' calls cost" in unasked
        assert "confirm with --yes" in unasked
        assert not fake.chats
        done = imported.run(*asked, "--grader", "judge:referee", "--yes", "--json", "-")
        assert {chat.model for chat in fake.chats} == {"referee-target"}
        report = json.loads(done.stdout)
        assert (report["quality_source"], report["n"]) == ("grader:judge:referee", 24)
        assert report["routers"][0]["points"][0]["quality"] == 0.5
        assert report["judge_cost_usd"] == pytest.approx(float(Decimal("0.000012") * len(fake.chats)))
        assert report["baselines"] is None
        assert any("no baselines stand beside it" in note for note in report["notes"])
