"""OpenTelemetry: a span for each call with one for each attempt in it, and the GenAI client metrics.

Names follow the semantic conventions for generative AI (github.com/open-telemetry/semantic-conventions-genai, status
"development"); what they have no name for stands under `hullspeed.`. Everything is made from finished calls, in a
thread of its own, so that the event loop pays for appending to a queue and no more. Configured by the standard
`OTEL_*` variables alone; needs the extra `otel`.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from app.core.types import Attempt, Call

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger("hullspeed.telemetry")

MOST_WAITING = 20_000
"""Calls that wait to be told; more are left out, and counted in the log."""
PAUSE = 0.5
"""Seconds between two batches."""
FLUSHED = 1000
"""Spans after which they are waited for to be sent: the SDK's own queue takes 2,048 and drops the rest."""
FAILED = ("error", "truncated", "rejected")
ENDPOINTS = {"/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}
"""`gen_ai.operation.name` by endpoint; all others are `chat`."""
PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""The conventions' names of litellm's providers, where they differ."""
TOKEN_BUCKETS = [4.0**power for power in range(14)]
SECOND_BUCKETS = [0.01 * 2**power for power in range(14)]
"""As the conventions ask for."""
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@dataclass(frozen=True)
class Reached:
    """How a model is reached."""

    provider: str
    """litellm's name of it."""
    target: str
    """What the provider calls the model."""
    address: str | None = None
    port: int | None = None
    embeds: bool = False


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the `OTEL_*` variables ask for anything: an endpoint is set, or an exporter named."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(_exporters(environ))


def _exporters(environ: Mapping[str, str]) -> set[str]:
    """Of `traces` and `metrics`, those that go out."""
    endpoint = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    found = set()
    for signal in ("traces", "metrics"):
        own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        exporter = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp" if endpoint or own else "none")
        if "otlp" in exporter.split(","):
            found.add(signal)
    return found


def open_telemetry(environ: Mapping[str, str]) -> Telemetry | None:
    """What the environment asks for; None where it asks for nothing or the extra is not installed, which is said."""
    if not is_wanted(environ):
        return None
    if find_spec("opentelemetry.exporter") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        log.warning("OTEL_* is set, and nothing is exported: pip install 'hullspeed[otel]'")
        return None
    protocol = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if protocol != "http/protobuf":
        log.warning("OTEL_EXPORTER_OTLP_PROTOCOL is %s; Hullspeed exports by http/protobuf", protocol)
    content = environ.get(CONTENT, "").lower() in ("true", "span_only", "span_and_event")
    return Telemetry(frozenset(_exporters(environ)), content=content)


class Telemetry:
    """A sink of calls. `start` before the first, `close` after the last."""

    def __init__(self, signals: frozenset[str] = frozenset({"traces", "metrics"}), *, content: bool = False) -> None:
        """`content`: export what was asked and said too, where the ledger is told to keep it."""
        self.reached: Callable[[str], Reached] = lambda model: Reached("", model)
        """How a model is reached; set by who knows the catalog."""
        self._signals = signals
        self._content = content
        self._waiting: deque[Call] = deque()
        self._left_out = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._traces: TracerProvider | None = None
        self._meters: MeterProvider | None = None
        self._tracer: Tracer | None = None
        self._instruments: _Instruments | None = None

    def record(self, call: Call) -> None:
        """Take a finished call. Never blocks, never raises."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(call)
        else:
            self._left_out += 1

    def start(self) -> None:
        """Open the exporters; nothing is sent before the first call."""
        resource = _resource()
        if "traces" in self._signals:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._tracer = self._traces.get_tracer("hullspeed", version("hullspeed"))
        if "metrics" in self._signals:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

            reader = PeriodicExportingMetricReader(OTLPMetricExporter())
            self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
            self._instruments = _Instruments(self._meters)
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell what waits, and close the exporters. Blocks for some seconds where the collector is away."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        self._thread = None
        if self._traces is not None:
            self._traces.shutdown()
        if self._meters is not None:
            self._meters.shutdown(5000)

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        if self._left_out:
            log.warning("%d calls came too fast to be exported", self._left_out)
            self._left_out = 0
        spans = 0
        while self._waiting:
            call = self._waiting.popleft()
            try:
                self._tell_one(call)
            except Exception:
                log.exception("call %s could not be exported", call.id)
            spans += 1 + len(call.attempts)
            if spans >= FLUSHED and self._traces is not None:
                self._traces.force_flush()
                spans = 0

    def _tell_one(self, call: Call) -> None:
        told = [_told(call, attempt, self.reached(attempt.model)) for attempt in call.attempts]
        if self._tracer is not None:
            _trace(self._tracer, call, told, content=self._content)
        if self._instruments is not None:
            for attempt, attributes in zip(call.attempts, told, strict=True):
                self._instruments.observe(attempt, attributes)


def _resource() -> Resource:
    import os
    import socket

    from opentelemetry.sdk.resources import Resource

    # What the environment says (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) stands above this.
    ours = {
        "service.name": "hullspeed",
        "service.version": version("hullspeed"),
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    said = Resource.create().attributes
    named = {name: value for name, value in said.items() if not str(value).startswith("unknown_service")}
    return Resource({**ours, **named})


def _told(call: Call, attempt: Attempt, reached: Reached) -> dict[str, str | int]:
    """What spans and metrics say of an attempt alike."""
    operation = "embeddings" if reached.embeds else ENDPOINTS.get(call.endpoint, "chat")
    provider = reached.provider or attempt.upstream
    told: dict[str, str | int] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDERS.get(provider, provider),
        "gen_ai.request.model": reached.target,
    }
    if attempt.upstream_model is not None:
        told["gen_ai.response.model"] = attempt.upstream_model
    if reached.address is not None and reached.port is not None:
        told |= {"server.address": reached.address, "server.port": reached.port}
    if attempt.outcome not in ("ok", "abandoned", "client_cancelled"):
        # A class of errors, not one of them: a status where there is one, else how it ended.
        refused = attempt.status is not None and attempt.status >= 400
        told["error.type"] = str(attempt.status) if refused else attempt.outcome
    return told


# ------------------------------------------------------------------ spans


def _trace(tracer: Tracer, call: Call, told: list[dict[str, str | int]], *, content: bool) -> None:
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

    start = round(call.started_at.timestamp() * 1e9)
    operation = ENDPOINTS.get(call.endpoint, "chat")
    span = tracer.start_span(
        f"{operation} {call.requested_model}".strip(),
        _parent(call.traceparent),
        SpanKind.SERVER,
        {**_of_call(call, operation), **(_content(call) if content else {})},
        start_time=start,
    )
    if call.outcome in FAILED:
        span.set_status(StatusCode.ERROR, call.error_message)
    within = set_span_in_context(span)
    for attempt, attributes in zip(call.attempts, told, strict=True):
        began = start + round(attempt.offset * 1e9)
        child = tracer.start_span(
            f"{attributes['gen_ai.operation.name']} {attributes['gen_ai.request.model']}",
            within,
            SpanKind.CLIENT,
            {**attributes, **_of_attempt(attempt, stream=call.stream)},
            start_time=began,
        )
        _end_attempt(child, attempt, began)
    span.end(start + round(call.latency * 1e9))


def _end_attempt(span: Span, attempt: Attempt, began: int) -> None:
    from opentelemetry.trace import StatusCode

    if attempt.outcome not in ("ok", "abandoned", "client_cancelled"):
        span.set_status(StatusCode.ERROR, attempt.error)
    span.end(began + round(attempt.latency * 1e9))


def _parent(traceparent: str | None) -> Context:
    """The client's span; a trace of its own where it named none, or one that is none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _of_call(call: Call, operation: str) -> dict[str, Any]:
    """Tokens stand on the attempts alone: a sum over all spans is then what was used."""
    decision = call.decision
    found = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "hullspeed",
        "gen_ai.request.model": call.requested_model or None,
        "gen_ai.request.stream": call.stream or None,
        "gen_ai.response.model": call.model,
        "gen_ai.conversation.id": call.session,
        "http.request.method": "POST",
        "http.route": call.endpoint,
        "http.response.status_code": call.status,
        "error.type": (call.error_code or call.outcome) if call.outcome in FAILED else None,
        "hullspeed.call.id": call.id,
        "hullspeed.outcome": call.outcome,
        "hullspeed.source": call.source,
        "hullspeed.attempts": len(call.attempts),
        "hullspeed.overhead_seconds": call.overhead,
        "hullspeed.cost_usd": None if call.cost_usd is None else float(call.cost_usd),
        "hullspeed.run": call.run,
        "hullspeed.item": call.item,
        "hullspeed.router": None if decision is None else decision.router,
        "hullspeed.router.version": None if decision is None else decision.version,
        "hullspeed.reason": None if decision is None else decision.reason,
        "hullspeed.tradeoff": None if decision is None else decision.tradeoff,
        "hullspeed.decision_seconds": None if decision is None else decision.duration,
    }
    return {name: value for name, value in found.items() if value is not None}


def _of_attempt(attempt: Attempt, *, stream: bool) -> dict[str, Any]:
    usage = attempt.usage
    found = {
        "gen_ai.request.stream": stream or None,
        "gen_ai.response.finish_reasons": None if attempt.finish_reason is None else [attempt.finish_reason],
        "gen_ai.response.time_to_first_chunk": attempt.time_to_first_token,
        "http.response.status_code": attempt.status,
        "hullspeed.model": attempt.model,
        "hullspeed.upstream": attempt.upstream,
        "hullspeed.outcome": attempt.outcome,
        "hullspeed.cost_usd": None if attempt.cost_usd is None else float(attempt.cost_usd),
    }
    if usage is not None:
        found |= {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens or None,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens or None,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        }
    return {name: value for name, value in found.items() if value is not None}


def _content(call: Call) -> dict[str, str]:
    """What was asked and said, as far as the call has it: nothing where the ledger is not told to store text."""
    found = {}
    if call.request_text is not None:
        found["gen_ai.input.messages"] = call.request_text
        try:
            messages = json.loads(call.request_text)["messages"]
            found["gen_ai.input.messages"] = json.dumps([_message(one["role"], one.get("content")) for one in messages])
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # Another dialect's body goes as it came.
    if call.reply_text is not None:
        found["gen_ai.output.messages"] = json.dumps([_message("assistant", call.reply_text)])
    return found


def _message(role: str, content: Any) -> dict[str, Any]:
    parts = content if isinstance(content, list) else [] if content is None else [{"type": "text", "text": content}]
    said = [{"type": "text", "content": part["text"]} if part.get("type") == "text" else part for part in parts]
    return {"role": role, "parts": said}


# ------------------------------------------------------------------ metrics


class _Instruments:
    """The client metrics of the conventions, over attempts."""

    def __init__(self, meters: MeterProvider) -> None:
        meter = meters.get_meter("hullspeed", version("hullspeed"))

        def histogram(name: str, unit: str, what: str, buckets: list[float]) -> Histogram:
            return meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=buckets)

        self._tokens = histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", TOKEN_BUCKETS
        )
        self._duration = histogram("gen_ai.client.operation.duration", "s", "GenAI operation duration.", SECOND_BUCKETS)
        self._first = histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Time to the first chunk of a stream.", SECOND_BUCKETS
        )

    def observe(self, attempt: Attempt, told: Mapping[str, str | int]) -> None:
        self._duration.record(attempt.latency, told)
        told = {name: value for name, value in told.items() if name != "error.type"}
        if attempt.time_to_first_token is not None:
            self._first.record(attempt.time_to_first_token, told)
        if attempt.usage is not None:
            self._tokens.record(attempt.usage.prompt_tokens, {**told, "gen_ai.token.type": "input"})
            self._tokens.record(attempt.usage.completion_tokens, {**told, "gen_ai.token.type": "output"})
