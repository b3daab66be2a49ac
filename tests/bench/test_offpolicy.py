"""Off-policy estimates: the toy by hand, that they find the truth, and what they refuse to say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from app.bench.offpolicy import Log, direct, doubly_robust, estimate, ips, snips

ACTION = [0, 1, 0, 2, 1]
PROPENSITY = [0.5, 0.25, 0.8, 0.1, 0.4]
REWARD = [1, 0, 0, 1, 1]
POLICY = [[0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.5, 0, 0.5]]
PREDICTED = [0.4, 0.5, 0.6]


def toy(**changes: Any) -> Log:
    columns = {"reward": REWARD, "action": ACTION, "propensity": PROPENSITY, "policy": POLICY}
    return Log.of(**(columns | changes))


def drawn(n: int = 4000, seed: int = 0) -> tuple[Log, float]:
    """A log of a router that explores, and the true mean reward of another one."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 3))
    old, new = rng.dirichlet([2, 2, 2], n), rng.dirichlet([1, 1, 4], n)
    action = (rng.random(n)[:, None] > old.cumsum(axis=1)).sum(axis=1).clip(max=2)
    rows = np.arange(n)
    reward = (rng.random(n) < truth[rows, action]).astype(float)
    return Log.of(reward, action, old[rows, action], new), float((new * truth).sum(axis=1).mean())


def test_the_toy_by_hand() -> None:
    log = toy()
    assert log.weight.tolist() == pytest.approx([1.4, 0.4, 0.25, 5, 0])
    assert ips(log).mean() == pytest.approx(1.28)  # above 1 is legal
    assert ips(log, cap=2).mean() == pytest.approx(0.68)
    assert snips(log) == pytest.approx(0.907801, abs=5e-7)
    assert log.ess == pytest.approx(1.828474, abs=5e-7)
    assert direct(log, PREDICTED).mean() == pytest.approx(0.494)
    assert doubly_robust(log, PREDICTED).mean() == pytest.approx(1.002)


def test_the_toy_as_one_estimate() -> None:
    found = estimate(toy(), PREDICTED, cap=2, least_ess=1, draws=200)
    assert (found.n, found.largest_weight, found.without_overlap) == (5, 5, 0.2)
    assert found.mean_weight == pytest.approx(1.41)
    assert found.dm is not None
    assert found.dr is not None
    figures = (found.ips, found.clipped_ips, found.snips, found.dm, found.dr)
    assert [figure.value for figure in figures] == pytest.approx([1.28, 0.68, 0.907801, 0.494, 1.002], abs=5e-7)
    assert all(figure.low <= figure.value <= figure.high for figure in figures)


def test_the_logging_router_itself_is_worth_what_it_got() -> None:
    rng = np.random.default_rng(1)
    policy = rng.dirichlet([1, 1], 200)
    action = rng.integers(2, size=200)
    reward = rng.random(200)
    log = Log.of(reward, action, policy[np.arange(200), action], policy)
    assert log.ess == pytest.approx(200)
    assert ips(log).mean() == pytest.approx(reward.mean())
    assert snips(log) == pytest.approx(reward.mean())


def test_every_estimator_finds_the_truth_within_its_interval() -> None:
    log, truth = drawn()
    found = estimate(log, np.full(3, 0.5), cap=1e9, draws=500)
    for figure in (found.ips, found.clipped_ips, found.snips, found.dr):
        assert figure is not None
        assert figure.low < truth < figure.high
        assert figure.high - figure.low < 0.2
    assert found.mean_weight == pytest.approx(1, abs=0.1)
    assert 0 < found.ess < found.n


def test_a_right_model_makes_doubly_robust_as_good_as_the_direct_method() -> None:
    rng = np.random.default_rng(2)
    truth, old, new = rng.random((500, 3)), rng.dirichlet([1, 1, 1], 500), rng.dirichlet([1, 1, 1], 500)
    action = rng.integers(3, size=500)
    rows = np.arange(500)
    log = Log.of(truth[rows, action], action, np.maximum(old[rows, action], 0.01), new)
    value = float((new * truth).sum(axis=1).mean())
    assert direct(log, truth).mean() == pytest.approx(value)
    assert doubly_robust(log, truth).mean() == pytest.approx(value)


def test_clipping_only_ever_takes_away() -> None:
    log, _ = drawn(300)
    values = [ips(log, cap).mean() for cap in (0.5, 1, 2, 5)]
    assert values == sorted(values)
    assert values[-1] <= ips(log).mean() + 1e-12


def test_without_predicted_rewards_there_is_no_model() -> None:
    log, _ = drawn(300)
    found = estimate(log, draws=50)
    assert (found.dm, found.dr) == (None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity": [0.5, None, 0.8, 0.1, None]}, "2 of 5 calls were logged without a propensity"),
        ({"propensity": [0.5, 0.0, 0.8, 0.1, 0.4]}, r"1 of 5 calls have a propensity outside \(0, 1\]"),
        ({"propensity": [0.5, -0.1, 0.8, 0.1, 0.4]}, "outside"),
        ({"propensity": [0.5, 1.1, 0.8, 0.1, 0.4]}, "outside"),
        ({"propensity": [0.5]}, "different lengths"),
        ({"reward": [1, 0, 0, 1, math.nan]}, "a reward is unknown"),
        ({"policy": [[0.5, 0.2, 0.1]] * 5}, "add up to 1"),
        ({"policy": [[1.5, -0.6, 0.1]] * 5}, "add up to 1"),
        ({"action": [0, 1, 0, 3, 1]}, "none of the new router's"),
        ({"reward": [], "action": [], "propensity": [], "policy": np.zeros((0, 3))}, "holds no calls"),
    ],
)
def test_a_log_that_cannot_be_weighted_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy(**changes)


def test_too_few_effective_calls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the 5 logged calls tell as much as 1\.8 calls of the new router"):
        estimate(toy(), PREDICTED)


def test_no_overlap_at_all_is_refused_whatever_is_asked_for() -> None:
    log = toy(policy=[[0, 0.5, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]])
    assert log.ess == 0
    with pytest.raises(ValueError, match="log more"):
        estimate(log, least_ess=0)
    with pytest.raises(ValueError, match="never have asked"):
        snips(log)


def test_predicted_rewards_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="predicted rewards"):
        direct(toy(), [0.5, 0.5])
    with pytest.raises(ValueError, match="predicted rewards"):
        doubly_robust(toy(), [0.5, math.nan, 0.5])
