"""How each model stands just now, in words for people: what `app.gateway.health` knows of its deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.gateway.health import Fleet, Health

State = Literal["up", "trying", "down"]
"""`trying`: set aside, and being tried by a call now, or due to be tried by the next one."""


@dataclass(frozen=True)
class DeploymentStanding:
    """One deployment."""

    state: State
    inflight: int
    """Calls to it that are running now."""
    is_full: bool
    """At its own cap or rate limit: further calls go elsewhere."""
    reason: str | None = None
    """Why it is set aside."""
    aside_for: float | None = None
    """Seconds since then."""
    back_in: float = 0.0
    """Seconds until it is tried again."""


@dataclass(frozen=True)
class ModelStanding:
    """A model, which is as well as its best deployment."""

    name: str
    state: State
    deployments: tuple[DeploymentStanding, ...]

    @property
    def inflight(self) -> int:
        return sum(one.inflight for one in self.deployments)

    @property
    def is_full(self) -> bool:
        """Every deployment that is up is at its cap."""
        return all(one.is_full for one in self.deployments if one.state == "up")

    @property
    def troubled(self) -> tuple[DeploymentStanding, ...]:
        """Deployments that are not up, the one that is back soonest first."""
        return tuple(sorted((one for one in self.deployments if one.state != "up"), key=lambda one: one.back_in))


def standings(fleet: Fleet) -> list[ModelStanding]:
    """Of all models that the configuration names, in its order, as this host sees them."""
    return [_model(name, fleet.of(name)) for name in fleet.catalog]


def _model(name: str, healths: Sequence[Health]) -> ModelStanding:
    deployments = tuple(_deployment(health) for health in healths)
    states = {one.state for one in deployments}
    best: State = "up" if "up" in states else "trying" if "trying" in states else "down"
    return ModelStanding(name, best, deployments)


def _deployment(health: Health) -> DeploymentStanding:
    if not health.is_troubled:
        return DeploymentStanding("up", health.inflight, health.is_full)
    back_in, failures = health.back_in, health.failures
    reason = "it asked to be left alone" if health.is_limited else f"{failures} failures in a row"
    return DeploymentStanding(
        "down" if back_in else "trying", health.inflight, health.is_full, reason, health.aside_for, back_in
    )
