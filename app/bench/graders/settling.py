"""What runs in the worker process: questions as JSON lines on standard input, a verdict on each on standard output.

A script, started by its path (`worker`), so that it imports nothing of the program's but what stands here. It may be
killed in the midst of any question: by its own limits on memory and time of the processor, or by its parent.

A question is `["math", answer, target]` or `["schema", reply, schema]`. A verdict is true, false, or null where the two
cannot be compared: no formula, no JSON.
"""

from __future__ import annotations

import json
import logging
import re
import resource
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


def main(memory: int, cpu_seconds: int) -> None:
    """Answer until standard input ends. `memory` in bytes; `cpu_seconds` for each question."""
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # Nothing here writes a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    judges = {"math": same_formula, "schema": valid}
    ready: set[str] = set()
    for line in sys.stdin:
        kind, left, right = json.loads(line)
        if kind not in ready:
            # A question without content, beyond the limit on time: importing the libraries takes longer than most
            # answers, and on a busy machine longer than any question may.
            judges[kind]("1", "1" if kind == "math" else "{}")
            ready.add(kind)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        try:
            verdict = judges[kind](left, right)
        except (MemoryError, RecursionError):
            # What is left of the memory is anybody's guess: the next question gets a process of its own.
            sys.exit(1)
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


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
