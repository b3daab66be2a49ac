"""The process in which a router is put to the test: `python -m app.bench.conform_child FOLDER NAME`.

It reads what to build and what to ask from FOLDER, asks, and writes down what it saw to FOLDER/NAME.json. It judges
nothing. A router that hangs, kills its process or opens files does so here; every event of Python's audit system
(PEP 578) while the router decides is written down too.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

from app.bench.probe import Probe
from routers import Decision, Reply, Router, artifacts, registry
from routers.walk import BadReview, follow

PLAN = "plan.json"
_OUTSIDE = frozenset(
    {"open", "os", "socket", "subprocess", "shutil", "tempfile", "glob", "urllib", "http", "ftplib", "smtplib",
     "poplib", "imaplib", "sqlite3", "webbrowser", "pty", "fcntl", "mmap", "syslog", "winreg", "ctypes.dlopen"}
)  # fmt: skip
"""Audit events, or what stands before their dot, that reach out of the process."""
_LONG = "The answer is 42. " * 20_000

Ask = Callable[[str], Reply]


def main(folder: Path, name: str) -> None:
    """Carry out the plan in `folder`."""
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    found: dict[str, Any] = {"broken": None, "records": []}
    try:
        router = build(plan)
        probes = [Probe(**fields) for fields in plan["probes"]]
        watch = Watch()
        found |= {"name": router.name, "fast": bool(router.fast), "records": [record(router, p, watch) for p in probes]}
    except Exception as error:
        found["broken"] = f"{type(error).__name__}: {error}"
    (folder / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


def build(plan: dict[str, Any]) -> Router:
    """The router a plan names: a class of a file or an installed one, from its parameters or from an artifact."""
    if plan["file"] is not None:
        cls = registry.from_file(Path(plan["file"]), plan["router"])
    elif plan["router"] is not None:
        cls = registry.find(plan["router"])
    else:
        return artifacts.load(Path(plan["artifact"]))
    if plan["artifact"] is None:
        return registry.make(cls, plan["params"])
    if not registry.is_trainable(cls):
        raise TypeError(f"{cls.__name__} is not trainable: it has no artifact")
    return cls.load(Path(plan["artifact"]))


class Watch:
    """Listens to audit events for as long as `on` is entered."""

    def __init__(self) -> None:
        self._events: list[str] | None = None
        sys.addaudithook(self._hear)

    @contextmanager
    def on(self) -> Iterator[list[str]]:
        events: list[str] = []
        self._events = events
        try:
            yield events
        finally:
            self._events = None

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        events = self._events
        if events is None or not (event in _OUTSIDE or event.partition(".")[0] in _OUTSIDE) or _importing():
            return
        events.append(f"{event}({', '.join(repr(arg)[:80] for arg in args[:2])})")


def _importing() -> bool:
    """Whether a module is being imported: reading its file is no doing of the router's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def record(router: Router, probe: Probe, watch: Watch) -> dict[str, Any]:
    """What `router` does with a probe, asked twice, and how its reviews go."""
    seen: dict[str, Any] = {"probe": probe.name, "error": None, "events": [], "again": None, "walks": []}
    query = probe.query()
    before = repr(query)
    try:
        with watch.on() as events:
            started = perf_counter()
            decision: Any = router.route(query)
            seen["first_seconds"] = perf_counter() - started
        seen["events"] += events
        seen["decision"] = as_json(decision)
        seen["untouched"] = repr(query) == before
        started = perf_counter()
        again = router.route(probe.query())
        seen["seconds"] = perf_counter() - started
        seen["again"] = as_json(again)
        if isinstance(decision, Decision) and decision.review is not None:
            for script, ask in _scripts(probe):
                with watch.on() as events:
                    seen["walks"].append({"script": script, **walk(decision, probe, ask)})
                seen["events"] += events
    except Exception as error:
        seen["error"] = _told(error)
    return seen


def walk(decision: Decision, probe: Probe, ask: Ask) -> dict[str, Any]:
    """How a decision with reviews comes to its answer with these replies: each review's decision, and the answer."""
    steps: list[dict[str, Any]] = []

    def noted(decision: Decision) -> Decision:
        review = decision.review
        if review is None:
            return decision

        def reviewed(replies: Sequence[Reply]) -> Decision:
            answered = review(replies)
            steps.append(as_json(answered))
            return noted(answered)

        return replace(decision, review=reviewed)

    try:
        done = follow(noted(decision), probe.query(), ask)
    except BadReview as error:
        return {"steps": steps, "bad": str(error), "error": None}
    except Exception as error:
        return {"steps": steps, "bad": None, "error": _told(error)}
    return {"steps": steps, "bad": None, "error": None, "answer": done.answer.model, "called": list(done.called)}


def _scripts(probe: Probe) -> Iterator[tuple[str, Ask]]:
    """Ways in which the models may reply."""
    odd = [None, "", "\ud800", _LONG, "I cannot answer that.", '{"answer": NaN}']
    place = {candidate["model"]: index for index, candidate in enumerate(probe.candidates)}
    yield "all agree", lambda model: Reply(model, "The answer is 42.", 0.001)
    yield "all differ", lambda model: Reply(model, f"The answer is {100 + place[model]}.", 0.001)
    yield "all fail", lambda model: Reply(model, None)
    yield "odd replies", lambda model: Reply(model, odd[place[model] % len(odd)])
    yield "every second fails", lambda model: Reply(model, "The answer is 42." if place[model] % 2 else None)
    if probe.replies:
        yield "recorded replies", lambda model: Reply(model, probe.replies.get(model))


def as_json(decision: Any) -> dict[str, Any]:
    """A decision as JSON values; what is none is written as its `repr`, for the judge to find."""
    if not isinstance(decision, Decision):
        return {"type": type(decision).__name__}
    reason: Any = decision.reason
    detail: Any = decision.detail
    try:
        json.dumps(dict(detail), allow_nan=False)
        sound = True
    except (TypeError, ValueError):
        sound, detail = False, repr(detail)
    return {
        "type": "Decision",
        "ranking": [[_plain(value) for value in (c.model, c.quality, c.cost, c.probability)] for c in decision.ranking],
        "reason": reason if isinstance(reason, str) else repr(reason),
        "ask": decision.ask,
        "review": decision.review is not None,
        "reply": decision.reply,
        "detail": dict(detail) if sound else detail,
        "sound_detail": sound,
    }


def _plain(value: Any) -> Any:
    return value if value is None or type(value) in (int, float, str) else f"{type(value).__name__} {value!r}"


def _told(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}, line {where.lineno})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
