"""One page of metrics over several workers, and counters, gauges and histograms that cost a request next to nothing.

Each worker gives a snapshot of its registry when somebody asks; `Sums` adds them up. What a worker counted stays in
the sums when it is gone, so counters never fall because a worker was restarted. A worker that was killed without
notice leaves what it had counted when it was last asked; the ledger knows the rest.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_Number = float | Fraction
_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], _Number]
"""By name and labels."""

_LEAST = {"hullspeed_model_available", "process_start_time_seconds"}
_MOST = {"hullspeed_build_info", "hullspeed_config_reloads", "process_max_fds"}
"""Every worker reads a changed config: once is what happened."""


class Count(Collector):
    """A counter that one thread alone adds to; any other may collect.

    Without the locks and the look-ups of the client library, which cost a request more than the counting.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        """`name`: without `_total`."""
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        registry.register(self)

    def add(self, labels: tuple[str, ...], amount: float = 1) -> None:
        """Count for these values of the labels, in their order."""
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def describe(self) -> Iterable[Metric]:
        """The family without samples: what a registry asks to find two of one name."""
        return [CounterMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        """The family as it is now."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in list(self._values.items()):
            family.add_metric(labels, value)
        return [family]


class Level(Collector):
    """A gauge, as `Count` is a counter."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name, self._text = name, text
        self.value = 0.0
        """What it shows; to be set at will."""
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """As `Count.describe`."""
        return [GaugeMetricFamily(self._name, self._text)]

    def collect(self) -> Iterable[Metric]:
        """The family as it is now."""
        return [GaugeMetricFamily(self._name, self._text, value=self.value)]


class Distribution(Collector):
    """A histogram, as `Count` is a counter; `labels` gives the one of a label's value."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry, label: str | None = None
    ) -> None:
        """`bounds`: the buckets' upper bounds, ascending, in the metric's unit."""
        self._name, self._text = name, text
        self._labels = () if label is None else (label,)
        self._bounds = tuple(bounds)
        self._series: dict[tuple[str, ...], Series] = {}
        if label is None:
            self._series[()] = Series(self._bounds)
            self.observe = self._series[()].observe
            """Counts a value, where there is no label."""
        registry.register(self)

    def labels(self, value: str) -> Series:
        """The histogram of one value of the label."""
        found = self._series.get((value,))
        if found is None:
            found = self._series[(value,)] = Series(self._bounds)
        return found

    def describe(self) -> Iterable[Metric]:
        """As `Count.describe`."""
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        """The family as it is now."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, series in list(self._series.items()):
            counts = map(float, accumulate(list(series.counts)))
            family.add_metric(labels, list(zip(names, counts, strict=True)), series.sum)
        return [family]


class Series:
    """The buckets of one histogram."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone; the last is for what is beyond all bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class _Family(msgspec.Struct, array_like=True):
    name: str
    text: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


def snapshot(registry: CollectorRegistry) -> bytes:
    """Everything in a registry as it is now."""
    return msgspec.msgpack.encode(
        [
            _Family(
                metric.name,
                metric.documentation,
                metric.type,
                [(sample.name, sample.labels, sample.value) for sample in metric.samples],
            )
            for metric in registry.collect()
        ]
    )


class Sums(Collector):
    """The metrics of all workers, dead ones included."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}
        """By name, without their samples."""
        self._live: dict[int, dict[str, _Samples]] = {}
        self._past: dict[str, _Samples] = {}

    def take(self, worker: int, data: bytes) -> None:
        """The newest snapshot of a worker. Raises `msgspec.MsgspecError` where it is none."""
        families: dict[str, _Samples] = {}
        for family in msgspec.msgpack.decode(data, type=list[_Family]):
            families[family.name] = {
                (name, tuple(sorted(labels.items()))): value for name, labels, value in family.samples
            }
            self._families[family.name] = family
        self._live[worker] = families

    def retire(self, worker: int) -> None:
        """That worker is gone: what it counted stays, what it was doing does not."""
        for name, samples in self._live.pop(worker, {}).items():
            if self._families[name].type in ("counter", "histogram"):
                self._past[name] = dict(_merge(self._families[name], [self._past.get(name, {}), samples]))

    def collect(self) -> Iterator[Metric]:
        """The sums, as a registry gives its metrics."""
        for name, family in self._families.items():
            metric = Metric(name, family.text, family.type)
            parts = [self._past.get(name, {}), *(live.get(name, {}) for live in self._live.values())]
            for (sample, labels), value in _merge(family, parts):
                metric.add_sample(sample, dict(labels), float(value))
            yield metric

    def render(self) -> bytes:
        """The text exposition format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing that could clash."""
        return []


def _merge(
    family: _Family, parts: Iterable[_Samples]
) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], _Number]]:
    """The samples of all parts, one of each name and labels, in the order in which they first come."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[_Number]] = {}
    for part in parts:
        for key, value in part.items():
            found.setdefault(key, []).append(value)
    for key, values in found.items():
        yield key, _rule(family.name, key[0])(values)


def _rule(family: str, sample: str) -> Callable[[list[_Number]], _Number]:
    """How one number is made of several workers'."""
    if family in _LEAST or sample.endswith("_created"):
        return min
    return max if family in _MOST else _sum


def _sum(values: list[_Number]) -> _Number:
    """Without rounding: that of a sum depends on its order, and a counter that falls by the last bit has been reset, as
    Prometheus sees it."""
    finite = all(math.isfinite(value) for value in values)
    return sum((Fraction(value) for value in values), Fraction()) if finite else math.fsum(values)
