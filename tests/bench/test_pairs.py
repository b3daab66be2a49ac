"""Two-model metrics: RouteLLM's figures, the ends of the curve, and what has no answer."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.pairs import PairCurve, chosen, pgr, thresholds
from tests.bench.tables import shared_file

WEAK = "mistralai/Mixtral-8x7B-Instruct-v0.1"
STRONG = "gpt-4-1106-preview"


def test_a_straight_line_is_random_choice() -> None:
    curve = PairCurve.of([0.5], [0.7], 0.6, 0.8)
    assert curve.share.tolist() == [0, 0.5, 1]
    assert curve.auc == pytest.approx(0.7)
    assert curve.apgr == pytest.approx(0.5)
    assert [curve.cpt(part) for part in (0.2, 0.5, 0.8)] == pytest.approx([0.2, 0.5, 0.8])


def test_the_curve_is_closed_by_the_two_models() -> None:
    curve = PairCurve.of([0.25], [0.8], 0.6, 0.8)
    assert curve.quality.tolist() == [0.6, 0.8, 0.8]
    # Triangle up to the strong model's quality at a quarter of the calls, then flat.
    assert curve.apgr == pytest.approx(0.25 / 2 + 0.75)
    assert curve.cpt(0.5) == pytest.approx(0.125)
    assert curve.cpt(1.0) == pytest.approx(0.25)


def test_a_curve_that_dips_is_read_off_its_running_maximum() -> None:
    curve = PairCurve.of([0.2, 0.4, 0.6], [0.7, 0.5, 0.75], 0.6, 0.8)
    assert curve.cpt(0.5) == pytest.approx(0.2)
    # From the .7 that was reached and held, not from the dip at .4.
    assert curve.cpt(0.625) == pytest.approx(0.5)


def test_of_equal_shares_the_better_counts() -> None:
    curve = PairCurve.of([0.5, 0.5, 0.0], [0.65, 0.75, 0.4], 0.6, 0.8)
    assert curve.share.tolist() == [0, 0.5, 1]
    assert curve.quality.tolist() == [0.6, 0.75, 0.8]


def test_beyond_reach_and_below_the_start() -> None:
    curve = PairCurve.of([0.5], [0.9], 0.6, 0.8)
    assert curve.cpt(1.5) == pytest.approx(0.5)
    assert curve.cpt(1.6) is None
    assert curve.cpt(0.0) == 0
    assert curve.cpt(-1.0) == 0


@pytest.mark.parametrize("strong", [0.6, 0.5])
def test_a_strong_model_that_is_no_better_leaves_nothing_to_recover(strong: float) -> None:
    curve = PairCurve.of([0.5], [0.7], 0.6, strong)
    assert (curve.gap, curve.apgr, curve.cpt(0.5), pgr(0.7, 0.6, strong)) == (None, None, None, None)
    assert math.isfinite(curve.auc)


def test_gap_recovered_at_one_setting() -> None:
    assert pgr(0.7, 0.6, 0.8) == pytest.approx(0.5)
    assert pgr(0.5, 0.6, 0.8) == pytest.approx(-0.5)
    assert pgr(0.9, 0.6, 0.8) == pytest.approx(1.5)


def test_thresholds_are_the_edges_of_deciles_and_the_last_one_is_passed_by_nothing() -> None:
    score = np.arange(11.0)
    edges = thresholds(score)
    assert edges.tolist() == list(range(11))
    strong = chosen(score, edges)
    assert strong.sum(axis=1).tolist() == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 0]
    # Three quarters of a score of 1: its lower edges are one.
    assert thresholds([1.0, 1.0, 1.0, 2.0]).tolist() == pytest.approx([1, 1.1, 1.4, 1.7, 2])


def test_a_score_that_tells_nothing_is_all_or_nothing() -> None:
    curve = PairCurve.of_score([3.0, 3.0], [0.0, 1.0], [1.0, 1.0])
    assert curve.share.tolist() == [0, 1]
    assert curve.apgr == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("share", "quality", "message"),
    [
        ([1.2], [0.5], "outside"),
        ([-0.1], [0.5], "outside"),
        ([0.5], [math.nan], "finite"),
        ([], [], "empty"),
        ([0.5, 0.6], [0.5], "as many"),
    ],
)
def test_what_is_no_curve_is_refused(share: list[float], quality: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairCurve.of(share, quality, 0.5, 0.8)


parts = st.floats(0, 1).map(lambda value: round(value, 6))
curves = st.lists(st.tuples(parts, parts), min_size=1, max_size=10)


@given(curves, parts, parts, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(
    points: list[tuple[float, float]], weak: float, strong: float, random: object
) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (PairCurve.of(*zip(*order, strict=True), weak, strong) for order in (points, shuffled))
    assert (one.auc, one.apgr, one.cpt(0.5)) == (other.auc, other.apgr, other.cpt(0.5))


@given(curves, parts, parts)
def test_a_share_that_recovers_more_is_never_smaller(
    points: list[tuple[float, float]], weak: float, strong: float
) -> None:
    curve = PairCurve.of(*zip(*points, strict=True), weak, strong)
    reached = [curve.cpt(part) for part in (0.1, 0.3, 0.5, 0.8, 1.0)]
    if curve.gap is None:
        assert reached == [None] * 5
        return
    known = [share for share in reached if share is not None]
    assert len(known) == 5  # the strong model itself recovers all
    assert known == sorted(known)
    assert 0 <= known[0] <= known[-1] <= 1


@given(st.lists(st.tuples(parts, st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_score_can_do_what_its_best_threshold_does(prompts: list[tuple[float, bool, bool]]) -> None:
    score, weak, strong = (np.array(column, dtype=float) for column in zip(*prompts, strict=True))
    curve = PairCurve.of_score(score, weak, strong)
    assert (curve.weak, curve.strong) == (weak.mean(), strong.mean())
    assert min(weak.mean(), strong.mean(), np.minimum(weak, strong).mean()) - 1e-9 <= curve.auc
    assert curve.auc <= np.maximum(weak, strong).mean() + 1e-9


# -------------------------------------------------------------------------------------------- golden numbers


@cache
def _table() -> dict[str, list[object]]:
    columns = ["sample_id", "dataset", "prompt", "model", "quality", "contaminated"]
    table: dict[str, list[object]] = pq.read_table(
        shared_file("routellm_mmlu_gsm8k_2models"), columns=columns
    ).to_pydict()
    return table


def recorded_pair(dataset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths of the prompts in characters, and the qualities of the weak and the strong model."""
    lengths: dict[object, int] = {}
    quality: dict[tuple[object, object], object] = {}
    for sample, kind, prompt, model, value, contaminated in zip(*_table().values(), strict=True):
        if kind == dataset and not contaminated:
            lengths[sample] = len(str(prompt))
            quality[sample, model] = value
    weak, strong = (np.array([quality[sample, model] for sample in lengths], dtype=float) for model in (WEAK, STRONG))
    return np.array(list(lengths.values()), dtype=float), weak, strong


@pytest.mark.parametrize(
    ("dataset", "n", "weak", "strong", "only_strong", "neither"),
    [("mmlu", 14037, 68.09147, 80.58702, 2496, 1983), ("gsm8k", 1307, 63.73374, 85.76894, 382, None)],
)
def test_the_two_recorded_models(
    dataset: str, n: int, weak: float, strong: float, only_strong: int, neither: int | None
) -> None:
    lengths, weaks, strongs = recorded_pair(dataset)
    assert len(lengths) == n
    assert (round(100 * weaks.mean(), 5), round(100 * strongs.mean(), 5)) == (weak, strong)
    assert int((strongs > weaks).sum()) == only_strong
    if neither is not None:
        assert int(((strongs == 0) & (weaks == 0)).sum()) == neither


@pytest.mark.parametrize(
    ("dataset", "apgr", "auc", "cpt"),
    [
        ("gsm8k", 0.59866, 76.9252, (10.508, 36.513, 66.656)),
        ("mmlu", 0.58370, 75.3851, (15.355, 36.702, 69.204)),
    ],
)
def test_prompt_length_as_the_strong_score(
    dataset: str, apgr: float, auc: float, cpt: tuple[float, float, float]
) -> None:
    curve = PairCurve.of_score(*recorded_pair(dataset))
    assert curve.apgr is not None
    assert (round(curve.apgr, 5), round(100 * curve.auc, 4)) == (apgr, auc)
    assert [round(100 * (curve.cpt(part) or math.nan), 3) for part in (0.2, 0.5, 0.8)] == list(cpt)
