"""The recorded models of a suite as a drawing: quality against cost, and the hull that blind mixing reaches."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

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
    hull = hull_of(known)
    free = any(not model.cost for model in known)
    return {
        "data": [
            {
                "name": "hull",
                "mode": "lines",
                "line": {"color": "--strong", "dash": "dot", "width": 1.5},
                "hoverinfo": "skip",
                "x": [1000 * (model.cost or 0) for model in hull],
                "y": [model.quality for model in hull],
            },
            {
                "name": "models",
                "mode": "markers+text",
                "marker": {"color": "--c0", "size": 9},
                "textposition": "top center",
                "cliponaxis": False,
                "x": [1000 * (model.cost or 0) for model in known],
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
            "xaxis": {"title": {"text": "USD per 1,000 requests"}, "type": "linear" if free else "log"},
            "yaxis": {"title": {"text": "mean quality"}},
        },
    }
