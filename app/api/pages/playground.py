"""`/ui/routers/playground`: what every router makes of a prompt, side by side."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.api.pages.colours import colours
from app.api.pages.question import SHAREABLE, Question
from app.api.pages.render import page
from app.api.pages.shown import Shown
from app.bench import bundled
from app.core.errors import HullspeedError, InvalidRequest
from app.gateway.decide import Decider
from app.gateway.explain import STEPS, expected_costs, explain_each, sweep
from app.gateway.inventory import RouterFacts, router_facts
from routers.answers import answer_in

PATH = "/ui/routers/playground"


class Said(BaseModel):
    """Replies of several models to one prompt."""

    replies: Annotated[dict[str, str], Field(max_length=50)]
    """Model → text."""


def playground_pages(shown: Shown) -> APIRouter:
    """The form, the decisions on what was asked, and parts of them."""
    api = APIRouter(prefix="/routers/playground")
    decider = shown.decider

    @api.get("")
    async def playground(request: Request) -> Response:
        return await _answer(request, shown, Question.of(request.query_params))

    @api.post("")
    async def ask(request: Request) -> Response:
        # A form of any size: what does not fit into an address.
        question = Question.of(await request.form())
        if "hx-request" not in request.headers:
            return await _answer(request, shown, question)
        url = f"{PATH}?{urlencode(question.as_fields(), doseq=True)}"
        # A long question is not in the address, and what stood there before is another one's.
        headers = {"hx-push-url": url if len(url) <= SHAREABLE else PATH}
        view = await _decided(decider, shown, question)
        return await page(request, "playground_decisions.html", headers=headers, **view)

    @api.post("/sweep")
    async def over_tradeoffs(request: Request, router: Annotated[str, Form()]) -> Response:
        """What one router picks at each tradeoff."""
        question = Question.of(await request.form())
        problems = question.problems(decider.catalog)
        if problems:
            raise InvalidRequest(next(iter(problems.values())))
        decisions = await sweep(decider, question.as_body(), router)
        picks = [" + ".join(decision["asked"]) for decision in decisions]
        runs = []
        for pick, steps in itertools.groupby(range(len(STEPS)), key=picks.__getitem__):
            found = list(steps)
            runs.append({"pick": pick, "steps": len(found), "from": STEPS[found[0]], "to": STEPS[found[-1]],
                         "asked": decisions[found[0]]["asked"]})  # fmt: skip
        return await page(
            request,
            "playground_sweep.html",
            runs=runs,
            problem=next((one["problem"] for one in decisions if one["problem"]), None),
            colours=colours(decider.catalog),
        )

    @api.post("/agreement")
    async def agreement(said: Said) -> Response:
        """Which replies give the same final answer, by the rule that ladders compare them by."""
        # Looking for an answer in long texts takes a while.
        answers = await asyncio.to_thread(lambda: {name: answer_in(text) for name, text in said.replies.items()})
        return JSONResponse({"answers": answers}, headers={"cache-control": "no-store"})

    return api


async def _answer(request: Request, shown: Shown, question: Question) -> Response:
    decider = shown.decider
    examples = await asyncio.to_thread(bundled.examples)
    facts = router_facts(decider, shown.config)
    return await page(
        request,
        "playground.html",
        examples=examples,
        models=[name for name in decider.catalog if name in decider.rules.models],
        embedding=[one for one in facts if one.embedding],
        **await _decided(decider, shown, question),
    )


async def _decided(decider: Decider, shown: Shown, question: Question) -> dict[str, Any]:
    """What the decisions' template shows."""
    view: dict[str, Any] = {
        "question": question,
        "problems": question.problems(decider.catalog),
        "colours": colours(decider.catalog),
        "cards": [],
        "refused": None,
        "is_shareable": len(urlencode(question.as_fields(), doseq=True)) + len(PATH) < SHAREABLE,
    }
    if not question.is_asked or view["problems"]:
        return view
    body = question.as_body()
    facts = {one.name: one for one in router_facts(decider, shown.config)}
    cards = []
    try:
        async for name, decision in explain_each(decider, body, list(facts)):
            cards.append(_card(facts[name], decision))
        costs = expected_costs(decider, body)
    except HullspeedError as error:
        return {**view, "refused": error.message}
    if cards and all(card["refused"] for card in cards):
        # The request is at fault, not one of the routers.
        return {**view, "refused": cards[0]["refused"]}
    return {**view, "cards": cards, **_side_by_side(cards, costs, body)}


def _card(facts: RouterFacts, decision: dict[str, Any] | HullspeedError) -> dict[str, Any]:
    if isinstance(decision, HullspeedError):
        return {"facts": facts, "decision": None, "refused": decision.message, "pick": ()}
    return {"facts": facts, "decision": decision, "refused": None, "pick": tuple(decision["asked"])}


def _side_by_side(cards: list[dict[str, Any]], costs: Mapping[str, float | None], body: bytes) -> dict[str, Any]:
    """Who picks what, and what asking all of the picks would cost."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for card in cards:
        if card["decision"] is not None:
            groups.setdefault(card["pick"], []).append(card["facts"].name)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    # Where two picks have as many routers behind them, neither is the odd one.
    most = ordered[0][0] if len(ordered) == 1 or len(ordered[0][1]) > len(ordered[1][1]) else None
    picks = list(dict.fromkeys(model for pick, _ in ordered for model in pick))
    known = [cost for name in picks if (cost := costs.get(name)) is not None]
    asked = json.loads(body)
    asked.pop("routing", None)
    return {
        "groups": ordered,
        "most": most,
        "picks": [{"model": name, "cost": costs.get(name)} for name in picks],
        "estimate": sum(known) if len(known) == len(picks) else None,
        "ask": msgspec.json.encode({"body": asked, "models": picks}).decode(),
    }
