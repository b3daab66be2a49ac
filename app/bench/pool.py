"""The recorded models of a suite as a drawing: quality against cost, and the hull that blind mixing reaches."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from app.bench.cost_plane import CostPlane
from app.bench.curves import ndch
from app.bench.wording import money
from app.store.queries.suites import RecordedModel


def hull_of(models: Sequence[RecordedModel]) -> list[RecordedModel]:
    """The models on the hull of their means, ascending in cost."""
    known = [model for model in models if model.quality is not None and model.cost is not None]
    if not known:
        return []
    hull = ndch([model.cost or 0.0 for model in known], [model.quality or 0.0 for model in known])
    return [known[place] for place in hull.index]


def pool_figure(models: Sequence[RecordedModel]) -> dict[str, Any]:
    """As plotly.js takes it, with the style's names for colours."""
    known = [model for model in models if model.quality is not None and model.cost is not None]
    costs = [model.cost or 0.0 for model in known]
    plane = CostPlane.of(costs or [0.0])
    return {
        "data": [
            {
                "name": "hull",
                "mode": "lines",
                "line": {"color": "--strong", "dash": "dot", "width": 1.5},
                "hoverinfo": "skip",
                **plane.line([(model.cost or 0.0, model.quality or 0.0) for model in hull_of(known)]),
            },
            {
                "name": "models",
                "mode": "markers+text",
                "marker": {"color": "--c0", "size": 9},
                "textposition": plane.names(costs, "top"),
                "cliponaxis": False,
                "x": [1000 * cost for cost in costs],
                "y": [model.quality for model in known],
                "text": [html.escape(model.model[:30], quote=False) for model in known],
                "hovertext": [
                    f"<b>{html.escape(model.model, quote=False)}</b><br>quality {model.quality:.3f}"
                    f"<br>${money(1000 * (model.cost or 0))} per 1k"
                    for model in known
                ],
                "hoverinfo": "text",
            },
        ],
        "layout": {
            "showlegend": False,
            "hovermode": "closest",
            "margin": {"l": 52, "r": 24, "t": 20, "b": 44},
            "xaxis": plane.axis("USD per 1,000 calls"),
            "yaxis": {"title": {"text": "quality", "standoff": 12}},
        },
    }
