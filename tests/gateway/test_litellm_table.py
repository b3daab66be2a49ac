"""The catalog's table of OpenAI-speaking providers says what litellm says, so that a config means the same to both."""

from __future__ import annotations

import os

import pytest

from app.gateway.direct import DirectUpstream
from app.gateway.litellm import LitellmUpstream
from app.gateway.providers import OPENAI_SPEAKING

pytestmark = pytest.mark.xdist_group("litellm")  # its import takes seconds and much memory: once is enough


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without keys and URLs of providers."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL", "_TOKEN")):
            monkeypatch.delenv(name)


async def _resolved(provider: str) -> tuple[str, str | None, str | None]:
    """Provider, key and base URL as litellm works them out."""
    await LitellmUpstream(DirectUpstream()).warm()
    import litellm

    target, resolved, key, url = litellm.get_llm_provider(model=f"{provider}/some-model")
    assert target == "some-model"
    return resolved, key, url


@pytest.mark.parametrize("provider", OPENAI_SPEAKING)
async def test_base_urls(provider: str) -> None:
    resolved, _, url = await _resolved(provider)
    assert resolved == provider
    if url is not None:
        assert OPENAI_SPEAKING[provider][0] == url


@pytest.mark.parametrize("provider", OPENAI_SPEAKING)
async def test_keys(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable of the table is one that litellm reads, and where several are set both take the same."""
    _, without, _ = await _resolved(provider)
    names = OPENAI_SPEAKING[provider][1]
    # Set from the last to the first, each must win over those after it.
    for name in reversed(names):
        monkeypatch.setenv(name, f"key of {name}")
        _, key, _ = await _resolved(provider)
        if key is None and without is None:
            pytest.skip("litellm reads this provider's key elsewhere")
        assert key == f"key of {name}"
