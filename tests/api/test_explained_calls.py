"""What a call's page says of a decision, of what lies behind it, and of the time that passed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from app.api.pages.behind import behind
from app.api.pages.decision import explain
from app.api.pages.timeline import bills, time_line
from app.core.types import Attempt, RankedModel, Usage
from routers.base import rank_by_utility
from tests.pages.planting import attempt, call, decision


def said(**fields: Any) -> str:
    found = explain(call(**fields))
    assert found is not None
    return " ".join(found.sentences)


def test_utilities_are_those_that_decided() -> None:
    models, quality, cost = ("a", "b", "c"), (0.5, 0.7, 0.9), (0.001, 0.002, 0.02)
    decided = rank_by_utility(models, quality, cost, tradeoff=0.4, dearest=0.02, reason="predicted")
    ranking = tuple(RankedModel(c.model, c.quality, c.cost, c.probability) for c in decided.ranking)
    stored = decision(tradeoff=0.4, ranking=ranking, detail=dict(decided.detail))
    found = explain(call(decision=stored))
    assert found is not None
    utilities = [one.utility for one in found.candidates]
    assert None not in utilities
    assert utilities == sorted(utilities, reverse=True)  # type: ignore[type-var]
    # Of an older call c_ref is not known, at a tradeoff of 1 λ is infinite.
    for older in (decision(detail={}), decision(tradeoff=1.0)):
        found = explain(call(decision=older))
        assert found is not None
        assert {one.utility for one in found.candidates} == {None}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"decision": decision("none", reason="explicit")}, "The client asked for auto by name"),
        (
            {"decision": decision(reason="default:late", problem="no decision within 0.05 s")},
            "knn took too long (no dec",
        ),
        ({"decision": decision(reason="default:declined")}, "knn declined, so the configured order"),
        (
            {"decision": decision(detail={"explored": True, "instead_of": "predicted"})},
            "drawn at random, in place of what the router within would have picked (predicted)",
        ),
        ({"decision": decision(ranking=(RankedModel("small", 0.8, 0.001, 1.0),))}, "It was the only candidate."),
        ({"decision": decision(reason="no known word")}, "No word of the prompt occurs in training"),
        ({"decision": decision(ranking=())}, "ranked no model"),
        (
            {"decision": decision(ranking=(RankedModel("a", 0.9, 0.1, 1.0), RankedModel("b", 0.8, 0.2)))},
            "No other candidate is predicted to be better or cheaper.",
        ),
        (
            {"decision": decision(ranking=(RankedModel("a", 0.9, 0.1, 0.6), RankedModel("b", 0.8, 0.2, 0.4)))},
            "Chance had a part in it: a comes first with a probability of 60.0%.",
        ),
        (
            {"model": "large", "attempts": (attempt(outcome="rate_limited"), attempt("large"))},
            "large answered in its place, since small failed (rate limited).",
        ),
        ({"model": "large", "attempts": (attempt("large"),)}, "In the end large answered."),
        ({"model": None, "attempts": (attempt(outcome="error"),) * 2}, "No model answered; tried: small."),
    ],
)
def test_in_words(fields: dict[str, Any], expected: str) -> None:
    assert expected in said(**fields)


def test_a_draw_is_not_called_a_verdict() -> None:
    ranking = (RankedModel("large", 0.9, 0.012, 0.1), RankedModel("small", 0.95, 0.0001, 0.9))
    assert "not worth" not in said(decision=decision(ranking=ranking))


def test_what_has_another_form_is_shown_as_it_is() -> None:
    for detail in (
        {"neighbours": ["x", "y"]},
        {"rule": "two", "when": 7},
        {"clusters": None},
        {"arm": ["a", "b"], "agreed": ["a"]},
        {"chain": 3},
        {"context": [1.0]},
    ):
        found = behind(detail)
        assert found.known == {}
        assert set(found.other) == set(detail)
    found = behind({"win_probability": 0.25, "threshold": 0.5, "embedding": "no reply", "deep": {"a": [1]}})
    assert list(found.known) == ["threshold"]
    assert found.other == {"embedding": "no reply", "deep": '{"a": [1]}'}


def test_the_time_line() -> None:
    made = call(
        latency=2.0,
        attempts=(
            attempt("a", outcome="timeout", offset=0.0, latency=0.5, time_to_first_token=None),
            attempt("b", offset=1.0, latency=0.5, time_to_first_token=0.25),
            attempt("c", offset=1.0, latency=1.0),
        ),
    )
    line = time_line(made)
    assert [(bar.kind, bar.left, bar.width) for bar in line.bars] == [
        ("router", 0, 0.2),
        ("timeout", 0, 25),
        ("wait", 25, 25),
        ("ok", 50, 25),
        ("ok", 50, 50),
    ]
    assert line.bars[3].first == 62.5
    assert line.ticks[-1] == (100, 2.0)
    # A clock that ran backwards must not draw beyond the page.
    odd = time_line(call(latency=0.0, decision=None, attempts=(attempt(offset=-1.0, latency=0.5),)))
    assert all(0 <= bar.left <= 100 and 0 <= bar.width <= 100 for bar in odd.bars)
    assert time_line(call(latency=0.0, decision=None, attempts=())).bars == ()


def test_bills_add_up() -> None:
    (bill,) = bills((attempt(),))
    assert sum(item.cost for item in bill.items) == bill.attempt.cost_usd == Decimal("0.0012")
    assert not bill.difference
    (stated,) = bills((attempt(cost_usd=Decimal(1)),))
    assert stated.difference
    thinking: Attempt = attempt(usage=Usage(10, 20, reasoning_tokens=15))
    (bill,) = bills((thinking,))
    assert [(item.kind, item.tokens, item.note) for item in bill.items] == [
        ("prompt", 10, ""),
        ("reply", 5, ""),
        ("reply, reasoning", 15, "no rate of its own"),
    ]
    assert bills((attempt(usage=None, cost_usd=None),)) == ()
