"""If this, then that: conditions a person wrote, for whoever knows better than any outcome could tell.

rules:
  - when: {code: true, min_characters: 2000}
    models: [large, medium]
  - when: {keywords: [contract, liability], scripts: {latin: 0.5}}
    models: [careful]
  - else: [small]
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from routers.base import Choice, Decision, Query, Router
from routers.features import cut
from routers.patterns import Pattern

CODE_SHARE = 0.08
"""Share of signs of code among the characters above which a text without a code fence counts as code."""
SCRIPTS = {
    "latin": "LATIN", "cyrillic": "CYRILLIC", "greek": "GREEK", "arabic": "ARABIC", "hebrew": "HEBREW",
    "devanagari": "DEVANAGARI", "bengali": "BENGALI", "tamil": "TAMIL", "thai": "THAI", "hangul": "HANGUL",
    "han": "CJK", "hiragana": "HIRAGANA", "katakana": "KATAKANA", "armenian": "ARMENIAN", "georgian": "GEORGIAN",
}  # fmt: skip
"""Names of scripts, and how Unicode's names of their letters begin."""
_LONGEST, _LISTED = 200, 8
"""Characters of a text and values of a list that are told of a rule's conditions."""
_CODE_SIGNS = re.compile(r"[{}()\[\];=<>_]")
_WORD = re.compile(r"\w+")


class Prompt:
    """What conditions look at, computed once for all of them, and only when asked for."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.text = cut(query.text)

    @cached_property
    def words(self) -> str:
        """The words in small letters, each between spaces."""
        return f" {' '.join(_WORD.findall(self.text.casefold()))} "

    @cached_property
    def code(self) -> bool:
        return "```" in self.text or len(_CODE_SIGNS.findall(self.text)) > CODE_SHARE * max(len(self.text), 1)

    @cached_property
    def digits(self) -> bool:
        return any(map(str.isdigit, self.text))

    @cached_property
    def scripts(self) -> Mapping[str, float]:
        """Share of each script among the letters; a name of Unicode's as key."""
        found: Counter[str] = Counter()
        for sign, count in Counter(self.text).items():
            if sign.isalpha():
                found[unicodedata.name(sign, "unknown").split()[0]] += count
        return {script: count / found.total() for script, count in found.items()}

    def has_role(self, *roles: str) -> bool:
        return any(message.get("role") in roles for message in self.query.messages)

    @cached_property
    def tools(self) -> bool:
        return self.has_role("tool", "function") or any(message.get("tool_calls") for message in self.query.messages)

    @cached_property
    def images(self) -> bool:
        contents = (message.get("content") for message in self.query.messages)
        parts = (part for content in contents if isinstance(content, list) for part in content)
        return any(isinstance(part, Mapping) and "image" in str(part.get("type")) for part in parts)


Test = Callable[[Prompt], bool]


def _at_least(measure: Callable[[Prompt], float]) -> Callable[[Any], Test]:
    def parse(value: Any) -> Test:
        least = _number(value)
        return lambda prompt: measure(prompt) >= least

    return parse


def _at_most(measure: Callable[[Prompt], float]) -> Callable[[Any], Test]:
    def parse(value: Any) -> Test:
        most = _number(value)
        return lambda prompt: measure(prompt) <= most

    return parse


def _whether(holds: Callable[[Prompt], bool]) -> Callable[[Any], Test]:
    def parse(value: Any) -> Test:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value!r}")
        return lambda prompt: holds(prompt) is value

    return parse


def _keywords(value: Any) -> Test:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"must be a list of words, not {value!r}")
    wanted = []
    for text in texts:
        words = _WORD.findall(text.casefold())
        if not words:
            raise ValueError(f"{text!r} holds no word; use 'regex' for signs")
        wanted.append(f" {' '.join(words)} ")
    return lambda prompt: any(text in prompt.words for text in wanted)


def _regex(value: Any) -> Test:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {value!r}")
    pattern = Pattern.parse(value)
    return lambda prompt: pattern.found_in(prompt.text)


def _scripts(value: Any) -> Test:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"must give the least share of each script, e.g. {{cyrillic: 0.3}}, not {value!r}")
    shares = {}
    for name, share in value.items():
        if name not in SCRIPTS:
            raise ValueError(f"knows no script {name!r}; there are {', '.join(SCRIPTS)}")
        if not 0 < _number(share) <= 1:
            raise ValueError(f"{name}: {share!r} is no share in (0, 1]")
        shares[SCRIPTS[name]] = float(share)
    return lambda prompt: all(prompt.scripts.get(name, 0.0) >= share for name, share in shares.items())


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"must be a number, not {value!r}")
    return float(value)


def _characters(prompt: Prompt) -> float:
    return prompt.query.length


def _messages(prompt: Prompt) -> float:
    return len(prompt.query.messages)


def _tradeoff(prompt: Prompt) -> float:
    return prompt.query.tradeoff


CONDITIONS: Mapping[str, Callable[[Any], Test]] = {
    "min_characters": _at_least(_characters),
    "max_characters": _at_most(_characters),
    "min_messages": _at_least(_messages),
    "max_messages": _at_most(_messages),
    "min_tradeoff": _at_least(_tradeoff),
    "max_tradeoff": _at_most(_tradeoff),
    "code": _whether(lambda prompt: prompt.code),
    "digits": _whether(lambda prompt: prompt.digits),
    "question": _whether(lambda prompt: "?" in prompt.text or "？" in prompt.text),
    "system": _whether(lambda prompt: prompt.has_role("system", "developer")),
    "tools": _whether(lambda prompt: prompt.tools),
    "images": _whether(lambda prompt: prompt.images),
    "keywords": _keywords,
    "regex": _regex,
    "scripts": _scripts,
}
"""What may stand in `when`. Characters count in all messages; all else looks at the text of the last user message,
of a long one at its start and its end. `keywords`: one of them occurs, as whole words in any case."""


@dataclass(frozen=True)
class _Rule:
    tests: tuple[Test, ...]
    models: tuple[str, ...]
    reason: str
    detail: Mapping[str, Any]
    """Its number, and its conditions as they were written, of long lists the beginning."""


class RulesRouter(Router):
    """The models of the first rule whose conditions all hold; the other candidates follow in the catalog's order.

    Declines where no rule holds, or where none of its models is among the candidates. Source: none but practice;
    routing by rules stands beside learned routing in vLLM's Semantic Router (arXiv:2510.08731).
    """

    name: ClassVar[str] = "rules"

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """`rules`: each `{when: {condition: value, …}, models: [name, …]}`; the last may be `{else: [name, …]}`.

        Raises `ValueError` naming the number of the rule (from 1) and the key.
        """
        if not rules:
            raise ValueError("'rules' needs at least one rule")
        self._rules = tuple(_rule(rule, number, len(rules)) for number, rule in enumerate(rules, 1))

    def named_models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(model for rule in self._rules for model in rule.models))

    def route(self, query: Query) -> Decision:
        if not query.candidates:
            return Decision((), "no candidates")
        prompt = Prompt(query)
        rule = next((rule for rule in self._rules if all(test(prompt) for test in rule.tests)), None)
        if rule is None:
            return Decision((), "no rule holds")
        names = [candidate.model for candidate in query.candidates]
        wanted = [model for model in rule.models if model in names]
        if not wanted:
            return Decision((), "models of the rule not available")
        order = [*wanted, *(name for name in names if name not in wanted)]
        first, *rest = order
        return Decision((Choice(first, probability=1.0), *map(Choice, rest)), rule.reason, detail=rule.detail)


def _rule(rule: Mapping[str, Any], number: int, count: int) -> _Rule:
    where = f"'rules': rule {number}"
    if "else" in rule:
        if number < count:
            raise ValueError(f"{where}: 'else' must be the last rule, those behind it would never be asked")
        _refuse_unknown(rule, ("else",), where)
        return _Rule((), _models(rule["else"], f"{where}: 'else'"), "else", {"rule": number, "when": {}})
    _refuse_unknown(rule, ("when", "models"), where)
    conditions = rule.get("when")
    if not isinstance(conditions, Mapping) or not conditions:
        raise ValueError(f"{where}: 'when' must hold at least one condition; without any, write 'else'")
    _refuse_unknown(conditions, tuple(CONDITIONS), f"{where}: 'when'")
    tests = []
    for key, value in conditions.items():
        try:
            tests.append(CONDITIONS[key](value))
        except ValueError as error:
            raise ValueError(f"{where}: {key!r} {error}") from None
    detail = {"rule": number, "when": {key: _short(value) for key, value in conditions.items()}}
    return _Rule(tuple(tests), _models(rule.get("models"), f"{where}: 'models'"), f"rule {number}", detail)


def _short(value: Any) -> Any:
    """A condition's value as each decision may carry it."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
    if isinstance(value, list | tuple):
        return [*map(_short, value[:_LISTED]), *(["…"] if len(value) > _LISTED else [])]
    return dict(value) if isinstance(value, Mapping) else value


def _models(value: Any, where: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{where} must list names of models, not {value!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"{where} names a model twice")
    return tuple(names)


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{where} has an unknown key {key!r}; there are {', '.join(known)}")
