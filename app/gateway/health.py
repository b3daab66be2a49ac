"""How each deployment is doing: set aside after failures, tried again, and never asked for more than it may be.

A deployment is one `model_list` entry; a model has one or several. The breaker is the usual one (Nygard, "Release
It!", 2018): closed until failures come in a row, open for a while that doubles with each failed trial, then half-open
for one trial at a time. A rate limit sets a deployment aside for as long as it asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

from app.gateway.catalog import Catalog, Model
from app.gateway.wildcards import MOST_FOUND
from routers import Candidate

LONGEST_COOLDOWN = 300.0
"""Seconds; a deployment that is down for long is still tried every five minutes."""
MOST_SEEN = 256
"""Sets of models whose candidates are kept."""
WEIGHT = 0.2
"""Of the newest call in the moving average of the latency."""


@dataclass(frozen=True)
class HealthRules:
    """When a deployment is set aside."""

    allowed_fails: int = 3
    """Failures in a row that it may have."""
    cooldown: float = 5.0
    """Seconds it is set aside at first."""


class Bucket:
    """A token bucket: so many units a minute, a minute's worth at once at most (RFC 2697 knows it as a meter)."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._size = float(per_minute)
        self._left = self._size
        self._clock = clock
        self._last = clock()

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._last) * self._size / 60)
        self._last = now

    @property
    def is_empty(self) -> bool:
        self._fill()
        return self._left < 1

    def take(self, units: float) -> None:
        """May go below zero: what was used is known afterwards only."""
        self._fill()
        self._left -= units

    @property
    def wait(self) -> float:
        """Seconds until there is a unit again."""
        self._fill()
        return max(1 - self._left, 0.0) * 60 / self._size


class Health:
    """One deployment."""

    def __init__(
        self,
        model: Model,
        rules: HealthRules,
        clock: Callable[[], float] = monotonic,
        on_latency: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_latency` is told when the latency has moved by a tenth."""
        self.model = model
        self.inflight = 0
        self.latency: float | None = None
        """Moving average of the seconds a good call takes."""
        self._rules = rules
        self._clock = clock
        self._fails = 0
        self._trials = 0
        self._back_at: float | None = None
        self._trying = False
        self._requests = Bucket(model.rpm, clock) if model.rpm else None
        self._tokens = Bucket(model.tpm, clock) if model.tpm else None
        self._on_latency = on_latency
        self._told = 0.0

    def adopt(self, model: Model, rules: HealthRules, on_latency: Callable[[], None]) -> None:
        """Go on under a new configuration, which reaches the same deployment: what is known of it stays."""
        if model.rpm != self.model.rpm:
            self._requests = Bucket(model.rpm, self._clock) if model.rpm else None
        if model.tpm != self.model.tpm:
            self._tokens = Bucket(model.tpm, self._clock) if model.tpm else None
        self.model, self._rules, self._on_latency = model, rules, on_latency

    @property
    def is_out(self) -> bool:
        """Set aside, or being tried by another call just now."""
        return self._back_at is not None and (self._trying or self._clock() < self._back_at)

    @property
    def is_troubled(self) -> bool:
        """It may be out: it has been set aside and not answered well since."""
        return self._back_at is not None

    @property
    def back_in(self) -> float:
        """Seconds until it is tried again; 0 where it is not set aside."""
        return 0.0 if self._back_at is None else max(self._back_at - self._clock(), 0.0)

    @property
    def is_full(self) -> bool:
        """At its cap of calls in flight, or at its own rate limit."""
        if self.model.max_inflight is not None and self.inflight >= self.model.max_inflight:
            return True
        return any(bucket is not None and bucket.is_empty for bucket in (self._requests, self._tokens))

    @property
    def room_in(self) -> float:
        """Seconds after which there may be room again, for `retry-after`."""
        waits = [bucket.wait for bucket in (self._requests, self._tokens) if bucket is not None]
        return max([*waits, 1.0])

    def begin(self) -> None:
        """A call is made."""
        self.inflight += 1
        if self._requests is not None:
            self._requests.take(1)
        if self._back_at is not None and self._clock() >= self._back_at:
            self._trying = True

    def end(self, tokens: int = 0) -> None:
        """The call is over, however it went."""
        self.inflight -= 1
        if self._tokens is not None:
            self._tokens.take(tokens)

    def succeeded(self, seconds: float) -> None:
        """It answered well."""
        self._fails = self._trials = 0
        self._back_at, self._trying = None, False
        self.latency = seconds if self.latency is None else self.latency + WEIGHT * (seconds - self.latency)
        if abs(self.latency - self._told) > 0.1 * self._told:
            self._told = self.latency
            self._on_latency()

    def failed(self) -> None:
        """It failed in a way that says something about the deployment."""
        self._fails += 1
        if self._trying or self._fails > self._rules.allowed_fails:
            cooldown = min(self._rules.cooldown * 2**self._trials, LONGEST_COOLDOWN)
            self._set_aside(cooldown)
            self._trials += 1

    def limited(self, seconds: float | None) -> None:
        """It asked to be left alone, for `seconds` where it said so."""
        self._set_aside(min(seconds if seconds is not None else 1.0, LONGEST_COOLDOWN))

    def unjudged(self) -> None:
        """The call ended without saying anything about the deployment: the client left, or the request was at fault."""
        self._trying = False

    def _set_aside(self, seconds: float) -> None:
        self._back_at = self._clock() + seconds
        self._trying = False


class Fleet:
    """All deployments of all models."""

    def __init__(self, catalog: Catalog, rules: HealthRules, clock: Callable[[], float] = monotonic) -> None:
        self.catalog = catalog
        self.candidates = dict(catalog.candidates)
        """The models as routers see them, with the latency observed so far."""
        self._rules, self._clock = rules, clock
        self._found: OrderedDict[str, tuple[Health, ...]] = OrderedDict()
        """Of models that wildcards stand for, made when they are first asked for."""
        self._seen: dict[tuple[str, ...], tuple[Candidate, ...]] = {}
        self._models = {name: self._made(name) for name in catalog}

    def inherit(self, previous: Fleet) -> None:
        """Take the place of another fleet: deployments that are in both keep their health."""
        for name in self._models:
            self._models[name] = self._made(name, previous._models.get(name, ()))
            if any(health.latency is not None for health in self._models[name]):
                self._observe(name)
        for name, healths in previous._found.items():
            if name not in self._models and name in self.catalog:
                self._found[name] = self._made(name, healths)

    def _made(self, name: str, known: Sequence[Health] = ()) -> tuple[Health, ...]:
        """The deployments of a model; those of `known` that reach the same place are taken over."""
        known, healths = list(known), []
        for model in self.catalog.deployments(name):
            observe = partial(self._observe, name)
            same = next((health for health in known if _place(health.model) == _place(model)), None)
            if same is None:
                healths.append(Health(model, self._rules, self._clock, observe))
            else:
                known.remove(same)
                same.adopt(model, self._rules, observe)
                healths.append(same)
        return tuple(healths)

    def of(self, name: str) -> tuple[Health, ...]:
        """The deployments of a model, in the catalog's order. Raises `KeyError` where there is no such model."""
        healths = self._models.get(name) or self._found.get(name)
        if healths is None:
            healths = self._found[name] = self._made(name)
            if len(self._found) > MOST_FOUND:
                self._found.popitem(last=False)
        return healths

    def is_out(self, name: str) -> bool:
        """Every deployment of the model is set aside."""
        return all(health.is_out for health in self.of(name))

    def seen(self, names: tuple[str, ...]) -> tuple[Candidate, ...]:
        """The usable ones of `names` as routers see them."""
        if any(health.is_troubled for healths in self._models.values() for health in healths):
            return tuple(self.candidates[name] for name in self.usable(names))
        # The same ones for most requests, as the same object: a router may keep what it made of them.
        found = self._seen.get(names)
        if found is None:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()
            found = self._seen[names] = tuple(self.candidates[name] for name in names)
        return found

    def usable(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that are not out; where all are, the one that is back soonest: trying beats failing."""
        up = [name for name in names if not self.is_out(name)]
        if up or not names:
            return up
        return [min(names, key=lambda name: min(health.back_in for health in self.of(name)))]

    def order(self, name: str) -> list[Health]:
        """The deployments of a model as they are to be tried: up, with room, least in flight, fastest."""
        healths = self.of(name)
        if len(healths) == 1:
            return [healths[0]]
        return sorted(
            healths, key=lambda health: (health.is_out, health.is_full, health.inflight, health.latency or 0.0)
        )

    def _observe(self, name: str) -> None:
        if name not in self._models:
            return
        latency = min(one.latency for one in self._models[name] if one.latency is not None)
        self.candidates[name] = replace(self.candidates[name], latency=latency)
        self._seen.clear()

    @property
    def down(self) -> list[str]:
        """Models of which every deployment is set aside."""
        return [name for name in self._models if self.is_out(name)]


def _place(model: Model) -> tuple[str, str, str | None, str | None]:
    """What tells a deployment from another."""
    return model.upstream, model.target, model.base_url, model.api_key
