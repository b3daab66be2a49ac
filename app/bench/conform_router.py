"""Is it a router? Checks of what `routers.base` asks of every one, for whoever writes one.

The router decides in two processes of their own (see `app.bench.conform_child`) over the same queries, everyday and
odd; what they write down is judged here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from app.bench.conform_child import PLAN, as_json
from app.bench.plan import RouterSpec
from app.bench.probe import Probe
from app.bench.probes import probes
from app.bench.suite import Suite
from app.core.errors import ConfigError
from routers import Router, registry

TIMEOUT = 120.0
"""Seconds that all queries together may take."""
REASONS = 30
"""Most different reasons: each becomes a value of a metric's label."""
_SHOWN = 3
_ROUNDING = 1e-9


class Check(msgspec.Struct, frozen=True):
    """One requirement, and whether the router meets it."""

    name: str
    passed: bool
    said: str
    """What was wrong, or what was looked at."""


class Conformance(msgspec.Struct, frozen=True, kw_only=True):
    """What came of all checks."""

    router: str
    suite: str
    checks: tuple[Check, ...]
    queries: int
    declined: int
    """Queries with candidates that the router left to the proxy's default."""
    reasons: tuple[str, ...]
    p50: float | None = None
    """Seconds of a decision on an everyday query; None where there is none."""
    p99: float | None = None
    slowest: float | None = None
    """Seconds of the slowest decision of all, odd ones and first ones included."""

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Subject:
    """The router to be tested, as it was named."""

    text: str
    spec: RouterSpec
    cls: type[Router] | None
    """None where an artifact says it."""

    @classmethod
    def parse(cls, text: str) -> Subject:
        """See `RouterSpec`. Raises `ConfigError` saying what is wrong."""
        spec = RouterSpec.parse(text)
        try:
            return cls(text, spec, spec.find())
        except ValueError as error:
            raise ConfigError(str(error), param="router") from None

    def fitted(self, suite: Suite) -> Router | None:
        """The router fitted to the suite's train part, all of it for one that is for the bench only; None where the
        router is made from its parameters, or is an artifact already. Raises `ConfigError`."""
        if self.cls is None or not registry.is_trainable(self.cls):
            return None
        if suite.recorded is None:
            if self.cls.needs_training:
                raise ConfigError(
                    f"suite `{suite.name}` has no recorded outcomes to fit `{self.text}` to", param="suite"
                )
            return None
        rows = suite.rows("all" if self.cls.bench_only else "train", 0)
        try:
            return self.cls.fit(suite.outcomes().take(rows), **self.spec.params)
        except ValueError as error:
            raise ConfigError(f"router `{self.text}`: {error}", param="router") from None


def conform(text: str, suite: Suite, *, timeout: float = TIMEOUT) -> Conformance:
    """Put the router named by `text` to the test; all queries together may take `timeout` seconds.

    Raises `ConfigError` where it cannot even be found or fitted.
    """
    subject = Subject.parse(text)
    fitted = subject.fitted(suite)
    asked = probes(suite)
    with TemporaryDirectory(prefix="hullspeed-conform-") as name:
        folder = Path(name)
        artifact = subject.spec.artifact
        if fitted is not None:
            artifact = folder / "artifact"
            assert registry.is_trainable(type(fitted))
            fitted.save(artifact)  # type: ignore[attr-defined]  # what is_trainable says
        plan = {
            "router": subject.spec.router,
            "file": None if subject.spec.file is None else str(subject.spec.file.absolute()),
            "artifact": None if artifact is None else str(artifact.absolute()),
            "params": subject.spec.params,
            "probes": [dataclasses.asdict(probe) for probe in asked],
        }
        (folder / PLAN).write_text(json.dumps(plan), encoding="utf-8")
        with ThreadPoolExecutor(2) as side_by_side:
            first, second = side_by_side.map(lambda seed: _run(folder, seed, timeout), ("1", "2"))
    return _judged(subject, suite, asked, first, second, fitted)


def _run(folder: Path, seed: str, timeout: float) -> dict[str, Any]:
    """What a new process writes down; `seed`: of Python's own hashes, which a decision must not depend on."""
    # -P: where it is run from there may be another package that is called `app`.
    command = [sys.executable, "-P", "-m", "app.bench.conform_child", str(folder), seed]
    environment = os.environ | {
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)  # noqa: S603 – our own module
    except subprocess.TimeoutExpired:
        return {"broken": f"not done after {timeout:g} s", "records": []}
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return {
            "broken": f"the process ended with {done.returncode}: {said[-1] if said else 'no message'}",
            "records": [],
        }
    found: dict[str, Any] = json.loads((folder / f"{seed}.json").read_text(encoding="utf-8"))
    return found


# ------------------------------------------------------------------------------------------------------- judging

Pair = tuple[Probe, dict[str, Any]]
Fault = Iterator[str]


def _judged(
    subject: Subject,
    suite: Suite,
    asked: Sequence[Probe],
    first: dict[str, Any],
    second: dict[str, Any],
    fitted: Router | None,
) -> Conformance:
    broken = first["broken"] or second["broken"]
    if broken:
        return Conformance(
            router=subject.text,
            suite=suite.name,
            checks=(Check("runs", passed=False, said=broken),),
            queries=len(asked),
            declined=0,
            reasons=(),
        )
    pairs = list(zip(asked, first["records"], strict=True))
    decided = [(probe, seen) for probe, seen in pairs if seen["error"] is None]
    reasons = sorted({step["reason"] for _, seen in decided for step in _steps(seen) if step["type"] == "Decision"})
    checks = [
        Check("runs", passed=True, said=f"{len(asked)} queries in two processes"),
        _check("survives every query", f"{len(pairs)} queries", _errors(pairs)),
        *(_check(name, said, _each(decided, faults)) for name, said, faults in _EACH),
        _check("no I/O", "no file, socket or process", _events(pairs)),
        _check("fresh process", "the same decisions in another process", _differences(decided, second["records"])),
        _check("reasons", f"{len(reasons)} different ones", _too_many(reasons)),
    ]
    if fitted is not None:
        checks.append(_check("artifact", "saved and loaded it decides as before", _changes(decided, fitted)))
    times = np.array([seen["seconds"] for probe, seen in decided if probe.everyday])
    slowest = [seen[key] for _, seen in decided for key in ("seconds", "first_seconds")]
    return Conformance(
        router=subject.text,
        suite=suite.name,
        checks=tuple(checks),
        queries=len(asked),
        declined=sum(bool(probe.candidates) and seen["decision"].get("ranking") == [] for probe, seen in decided),
        reasons=tuple(reasons),
        p50=float(np.quantile(times, 0.5)) if len(times) else None,
        p99=float(np.quantile(times, 0.99)) if len(times) else None,
        slowest=max(slowest, default=None),
    )


def _check(name: str, looked_at: str, faults: Iterator[str]) -> Check:
    found = list(faults)
    if not found:
        return Check(name, passed=True, said=looked_at)
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Check(name, passed=False, said="; ".join(found[:_SHOWN]) + more)


def _each(pairs: Sequence[Pair], faults: Callable[[Probe, dict[str, Any]], Fault]) -> Iterator[str]:
    for probe, seen in pairs:
        yield from (f"{probe.name}: {fault}" for fault in faults(probe, seen))


def _steps(seen: dict[str, Any]) -> list[dict[str, Any]]:
    """The decision and those of all its reviews."""
    return [seen["decision"], *(step for walk in seen["walks"] for step in walk["steps"])]


def _errors(pairs: Sequence[Pair]) -> Iterator[str]:
    for probe, seen in pairs:
        if seen["error"] is not None:
            yield f"{probe.name}: {seen['error']}"
        yield from (f"{probe.name}, {walk['script']}: {walk['error']}" for walk in seen["walks"] if walk["error"])


def _ranking(probe: Probe, seen: dict[str, Any]) -> Fault:
    decision = seen["decision"]
    if decision["type"] != "Decision":
        yield f"route() gave {decision['type']}, not a Decision"
        return
    ranked = [choice[0] for choice in decision["ranking"]]
    usable = [candidate["model"] for candidate in probe.candidates]
    if ranked and sorted(map(str, ranked)) != sorted(usable):
        yield f"ranks {ranked[:6]}, the candidates are {usable[:6]}"
    if decision["reply"] is not None:
        yield "names a reply before anything was called"
    if decision["ask"] != 1 and not decision["review"]:
        yield f"asks {decision['ask']} models and reviews nothing"


def _probabilities(_probe: Probe, seen: dict[str, Any]) -> Fault:
    ranking = seen["decision"].get("ranking")
    if not ranking:
        return
    chances = [choice[3] for choice in ranking]
    if not all(isinstance(chance, int | float) and 0 <= chance <= 1 for chance in chances):
        yield f"probabilities {chances[:6]} are not all plain numbers in [0, 1]"
    elif abs(math.fsum(chances) - 1) > _ROUNDING:
        yield f"probabilities sum to {math.fsum(chances):.6g}, not 1"
    elif chances[0] == 0:
        yield "the first model has probability 0"


def _numbers(_probe: Probe, seen: dict[str, Any]) -> Fault:
    for step in _steps(seen):
        for model, quality, cost, _ in step.get("ranking", ()):
            if not (quality is None or (isinstance(quality, int | float) and 0 <= quality <= 1)):
                yield f"quality of {model!r} is {quality}: it must be None or a plain number in [0, 1]"
            if not (cost is None or (isinstance(cost, int | float) and 0 <= cost < math.inf)):
                yield f"cost of {model!r} is {cost}: it must be None or a plain, finite number ≥ 0"
        if step["type"] == "Decision" and not step["sound_detail"]:
            yield f"detail is not JSON: {step['detail'][:100]}"


def _repeated(_probe: Probe, seen: dict[str, Any]) -> Fault:
    if not _same(seen["decision"], seen["again"]):
        yield "the same query was decided in another way"


def _untouched(_probe: Probe, seen: dict[str, Any]) -> Fault:
    if not seen["untouched"]:
        yield "the query was changed"


def _reviews(probe: Probe, seen: dict[str, Any]) -> Fault:
    usable = {candidate["model"] for candidate in probe.candidates}
    for walk in seen["walks"]:
        if walk["bad"]:
            yield f"{walk['script']}: {walk['bad']}"
        for step in walk["steps"]:
            if step["type"] != "Decision":
                yield f"{walk['script']}: a review gave {step['type']}, not a Decision"
                break
            strange = [choice[0] for choice in step["ranking"] if choice[0] not in usable]
            if strange:
                yield f"{walk['script']}: a review ranks {strange[:3]}, which are no candidates"


_EACH: tuple[tuple[str, str, Callable[[Probe, dict[str, Any]], Fault]], ...] = (
    ("ranking", "all candidates, each once, or none", _ranking),
    ("probabilities", "in [0, 1], sum 1", _probabilities),
    ("numbers", "finite, quality in [0, 1], detail is JSON", _numbers),
    ("same seed, same decision", "each query twice", _repeated),
    ("leaves the query alone", "messages and candidates as before", _untouched),
    ("reviews", "end in time and name what was called", _reviews),
)


def _events(pairs: Sequence[Pair]) -> Iterator[str]:
    found = dict.fromkeys(event for _, seen in pairs for event in seen["events"])
    yield from found


def _differences(pairs: Sequence[Pair], again: Sequence[dict[str, Any]]) -> Iterator[str]:
    other = {seen["probe"]: seen for seen in again}
    for probe, seen in pairs:
        there = other[probe.name]
        if not _same(seen["decision"], there.get("decision")) or not _same(seen["walks"], there["walks"]):
            yield f"{probe.name}: decided in another way"


def _too_many(reasons: Sequence[str]) -> Iterator[str]:
    if len(reasons) > REASONS:
        shown = ", ".join(map(repr, reasons[:_SHOWN]))
        yield f"{len(reasons)} different ones ({shown} …), at most {REASONS}: what differs per query is detail"
    if "" in reasons:
        yield "a decision has no reason"


def _changes(pairs: Sequence[Pair], fitted: Router) -> Iterator[str]:
    for probe, seen in pairs:
        if probe.everyday and not _same(as_json(fitted.route(probe.query())), seen["decision"]):
            yield f"{probe.name}: the loaded router decides otherwise"


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON; NaN is equal to itself there."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
