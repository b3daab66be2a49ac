"""Several seeds: what is reseeded, what stays, and what the spread is of."""

from __future__ import annotations

import io
import json
import statistics

import numpy as np
import pytest
from rich.console import Console

from app.bench.figures import Report
from app.bench.plan import Plan, RouterSpec
from app.bench.render_html import render_html
from app.bench.render_terminal import render_leaderboard
from app.bench.run import score
from app.bench.seeds import score_seeds
from app.core.errors import ConfigError
from tests.bench.tables import small_suite

SEEDS = (0, 1, 2)


def plan(*routers: str, seed: int = 9) -> Plan:
    """60 prompts of two kinds: on one the cheap model is as good, on the other it is not."""
    rng = np.random.default_rng(0)
    kinds = ["easy", "hard"] * 30
    right = [[0.9, 0.9] if kind == "easy" else [0.1, 0.9] for kind in kinds]
    suite = small_suite((rng.random((60, 2)) < right).astype(float), [[0.001, 0.01]] * 60, categories=kinds)
    return Plan(suite, tuple(RouterSpec.parse(text) for text in routers), (0.0, 0.5, 1.0), seed=seed)


@pytest.fixture(scope="module")
def report() -> Report:
    return score_seeds(plan("length", "cheapest"), SEEDS)


def test_the_spread_is_that_of_the_seeds_one_by_one(report: Report) -> None:
    alone = [score(plan("length", "cheapest", seed=seed)).routers for seed in SEEDS]
    for place, router in enumerate(report.routers):
        found = router.seeds
        assert found is not None
        deltas = [routers[place].delta_aiq for routers in alone]
        values = [delta.value for delta in deltas if delta is not None]
        assert (found.n, found.seeds) == (3, SEEDS)
        assert list(found.delta_aiq.values) == pytest.approx(values)
        assert found.delta_aiq.mean == pytest.approx(statistics.mean(values))
        assert found.delta_aiq.sd == pytest.approx(statistics.stdev(values))
        assert found.aiq.mean == pytest.approx(statistics.mean(routers[place].aiq or 0 for routers in alone))
        assert found.delta_aiq.above == sum(delta.low > 1e-9 for delta in deltas if delta is not None)
    cheapest = report.routers[1].seeds
    assert cheapest is not None
    assert len(set(cheapest.delta_aiq.values)) > 1  # other seeds, other items


def test_all_other_figures_are_those_of_the_first_seed(report: Report) -> None:
    first = score(plan("length", "cheapest", seed=SEEDS[0]))
    assert report.seed == 0
    assert [router.delta_aiq for router in report.routers] == [router.delta_aiq for router in first.routers]
    assert report.headline == first.headline
    assert any("Seeds 0, 1, 2:" in note for note in report.notes)


def test_the_fitted_baselines_have_their_spread_too(report: Report) -> None:
    assert report.baselines is not None
    assert report.baselines.length is not None
    assert report.baselines.know_dataset is not None
    assert report.baselines.length.seeds is not None
    assert report.baselines.know_dataset.seeds is not None
    assert report.baselines.know_dataset.seeds.n == 3


def test_a_fit_gets_the_seed_unless_it_was_given_one() -> None:
    found = score_seeds(plan("length", "length:seed=7", "cheapest"), (4,))
    assert [router.params for router in found.routers] == [{"seed": 4}, {"seed": 7}, {}]


def test_one_seed_has_no_standard_deviation() -> None:
    found = score_seeds(plan("cheapest"), (5,)).routers[0].seeds
    assert found is not None
    assert (found.n, found.aiq.sd, found.delta_aiq.sd) == (1, None, None)


def test_each_seed_is_told_when_it_is_done() -> None:
    done: list[int] = []
    score_seeds(plan("cheapest"), (3, 1), on_done=done.append)
    assert done == [3, 1]


def test_what_cannot_be_fitted_anew_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    from routers.length import LengthRouter

    folder = tmp_path_factory.mktemp("artifact") / "fitted"
    given = plan("cheapest")
    assert given.outcomes is not None
    LengthRouter.fit(given.outcomes).save(folder)
    with pytest.raises(ConfigError, match="`fitted` is an artifact, fitted once"):
        score_seeds(plan(str(folder)), SEEDS)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_no_seeds_or_doubled_ones_are_refused(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        score_seeds(plan("cheapest"), seeds)


def test_the_spread_is_shown_and_survives_json(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report
    found = json.loads(report.to_json())["routers"][0]["seeds"]
    assert list(found) == ["n", "seeds", "aiq", "delta_aiq"]
    assert {"mean", "sd", "values", "above"} == found["delta_aiq"].keys()
    out = io.StringIO()
    render_leaderboard(report, Console(file=out, width=140))
    seeds = report.routers[0].seeds
    assert seeds is not None
    assert f"± {seeds.delta_aiq.sd:.4f}, above 0 in {seeds.delta_aiq.above} of 3" in out.getvalue()
    document = render_html(report)
    assert "Over 3 seeds" in document
    assert f"<td>{seeds.delta_aiq.above} of 3</td>" in document
    assert "Over 3 seeds" not in render_html(score(plan("cheapest")))
