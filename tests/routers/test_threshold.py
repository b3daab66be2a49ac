"""threshold: who wins, from which probability the strong model is asked, and the calibration of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from routers import Candidate, Query
from routers.logistic import fit_logistic, probability
from routers.threshold import ThresholdRouter
from tests.routers.collection import fitted, table
from tests.routers.toy import WORDS, ask

PROMPTS = tuple(ask(text) for text in table(240, seed=9).prompts)


def router() -> ThresholdRouter:
    return fitted(ThresholdRouter)


def share(of: ThresholdRouter, tradeoff: float, prompts: tuple[Query, ...] = PROMPTS) -> float:
    asked = [of.route(dataclasses.replace(prompt, tradeoff=tradeoff)).ranking[0].model for prompt in prompts]
    return sum(model == "large" for model in asked) / len(asked)


def test_the_strong_model_is_asked_where_it_wins() -> None:
    """`small` can do sums, `large` everything."""
    code, sums = (router().win_probability(ask(" ".join(WORDS[topic]))) for topic in ("code", "sum"))
    assert code > 0.6 > 0.3 > sums
    assert router().route(ask(" ".join(WORDS["code"]))).ranking[0].model == "large"
    assert router().route(ask(" ".join(WORDS["sum"]))).ranking[0].model == "small"


def test_the_tradeoff_moves_the_share_of_strong_calls_evenly() -> None:
    full = table()
    trained = tuple(ask(text) for text in full.prompts)
    for tradeoff in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0):
        assert share(router(), tradeoff, trained) == pytest.approx(1 - tradeoff, abs=0.01)


@pytest.mark.parametrize("wanted", [0.1, 0.3, 0.8])
def test_calibration_gives_the_share_at_a_tradeoff_of_a_half(wanted: float) -> None:
    threshold = router().calibrate(PROMPTS, wanted)
    calibrated = router().at_threshold(threshold)
    assert share(calibrated, 0.5) == pytest.approx(wanted, abs=1 / len(PROMPTS))
    assert share(calibrated, 0.0) == 1.0
    assert share(calibrated, 1.0) == 0.0
    shares = [share(calibrated, tradeoff) for tradeoff in np.linspace(0, 1, 11)]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("wanted", [0.0, 1.0])
def test_calibration_reaches_none_and_all(wanted: float) -> None:
    assert share(router().at_threshold(router().calibrate(PROMPTS, wanted)), 0.5) == wanted


@given(st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_calibration_is_never_further_off_than_half_a_prompt_where_all_differ(wanted: float) -> None:
    few = PROMPTS[:21]
    wins = [router().win_probability(prompt) for prompt in few]
    assert len(set(wins)) == len(wins)
    threshold = router().calibrate(few, wanted)
    assert abs(sum(win >= threshold for win in wins) / 21 - wanted) <= 0.5 / 21 + 1e-9


@pytest.mark.parametrize(("prompts", "wanted", "named"), [((), 0.5, "no prompts"), (PROMPTS, 1.5, "share of strong")])
def test_calibration_says_what_it_needs(prompts: tuple[Query, ...], wanted: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        router().calibrate(prompts, wanted)


def test_one_of_the_two_alone_is_asked_and_without_both_it_declines() -> None:
    text = " ".join(WORDS["sum"])
    alone = router().route(ask(text, (Candidate("poet"), Candidate("large"))))
    assert [choice.model for choice in alone.ranking] == ["large", "poet"]
    assert alone.reason == "only model available"
    assert router().route(ask(text, (Candidate("poet"),))).reason == "neither model available"
    assert router().named_models() == ("large", "small")


def test_without_names_the_best_and_the_cheapest_are_the_two() -> None:
    by_default = ThresholdRouter.fit(table())
    assert (by_default.strong, by_default.weak) == ("large", "small")
    assert ThresholdRouter.fit(table(), strong="small").weak == "coder"
    with pytest.raises(ValueError, match="'weak': 'nobody' has no outcomes; there are small"):
        ThresholdRouter.fit(table(), weak="nobody")


def test_a_pair_that_never_met_is_an_error() -> None:
    full = table(30)
    quality = full.quality.copy()
    quality[:15, 0] = quality[15:, 3] = np.nan
    with pytest.raises(ValueError, match="no prompt has outcomes of both 'large' and 'small'"):
        ThresholdRouter.fit(dataclasses.replace(full, quality=quality), strong="large", weak="small")


def test_a_model_that_always_wins_or_never_does_is_still_a_probability() -> None:
    full = table(40)
    for better, worse in ((1.0, 0.0), (0.0, 1.0)):
        quality = np.full_like(full.quality, worse)
        quality[:, 3] = better
        made = ThresholdRouter.fit(dataclasses.replace(full, quality=quality), strong="large", weak="small")
        assert 0 < made.win_probability(ask("add apples")) < 1
        assert (made.win_probability(ask("add apples")) > 0.9) == (better == 1.0)


@pytest.mark.parametrize("alpha", [0.1, 3.0])
def test_the_logistic_ridge_is_scikit_learns(alpha: float) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 5)) + 2
    targets = (rng.random(300) < probability(inputs @ np.array([1.0, -1, 0.5, 0, 0]) - 1)).astype(float)
    line = fit_logistic(inputs, targets, alpha)
    theirs = LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=1000).fit(inputs, targets)
    assert line.weights[:, 0] == pytest.approx(theirs.coef_[0], abs=1e-5)
    assert line.offsets[0] == pytest.approx(theirs.intercept_[0], abs=1e-5)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_logistic_ridge_stands_where_the_slope_is_nothing(n: int, p: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, targets, counts = rng.normal(size=(n, p)), rng.random(n), rng.uniform(0.1, 3, n)
    line = fit_logistic(inputs, targets, 0.7, counts)
    missed = counts * (probability(line.at_many(inputs)[:, 0]) - targets)
    if np.ptp(targets) > 0:
        assert inputs.T @ missed + 0.7 * line.weights[:, 0] == pytest.approx(0, abs=1e-5)
        assert missed.sum() == pytest.approx(0, abs=1e-5)
