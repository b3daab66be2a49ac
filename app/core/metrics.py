"""Prometheus metrics, in base units. Labels take their values from the configuration only, never from a request.

One registry per application object, so that two proxies in one process (tests, `bench run` beside `serve`) do not
share counters.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.core.exposition import Count, Distribution, Level, snapshot
from app.core.types import Attempt, Call

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
MOST_REASONS = 20
"""Reasons of one router that get a time series of their own: a router that puts a prompt into its reason must not
make as many as there are prompts."""
SHORT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """All metrics of one proxy."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._reasons: dict[str, set[str]] = {}
        self.label: Callable[[str], str] = str
        """The label of a model; set by who knows which names come from the configuration."""
        ProcessCollector(registry=registry)
        self.calls = Count(
            "hullspeed_calls", "Client requests finished.", ("router", "model", "outcome", "source"), registry
        )
        self.call_duration = Distribution(
            "hullspeed_call_duration_seconds", "From the request read to the reply's last byte.", SECONDS, registry
        )
        self.time_to_first_token = Distribution(
            "hullspeed_time_to_first_token_seconds",
            "From the request read to the first content of a stream.",
            SECONDS,
            registry,
        )
        self.overhead = Distribution(
            "hullspeed_overhead_seconds",
            "Part of a call's duration not spent waiting for an upstream.",
            SHORT_SECONDS,
            registry,
        )
        self.router_duration = Distribution(
            "hullspeed_router_duration_seconds", "Time a router took to decide.", SHORT_SECONDS, registry, "router"
        )
        self.decisions = Count("hullspeed_decisions", "Decisions taken.", ("router", "model", "reason"), registry)
        self.attempts = Count("hullspeed_attempts", "Calls to one model.", ("model", "outcome"), registry)
        self.fallbacks = Count("hullspeed_fallbacks", "Calls that needed more than the first model.", (), registry)
        self.tokens = Count("hullspeed_tokens", "Tokens used, by kind.", ("model", "kind"), registry)
        self.cost = Count("hullspeed_cost_usd", "USD spent, where the price is known.", ("router", "model"), registry)
        self.unpriced = Count("hullspeed_unpriced_attempts", "Attempts whose cost is unknown.", ("model",), registry)
        self.inflight = Level("hullspeed_inflight_calls", "Calls being served now.", registry)
        self.model_available = Gauge(
            "hullspeed_model_available", "1 where the model can be called.", ["model"], registry=registry
        )
        self.journal_rows = Gauge(
            "hullspeed_journal_rows", "Rows on disk that are not in Postgres yet.", registry=registry
        )
        self.journal_bytes = Gauge(
            "hullspeed_journal_bytes", "Bytes on disk that are not in Postgres yet.", registry=registry
        )
        self.ledger_rows = Counter(
            "hullspeed_ledger_rows", "Rows by what became of them.", ["result"], registry=registry
        )
        self.config_reloads = Counter(
            "hullspeed_config_reloads", "Times the config file was read again.", ["result"], registry=registry
        )
        for result in ("ok", "failed"):
            self.config_reloads.labels(result)
        build = Gauge("hullspeed_build_info", "1; the versions are labels.", ["version", "python"], registry=registry)
        build.labels(version("hullspeed"), platform.python_version()).set(1)

    def observe(self, call: Call) -> None:
        """Count a finished call with its attempts. For the event loop's thread alone."""
        decision, label = call.decision, self.label
        router = decision.router if decision else "none"
        self.calls.add((router, "none" if call.model is None else label(call.model), call.outcome, call.source))
        self.call_duration.observe(call.latency)
        if call.overhead is not None:
            self.overhead.observe(call.overhead)
        if call.time_to_first_token is not None:
            self.time_to_first_token.observe(call.time_to_first_token)
        if decision is not None and decision.ranking:
            reason = self._reason(router, decision.reason)
            self.decisions.add((router, label(decision.ranking[0].model), reason))
            self.router_duration.labels(router).observe(decision.duration)
        # Models that were asked side by side to compare their replies are no fallback.
        if len(call.attempts) > 1 and any(attempt.outcome != "ok" for attempt in call.attempts[:-1]):
            self.fallbacks.add(())
        for attempt in call.attempts:
            self._observe_attempt(router, attempt)

    def _observe_attempt(self, router: str, attempt: Attempt) -> None:
        name = self.label(attempt.model)
        self.attempts.add((name, attempt.outcome))
        usage = attempt.usage
        if usage is not None:
            if usage.prompt_tokens:
                self.tokens.add((name, "prompt"), usage.prompt_tokens)
            if usage.completion_tokens:
                self.tokens.add((name, "completion"), usage.completion_tokens)
            if usage.cached_tokens:
                self.tokens.add((name, "cached"), usage.cached_tokens)
            if usage.reasoning_tokens:
                self.tokens.add((name, "reasoning"), usage.reasoning_tokens)
            if attempt.cost_usd is None:
                self.unpriced.add((name,))
        if attempt.cost_usd is not None:
            self.cost.add((router, name), float(attempt.cost_usd))

    def _reason(self, router: str, reason: str) -> str:
        """The reason as a label; `other` for what a router says beyond its first few."""
        seen = self._reasons.setdefault(router, set())
        if reason not in seen:
            if len(seen) >= MOST_REASONS:
                return "other"
            seen.add(reason)
        return reason

    def render(self) -> bytes:
        """The text exposition format, of this process alone. Any thread may ask."""
        return generate_latest(self.registry)

    def snapshot(self) -> bytes:
        """The same for `app.core.exposition.Sums`."""
        return snapshot(self.registry)
