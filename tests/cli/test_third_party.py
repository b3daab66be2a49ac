"""The README's example router, installed from a package of its own, serves and is scored."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import yaml

from tests.cli.program import Program
from tests.cli.test_bench import write_files
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import models
from tests.snippets import ROOT, blocks

README = ROOT / "README.md"
PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "somebodys-routers"
version = "1.0"

[tool.hatch.build.targets.wheel]
packages = ["my_package"]

"""


def install_example(folder: Path) -> Path:
    """Build the README's package with its build backend and unpack the wheel: that is all that installing it is."""
    project, target = folder / "project", folder / "site"
    (project / "my_package").mkdir(parents=True)
    (project / "my_package" / "__init__.py").touch()
    (project / "my_package" / "my_router.py").write_text(blocks(README, "python")[1].text)
    (project / "pyproject.toml").write_text(PROJECT + blocks(README, "toml")[-1].text)
    build = "from hatchling.build import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=project, check=True, capture_output=True)
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_a_router_from_another_package(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    site = install_example(tmp_path)
    path = f"{Path.cwd()}:{site}"
    config = tmp_path / "hullspeed.yaml"
    routing = {"default": "mine", "routers": {"mine": {"router": "short-is-easy", "params": {"characters": 5}}}}
    config.write_text(yaml.safe_dump({"model_list": models(openai_server.url, "small", "large"), "routing": routing}))
    with program.serving("--config", str(config), PYTHONPATH=path) as served:
        picked = []
        for model, text in (("auto", "hi"), ("auto", "a longer prompt"), ("auto/short-is-easy", "a longer prompt")):
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
            reply = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=30, trust_env=False)
            picked.append((reply.headers["x-hullspeed-model"], reply.headers["x-hullspeed-reason"]))
    assert picked == [("small", "short"), ("large", "long"), ("small", "short")]
    outcomes, items = write_files(tmp_path, limit=40)
    program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s")
    asked = ("s", "-r", "short-is-easy:characters=100", "--tradeoffs", "0.5", "--split", "all", "--json", "-")
    scored = json.loads(program.run("bench", "score", *asked, PYTHONPATH=path).stdout)
    replayed = json.loads(program.run("bench", "run", *asked, PYTHONPATH=path).stdout)
    for report in (scored, replayed):
        (point,) = report["routers"][0]["points"]
        assert set(point["share"]) == {"sim-nano", "sim-max"}
    assert replayed["routers"][0]["aiq"] == scored["routers"][0]["aiq"]
