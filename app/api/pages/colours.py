"""The colour of each model, where all models of the configuration are told apart."""

from __future__ import annotations

from app.gateway.catalog import Catalog

COLOURS = 10
"""Of the style, `--c0` and on."""


def colours(catalog: Catalog) -> dict[str, str]:
    """Model → its colour, as a value of CSS."""
    return {name: f"var(--c{place % COLOURS})" for place, name in enumerate(catalog)}
