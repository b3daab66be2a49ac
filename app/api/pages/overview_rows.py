"""The tables of the overview, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.api.pages.overview_view import Seen
from app.api.pages.states import State, state_of
from app.core.formats import share, usd
from app.core.types import Price
from app.store.queries.attempted import Attempted
from app.store.queries.overview import Sums
from app.store.queries.timeline import MOST_MODELS

MOST_ROWS = 40
"""Models without calls and without trouble are left out beyond these."""
OTHERS, NOBODY = "--idle", "--strong"
"""Colours of further models, and of calls that no model answered."""
_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class ModelRow:
    """One model."""

    name: str
    colour: str
    state: State
    deployments: int
    """0 where it is not in the configuration."""
    calls: int
    sums: Sums | None
    attempted: Attempted | None
    price: str


def palette(catalog: Iterable[str], ranked: Sequence[str]) -> dict[str, str]:
    """Model → its colour, the same in every chart and table; `ranked`: models that answered, the most called first. As
    long as there are few models, a model's colour does not depend on who else is shown."""
    known = list(catalog)
    shown = set(ranked[:MOST_MODELS])
    if len(known) <= MOST_MODELS and shown <= set(known):
        order = known
    else:
        order = [name for name in known if name in shown] + sorted(shown - set(known))
    return {name: f"--c{place}" for place, name in enumerate(order)}


def model_rows(seen: Seen) -> tuple[list[ModelRow], int]:
    """The most called first, and how many are left out."""
    sums = {} if seen.found is None else seen.found.sums.models
    attempted = {} if seen.found is None else seen.found.attempted
    standing = {one.name: one for one in seen.standings}
    colours = palette(standing, list(sums))
    rows = [
        ModelRow(
            name=name,
            colour=colours.get(name, OTHERS),
            state=state_of(standing.get(name), attempted.get(name)),
            deployments=len(standing[name].deployments) if name in standing else 0,
            calls=sums[name].calls if name in sums else 0,
            sums=sums.get(name),
            attempted=attempted.get(name),
            price=price_of(seen.prices.get(name)),
        )
        for name in [*sums, *(name for name in standing if name not in sums)]
    ]
    needed = [row for row in rows if row.calls or row.state.tone not in ("good", "")]
    others = [row for row in rows if row not in needed][: max(0, MOST_ROWS - len(needed))]
    kept = [row for row in rows if row in needed or row in others]
    return kept, len(rows) - len(kept)


def price_of(price: Price | None) -> str:
    """USD for a million tokens, in and out."""
    return "–" if price is None else f"{usd(price.input * _MILLION)} / {usd(price.output * _MILLION)}"


def troubles(seen: Seen) -> list[str]:
    """What to say of models that are not up, one sentence each."""
    attempted = {} if seen.found is None else seen.found.attempted
    said = []
    for one in seen.standings:
        if one.state != "up":
            state = state_of(one, attempted.get(one.name))
            said.append(f"{one.name} is {state.word}: {state.detail}.")
    return said


def failing(attempted: Attempted | None) -> str:
    """Share of a model's newest attempts that failed."""
    return "–" if attempted is None else share(attempted.failed, attempted.attempts)
