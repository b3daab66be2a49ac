import math

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.histograms import BUCKETS, LATENCY, OVERHEAD, Histogram, counted, summed

seconds = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50)


def counts_of(histogram: Histogram, values: list[float]) -> list[int]:
    """Counted by the bounds, one by one."""
    upper = histogram.bounds()
    counts = [0] * BUCKETS
    for value in values:
        counts[next((place for place, bound in enumerate(upper) if value <= bound), BUCKETS - 1)] += 1
    return counts


@given(seconds, st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    exact = sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
    upper = LATENCY.bounds()
    (found,) = LATENCY.quantiles(counts_of(LATENCY, values), [share])
    assert found is not None
    bucket = next((place for place, bound in enumerate(upper) if exact <= bound), BUCKETS - 1)
    below = upper[bucket - 1] if bucket else LATENCY.first * 10**-0.2
    assert below * (1 - 1e-9) <= found <= upper[bucket] * (1 + 1e-9)


@pytest.mark.parametrize("counts", [[0] * BUCKETS, []])
def test_no_calls_have_no_quantile(counts: list[int]) -> None:
    assert LATENCY.quantiles(counts, [0.5, 0.9]) == [None, None]


@given(seconds)
def test_quantiles_rise_with_the_share(values: list[float]) -> None:
    found = LATENCY.quantiles(counts_of(LATENCY, values), [place / 20 for place in range(21)])
    assert found == sorted(found, key=lambda value: value or 0.0)


@pytest.mark.parametrize("histogram", [LATENCY, OVERHEAD])
def test_postgres_counts_alike(histogram: Histogram, database_url: str) -> None:
    bounds = histogram.bounds()
    # Between the bounds: on one, the last bit of a logarithm decides.
    values = [0.0, 1e-9, 1e6, *(bound * factor for bound in bounds for factor in (0.9, 1.1))]
    query = (
        f"SELECT {counted('bucket')}, {summed('counts')} FROM (SELECT {histogram.bucket('value')} AS bucket, "
        "array_fill(2, ARRAY[27]) AS counts FROM unnest(%s::double precision[]) AS u(value)) AS b"
    )
    with psycopg.connect(database_url) as connection:
        row = connection.execute(query.encode(), (values,)).fetchone()
    assert row is not None
    assert row[0] == counts_of(histogram, values)
    assert row[1] == [2 * len(values)] * BUCKETS
