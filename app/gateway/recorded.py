"""Answers from a suite's recorded outcomes: free, repeatable, with the tokens and the cost that were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import numpy as np
from numpy.typing import NDArray

from app.gateway.catalog import Catalog, Model
from app.gateway.completions import Completion
from app.gateway.upstream import UpstreamError, UpstreamReply, UpstreamRequest, UpstreamStream


class RecordedUpstream:
    """Looks a reply up by the item the client names, or else by the text of its last user message."""

    def __init__(
        self,
        *,
        items: Sequence[str],
        prompts: Sequence[str],
        models: Sequence[str],
        replies: NDArray[np.object_],
        prompt_tokens: NDArray[np.int64],
        completion_tokens: NDArray[np.int64],
        cost: NDArray[np.float64],
    ) -> None:
        """`items`, `prompts`: length n; `models`: length m; the rest: shape (n, m), `cost` in USD, NaN = missing."""
        self._row_of_item = {item: row for row, item in enumerate(items)}
        # Of items that share a prompt the first one answers a client that names none.
        self._row_of_prompt = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
        self._column = {model: column for column, model in enumerate(models)}
        self._replies = replies
        self._prompt_tokens = prompt_tokens
        self._completion_tokens = completion_tokens
        self._cost = cost

    def catalog(self, source: str) -> Catalog:
        """The recorded models. They have no price list: each outcome states its own cost."""
        known = ~np.isnan(self._cost)
        counts = known.sum(axis=0)
        means = np.where(known, self._cost, 0.0).sum(axis=0) / np.maximum(counts, 1)
        return Catalog(
            (
                Model(
                    name,
                    "recorded",
                    name,
                    provider="recorded",
                    mean_cost=float(means[column]) if counts[column] else None,
                    description="answers from recorded outcomes",
                )
                for name, column in self._column.items()
            ),
            source,
        )

    def _find(self, request: UpstreamRequest) -> Completion:
        column = self._column[request.model.target]
        row = self._row_of_item.get(request.item) if request.item is not None else None
        if row is None:
            row = self._row_of_prompt.get(request.prompt)
        if row is None:
            raise _missing("No outcome is recorded for this prompt; ask one of the suite's items.")
        cost = self._cost.item(row, column)
        if isnan(cost):
            raise _missing(f"No outcome of model `{request.model.name}` is recorded for this item.")
        return Completion(
            request.model.name,
            self._replies.item(row, column) or "",
            self._prompt_tokens.item(row, column),
            self._completion_tokens.item(row, column),
            cost,
        )

    async def warm(self) -> None:
        """Nothing is to be loaded."""

    async def complete(self, request: UpstreamRequest) -> UpstreamReply:
        return UpstreamReply(self._find(request).body())

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        return UpstreamStream(self._find(request).stream())

    async def close(self) -> None:
        """Nothing is held open."""


def _missing(message: str) -> UpstreamError:
    return UpstreamError(
        message,
        status=404,
        type="invalid_request_error",
        code="outcome_not_recorded",
        next_model=False,
        retry=False,
        blame="nobody",
    )
