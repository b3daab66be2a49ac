"""Every grader by its name.

The rules are looked up in one step, as they are asked for millions of times; whatever needs a library, a process or
another package is imported when it is named.
"""

from __future__ import annotations

import difflib

from app.bench.graders import functions
from app.bench.graders.base import AsyncGrader, Grader, GraderContext, Judgement
from app.bench.graders.rules import GRADERS, Rule, check_rule
from app.core.errors import ConfigError

HEAVY = ("code", "math", "schema")
JUDGES = ("judge", "pairwise")
IN_A_FILE = "path/to/file.py:function"


def names() -> tuple[str, ...]:
    """How graders are named, sorted, those of installed packages included."""
    asking = [f"{kind}:<model>" for kind in JUDGES]
    return (*sorted({*GRADERS, *HEAVY, *asking, *functions.installed()}), IN_A_FILE)


def grade(grader: str, reply: str, target: str) -> float:
    """How right `reply` is by one of the rules, in [0, 1]; raises `ConfigError` where there is none of that name."""
    rule = GRADERS.get(grader)
    if rule is None:
        check_grader(grader)
        raise ConfigError(f"grader {grader!r} is no plain rule: `grader_for` has it")
    return 1.0 if rule(reply, target) else 0.0


def grader_for(name: str, context: GraderContext | None = None) -> Grader | AsyncGrader:
    """The grader of this name, ready to grade. Raises `ConfigError` where there is none, or it cannot work here."""
    context = context or GraderContext()
    if not asks(name):
        return reader(name, context)
    check_grader(name)
    from app.bench.graders.judge import Judge, Pairwise

    kind, _, model = name.partition(":")
    return (Judge if kind == "judge" else Pairwise)(name, model, context.proxy)


def reader(name: str, context: GraderContext | None = None) -> Grader:
    """The grader of this name, one that reads the reply and asks nobody. Raises `ConfigError`."""
    context = context or GraderContext()
    if name in GRADERS:
        return _rule(name, GRADERS[name])
    check_grader(name)
    if name == "math":
        from app.bench.graders.maths import math

        return Grader(name, math, blocking=True)
    if name == "schema":
        from app.bench.graders.schema import schema

        return Grader(name, schema, blocking=True)
    if name == "code":
        return _code(context)
    if asks(name):
        raise ConfigError(f"grader {name!r} asks a model about each reply: only `hullspeed bench run` and record do so")
    if not functions.is_file(name):
        return Grader(name, functions.from_package(name), blocking=True, needs_target=False)
    if not context.allow_code and name != context.named:
        raise ConfigError(
            f"grader {name!r} is a file that the suite names: read it, then allow it with --allow-code "
            "(or HULLSPEED_ALLOW_CODE=1), or name it with --grader"
        )
    return Grader(name, functions.from_file(name), blocking=True, needs_target=False)


def check_grader(name: str) -> None:
    """Raise `ConfigError`, with the list of graders, where there is none called `name`. Whether it can work here
    (`code` is off unless switched on) is for `grader_for` to say."""
    if name in GRADERS or name in HEAVY or functions.is_file(name):
        return
    kind, _, model = name.partition(":")
    if kind in JUDGES:
        if not model:
            raise ConfigError(f"grader {name!r} asks a model: name it, e.g. {kind}:<model of the catalog>")
        return
    if name not in functions.installed():
        close = difflib.get_close_matches(name, names(), n=3)
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ConfigError(f"no grader is called {name!r}: use one of {', '.join(names())}{hint}")


def asks(name: str) -> bool:
    """Whether the grader asks a model, so that only a run, with a proxy to ask, can use it."""
    return name not in GRADERS and name.partition(":")[0] in JUDGES


def needs_target(name: str) -> bool:
    """Whether the grader holds a reply against a target. A judge can do without; a function knows for itself."""
    return name in GRADERS or name in HEAVY or name.partition(":")[0] == "pairwise"


def check_target(grader: str, target: str | None) -> None:
    """Raise `ConfigError` where no reply could ever be right: no target where one is needed, a pattern that does not
    compile, a number that is none, JSON that does not parse, a choice that is no letter from A to J, a schema that is
    none, tests that are no Python."""
    if target is None:
        if needs_target(grader):
            raise ConfigError(f"there is no target, and grader {grader!r} needs one")
    elif grader in GRADERS:
        check_rule(grader, target)
    elif grader == "schema":
        from app.bench.graders.schema import check_schema

        check_schema(target)
    elif grader == "code":
        from app.bench.graders.code import check_tests

        check_tests(target)


def _rule(name: str, rule: Rule) -> Grader:
    return Grader(name, lambda item, reply: Judgement(1.0 if rule(reply, item.target or "") else 0.0))


def _code(context: GraderContext) -> Grader:
    if not context.allow_code:
        raise ConfigError(
            "grader 'code' runs programs that models wrote and is switched off: "
            "allow it with --allow-code, or set HULLSPEED_ALLOW_CODE=1"
        )
    from app.bench.graders.code import check_machine, code

    check_machine()
    return Grader("code", code, blocking=True)
