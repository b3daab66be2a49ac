"""Finding and building routers, the in-tree ones and those of a package that is really installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from routers import TrainableRouter, registry
from routers.base import Router
from routers.registry import BrokenRouter, UnknownRouter

IN_TREE = ("cheapest", "fixed", "knn", "length", "oracle", "ridge", "uniform")


def test_every_in_tree_router_is_found_under_its_own_name() -> None:
    assert set(IN_TREE) <= set(registry.names())
    assert registry.names() == tuple(sorted(registry.names()))
    assert all(registry.find(name).name == name for name in IN_TREE)
    assert {name for name in IN_TREE if registry.is_trainable(registry.find(name))} == {
        "knn", "length", "oracle", "ridge",
    }  # fmt: skip
    assert [name for name in IN_TREE if registry.find(name).bench_only] == ["oracle"]


def test_every_in_tree_router_names_its_source() -> None:
    for name in IN_TREE:
        assert "Source: " in (registry.find(name).__doc__ or "")


def test_an_unknown_name_is_answered_with_close_matches_and_the_list() -> None:
    with pytest.raises(UnknownRouter, match=r"no router is named 'cheepest'; did you mean 'cheapest'\?.*uniform"):
        registry.find("cheepest")


@pytest.mark.parametrize(
    ("name", "params", "complaint"),
    [
        ("fixed", {}, "router 'fixed' needs the parameter 'model'; it takes model: str"),
        ("fixed", {"modle": "a"}, "takes no parameter 'modle'; it takes model: str"),
        ("fixed", {"model": 3}, "parameter 'model' must be str, not 3"),
        ("fixed", {"model": ""}, "'model' must name"),
        ("uniform", {"weights": ["a"]}, "'weights' must be Mapping"),
        ("uniform", {"weights": {"a": "1"}}, "'weights' must be Mapping"),
        ("uniform", {"weights": {1: 1}}, "'weights' must be Mapping"),
        ("uniform", {"weights": {"a": True}}, "'weights' must be Mapping"),
        ("cheapest", {"seed": 1}, "takes no parameter 'seed'; it takes no parameters"),
        ("length", {"median": "long"}, "parameter 'median' must be float"),
        ("knn", {}, "train it and give the artifact's folder"),
        ("nobody", {}, "no router is named"),
    ],
)
def test_wrong_parameters_are_named_with_those_there_are(name: str, params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        registry.build(name, params)


def test_right_parameters_build() -> None:
    assert registry.build("fixed", {"model": "a"}).name == "fixed"
    assert registry.build("uniform", {"weights": {"a": 1, "b": 0.5}}).name == "uniform"
    assert registry.build("uniform", {"weights": None}).name == "uniform"
    assert registry.build("length", {"median": 10}).name == "length"


def serves_as_it_is(name: str) -> bool:
    try:
        return not registry.build(name, {}).bench_only
    except ValueError:
        return False


def test_what_is_said_to_be_ready_is() -> None:
    said = {name: registry.is_ready(name) for name in registry.names()}
    assert said == {name: serves_as_it_is(name) for name in said}


def test_a_package_need_not_say_which_of_its_routers_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (EntryPoint("one", "package:One", registry.GROUP),)
    monkeypatch.setattr(registry, "_installed", lambda path: {"one": points, "two": points * 2})
    assert (registry.is_ready("one"), registry.is_ready("two"), registry.is_ready("nobody")) == (None, None, None)


class Half(Router):
    name = "half"


class Misnamed(Router):
    name = "other"

    def route(self, query):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "target", "complaint"),
    [
        ("text", "json:dumps", "not a subclass of routers.Router"),
        ("json", "json:JSONDecoder", "not a subclass of routers.Router"),
        ("half", f"{__name__}:Half", "abstract: route must be written"),
        ("misnamed", f"{__name__}:Misnamed", "calls itself 'other'"),
        ("base", "routers.base:TrainableRouter", "abstract"),
        ("lost", "routers.nowhere:X", "ModuleNotFoundError"),
        ("gone", "routers.base:Gone", "AttributeError"),
    ],
)
def test_an_entry_point_that_gives_no_router_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, target: str, complaint: str
) -> None:
    offered: Mapping[str, Any] = {name: (EntryPoint(name, target, registry.GROUP),)}
    monkeypatch.setattr(registry, "_installed", lambda path: offered)
    with pytest.raises(BrokenRouter, match=complaint):
        registry.find(name)


PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{distribution}"
version = "1.2"
[project.entry-points."hullspeed.routers"]
{points}
[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""

GOOD = """
from pathlib import Path
from routers import Choice, Decision, Outcomes, Query, Router, TrainableRouter, artifacts
from routers.artifacts import TrainedOn

class Alphabetical(Router):
    name = "alphabetical"

    def __init__(self, reverse: bool = False) -> None:
        self.reverse = reverse

    def route(self, query: Query) -> Decision:
        ranked = sorted((c.model for c in query.candidates), reverse=self.reverse)
        return Decision(tuple(Choice(m, probability=float(i == 0)) for i, m in enumerate(ranked)), "alphabet")

class Popular(TrainableRouter):
    name = "popular"

    def __init__(self, model, trained_on):
        self.model, self.trained_on = model, trained_on

    @classmethod
    def fit(cls, outcomes: Outcomes, **params):
        best = int(outcomes.quality.mean(axis=0).argmax())
        return cls(outcomes.models[best], TrainedOn.of(outcomes))

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        artifacts.write(folder, self, params={}, trained_on=self.trained_on, arrays={},
                        documents={"model": [self.model]}, overwrite=overwrite)

    @classmethod
    def load(cls, folder: Path):
        artifact = artifacts.read(folder, cls)
        return cls(artifact.texts("model")[0], artifact.trained_on)

    def route(self, query: Query) -> Decision:
        return Decision((Choice(self.model, probability=1.0),), "popular")
"""


def install(target: Path, distribution: str, source: str, **points: str) -> None:
    """Build a wheel with its build backend and unpack it into `target`, which is all that installing it is."""
    module = distribution.replace("-", "_")
    project = target.parent / f"{distribution}-source"
    project.mkdir()
    listed = "\n".join(f'{name} = "{module}:{value}"' for name, value in points.items())
    (project / "pyproject.toml").write_text(PROJECT.format(distribution=distribution, module=module, points=listed))
    (project / f"{module}.py").write_text(source)
    command = [sys.executable, "-c", "from hatchling.build import build_wheel; build_wheel('dist')"]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=60)
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)


def python(target: Path, code: str) -> Any:
    """What `code` prints as JSON in a fresh interpreter that has `target` on its path."""
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        cwd=target,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


def test_an_installed_package_adds_routers_without_an_edit_here(target: Path) -> None:
    install(target, "letters-router", GOOD, alphabetical="Alphabetical", popular="Popular")
    said = python(
        target,
        """
        import json
        from pathlib import Path
        import numpy as np
        from routers import Candidate, Outcomes, Query, artifacts, registry
        query = Query([{"role": "user", "content": "hi"}], (Candidate("b"), Candidate("c"), Candidate("a")))
        ranked = [
            [choice.model for choice in registry.build("alphabetical", params).route(query).ranking]
            for params in ({}, {"reverse": True})
        ]
        try:
            registry.build("alphabetical", {"backwards": True})
        except ValueError as error:
            complaint = str(error)
        table = Outcomes(("1",), ("hi",), np.array([2]), ("x",), ("a", "b"), np.array([[0.0, 1.0]]), np.ones((1, 2)))
        registry.find("popular").fit(table).save(Path("kept"))
        loaded = artifacts.load(Path("kept"))
        print(json.dumps({
            "names": registry.names(), "ranked": ranked, "complaint": complaint,
            "loaded": [type(loaded).__module__, loaded.route(query).ranking[0].model],
        }))
        """,
    )
    assert set(said["names"]) >= {*IN_TREE, "alphabetical", "popular"}
    assert said["ranked"] == [["a", "b", "c"], ["c", "b", "a"]]
    assert said["complaint"] == ("router 'alphabetical' takes no parameter 'backwards'; it takes reverse: bool = False")
    assert said["loaded"] == ["letters_router", "b"]


FIND_ALL = """
    import json
    from routers import registry
    found = {}
    for name in registry.names():
        try:
            found[name] = registry.find(name).__module__
        except registry.BrokenRouter as error:
            found[name] = str(error)
    print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import a_module_nobody_has", "ModuleNotFoundError: No module named 'a_module_nobody_has'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_broken_package_is_named_and_hurts_nobody(target: Path, source: str, error: str) -> None:
    install(target, "letters-router", GOOD, alphabetical="Alphabetical")
    install(target, "broken-router", source, broken="Broken")
    found = python(target, FIND_ALL)
    assert f"router 'broken' of broken-router 1.2 (broken_router:Broken) cannot be imported: {error}" in found["broken"]
    assert found["alphabetical"] == "letters_router"
    assert {name: found[name] for name in IN_TREE} == {name: f"routers.{name}" for name in IN_TREE}


def test_a_name_claimed_twice_is_an_error_that_names_both(target: Path) -> None:
    source = GOOD.replace('"alphabetical"', '"cheapest"')
    install(target, "letters-router", source, cheapest="Alphabetical")
    found = python(target, FIND_ALL)
    assert "router 'cheapest' is claimed by hullspeed" in found["cheapest"]
    assert "letters-router 1.2 (letters_router:Alphabetical)" in found["cheapest"]
    assert found["fixed"] == "routers.fixed"


def test_importing_routers_loads_nothing_heavy_and_serving_needs_no_scikit_learn(tmp_path: Path) -> None:
    from tests.routers.toy import outcomes

    for name in ("knn", "ridge", "length", "oracle"):
        cls = registry.find(name)
        assert issubclass(cls, TrainableRouter)
        cls.fit(outcomes(60)).save(tmp_path / name)
    loaded = python(
        tmp_path,
        """
        import json, sys
        from pathlib import Path
        import routers
        at_import = sorted(set(sys.modules) & {"routers.registry", "routers.knn", "sklearn", "scipy"})
        from routers import Candidate, Query, artifacts
        query = Query([{"role": "user", "content": "add apples"}], (Candidate("small"), Candidate("large")))
        for name in ("knn", "ridge", "length", "oracle"):
            artifacts.load(Path(name)).route(query)
        heavy = {"sklearn", "scipy", "threadpoolctl", "pydantic", "fastapi", "litellm", "sqlalchemy", "app"}
        print(json.dumps([at_import, sorted(set(sys.modules) & heavy)]))
        """,
    )
    assert loaded == [[], []]
