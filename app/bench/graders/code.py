"""The grader `code`: the reply's program passes the target's tests.

The tests are Python: plain statements, functions `test_…`, or `unittest` cases. HumanEval's `check(candidate)` is one
once a call of it follows: `check(<entry point>)`. Off unless switched on: a suite alone must not make a machine run
what a model wrote. `sandbox` says how a program is held, and what it is held from.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from app.bench.graders.base import GraderFailed, Judgement
from app.bench.graders.rules import shortened
from app.bench.graders.sandbox import check_sandbox, run
from app.bench.suite import Item
from app.core.errors import ConfigError
from routers.extraction import cut

PYTHON = frozenset({"python", "py", "python3", "py3"})
TAG = re.compile(r"[ \t]{0,4}([\w+-]{0,20})[ \t]{0,4}\r?\n")
MOST = 20
"""Most code fences of a reply that are looked at, the last ones."""
COMMENT = 1_000
"""Most characters that are kept of why a program failed, the last ones."""


def code(item: Item, reply: str) -> Judgement:
    """Whether the reply's program passes `item.target`. Blocks. Raises `GraderFailed` where it cannot be run."""
    assert item.target is not None
    try:
        ran = run(programs(reply), item.target)
    except (ConfigError, OSError) as error:
        raise GraderFailed(f"grader `code` on item `{item.id}`: {error}") from error
    if ran.outcome == "passed":
        return Judgement(1.0)
    return Judgement(0.0, comment=f"{ran.outcome}: {ran.output.strip()[-COMMENT:]}")


@lru_cache(maxsize=1)
def check_machine() -> None:
    """Raise `ConfigError` where this machine cannot hold a program; tried out once a process, before a run begins."""
    check_sandbox()


def programs(reply: str) -> list[str]:
    """What of a reply may be its program, the likeliest first: its Python fences from the last one backwards, then
    those without a language; where there are none, all of it. The first that defines something is taken, since the
    last fence may only show how to call it."""
    text = cut(reply)
    named, bare = [], []
    for part in text.split("```")[1::2][-MOST:]:
        tag = TAG.match(part)
        language, body = (tag[1].lower(), part[tag.end() :]) if tag else ("", part)
        if language in PYTHON:
            named.append(body)
        elif not language:
            bare.append(body)
    return [*reversed(named), *reversed(bare)] or [text]


def check_tests(target: str) -> None:
    """Raise `ConfigError` where `target` is no Python, or nothing in it could fail."""
    try:
        tree = ast.parse(target)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ConfigError(f"target {shortened(target)} is no Python: {error}") from None
    if not any(isinstance(node, ast.Assert | ast.Raise | ast.Call) for node in ast.walk(tree)):
        raise ConfigError(f"target {shortened(target)} tests nothing: write e.g. `assert f(2) == 4`")
