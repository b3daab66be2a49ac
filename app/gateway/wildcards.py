"""litellm's wildcards: entries of `model_list` whose name holds `*`, such as `openai/*`.

A name is matched when it is first asked for, and becomes a model of its own, with its own price and health. What the
`*` of `model_name` stands for takes the place of the `*` in `litellm_params.model`. Routers do not see wildcards as
candidates, and metrics count all models of one under its own name: names that a client makes up must not become
labels.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from app.core.errors import ConfigError
from app.gateway.pricing import find_listing

if TYPE_CHECKING:
    from app.gateway.catalog import Model

MOST_FOUND = 1000
"""Names kept; a name that was forgotten is found anew."""

_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w.:/@+-]{0,199}")
"""A model's name may become part of a provider's URL: nothing that has a meaning there."""


class Wildcard:
    """One entry."""

    def __init__(self, name: str, litellm_model: str, make: Callable[[str, str], Model]) -> None:
        """`make`: the catalog's model for a name and litellm's `provider/model`; may raise `ConfigError`."""
        self.name = name
        self._target = litellm_model
        self._make = make
        self._pattern = re.compile("(.*)".join(map(re.escape, name.split("*"))))

    def find(self, name: str, asked: str) -> Model | None:
        """The model, called `name`, that matches `asked`; None where nothing does."""
        found = self._pattern.fullmatch(asked)
        if found is None:
            return None
        target = self._target
        if len(found.groups()) > target.count("*"):
            target = asked if "*" in target else target
        for part in found.groups():
            target = target.replace("*", part, 1)
        if "/" not in target and find_listing(target) is None:
            return None  # Nothing says whose it is.
        try:
            return self._make(name, target)
        except ConfigError:
            return None

    def matches(self, name: str) -> bool:
        return self._pattern.fullmatch(name) is not None


class Wildcards:
    """All of a configuration; the longest pattern that matches is taken, as in litellm."""

    def __init__(self, wildcards: Iterable[Wildcard] = ()) -> None:
        self._wildcards = sorted(wildcards, key=lambda wildcard: len(wildcard.name), reverse=True)
        self._found: OrderedDict[str, tuple[Model, ...]] = OrderedDict()
        self.names = tuple(dict.fromkeys(wildcard.name for wildcard in self._wildcards))

    def find(self, name: str) -> tuple[Model, ...]:
        """The deployments of the model that a wildcard stands for; none where none does."""
        if not self._wildcards:
            return ()
        found = self._found.get(name)
        if found is None:
            found = self._search(name)
            if found:
                self._found[name] = found
                if len(self._found) > MOST_FOUND:
                    self._found.popitem(last=False)
        return found

    def _search(self, name: str) -> tuple[Model, ...]:
        if _NAME.fullmatch(name) is None:
            return ()
        for asked in _spellings(name):
            for pattern in self.names:
                group = [wildcard for wildcard in self._wildcards if wildcard.name == pattern]
                models = tuple(model for one in group if (model := one.find(name, asked)) is not None)
                if models:
                    return models
        return ()

    def label(self, name: str) -> str | None:
        """The wildcard that stands for a name."""
        for asked in _spellings(name):
            for wildcard in self._wildcards:
                if wildcard.matches(asked):
                    return wildcard.name
        return None


def _spellings(name: str) -> list[str]:
    """The name, and with its provider before it where the price map knows whose it is."""
    listing = find_listing(name) if "/" not in name else None
    provider = listing.litellm_provider if listing is not None else None
    return [name] if provider is None else [name, f"{provider}/{name}"]
