"""The hull of points in the cost-quality plane, and its mean height: what a router can reach by mixing its settings.

The non-decreasing concave hull and AIQ are RouterBench's (Hu et al. 2024, arXiv:2403.12031, section 3.3), between the
fixed limits that the bench uses too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def hull(cost: ArrayLike, quality: ArrayLike) -> list[int]:
    """Positions of the points on the non-decreasing concave hull, ascending in cost; both of shape (k,), k ≥ 1."""
    import numpy as np

    costs, qualities = np.asarray(cost, dtype=np.float64).tolist(), np.asarray(quality, dtype=np.float64).tolist()
    chain: list[int] = []
    for point in sorted(range(len(costs)), key=lambda index: (costs[index], -qualities[index])):
        if chain and qualities[point] <= qualities[chain[-1]]:
            continue
        while len(chain) > 1:
            left, middle = chain[-2:]
            rise, run = qualities[point] - qualities[left], costs[point] - costs[left]
            if (qualities[middle] - qualities[left]) * run > rise * (costs[middle] - costs[left]):
                break
            chain.pop()
        chain.append(point)
    return chain


def mean_height(cost: ArrayLike, quality: ArrayLike, low: float, high: float, floor: float) -> float:
    """Mean height over [low, high] of the hull of the points, shape (k,), and of the cheapest model at (low, floor).

    The height at `low` where there is no width.
    """
    import numpy as np

    costs = np.append(np.asarray(cost, dtype=np.float64), low)
    qualities = np.append(np.asarray(quality, dtype=np.float64), floor)
    vertices = hull(costs, qualities)
    x, y = costs[vertices], qualities[vertices]
    if high <= low:
        return float(y[x <= low].max(initial=floor))
    marks = np.unique(np.clip(np.concatenate(([low, high], x)), low, high))
    return float(np.trapezoid(np.interp(marks, x, y), marks) / (high - low))
