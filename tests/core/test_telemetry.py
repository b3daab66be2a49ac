"""Traces and metrics as a real collector gets them over HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.telemetry import MOST_WAITING, Telemetry, is_wanted, open_telemetry
from app.main import Proxy, Sinks
from tests.fakes.collector import Collector, attributes
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import HttpError
from tests.serving import Running, StartProxy, models
from tests.store.samples import NOW, full_call, small_call

BOTH = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names."""
    with Collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=hulls")
        yield found


async def exported(running: Running) -> None:
    """Have everything sent, as at the end of the process."""
    assert running.proxy.telemetry is not None
    running.proxy.telemetry.close()


async def test_a_call_is_a_span_with_one_for_each_attempt(
    start_proxy: StartProxy, openai_server: FakeOpenAI, collector: Collector
) -> None:
    openai_server.on("small-target", HttpError(500))
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    headers = {"traceparent": PARENT, "x-hullspeed-session": "s1"}
    reply = await proxy.chat("auto/cheapest", "a secret prompt", headers=headers)
    assert reply.headers["x-hullspeed-model"] == "large"
    await exported(proxy)
    call, failed, answered = sorted(collector.spans, key=lambda span: (span.start_time_unix_nano, span.name))
    assert call.name == "chat auto/cheapest"
    assert call.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert call.parent_span_id.hex() == "b7ad6b7169203331"
    assert {span.trace_id for span in (failed, answered)} == {call.trace_id}
    assert {span.parent_span_id for span in (failed, answered)} == {call.span_id}
    assert [span.kind for span in (call, failed, answered)] == [2, 3, 3], "server, client, client"
    assert call.start_time_unix_nano <= failed.start_time_unix_nano < failed.end_time_unix_nano
    assert failed.end_time_unix_nano <= answered.start_time_unix_nano < answered.end_time_unix_nano
    assert answered.end_time_unix_nano <= call.end_time_unix_nano
    said = attributes(call)
    assert said["gen_ai.operation.name"] == "chat"
    assert (said["gen_ai.request.model"], said["gen_ai.response.model"]) == ("auto/cheapest", "large")
    assert said["gen_ai.conversation.id"] == "s1"
    assert said["hullspeed.call.id"] == reply.headers["x-hullspeed-call-id"]
    assert (said["hullspeed.router"], said["hullspeed.attempts"]) == ("cheapest", 2)
    assert said["hullspeed.cost_usd"] == pytest.approx(float(reply.headers["x-hullspeed-cost-usd"]))
    assert "gen_ai.usage.input_tokens" not in said, "a sum over all spans counts each token once"
    assert call.status.code == 0
    said = attributes(failed)
    assert (said["error.type"], said["http.response.status_code"], failed.status.code) == ("500", 500, 2)
    said = attributes(answered)
    assert answered.name == "chat large-target"
    assert (said["gen_ai.provider.name"], said["gen_ai.request.model"]) == ("openai", "large-target")
    assert said["gen_ai.response.model"] == "large-target"
    usage = reply.json()["usage"]
    assert said["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert said["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    address, port = openai_server.url.removeprefix("http://").removesuffix("/v1").split(":")
    assert (said["server.address"], said["server.port"]) == (address, int(port))
    assert collector.resource["service.name"] == "hullspeed"
    assert collector.headers[0]["x-tenant"] == "hulls"
    sent = b"".join(request.SerializeToString() for request in (*collector.traces, *collector.metrics))
    assert b"secret prompt" not in sent
    assert b"planted-secret" not in sent


async def test_metrics_of_the_conventions(
    start_proxy: StartProxy, openai_server: FakeOpenAI, collector: Collector
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    openai_server.on("large-target", HttpError(400))
    replies = [await proxy.chat("small") for _ in range(3)]
    await proxy.chat("small", stream=True)
    assert (await proxy.chat("large")).status_code == 400
    await exported(proxy)
    tokens = {attributes(point)["gen_ai.token.type"]: point for point in collector.points("gen_ai.client.token.usage")}
    assert tokens.keys() == {"input", "output"}
    assert tokens["input"].count == 4
    assert tokens["output"].sum >= sum(reply.json()["usage"]["completion_tokens"] for reply in replies)
    assert list(tokens["input"].explicit_bounds[:5]) == [1, 4, 16, 64, 256]
    durations = collector.points("gen_ai.client.operation.duration")
    by_model = {attributes(point)["gen_ai.request.model"]: point for point in durations}
    assert (by_model["small-target"].count, by_model["large-target"].count) == (4, 1)
    assert attributes(by_model["large-target"])["error.type"] == "400"
    assert "error.type" not in attributes(by_model["small-target"])
    (first,) = collector.points("gen_ai.client.operation.time_to_first_chunk")
    assert first.count == 1


@pytest.mark.parametrize("stored", [True, False])
async def test_content_only_where_it_is_asked_for_and_stored(
    start_proxy: StartProxy,
    openai_server: FakeOpenAI,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    stored: bool,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    config = {"model_list": models(openai_server.url, "small"), "ledger": {"store_text": stored}}
    proxy = await start_proxy(config)
    await proxy.chat("small", "a prompt")
    await exported(proxy)
    said = next(attributes(span) for span in collector.spans if span.kind == 2)
    assert ("gen_ai.input.messages" in said) is ("gen_ai.output.messages" in said) is stored
    if stored:
        asked = [{"role": "user", "parts": [{"type": "text", "content": "a prompt"}]}]
        assert json.loads(said["gen_ai.input.messages"]) == asked
        (answer,) = json.loads(said["gen_ai.output.messages"])
        assert answer["parts"][0]["content"] == "Echo: a prompt"


def tell(collector: Collector, *calls: Any, **options: Any) -> list[Any]:
    """The spans of calls, told by themselves."""
    telemetry = Telemetry(**options)
    telemetry.start()
    for call in calls:
        telemetry.record(call)
    telemetry.close()
    return collector.spans


def test_a_call_that_was_never_sent(collector: Collector) -> None:
    call = small_call(started_at=NOW, requested_model="", error_code="invalid_json", error_message="no JSON")
    (span,) = tell(collector, call)
    assert (span.name, span.status.code, span.status.message) == ("chat", 2, "no JSON")
    assert attributes(span)["error.type"] == "invalid_json"
    assert span.parent_span_id == b""
    assert span.start_time_unix_nano == round(NOW.timestamp() * 1e9)


@pytest.mark.parametrize("wrong", ["", "nonsense", "00-0-0-00", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ÿ" * 900])
def test_a_traceparent_that_is_none(collector: Collector, wrong: str) -> None:
    for span in tell(collector, full_call(traceparent=wrong)):
        assert len(span.trace_id) == 16
        assert (span.parent_span_id == b"") is (span.kind == 2)


def test_a_client_that_does_not_sample_is_not_traced(collector: Collector) -> None:
    assert tell(collector, full_call(traceparent=PARENT[:-2] + "00")) == []
    assert len(tell(collector, full_call(traceparent=PARENT))) == 3


def test_names_from_the_environment(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-proxy")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    tell(collector, full_call(), signals=frozenset({"traces"}))
    assert collector.resource["service.name"] == "my-proxy"
    assert collector.resource["deployment.environment.name"] == "lab"
    assert collector.metrics == []


def test_a_collector_that_refuses_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("opentelemetry").addFilter(lambda _: False)
    with Collector(status=400) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        assert tell(collector, full_call()) != []


def test_more_than_the_sdk_holds(collector: Collector) -> None:
    assert len(tell(collector, *[full_call()] * 1500)) == 4500


def test_a_queue_that_is_full(caplog: pytest.LogCaptureFixture, collector: Collector) -> None:
    telemetry = Telemetry(frozenset({"metrics"}))
    call = small_call()
    for _ in range(MOST_WAITING + 5):
        telemetry.record(call)
    telemetry.start()
    telemetry.close()
    assert "5 calls came too fast to be exported" in caplog.text


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "none",
            },
            False,
        ),
    ],
)
def test_when_it_is_on(environ: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environ) is wanted
    assert (open_telemetry(environ) is not None) is wanted


async def test_off_there_is_nothing_between_gateway_and_ledger(
    start_proxy: StartProxy, openai_server: FakeOpenAI, tmp_path: Path, collector: Collector
) -> None:
    config = {"model_list": models(openai_server.url, "small")}
    on: Proxy = (await start_proxy(config)).proxy
    assert isinstance(on.gateway.sink, Sinks)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
        off = (await start_proxy(config)).proxy
    assert off.telemetry is None
    assert off.gateway.sink is off.ledger
