"""litellm's fallbacks: which models are tried after one that a client named.

Only for models named by the client: for routed calls the router's ranking says who comes next. A fallback's own
fallbacks come after it, as in litellm; no model comes twice.
"""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT = "*"
"""Stands for every model that has no list of its own."""


class Fallbacks:
    """The lists of a configuration."""

    def __init__(
        self, after: Mapping[str, tuple[str, ...]] | None = None, larger: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        """`after`: by model, those tried once it failed. `larger`: those tried first where its window was too small."""
        self._after = after or {}
        self._larger = larger or {}

    def after(self, name: str) -> tuple[str, ...]:
        """All models that come after `name`, in order."""
        if not self._after:
            return ()
        found: list[str] = []
        self._follow(name, name, found)
        return tuple(found)

    def _follow(self, first: str, name: str, found: list[str]) -> None:
        for following in self._after.get(name) or self._after.get(DEFAULT, ()):
            if following != first and following not in found:
                found.append(following)
                self._follow(first, following, found)

    def larger(self, name: str) -> tuple[str, ...]:
        """The models for prompts that were too long for `name`."""
        if not self._larger:
            return ()
        return tuple(other for other in self._larger.get(name) or self._larger.get(DEFAULT, ()) if other != name)
