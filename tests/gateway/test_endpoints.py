"""What a model can be asked at: its provider's own dialect, a chat, or something else altogether."""

from __future__ import annotations

from typing import Any

import pytest

from app.gateway.catalog import CHAT
from app.gateway.configured import catalog_from_environment
from app.gateway.pricing import Listing
from app.gateway.providers import resolve

RESPONSES, MESSAGES, EMBEDDINGS = "/v1/responses", "/v1/messages", "/v1/embeddings"


def endpoints(model: str, environ: dict[str, str] | None = None, **given: Any) -> set[str]:
    return set(resolve("m", model, environ=environ or {}, **given).endpoints)


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        ("openai/gpt-new", {}, {CHAT, RESPONSES}),
        # A server that looks like OpenAI's: only chat is sure.
        ("openai/gpt-new", {"base_url": "http://localhost:1/v1"}, {CHAT}),
        ("hosted_vllm/x", {"base_url": "http://localhost:1/v1"}, {CHAT}),
        ("hosted_vllm/x", {"base_url": "http://a/v1", "supported_endpoints": [CHAT, MESSAGES]}, {CHAT, MESSAGES}),
        ("groq/x", {}, {CHAT}),
        ("openai/x", {"listing": Listing(mode="embedding")}, {EMBEDDINGS}),
        ("openai/x", {"mode": "embedding", "base_url": "http://a/v1"}, {EMBEDDINGS}),
        ("openai/x", {"listing": Listing(mode="responses")}, {RESPONSES}),
        ("openai/x", {"listing": Listing(mode="completion")}, {"/v1/completions"}),
        ("openai/x", {"listing": Listing(mode="image_generation")}, set()),
        ("anthropic/claude-x", {}, {CHAT, MESSAGES}),
        ("anthropic/claude-x", {"base_url": "http://a"}, {CHAT, MESSAGES}),
        ("gemini/x", {}, {CHAT}),
        ("gemini/x", {"supported_endpoints": [RESPONSES]}, {CHAT}),
        ("voyage/x", {"mode": "embedding"}, {EMBEDDINGS}),
        # litellm asks such models for chats in its own way.
        ("text-completion-openai/x", {"listing": Listing(mode="completion")}, {CHAT}),
    ],
)
def test_endpoints(model: str, given: dict[str, Any], expected: set[str]) -> None:
    assert endpoints(model, **given) == expected


def test_the_environments_address_counts() -> None:
    assert endpoints("openai/x", {"OPENAI_BASE_URL": "http://a/v1"}) == {CHAT}
    assert resolve("m", "anthropic/x", environ={"ANTHROPIC_BASE_URL": "http://a"}).base_url == "http://a"


def test_well_known_models() -> None:
    """Those that a key alone brings are asked in their own dialects, with that key."""
    catalog = catalog_from_environment({"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a"})
    for model in catalog.values():
        native, key = (RESPONSES, "o") if model.provider == "openai" else (MESSAGES, "a")
        assert {CHAT, native} <= model.endpoints
        assert model.api_key == key
