"""Which models a run's own proxy serves: the suite's recorded ones, or the simulated ones of the demo."""

from __future__ import annotations

from app.bench.suite import Suite
from app.core.errors import ConfigError
from app.gateway.catalog import Catalog
from app.gateway.recorded import RecordedUpstream


def recorded_upstream(suite: Suite) -> RecordedUpstream:
    """An upstream that answers from the suite's outcomes. Raises `ConfigError` where it has none."""
    recorded = suite.recorded
    if recorded is None:
        raise ConfigError(f"suite `{suite.name}` has no recorded outcomes; use --upstream live")
    return RecordedUpstream(
        items=[item.id for item in suite.items],
        prompts=[item.as_query().text for item in suite.items],
        models=recorded.models,
        replies=recorded.replies,
        prompt_tokens=recorded.prompt_tokens,
        completion_tokens=recorded.completion_tokens,
        cost=recorded.cost,
    )


def recorded_catalog(suite: Suite, upstream: RecordedUpstream) -> Catalog:
    """The suite's recorded models as a catalog."""
    return upstream.catalog(recorded_source(suite))


def recorded_source(suite: Suite) -> str:
    """Where the models of that catalog come from, in words."""
    return f"the recorded outcomes of suite `{suite.name}`"
