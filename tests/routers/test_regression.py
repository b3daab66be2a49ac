"""Ridge in closed form: against scikit-learn, and leave-one-out against really leaving out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import linear_model

from routers.regression import Ridge


def world(n: int, p: int, o: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, p)) + 3
    return inputs, inputs @ rng.normal(size=(p, o)) + rng.normal(size=(n, o)) + 5


@pytest.mark.parametrize(("n", "p", "alpha"), [(40, 5, 1.0), (40, 5, 1000.0), (8, 20, 0.5)])
def test_it_is_the_ridge_of_scikit_learn(n: int, p: int, alpha: float) -> None:
    inputs, targets = world(n, p, 3)
    line = Ridge(inputs).fit(targets, alpha)
    expected = linear_model.Ridge(alpha=alpha).fit(inputs, targets).predict(inputs)
    np.testing.assert_allclose(line.at_many(inputs), expected, rtol=1e-8)
    np.testing.assert_allclose(line.at(inputs[3]), expected[3], rtol=1e-8)


@pytest.mark.parametrize(("n", "p", "alpha"), [(20, 4, 2.0), (6, 15, 3.0)])
def test_left_out_is_a_fit_without_the_row(n: int, p: int, alpha: float) -> None:
    inputs, targets = world(n, p, 2, seed=1)
    left_out = Ridge(inputs).left_out(targets, alpha)
    for row in range(n):
        others = np.arange(n) != row
        again = linear_model.Ridge(alpha=alpha).fit(inputs[others], targets[others])
        np.testing.assert_allclose(left_out[row], again.predict(inputs[row : row + 1])[0], rtol=1e-6)


def test_one_row_foretells_itself() -> None:
    inputs, targets = world(1, 3, 2)
    np.testing.assert_allclose(Ridge(inputs).fit(targets, 1.0).at(inputs[0]), targets[0])
    assert np.isfinite(Ridge(inputs).left_out(targets, 1.0)).all()
