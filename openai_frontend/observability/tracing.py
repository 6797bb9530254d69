"""OpenTelemetry spans of a request: queue, load, first audio and last byte, propagated to Triton.

Disabled, with neither SDK nor exporter imported, unless OTEL_EXPORTER_OTLP_ENDPOINT is set. The OTLP exporter reads its
other variables (headers, time-outs) itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

# The `traceparent` of the incoming request, for everything that is done on its behalf.
incoming: ContextVar[str] = ContextVar("traceparent", default="")


class Trace(Protocol):
    """The spans of one request."""

    @property
    def traceparent(self) -> str:
        """The traceparent to propagate, in W3C's form; empty without tracing."""
        ...

    def part(self, name: str) -> "Any":
        """A child span, as a context manager."""
        ...

    def event(self, name: str) -> None:
        """An event within the span."""

    def end(self, attributes: dict[str, str | int | float], *, failed: bool) -> None:
        """End the span."""


class Tracer(Protocol):
    """Starts traces."""

    def start(self, name: str) -> Trace:
        """Start the trace of a request."""

    def close(self) -> None:
        """Send spans that have not been sent. May take seconds."""


class _NoTrace:
    traceparent = ""

    @contextmanager
    def part(self, _: str) -> Iterator[None]:
        yield

    def event(self, _: str) -> None: ...

    def end(self, _: dict[str, str | int | float], *, failed: bool) -> None: ...


class NoTracer:
    """No tracing."""

    def start(self, _: str) -> Trace:
        return _NoTrace()

    def close(self) -> None: ...


class _OtelTrace:
    def __init__(self, tracer: Any, span: Any) -> None:
        from opentelemetry import trace

        self._tracer, self._span, self._api = tracer, span, trace
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        with self._tracer.start_as_current_span(name, context=self._api.set_span_in_context(self._span)):
            yield

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def end(self, attributes: dict[str, str | int | float], *, failed: bool) -> None:
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(self._api.StatusCode.ERROR)
        self._span.end()


class OtelTracer:
    """Sends spans to an OTLP collector over HTTP; `endpoint` without the path of the traces."""

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider(resource=Resource.create({"service.name": "speech-frontend"}))
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("openai_frontend")

    def start(self, name: str) -> Trace:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({"traceparent": incoming.get()})
        return _OtelTrace(self._tracer, self._tracer.start_span(name, context=parent))

    def close(self) -> None:
        self._provider.shutdown()


def make_tracer(endpoint: str) -> Tracer:
    """The tracer for an endpoint; NoTracer if it is empty."""
    return OtelTracer(endpoint) if endpoint else NoTracer()
