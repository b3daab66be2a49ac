"""Metrics of several workers on one page, and counters and histograms that are cheap to count with."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from app.core.exposition import Count, Distribution, Sums
from app.core.metrics import Metrics
from tests.store.samples import full_call as call

BOUNDS = (0.1, 1.0, 10.0)


def numbers(page: bytes) -> dict[str, float]:
    """By name and labels, as Prometheus reads them."""
    return {
        f"{sample.name}{sorted(sample.labels.items()) or ''}": sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def falls(before: bytes, after: bytes) -> list[str]:
    """Counters that are lower afterwards."""
    old, new = numbers(before), numbers(after)
    counters = [name for name in old if name.split("[")[0].endswith(("_total", "_count", "_sum", "_bucket"))]
    return [name for name in counters if new.get(name, 0.0) < old[name]]


@given(st.lists(st.floats(0, 20), max_size=50))
def test_a_distribution_is_the_library_s_histogram(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    distribution = Distribution("x_seconds", "Text.", BOUNDS, ours, "router")
    histogram = Histogram("x_seconds", "Text.", ["router"], buckets=BOUNDS, registry=theirs)
    for value in values:
        distribution.labels("a").observe(value)
        histogram.labels("a").observe(value)
    for bound in ("0.1", "1.0", "10.0", "+Inf"):
        labels = {"router": "a", "le": bound}
        assert ours.get_sample_value("x_seconds_bucket", labels) == theirs.get_sample_value("x_seconds_bucket", labels)
    for name in ("x_seconds_count", "x_seconds_sum"):
        assert ours.get_sample_value(name, {"router": "a"}) == theirs.get_sample_value(name, {"router": "a"})


def test_a_count_begins_at_nought_only_without_labels() -> None:
    registry = CollectorRegistry()
    plain, labelled = Count("plain", "Text.", (), registry), Count("labelled", "Text.", ("a", "b"), registry)
    assert registry.get_sample_value("plain_total") == 0
    assert registry.get_sample_value("labelled_total", {"a": "x", "b": "y"}) is None
    plain.add(())
    labelled.add(("x", "y"), 2.5)
    assert registry.get_sample_value("plain_total") == 1
    assert registry.get_sample_value("labelled_total", {"a": "x", "b": "y"}) == 2.5


def test_the_page_of_two_workers_is_their_sum() -> None:
    sums, workers = Sums(), [Metrics(), Metrics()]
    for count, metrics in enumerate(workers, 1):
        metrics.label = str
        for _ in range(count):
            metrics.observe(call())
        metrics.inflight.value = count
        metrics.model_available.labels("small").set(count - 1)
        metrics.config_reloads.labels("ok").inc(3)
        sums.take(count, metrics.snapshot())
    page, alone = numbers(sums.render()), numbers(workers[0].render())
    assert page.keys() == alone.keys()
    for name in page:
        if name.startswith(("hullspeed_calls_total", "hullspeed_call_duration_seconds", "hullspeed_tokens_total")):
            assert page[name] == 3 * alone[name], name
    assert page["hullspeed_inflight_calls"] == 3
    assert page["hullspeed_model_available[('model', 'small')]"] == 0, "known to be down by one, down for all"
    assert page["hullspeed_config_reloads_total[('result', 'ok')]"] == 3, "the same reload, seen by both"


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["calls", "scrape", "dies", "ends"])), max_size=12))
def test_no_counter_falls_whatever_becomes_of_workers(events: list[tuple[int, str]]) -> None:
    sums, workers, page = Sums(), [Metrics(), Metrics()], b""
    for place, event in events:
        if event == "calls":
            workers[place].observe(call())
            workers[place].inflight.value += 1
        elif event == "scrape":
            for number, metrics in enumerate(workers):
                sums.take(number, metrics.snapshot())
        else:
            if event == "ends":
                sums.take(place, workers[place].snapshot())
            sums.retire(place)
            workers[place] = Metrics()
        before, page = page, sums.render()
        assert falls(before, page) == []


def test_what_a_worker_was_doing_ends_with_it_and_what_it_counted_stays() -> None:
    sums, metrics = Sums(), Metrics()
    metrics.observe(call())
    metrics.inflight.value = 5
    sums.take(0, metrics.snapshot())
    sums.retire(0)
    sums.take(0, Metrics().snapshot())
    page = numbers(sums.render())
    assert page["hullspeed_inflight_calls"] == 0
    assert sum(value for name, value in page.items() if name.startswith("hullspeed_calls_total")) == 1


def test_labels_survive_the_way() -> None:
    registry, sums = CollectorRegistry(), Sums()
    Gauge("x", "A \\ in\nit.", ["model"], registry=registry).labels('a "b"\n\\c').set(1)
    metrics = Metrics()
    metrics.registry = registry
    sums.take(0, metrics.snapshot())
    assert numbers(sums.render()) == numbers(metrics.render())


def test_a_sum_does_not_fall_by_its_last_bit() -> None:
    # 0.1 + 0.2 + 0.3 is 0.6000000000000001 in one order and 0.6 in the other.
    sums, pages = Sums(), []
    for worker, seconds in enumerate((0.3, 0.2, 0.1)):
        metrics = Metrics()
        metrics.observe(call(latency=seconds))
        sums.take(worker, metrics.snapshot())
    for gone in (2, 1, 0):
        pages.append(sums.render())
        sums.retire(gone)
    pages.append(sums.render())
    for before, after in pairwise(pages):
        assert falls(before, after) == []
        assert falls(after, before) == []
