"""The catalog: which models there are, how each is reached, what it costs and can do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.errors import ModelNotFound
from app.core.types import Price
from app.gateway.fallbacks import Fallbacks
from app.gateway.wildcards import Wildcards
from routers import Candidate

CHAT = "/v1/chat/completions"
ENDPOINTS: Mapping[str, str] = {
    "chat": CHAT,
    "embedding": "/v1/embeddings",
    "completion": "/v1/completions",
    "responses": "/v1/responses",
}
"""Where a model of each mode is asked."""
MESSAGES = "/v1/messages"


@dataclass(frozen=True)
class Model:
    """One entry of the catalog."""

    name: str
    """What clients and routers call it."""
    upstream: str
    """Which upstream reaches it: `direct`, `litellm`, `recorded` or `simulated`."""
    target: str
    """What the upstream calls it."""
    provider: str = ""
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    key_name: str | None = None
    """Where the key comes from, for messages: an environment variable, or `api_key in the config`."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Beside the key: what no reply, row or log may hold."""
    price: Price | None = None
    context_window: int | None = None
    max_output: int | None = None
    capabilities: frozenset[str] | None = None
    """None where nothing is known: the model is then taken to be able to do anything."""
    mean_cost: float | None = None
    """Observed mean USD per call, where there are recorded outcomes."""
    timeout: float | None = None
    first_token_timeout: float | None = None
    """Seconds until the first content of a stream; None: what holds for all."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request that does not go through litellm."""
    endpoints: frozenset[str] = frozenset({CHAT})
    """What it can be asked at. Chat may be translated on the way; at all others its provider speaks the dialect."""
    dropped: frozenset[str] = frozenset()
    """Parameters that are never sent."""
    drop_params: bool = False
    """Whether a parameter that the model turns out not to support is left out rather than fail the request."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Extra parameters of `litellm_params`, sent with every request."""
    max_inflight: int | None = None
    """Most calls at once."""
    rpm: int | None = None
    """Most requests a minute."""
    tpm: int | None = None
    """Most tokens a minute."""
    description: str | None = None

    def as_candidate(self) -> Candidate:
        """The model as a router sees it."""
        return Candidate(
            model=self.name,
            input_price=None if self.price is None else float(self.price.input),
            output_price=None if self.price is None else float(self.price.output),
            mean_cost=self.mean_cost,
            context_window=self.context_window,
            max_output=self.max_output,
            capabilities=self.capabilities or frozenset(),
        )


class Catalog(Mapping[str, Model]):
    """Models by name, in the order of the configuration; several entries of one name are deployments of one model."""

    def __init__(
        self,
        models: Iterable[Model],
        source: str,
        *,
        aliases: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        wildcards: Wildcards | None = None,
        fallbacks: Fallbacks | None = None,
    ) -> None:
        """`aliases`: further names of models, of which `hidden` are not shown. Routers see neither aliases nor
        wildcards."""
        self._deployments: dict[str, tuple[Model, ...]] = {}
        for model in models:
            self._deployments[model.name] = (*self._deployments.get(model.name, ()), model)
        # Prices, window and capabilities are those of the first.
        self._models = {name: deployments[0] for name, deployments in self._deployments.items()}
        self.source = source
        """Where the catalog comes from, for people."""
        self.aliases = aliases or {}
        self.shown_aliases = {name: self.aliases[name] for name in self.aliases.keys() - set(hidden)}
        self.wildcards = wildcards or Wildcards()
        self.fallbacks = fallbacks or Fallbacks()
        self.candidates = {model.name: model.as_candidate() for model in self._models.values()}

    def __getitem__(self, name: str) -> Model:
        return self.deployments(name)[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def deployments(self, name: str) -> tuple[Model, ...]:
        """The entries that share a name, in order; made now where a wildcard stands for it. Raises `KeyError`."""
        found = self._deployments.get(name) or self.wildcards.find(name)
        if not found:
            raise KeyError(name)
        return found

    def lists(self, name: str) -> bool:
        """Whether the configuration itself has the name, as a model or an alias."""
        return name in self._models or name in self.aliases

    def label(self, name: str) -> str:
        """The name in metrics."""
        return name if name in self._models else self.wildcards.label(name) or name

    def find(self, name: str) -> Model:
        """The model that a client calls `name`; raises `ModelNotFound` that says what there is."""
        model = self.get(self.aliases.get(name, name))
        if model is None:
            near = difflib.get_close_matches(name, [*self._models, *self.aliases, "auto"], n=1, cutoff=0.5)
            hint = f"Did you mean `{near[0]}`?" if near else "GET /v1/models lists what there is."
            raise ModelNotFound(f"The model `{name}` does not exist here. {hint}", param="model")
        return model
