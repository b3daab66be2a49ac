"""What runs in the sandbox: the program, then its tests, then the token handed back where all passed.

A script (`python -c`), never imported: it sees the standard library alone. The tests are plain statements, functions
`test_…` without parameters, and `unittest` cases; they share the program's names.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import resource
import sys
import traceback
import types
from typing import Any


def main() -> None:
    """Exits at once, so that threads and handlers of the program have no say in it."""
    job = json.load(sys.stdin)
    # What the program reads is an empty standard input, not what is left of ours.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, limit in job["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        # One second between the signal that tells of the time being up and the one that cannot be ignored.
        resource.setrlimit(kind, (limit, limit + 1 if name == "CPU" else limit))
    try:
        _check(job["programs"], job["tests"])
    except BaseException:
        # SystemExit too: a program that ends before its tests has not passed them.
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        traceback.print_exc()
        os._exit(1)
    # Fetched now, so that while the program ran the token stood in no variable of this process.
    os.write(job["channel"], os.read(job["channel"], 100))
    os._exit(0)


def _check(programs: list[str], tests: str) -> None:
    # A real module, where dataclasses and pickle look for it; not __main__, so that a demonstration stays unrun.
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    namespace = module.__dict__
    exec(_chosen(programs), namespace)  # noqa: S102 – what the sandbox is for
    before = dict(namespace)
    exec(compile(tests, "tests.py", "exec"), namespace)  # noqa: S102
    new = [value for name, value in namespace.items() if before.get(name) is not value]
    for value in new:
        if isinstance(value, types.FunctionType) and value.__name__.startswith("test_"):
            value()
    if "unittest" in sys.modules:
        _unittest(new)


def _chosen(programs: list[str]) -> types.CodeType:
    """The first program that defines something, else the first that is Python at all."""
    compiled: list[types.CodeType] = []
    first: Exception | None = None
    for program in programs:
        try:
            tree = ast.parse(program)
            code = compile(tree, "solution.py", "exec")
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
            first = first or error
            continue
        if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body):
            return code
        compiled.append(code)
    if not compiled:
        raise first or SyntaxError("no program")
    return compiled[0]


def _unittest(new: list[Any]) -> None:
    import unittest

    loader, suite = unittest.TestLoader(), unittest.TestSuite()
    for value in new:
        if isinstance(value, type) and issubclass(value, unittest.TestCase):
            suite.addTests(loader.loadTestsFromTestCase(value))
    if suite.countTestCases() and not unittest.TextTestRunner().run(suite).wasSuccessful():
        raise AssertionError("tests failed")


if __name__ == "__main__":
    main()
