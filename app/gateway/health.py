"""How each deployment is doing: set aside after failures, tried again, and never asked for more than it may be.

A deployment is one `model_list` entry; a model has one or several. The breaker is the usual one (Nygard, "Release
It!", 2018): closed until failures come in a row, open for a while that doubles with each failed trial, then half-open
for one trial at a time. A rate limit sets a deployment aside for as long as it asked for.

What sets a deployment aside or makes it full holds for all workers of a host (`app.core.shared` says how exactly); the
latency is what each worker has seen itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

from app.core.shared import BACK_AT, FAILS, REQUESTS, SINCE, TOKENS, TRIALS, TRYING, Place, Shared
from app.gateway.catalog import Catalog, Model
from app.gateway.wildcards import MOST_FOUND
from routers import Candidate

LONGEST_COOLDOWN = 300.0
"""Seconds; a deployment that is down for long is still tried every five minutes."""
MOST_SEEN = 256
"""Sets of models whose candidates are kept."""
TELL_SECONDS = 1.0
"""Between two changes of the latency that routers see."""
LOOK_SECONDS = 0.02
"""How often those who wait for a place look: it may be another worker that gives it free."""
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
    """A token bucket: so many units a minute, a minute's worth at once at most.

    Kept as one number, the moment at which it is full again: the theoretical arrival time of the generic cell rate
    algorithm (ITU-T I.371), which is the same bucket.
    """

    def __init__(
        self, per_minute: int, clock: Callable[[], float], cells: memoryview[float] | None = None, cell: int = 0
    ) -> None:
        """`cells[cell]` is where the number is kept, 0 for a full bucket."""
        self._size = float(per_minute)
        self._second = self._size / 60
        self._clock = clock
        self._cells = memoryview(bytearray(8)).cast("d") if cells is None else cells
        self._cell = cell

    @property
    def _left(self) -> float:
        return self._size - max(self._cells[self._cell] - self._clock(), 0.0) * self._second

    @property
    def is_empty(self) -> bool:
        return self._left < 1

    def take(self, units: float) -> None:
        """May go below zero: what was used is known afterwards only."""
        self._cells[self._cell] = max(self._cells[self._cell], self._clock()) + units / self._second

    @property
    def wait(self) -> float:
        """Seconds until there is a unit again."""
        return max(1 - self._left, 0.0) / self._second


class Health:
    """One deployment."""

    def __init__(
        self,
        model: Model,
        rules: HealthRules,
        clock: Callable[[], float] = monotonic,
        on_latency: Callable[[], None] = lambda: None,
        place: Place | None = None,
    ) -> None:
        """`on_latency` is told when the latency has moved by a tenth. `place`: what the other workers know, too."""
        self.model = model
        self.latency: float | None = None
        """Moving average of the seconds a good call takes."""
        self._rules = rules
        self._clock = clock
        self._place = place or Place()
        self._cells = self._place.cells
        self._requests = self._bucket(model.rpm, REQUESTS)
        self._tokens = self._bucket(model.tpm, TOKENS)
        self._on_latency = on_latency
        self._told, self._told_at = 0.0, -TELL_SECONDS

    def adopt(self, model: Model, rules: HealthRules, on_latency: Callable[[], None]) -> None:
        """Go on under a new configuration, which reaches the same deployment: what is known of it stays."""
        if model.rpm != self.model.rpm:
            self._cells[REQUESTS] = 0.0
            self._requests = self._bucket(model.rpm, REQUESTS)
        if model.tpm != self.model.tpm:
            self._cells[TOKENS] = 0.0
            self._tokens = self._bucket(model.tpm, TOKENS)
        self.model, self._rules, self._on_latency = model, rules, on_latency

    def _bucket(self, per_minute: int | None, cell: int) -> Bucket | None:
        return Bucket(per_minute, self._clock, self._cells, cell) if per_minute else None

    @property
    def inflight(self) -> int:
        """Calls of all workers that are running now."""
        return self._place.inflight.total

    @property
    def is_out(self) -> bool:
        """Set aside, or being tried by another call just now."""
        back_at = self._cells[BACK_AT]
        return back_at != 0 and (self._cells[TRYING] != 0 or self._clock() < back_at)

    @property
    def is_troubled(self) -> bool:
        """It may be out: it has been set aside and not answered well since."""
        return self._cells[BACK_AT] != 0

    @property
    def back_in(self) -> float:
        """Seconds until it is tried again; 0 where it is not set aside."""
        back_at = self._cells[BACK_AT]
        return max(back_at - self._clock(), 0.0) if back_at else 0.0

    @property
    def aside_for(self) -> float | None:
        """Seconds since it was set aside and not answered well any more; None where it is not set aside."""
        since = self._cells[SINCE]
        return self._clock() - since if since and self._cells[BACK_AT] else None

    @property
    def failures(self) -> int:
        """In a row, up to now."""
        return int(self._cells[FAILS])

    @property
    def is_limited(self) -> bool:
        """Set aside because it asked to be left alone, not for failures."""
        return self._cells[BACK_AT] != 0 and self._cells[FAILS] <= self._rules.allowed_fails

    @property
    def is_full(self) -> bool:
        """At its cap of calls in flight, or at its own rate limit."""
        if self.model.max_inflight is not None and self.inflight >= self.model.max_inflight:
            return True
        requests, tokens = self._requests, self._tokens
        return (requests is not None and requests.is_empty) or (tokens is not None and tokens.is_empty)

    @property
    def rate_in(self) -> float:
        """Seconds until its rate limit has room again; 0 where only calls in flight are in the way."""
        return max([bucket.wait for bucket in (self._requests, self._tokens) if bucket is not None], default=0.0)

    @property
    def room_in(self) -> float:
        """Seconds after which there may be room again, for `retry-after`."""
        return max(self.rate_in, 1.0)

    def begin(self) -> None:
        """A call is made."""
        self._place.inflight.add(1)
        if self._requests is not None:
            self._requests.take(1)
        back_at = self._cells[BACK_AT]
        if back_at and self._clock() >= back_at:
            self._cells[TRYING] = self._place.trier

    def end(self, tokens: int = 0) -> None:
        """The call is over, however it went."""
        self._place.inflight.add(-1)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def succeeded(self, seconds: float) -> None:
        """It answered well."""
        cells = self._cells
        if cells[FAILS] or cells[BACK_AT]:
            cells[FAILS] = cells[TRIALS] = cells[BACK_AT] = cells[TRYING] = cells[SINCE] = 0.0
        self.latency = seconds if self.latency is None else self.latency + WEIGHT * (seconds - self.latency)
        if abs(self.latency - self._told) > 0.1 * self._told:
            # Latencies of a busy deployment never rest, and what routers are shown is made anew each time.
            now = self._clock()
            if now - self._told_at >= TELL_SECONDS:
                self._told, self._told_at = self.latency, now
                self._on_latency()

    def failed(self) -> None:
        """It failed in a way that says something about the deployment."""
        cells = self._cells
        cells[FAILS] += 1
        # Calls that were under way when it was set aside say nothing new by failing too.
        if cells[TRYING] or (cells[FAILS] > self._rules.allowed_fails and not self.back_in):
            self._set_aside(min(self._rules.cooldown * 2 ** min(cells[TRIALS], 60), LONGEST_COOLDOWN))
            cells[TRIALS] += 1

    def limited(self, seconds: float | None) -> None:
        """It asked to be left alone, for `seconds` where it said so."""
        self._set_aside(min(seconds if seconds is not None else 1.0, LONGEST_COOLDOWN))

    def unjudged(self) -> None:
        """The call ended without saying anything about the deployment: the client left, or the request was at fault."""
        if self._cells[TRYING] == self._place.trier:
            self._cells[TRYING] = 0.0

    def _set_aside(self, seconds: float) -> None:
        now = self._clock()
        if not self._cells[BACK_AT]:
            self._cells[SINCE] = now
        self._cells[BACK_AT] = now + seconds
        self._cells[TRYING] = 0.0


class Fleet:
    """All deployments of all models."""

    def __init__(
        self,
        catalog: Catalog,
        rules: HealthRules,
        clock: Callable[[], float] = monotonic,
        shared: Shared | None = None,
    ) -> None:
        """`shared`: where the health of deployments is kept that all workers know."""
        self.catalog = catalog
        self.candidates = dict(catalog.candidates)
        """The models as routers see them, with the latency observed so far."""
        self._rules, self._clock, self._shared = rules, clock, shared or Shared()
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
        models = self.catalog.deployments(name)
        for number, model in enumerate(models):
            observe = partial(self._observe, name)
            same = next((health for health in known if _place(health.model) == _place(model)), None)
            if same is None:
                twins = sum(_place(twin) == _place(model) for twin in models[:number])
                place = self._shared.place(name, twins, *_place(model))
                healths.append(Health(model, self._rules, self._clock, observe, place))
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
        for healths in self._models.values():
            for health in healths:
                if health.is_troubled:
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

    async def room(self, names: Sequence[str], seconds: float) -> bool:
        """Wait until one of these models may be called again; False where that takes longer than `seconds`."""
        healths = [health for name in names for health in self.of(name)]
        end = self._clock() + seconds
        while all(health.is_full for health in healths):
            left = end - self._clock()
            if min(health.rate_in for health in healths) > left:
                return False
            await asyncio.sleep(min(LOOK_SECONDS, left))
            if self._clock() >= end:
                return False
        return True

    @property
    def down(self) -> list[str]:
        """Models of which every deployment is set aside."""
        return [name for name in self._models if self.is_out(name)]


def _place(model: Model) -> tuple[str, str, str | None, str | None]:
    """What tells a deployment from another."""
    return model.upstream, model.target, model.base_url, model.api_key
