"""Keyless models that answer by themselves, for the demo: see `app.gateway.simulated_models` for what they know.

They take the time they say they take, scaled, so that a demo shows latencies without making anybody wait for them.
"""

from __future__ import annotations

import asyncio

from app.gateway.catalog import Catalog, Model
from app.gateway.completions import Completion
from app.gateway.simulated_models import MODELS, AnswerKey, simulate
from app.gateway.upstream import UpstreamReply, UpstreamRequest, UpstreamStream

SOURCE = "the simulated models of the demo"


def simulated_catalog() -> Catalog:
    """The simulated pool with its prices."""
    return Catalog(
        (
            Model(
                name=model.name,
                upstream="simulated",
                target=model.name,
                provider="simulated",
                price=model.price,
                description=model.description,
            )
            for model in MODELS.values()
        ),
        SOURCE,
    )


class SimulatedUpstream:
    """Answers the questions it has a key for, and says that it is simulated to everything else."""

    def __init__(self, key: AnswerKey, *, pace: float = 1.0) -> None:
        """`pace`: seconds of real time per simulated second."""
        self.key = key
        self.pace = pace

    async def warm(self) -> None:
        """Nothing is to be loaded."""

    async def _answer(self, request: UpstreamRequest) -> Completion:
        reply = simulate(MODELS[request.model.target], request.prompt, self.key)
        if self.pace:
            await asyncio.sleep(reply.seconds * self.pace)
        return Completion(request.model.target, reply.text, reply.prompt_tokens, reply.completion_tokens)

    async def complete(self, request: UpstreamRequest) -> UpstreamReply:
        return UpstreamReply((await self._answer(request)).body())

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        return UpstreamStream((await self._answer(request)).stream())

    async def close(self) -> None:
        """Nothing is held open."""
