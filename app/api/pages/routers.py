"""`/ui/routers`: which routers there are, how each did when it was trained, and the models they choose from."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.api.pages.colours import colours
from app.api.pages.render import page
from app.api.pages.shown import Shown
from app.api.pages.snippets import snippets
from app.api.pages.states import state_of
from app.bench import wording
from app.bench.cost_plane import CostPlane
from app.bench.figures import Estimate
from app.core.errors import NotFound, StoreUnavailable
from app.core.formats import cut
from app.gateway.decide import AUTO
from app.gateway.inventory import (
    RouterFacts,
    default_reason,
    facts_of,
    installed_routers,
    model_facts,
    router_facts,
)
from app.store.queries.overview import Overview, overview
from app.store.queries.periods import StatsFilter
from routers.artifacts import ArtifactError, Described, describe
from routers.card import Card, CardModel, CardPoint

DAY = timedelta(days=1)
PATIENCE = 2.0
"""Seconds that a page waits for the figures of the last day, before it is shown without."""
SHARES = (1.0, 0.98, 0.95, 0.9)
"""Targets of quality that the model card gives settings for."""
FROM_CALLS = "calls"
"""What a suite of logged calls is called."""


def routers_pages(shown: Shown) -> APIRouter:
    """The list, a page for each router, and parts of both."""
    api = APIRouter(prefix="/routers")
    decider, config = shown.decider, shown.config
    # Now, in the thread that makes the pages: importing routers takes a while, and they stay what they are.
    installed = installed_routers(decider, config)

    @api.get("")
    async def routers(request: Request) -> Response:
        day = await last_day(shown, StatsFilter())
        facts = router_facts(decider, config)
        return await page(
            request,
            "routers.html",
            own=[one for one in facts if one.is_own],
            installed=[one for one in installed if not any(one.name == fact.name and fact.is_own for fact in facts)],
            default_reason=default_reason(config),
            is_configured=bool(config.routing.routers),
            rules=decider.rules,
            day=day,
            **_models(shown),
            verdict=card_verdict,
            signed=wording.signed,
        )

    @api.get("/parts/models")
    async def models(request: Request) -> Response:
        """The table of models, as they are now."""
        return await page(request, "routers_models.html", **_models(shown))

    @api.get("/parts/curve/{name:path}")
    async def curve(name: str) -> Response:
        """The plot of a model card, for plotly."""
        card = facts_of(decider, config, name).card
        if card is None:
            raise NotFound(f"The router {name[:100]!r} has no model card.")
        return JSONResponse(figure(name, card), headers={"cache-control": "no-store"})

    @api.get("/{name:path}")
    async def router(request: Request, name: str) -> Response:
        facts = facts_of(decider, config, name)
        (artifact, problem), day, everybody = await asyncio.gather(
            asyncio.to_thread(_described, facts), last_day(shown, StatsFilter(router=name)), last_day(shown, None)
        )
        wanted = config.routing.routers.get(name)
        has_key = (shown.settings.api_key or config.general_settings.master_key) is not None
        return await page(
            request,
            "router.html",
            facts=facts,
            card=facts.card,
            verdict=card_verdict,
            signed=wording.signed,
            targets=_targets(facts.card),
            settings=_settings(facts.card),
            artifact=artifact,
            artifact_problem=problem,
            written_at=None if artifact is None else datetime.fromtimestamp(artifact.written_at, UTC),
            params=artifact.params if artifact is not None else {} if wanted is None else wanted.params,
            retrain=_retrain(facts, artifact, shown),
            deadline=decider.rules.deadline,
            default_reason=default_reason(config),
            snippets=snippets(request, f"{AUTO}/{name}", has_key=has_key),
            colours=colours(decider.catalog),
            day=day,
            everybody=everybody,
        )

    return api


async def last_day(shown: Shown, wanted: StatsFilter | None) -> Overview | None:
    """The calls of the last day; None where the ledger does not answer soon."""
    now = datetime.now(UTC)
    try:
        async with asyncio.timeout(PATIENCE):
            return await overview(shown.database, now - DAY, now, wanted or StatsFilter(), now=now)
    except (StoreUnavailable, TimeoutError):
        return None


def card_verdict(card: Card) -> str:
    """What the interval of ΔAIQ allows to say."""
    return wording.verdict(Estimate(value=card.delta_aiq, low=card.delta_low, high=card.delta_high))


def figure(name: str, card: Card) -> dict[str, Any]:
    """Cost and quality of every setting, beside the models and what mixing them blindly gives; per 1,000 calls."""
    singles = card.singles or (CardModel(card.best_single, card.best_quality, card.best_cost),)
    plane = CostPlane.of([*(point.cost for point in card.points), *(single.cost for single in singles), card.best_cost])

    def line(points: Sequence[CardPoint | CardModel], title: str, **style: Any) -> dict[str, Any]:
        places = plane.line([(point.cost, point.quality) for point in points])
        return {"type": "scatter", "mode": "lines", "name": title, "line": style, "hoverinfo": "skip", **places}

    alone: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers+text",
        "name": "one model for all",
        "marker": {"color": "--muted", "size": 9, "symbol": "diamond"},
        "x": [1000 * single.cost for single in singles],
        "y": [single.quality for single in singles],
        "text": [_plain(single.model) for single in singles],
        "textposition": plane.names([single.cost for single in singles], "bottom"),
        "textfont": {"color": "--muted", "size": 11},
        "cliponaxis": False,
        "hovertemplate": "%{text}<br>quality %{y:.3f}<br>$%{x:.4g} per 1,000 calls<extra></extra>",
    }
    settings = {
        "type": "scatter",
        "mode": "markers",
        "name": "its settings",
        "marker": {"color": "--c0", "size": 7},
        "x": [1000 * point.cost for point in card.points],
        "y": [point.quality for point in card.points],
        "customdata": [point.tradeoff for point in card.points],
        "hovertemplate": "tradeoff %{customdata}<br>quality %{y:.3f}<br>$%{x:.4g} per 1,000 calls<extra></extra>",
    }
    zero = [line(card.zero, "zero router: blind mixing", color="--muted", dash="dot", width=1.5)] if card.zero else []
    hull = line(card.best_points, f"{_plain(name)}: mixing its settings", color="--c0", width=2)
    return {
        "data": [*zero, alone, hull, settings],
        "layout": {
            "hovermode": "closest",
            "xaxis": plane.axis("USD per 1,000 calls"),
            "yaxis": {"title": {"text": "quality", "standoff": 12}},
            "margin": {"l": 60, "r": 16, "t": 10, "b": 44},
            "legend": {"orientation": "h", "y": -0.2, "font": {"size": 12}},
        },
    }


def _plain(text: str) -> str:
    """Short, and without what plotly would read as markup."""
    return cut(text.replace("<", "‹").replace(">", "›").replace("&", "＆"), 28)


def _models(shown: Shown) -> dict[str, Any]:
    decider = shown.decider
    return {
        "models": model_facts(decider),
        "state_of": state_of,
        "wildcards": decider.catalog.wildcards.names,
        "catalog": decider.catalog,
        "colours": colours(decider.catalog),
    }


def _described(facts: RouterFacts) -> tuple[Described | None, str | None]:
    """The artifact, or what is wrong with it. Reads its files: run it in a thread."""
    if facts.artifact is None:
        return None, None
    try:
        return describe(facts.artifact), None
    except (ArtifactError, OSError) as error:
        return None, str(error)


def _settings(card: Card | None) -> list[dict[str, Any]]:
    """The rows of the table of settings; neighbours that gave the same figures share one."""
    if card is None:
        return []
    best = {(point.quality, point.cost) for point in card.best_points}
    rows: list[dict[str, Any]] = []
    for point in card.points:
        figures = (point.quality, point.cost)
        if rows and figures == (rows[-1]["point"].quality, rows[-1]["point"].cost):
            rows[-1]["until"] = point.tradeoff
        else:
            rows.append({"point": point, "until": None, "on_hull": figures in best})
    return rows


def _targets(card: Card | None) -> list[dict[str, Any]]:
    """For each of `SHARES` of the best single model's quality, the setting that a request gets."""
    if card is None:
        return []
    settings = {point.tradeoff: point for point in card.points}
    found = []
    for share in SHARES:
        point = settings[card.tradeoff_for_quality(share)]
        found.append({"share": share, "point": point, "is_met": point.quality >= share * card.best_quality})
    return found


def _retrain(facts: RouterFacts, artifact: Described | None, shown: Shown) -> str | None:
    """The command that trains this router again, or for the first time; None where it cannot be trained."""
    if not facts.can_be_trained:
        return None
    trained = facts.trained_on
    suite = "SUITE" if trained is None else trained.suite
    source = ["--from-calls"] if suite == FROM_CALLS else ["--suite", suite]
    folder = f"artifacts/{facts.name}" if facts.artifact is None else f"{facts.artifact}-new"
    params: Mapping[str, Any] = {} if artifact is None else artifact.params
    given = [
        f"--param={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in params.items()
    ]
    embedding = shown.config.routing.embedding
    embedder = []
    if facts.embedding is not None and embedding is not None:
        what = f"onnx:{embedding.onnx}" if embedding.onnx is not None else f"model:{embedding.model}"
        embedder = ["--embedding", what]
    return shlex.join(["hullspeed", "train", facts.router, *source, "-o", folder, *embedder, *given])
