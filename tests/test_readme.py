"""What the README shows works: its commands are run, its code is executed, its tables are compared with the program."""

from __future__ import annotations

import asyncio
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from app.core.config import load_config
from app.gateway.configured import catalog_from_config
from routers import Candidate, Query, Router, registry
from tests.cli.program import Program
from tests.cli.test_bench import write_files
from tests.cli.test_looking import put, recent
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import StartProxy, models
from tests.snippets import blocks, commands

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def program(tmp_path: Path, migrated_database: Callable[[], str]) -> Program:
    """The program with an empty ledger."""
    return Program(tmp_path, {"HULLSPEED_DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": migrated_database()})


def texts(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return [block.text for block in blocks(README, language)]


def test_make_targets_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for _, target in commands(README, "make"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_bench_and_train_commands(program: Program, tmp_path: Path) -> None:
    write_files(tmp_path, limit=60)
    (_, example) = texts("python")
    (tmp_path / "my_router.py").write_text(example)
    ran = [words[1:] for words in commands(README, "hullspeed") if words[1] in ("bench", "train")]
    assert len(ran) == 7
    for words in ran:
        program.run(*words)
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
    assert (tmp_path / "artifacts" / "knn" / "manifest.json").is_file()


async def test_the_sdk_example(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    (example, _) = texts("python")
    example = example.replace("http://127.0.0.1:8080", proxy.url)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complaint = await child.communicate()
    assert child.returncode == 0, complaint.decode()
    assert re.fullmatch(r"(small|large) Echo: What is 12 \+ 30\?\n", said.decode())


async def test_the_ledger_commands(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    call = (await proxy.chat("small")).headers["x-hullspeed-call-id"]
    shown = commands(README, "curl")
    assert len(shown) == 3
    for words in shown:
        url = next(word for word in words if word.startswith("http")).replace("http://127.0.0.1:8080", proxy.url)
        url = url.replace("$CALL_ID", call)
        async with httpx.AsyncClient(trust_env=False) as client:
            if "-d" in words:
                headers = dict([words[words.index("-H") + 1].split(": ")])
                reply = await client.post(url, content=words[words.index("-d") + 1], headers=headers)
            else:
                reply = await client.get(url)
        assert reply.is_success, reply.text


def test_the_config_example(tmp_path: Path) -> None:
    (example,) = texts("yaml")
    path = tmp_path / "hullspeed.yaml"
    path.write_text(example)
    config = load_config(path)
    assert not config.warnings
    catalog = catalog_from_config(config, {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"})
    assert [model.upstream for model in catalog.values()] == ["direct", "litellm", "direct"]
    assert all(model.price is not None for model in catalog.values())
    assert yaml.safe_load(example)["routing"]["default"] in config.routing.routers


def test_the_example_router() -> None:
    (_, example) = texts("python")
    module = types.ModuleType("my_router")
    exec(compile(example, "my_router", "exec"), module.__dict__)
    router: Router = module.ShortIsEasyRouter(characters=10)
    pool = (Candidate("dear", mean_cost=1.0), Candidate("cheap", mean_cost=0.1))

    def picks(text: str) -> list[str]:
        return [choice.model for choice in router.route(Query([{"role": "user", "content": text}], pool)).ranking]

    assert picks("short") == ["cheap", "dear"]
    assert picks("a much longer prompt") == ["dear", "cheap"]
    assert registry.is_trainable(type(router)) is False


def table(heading: str) -> str:
    """The text of one section."""
    return README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((docs/[\w.-]+)\)", README.read_text())
    assert {README.parent / link for link in links} == set((README.parent / "docs").glob("*.md")) - {
        README.parent / "docs" / "index.md"
    }


def test_commands_to_look_with(program: Program, tmp_path: Path) -> None:
    (example,) = texts("yaml")
    # Its artifact is made by a command of its own, which is run above.
    (tmp_path / "hullspeed.yaml").write_text(example.replace("default: knn", "default: spread").replace(ARTIFACT, ""))
    keys = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b", "HULLSPEED_PORT": "0"}
    shown = [words[1:] for words in commands(README, "hullspeed") if words[1] in ("check", "calls", "stats")]
    assert len(shown) == 4
    for words in shown:
        if words[0] == "check":
            assert "ready to serve" in program.run(*words, **keys).stdout
            put(program, recent())
        else:
            assert program.run(*words, *(["--no-follow"] if words[1:] == ["tail"] else [])).stdout


ARTIFACT = "    knn: {artifact: artifacts/knn}\n"


def test_every_router_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", table("Train a router and serve it"), re.MULTILINE))
    assert listed == set(registry.names())


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml", ".env.example", "LICENSE"])
def test_files_that_are_mentioned_exist(name: str) -> None:
    assert (README.parent / name).is_file()
