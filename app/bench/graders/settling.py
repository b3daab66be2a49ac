"""What runs in the worker process: questions as JSON lines on standard input, a verdict on each on standard output.

A script, started by its path (`worker`), so that it imports nothing of the program's but what stands here. It loads the
libraries and judges nothing itself: a child that it forks does, and may be ended in the midst of any question, by its
limits on memory and time of the processor or by its parent's clock. The next child has the libraries too, within
milliseconds; importing them takes seconds.

A question is `["math", answer, target]` or `["schema", reply, schema]`. A verdict is true, false, or null where the two
cannot be compared: no formula, no JSON. Where there is none within the limits it is `"unsettled"`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import resource
import select
import signal
import sys
from functools import lru_cache
from typing import Any

SIGNS = {
    **{"∞": r"\infty ", "π": r"\pi ", "·": r"\cdot ", "×": r"\times ", "÷": r"\div ", "±": r"\pm ", "−": "-"},
    **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "°": r"^\circ "},
    **{"²": "^2", "³": "^3", "½": r"\frac12 ", "⅓": r"\frac13 ", "¼": r"\frac14 ", "¾": r"\frac34 "},
    **dict(zip("αβγδθλμρσφω", (r"\alpha ", r"\beta ", r"\gamma ", r"\delta ", r"\theta ", r"\lambda ", r"\mu ",
                               r"\rho ", r"\sigma ", r"\phi ", r"\omega "), strict=True)),
}  # fmt: skip
"""Signs that models write and the library does not read."""
FUNCTION = re.compile(r"(?<![\\A-Za-z{])(sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp)(?![A-Za-z])")
ROOT = re.compile(r"√\s?(\d+(?:\.\d+)?|[A-Za-z])")
UNSETTLED = json.dumps("unsettled")
LOADING_SECONDS = 30
"""For a library, on the clock: it takes 1.5 s on a machine that is not busy."""


def main(memory: int, cpu_seconds: int, seconds: float) -> None:
    """Have questions answered until standard input ends. `memory` in bytes; `cpu_seconds` of the processor and
    `seconds` on the clock for each of them."""
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # Nothing here writes a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    loaded: set[str] = set()
    child: Child | None = None
    for question in sys.stdin:
        kind = json.loads(question)[0]
        if kind not in loaded:
            if child is not None:
                child.end()
            load(kind)
            loaded.add(kind)
            child = None
        child = child or Child(cpu_seconds)
        verdict = child.ask(question, seconds)
        if not verdict:
            child.end()
            child = None
        sys.stdout.write(verdict or UNSETTLED + "\n")
        sys.stdout.flush()


def load(kind: str) -> None:
    """Import what a kind of question needs, by one without content."""
    signal.alarm(LOADING_SECONDS)
    JUDGES[kind]("1", "1" if kind == "math" else "{}")
    signal.alarm(0)


class Child:
    """A process that judges. It ends with its parent, since its own standard input does."""

    def __init__(self, cpu_seconds: int) -> None:
        asked, asking = os.pipe()
        answering, answered = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            # Its parent's pipes are no business of its, and its own end with the last who holds them.
            os.dup2(asked, 0)
            os.dup2(answered, 1)
            os.closerange(3, answered + 1)
            try:
                answer(cpu_seconds)
            finally:
                os._exit(1)
        os.close(asked)
        os.close(answered)
        self._asking = os.fdopen(asking, "w", encoding="ascii")
        self._answering = os.fdopen(answering, encoding="ascii")

    def ask(self, question: str, seconds: float) -> str:
        """Its verdict, as a line; empty where it died, or came to none, or nobody waits for one any more."""
        try:
            self._asking.write(question)
            self._asking.flush()
        except BrokenPipeError:
            return ""
        # Our own input has nothing to read as long as this question is open, but for its end.
        ready, _, _ = select.select([self._answering, sys.stdin], [], [], seconds)
        return self._answering.readline() if self._answering in ready else ""

    def end(self) -> None:
        """Kill it."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._answering.close()
        with contextlib.suppress(BrokenPipeError):  # what it was asked last has not been read
            self._asking.close()


def answer(cpu_seconds: int) -> None:
    """Judge what standard input asks."""
    for question in sys.stdin:
        kind, left, right = json.loads(question)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        try:
            verdict = JUDGES[kind](left, right)
        except (MemoryError, RecursionError):
            # What is left of the memory is anybody's guess: the next question gets a process of its own.
            return
        sys.stdout.write(json.dumps(verdict) + "\n")
        sys.stdout.flush()


def same_formula(answer: str, target: str) -> bool | None:
    """Whether two formulas in LaTeX are equal; None where one of them is none."""
    from math_verify import verify

    wanted, found = formula(target), formula(answer)
    if not wanted or not found:
        return None
    # Its own time limit is an alarm signal; ours is the operating system's.
    return bool(verify(wanted, found, allow_set_relation_comp=True, timeout_seconds=None))


@lru_cache(maxsize=1000)
def formula(text: str) -> list[Any]:
    """The formula of a text as sympy has it, in a list; empty where there is none."""
    from math_verify import LatexExtractionConfig, parse

    # Without the library's reader of plain expressions, which ends in `eval`: LaTeX goes through a grammar.
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    found: list[Any] = parse(written(text), config, fallback_mode="no_fallback", parsing_timeout=None)
    return found


def written(text: str) -> str:
    """A text as LaTeX that the library takes for a formula."""
    text = ROOT.sub(r"\\sqrt{\1}", text.strip())
    text = _rooted(text)
    for sign, latex in SIGNS.items():
        text = text.replace(sign, latex)
    text = FUNCTION.sub(r"\\\1", text)
    # A lone dollar is money, two of them are a formula in a sentence.
    if text.replace("\\$", "").count("$") == 1:
        text = text.replace("\\$", "").replace("$", "")
    marked = any(mark in text for mark in ("$", "\\(", "\\[", "\\boxed"))
    return text if marked else f"\\boxed{{{text}}}"


def _rooted(text: str) -> str:
    """With `sqrt(…)` and `√(…)` as LaTeX's."""
    for name in ("sqrt(", "√("):
        while (start := text.rfind(name)) >= 0:
            depth, place = 1, start + len(name)
            while place < len(text) and depth:
                depth += {"(": 1, ")": -1}.get(text[place], 0)
                place += 1
            if depth:
                return text
            command = start - 1 if start and text[start - 1] == "\\" else start
            text = f"{text[:command]}\\sqrt{{{text[start + len(name) : place - 1]}}}{text[place:]}"
    return text


def valid(reply: str, schema: str) -> bool | None:
    """Whether a JSON text validates against a JSON Schema; None where it is no JSON."""
    from referencing.exceptions import Unresolvable

    try:
        value = json.loads(reply)
    except ValueError:
        return None
    try:
        return bool(validator(schema).is_valid(value))
    except (ArithmeticError, ValueError, Unresolvable):
        # A number like 1e400 where `multipleOf` is asked for.
        return False


@lru_cache(maxsize=100)
def validator(schema: str) -> Any:
    """The validator of a schema that `schema.check_schema` has passed."""
    from jsonschema.validators import Draft202012Validator, validator_for
    from jsonschema_specifications import REGISTRY

    parsed = json.loads(schema)
    # The specifications and nothing else: the default registry fetches what a schema refers to.
    return validator_for(parsed, default=Draft202012Validator)(parsed, registry=REGISTRY)


JUDGES = {"math": same_formula, "schema": valid}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
