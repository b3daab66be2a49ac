"""Queries that any router must be able to answer: everyday ones of a suite, and the odd ones that clients do send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from app.bench.probe import Probe
from app.bench.suite import Suite
from routers import Candidate
from routers.base import seed_for

EVERYDAY = 40
"""Items of the suite that are asked."""
_TRADEOFFS = (0.0, 0.1, 0.3, 0.7, 1.0)
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def probes(suite: Suite) -> list[Probe]:
    """Everyday and odd queries; the pool is that of the suite's outcomes, or two made-up models without any.

    The same suite gives the same probes.
    """
    pool = _pool(suite)
    usual = Probe("a plain question", _said("What is 17 + 25? Answer with a number."), pool)
    return [
        *_everyday(suite, pool),
        *(replace(usual, name=name, messages=messages) for name, messages in _odd_messages()),
        *(replace(usual, name=name, candidates=candidates) for name, candidates in _odd_pools(pool)),
        *_odd_settings(usual),
    ]


def _pool(suite: Suite) -> list[dict[str, Any]]:
    if suite.recorded is None:
        return [_candidate(Candidate("small", 1e-7, 4e-7)), _candidate(Candidate("large", 3e-6, 1.5e-5))]
    return [_candidate(candidate) for candidate in suite.outcomes().candidates()]


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {**asdict(candidate), "capabilities": sorted(candidate.capabilities)}


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _everyday(suite: Suite, pool: list[dict[str, Any]]) -> Iterator[Probe]:
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(suite.items), min(EVERYDAY, len(suite.items)), replace=False)).tolist()
    recorded = suite.recorded
    for place, row in enumerate(rows):
        item = suite.items[row]
        told = [] if recorded is None else zip(recorded.models, recorded.replies[row].tolist(), strict=True)
        yield Probe(
            name=f"item {item.id}",
            messages=item.messages,
            candidates=pool,
            tradeoff=_TRADEOFFS[place % len(_TRADEOFFS)],
            seed=seed_for("probe", item.id),
            everyday=True,
            replies={model: reply for model, reply in told if reply is not None},
        )


def _odd_messages() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    yield "no messages", []
    yield "empty text", _said("")
    yield "blanks only", _said(" \n\t " * 100)
    yield "one letter", _said("x")
    yield "content null", [{"role": "user", "content": None}]
    yield "no content", [{"role": "user"}]
    yield "no parts", [{"role": "user", "content": []}]
    yield "200,000 tokens of words", _said("Summarise the following report. " * 25_000)
    yield "200,000 tokens without a space", _said("x" * 800_000)
    yield "100,000 lines", _said("\n" * 100_000)
    yield "Chinese", _said("请解释量子力学的基本原理，并举三个例子。")
    yield "Arabic", _said("اشرح لي نظرية النسبية بكلمات بسيطة")
    yield "emoji", _said("👩‍👩‍👧‍👦🏳️‍🌈" * 50)
    yield "half a surrogate pair", _said("broken \ud800 text \udfff")
    yield "zero bytes", _said("a\x00b\x1b[31m")
    yield "image only", [{"role": "user", "content": [_IMAGE]}]
    yield "image and text", [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, _IMAGE]}]
    yield "parts without text", [{"role": "user", "content": [{"type": "text"}, {"type": "text", "text": None}]}]
    yield "system only", [{"role": "system", "content": "You are a helpful assistant."}]
    yield "assistant last", [*_said("Hello"), {"role": "assistant", "content": "Hello, how can I help?"}]
    yield (
        "tool call",
        [
            *_said("What is the weather in Oslo?"),
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "4 °C, rain"},
        ],
    )
    yield "300 messages", [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}"} for n in range(300)]
    yield "unknown fields", [{"role": "critic", "content": "Go on.", "name": "Ada", "weight": float("inf")}]


def _odd_pools(pool: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    def with_all(**fields: Any) -> list[dict[str, Any]]:
        return [{**candidate, **fields} for candidate in pool]

    unknown = {"input_price": None, "output_price": None, "mean_cost": None}
    yield "no candidates", []
    yield "one candidate", pool[:1]
    yield "another single candidate", pool[-1:]
    yield "two candidates", pool[:2]
    yield "reversed candidates", pool[::-1]
    yield "one strange candidate", [_candidate(Candidate("never seen before"))]
    yield "strange candidates", [_candidate(Candidate(name, mean_cost=1e-4)) for name in ("новая", "b c", "z/1")]
    yield "a strange one among them", [*pool, _candidate(Candidate("never seen before", 1e-6, 2e-6))]
    yield "identical prices", with_all(input_price=1e-6, output_price=1e-6, mean_cost=1e-3)
    yield "all free", with_all(input_price=0.0, output_price=0.0, mean_cost=0.0)
    yield "no price known", with_all(**unknown)
    yield "one price known", [pool[0], *({**candidate, **unknown} for candidate in pool[1:])]
    yield "absurd prices", with_all(input_price=1e300, output_price=1e300, mean_cost=1e300)
    yield "slow models", with_all(latency=600.0)


def _odd_settings(usual: Probe) -> Iterator[Probe]:
    for tradeoff in (0.0, 1e-12, 0.5, 1 - 1e-12, 1.0):
        yield replace(usual, name=f"tradeoff {tradeoff!r}", tradeoff=tradeoff)
    for seed in range(12):
        yield replace(usual, name=f"seed {seed}", seed=seed)
    yield replace(usual, name="the largest seed", seed=2**63 - 1)
    yield replace(usual, name="one call at most", max_calls=1, tradeoff=0.1)
    yield replace(usual, name="two calls at most", max_calls=2, tradeoff=0.1)
    slow = [{**candidate, "latency": 20.0} for candidate in usual.candidates]
    yield replace(usual, name="no time for two calls", candidates=slow, max_latency=25.0, tradeoff=0.1)
