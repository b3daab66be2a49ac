"""What the pages of routers say where there is no config, or a router that needs embeddings."""

from __future__ import annotations

import html

from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.test_embedders import by_model, mock_vectors
from tests.gateway.test_embedders import trained as embedded
from tests.serving import StartProxy, models


async def test_an_embedding_may_cost(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    router = embedded("model:embed@256", mock_vectors())
    proxy = await start_proxy(by_model(openai_server.url, deadline=10.0), routers={"knn": router})
    page = (await proxy.http.get("/ui/routers/playground")).text
    assert "but for the embeddings that knn needs (model:embed@256): computing one may cost" in page
    asked = (await proxy.http.get("/ui/routers/playground", params={"prompt": "moon"})).text
    assert ">embeds<" in asked
    assert "needs embeddings" in (await proxy.http.get("/ui/routers")).text


async def test_without_a_config(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    page = html.unescape((await proxy.http.get("/ui/routers")).text)
    assert "hullspeed tune --models small,large --max-cost 5.00" in page
    assert "names no router, and this one needs no training" in page
    assert "no call" in page
