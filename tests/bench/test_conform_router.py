"""conform-router: every installed router passes, and every check finds the router that breaks its promise."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import pytest

from app.bench import bundled
from app.bench.conform_router import Conformance, conform
from app.bench.probes import probes
from app.bench.suite import Recorded, Suite
from app.core.errors import ConfigError
from routers import registry
from tests.routers.collection import HAS_TREES

BROKEN = Path(__file__).with_name("broken_routers.py")
PARAMS = {
    "fixed": "fixed:model=sim-pro",
    "explore": 'explore:router="length"',
    "rules": 'rules:rules=[{"else":["sim-pro"]}]',
}


@lru_cache
def small() -> Suite:
    """Every fourth item of the bundled suite, with its outcomes."""
    whole = bundled.load()
    rows = list(range(0, len(whole.items), 4))
    assert whole.recorded is not None
    columns = {
        field.name: getattr(whole.recorded, field.name)[rows]
        for field in dataclasses.fields(Recorded)
        if field.name != "models"
    }
    return dataclasses.replace(
        whole, items=tuple(whole.items[row] for row in rows), recorded=Recorded(whole.recorded.models, **columns)
    )


def failed(found: Conformance) -> dict[str, str]:
    return {check.name: check.said for check in found.checks if not check.passed}


@pytest.mark.parametrize("name", registry.names())
def test_every_installed_router_conforms(name: str) -> None:
    if name == "trees" and not HAS_TREES:
        pytest.skip("LightGBM is not installed (hullspeed[trees])")
    found = conform(PARAMS.get(name, name), small())
    assert failed(found) == {}
    assert found.passed
    assert found.queries == len(probes(small()))
    assert found.p50 is not None
    if registry.is_trainable(registry.find(name)):
        assert "artifact" in {check.name for check in found.checks}


def test_a_cascade_is_walked_and_a_bandit_explored_conform() -> None:
    for text in (
        'explore:router="bandit",epsilon=0.5',
        "bandit:method=linucb",
        "threshold:strong=sim-max,weak=sim-mini",
    ):
        assert failed(conform(text, small())) == {}
    assert "end of chain" in conform("cascade:calls=2", small()).reasons


def test_a_sound_router_from_a_file_conforms() -> None:
    found = conform(f"{BROKEN}:Sound:word=yes", small())
    assert found.passed
    assert found.reasons == ("yes",)


@pytest.mark.parametrize(
    ("router", "check", "said"),
    [
        ("Unbuildable", "runs", "no model file"),
        ("Deadly", "runs", "ended with 7"),
        ("Fragile", "survives every query", "half a surrogate pair: UnicodeEncodeError"),
        ("Forgetful", "ranking", "the candidates are"),
        ("Inventive", "ranking", "gpt-9"),
        ("Repetitive", "ranking", "the candidates are"),
        ("Mute", "ranking", "gave NoneType, not a Decision"),
        ("Hasty", "ranking", "asks 2 models and reviews nothing"),
        ("Prophet", "ranking", "before anything was called"),
        ("Improbable", "probabilities", "sum to 0"),
        ("Overconfident", "probabilities", "sum to 5"),
        ("Undefined", "numbers", "is nan: it must be"),
        ("Refunding", "numbers", "is -0.1: it must be"),
        ("Numeric", "numbers", "float64"),
        ("Opaque", "numbers", "detail is not JSON"),
        ("Fickle", "same seed, same decision", "decided in another way"),
        ("Counting", "same seed, same decision", "decided in another way"),
        ("Hashing", "fresh process", "decided in another way"),
        ("Meddling", "leaves the query alone", "was changed"),
        ("Reading", "no I/O", "open('/dev/null'"),
        ("Calling", "no I/O", "socket.connect"),
        ("Spawning", "no I/O", "subprocess.Popen"),
        ("Writing", "no I/O", "open('/dev/null'"),
        ("Chatty", "reasons", "at most 30"),
        ("Wordless", "reasons", "no reason"),
        ("Greedy", "reviews", "calls where"),
        ("Tireless", "reviews", "not called yet"),
        ("Liar", "reviews", "which was not called"),
        ("Shrugging", "reviews", "a review gave NoneType"),
        ("Stumbling", "survives every query", "all fail: AssertionError"),
        ("Sloppy", "artifact", "decides otherwise"),
    ],
)
def test_a_broken_promise_is_found(router: str, check: str, said: str) -> None:
    found = conform(f"{BROKEN}:{router}", small())
    assert not found.passed
    assert said in failed(found).get(check, "passed"), failed(found)


def test_a_router_without_an_end_is_not_waited_for() -> None:
    assert failed(conform(f"{BROKEN}:Endless", small(), timeout=4)) == {"runs": "not done after 4 s"}


def test_a_suite_without_outcomes_serves_a_router_that_needs_none() -> None:
    bare = dataclasses.replace(small(), recorded=None)
    assert conform("length", bare).passed
    with pytest.raises(ConfigError, match="no recorded outcomes to fit `knn` to"):
        conform("knn", bare)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nobody", "no router is named"),
        ("nowhere.py:Mine", "nowhere.py:Mine cannot be read"),
        (f"{BROKEN}:Missing", "the file has no class 'Missing'"),
        (f"{BROKEN}:ranked", "is not a subclass of routers.Router"),
        (f"{BROKEN}:TrainableRouter", "is abstract"),
        (f"{BROKEN}:Sound:yes", "not of the form name=value"),
        ("knn:k=0", "'k' must be at least 1"),
    ],
)
def test_what_is_no_router_is_said_so(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        conform(text, small())


def test_probes_are_the_same_every_time_and_named_apart() -> None:
    assert probes(small()) == probes(small())
    names = [probe.name for probe in probes(small())]
    assert len(set(names)) == len(names)
    assert sum(probe.everyday for probe in probes(small())) == 40
