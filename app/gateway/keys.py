"""Whether each model has the key that its provider asks for; never the key itself."""

from __future__ import annotations

import os
from typing import Literal

from app.gateway.catalog import Model

Key = Literal["set", "missing", "not needed", "looked up by litellm"]
KEYLESS = ("hosted_vllm", "lm_studio", "openai_like")
"""Providers that serve without a key as a rule."""
INSIDE = ("recorded", "simulated")
"""Upstreams that reach nobody."""


def key_state(model: Model) -> Key:
    """What is known of a deployment's key without asking its provider."""
    if model.api_key is not None:
        return "set"
    if model.upstream in INSIDE:
        return "not needed"
    if model.upstream == "direct":
        return "not needed" if model.provider in KEYLESS else "missing"
    if model.key_name is not None and os.environ.get(model.key_name):
        return "set"
    return "missing" if model.provider == "anthropic" else "looked up by litellm"
