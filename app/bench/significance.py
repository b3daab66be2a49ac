"""Is a difference shown? A router's best point, item by item, against what it must beat, corrected for many routers.

The bootstrap's interval decides: where it holds 0, no difference is shown. The p values beside it say how surely, and
Holm's correction takes back what only looking at many routers has made likely. Three questions, each corrected by
itself over the routers of a report: ΔAIQ over the zero router, the best single model, the zero router at equal cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from app.bench import wording
from app.bench.curves import Floats
from app.bench.figures import Estimate, PairedTest, RouterReport
from app.bench.statistics import holm, interval, paired_p


def paired_test(against: str, router: Floats, other: Floats, samples: Floats, *, seed: int) -> PairedTest:
    """A router's quality on every item against another's, both of shape (n,), in [0, 1].

    `samples`: the mean difference of each draw of the bootstrap, shape (draws,); `seed` seeds the permutations.
    """
    low, high = interval(samples)
    p, counted = paired_p(router, other, seed=seed)
    return PairedTest(
        against=against,
        n=len(router),
        difference=Estimate(value=float((router - other).mean()), low=low, high=high),
        test="permutation" if counted is None else "mcnemar",
        p=p,
        only_router=None if counted is None else counted.only_first,
        only_other=None if counted is None else counted.only_second,
    )


def corrected(routers: Sequence[RouterReport]) -> list[RouterReport]:
    """The reports with Holm's correction over all of them, and the verdict as a sentence that knows it."""
    deltas = _holm(routers, lambda router: router.delta_p)
    singles = _holm(routers, lambda router: router.against_best_single.p if router.against_best_single else None)
    zeros = _holm(routers, lambda router: router.against_zero.p if router.against_zero else None)
    return [
        _concluded(
            msgspec.structs.replace(
                router,
                delta_p_holm=delta,
                against_best_single=_with(router.against_best_single, single),
                against_zero=_with(router.against_zero, zero),
            ),
            len(routers),
        )
        for router, delta, single, zero in zip(routers, deltas, singles, zeros, strict=True)
    ]


def _holm(routers: Sequence[RouterReport], p_value: Callable[[RouterReport], float | None]) -> list[float | None]:
    """The corrected p values; a router that has none is no comparison and counts for none."""
    found = [p_value(router) for router in routers]
    adjusted = iter(holm([value for value in found if value is not None]))
    return [None if value is None else next(adjusted) for value in found]


def _with(test: PairedTest | None, p_holm: float | None) -> PairedTest | None:
    return None if test is None else msgspec.structs.replace(test, p_holm=p_holm)


def _concluded(router: RouterReport, count: int) -> RouterReport:
    return msgspec.structs.replace(router, conclusion=wording.conclusion(router, count))
