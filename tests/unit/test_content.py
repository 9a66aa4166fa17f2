"""The filter before each exporter: what of other instrumentors' spans leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from langflow_otel.export import content_names
from langflow_otel.export.content import ContentFilter, treat_as_library
from langflow_otel.recording import guard
from langflow_otel.recording.known_secrets import remember_secrets
from langflow_otel.settings import Settings

LIBRARY = "opentelemetry.instrumentation.some"
CANARY = "canary-7f3a"


class Keeps(SpanExporter):
    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.spans: list[ReadableSpan] = []
        self.calls: list[str] = []
        self._result = result

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return self._result

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.calls.append(f"force_flush {timeout_millis}")
        return False


def make(scope: str, attributes: dict[str, Any] | None = None, **limits: int) -> ReadableSpan:
    """A span as an exporter gets it, with all that a span can have."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(**limits))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer(scope, "1.2", schema_url="https://example.com/schema")
    with tracer.start_as_current_span("parent"):
        span = tracer.start_span(
            "chat",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=[Link(SpanContext(1, 2, is_remote=True), {"input.value": CANARY, "rank": 1})],
        )
        span.add_event("gen_ai.user.message", {"content": CANARY})
        span.add_event("exception", {"exception.type": "ValueError", "exception.message": CANARY})
        span.set_status(Status(StatusCode.ERROR, f"ValueError: {CANARY}"))
        span.end()
    return memory.get_finished_spans()[0]


def filtered(span: ReadableSpan, error_messages: Any = "none") -> ReadableSpan:
    keeps = Keeps()
    assert ContentFilter(keeps, Settings(error_messages=error_messages)).export([span]) is SpanExportResult.SUCCESS
    return keeps.spans[0]


def bytes_of(span: ReadableSpan) -> bytes:
    return encode_spans([span]).SerializeToString()


def test_a_secret_that_a_component_had_is_known_by_its_value():
    remember_secrets([CANARY])
    found = filtered(make(LIBRARY), "redacted")

    assert found.status.description == "ValueError: [redacted:secret]"
    assert CANARY.encode() not in bytes_of(found)


def test_our_own_spans_pass_as_they_are():
    span = make("langflow_otel", {"langflow.component.display_name": "x"})

    assert filtered(span) is span


def test_a_librarys_span_keeps_what_is_known_to_be_harmless():
    attributes = {
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 3,
        "openinference.span.kind": "LLM",
        "some.new.flag": True,
        "some.new.score": 0.5,
        "gen_ai.prompt.0.content": CANARY,
        "some.new.name.for.prompts": CANARY,
        "metadata": f'{{"a": "{CANARY}"}}',
        "embedding.embeddings.0.embedding.vector": [0.1, 0.2],
        "gen_ai.request.stop_sequences": [CANARY],
        "db.statement": f"select '{CANARY}'",
    }

    sent = filtered(make(LIBRARY, attributes))

    assert sent.attributes == {
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 3,
        "openinference.span.kind": "LLM",
        "some.new.flag": True,
        "some.new.score": 0.5,
    }
    assert CANARY.encode() not in bytes_of(sent)


def test_a_users_span_loses_what_is_known_to_be_content():
    attributes = {
        "order.note": "mine",
        "order.sizes": [1, 2],
        "input.value": CANARY,
        "gen_ai.input.messages": CANARY,
        "llm.input_messages.0.message.content": CANARY,
        "traceloop.entity.input": CANARY,
        "db.query.text": CANARY,
        "http.request.header.authorization": [CANARY],
    }

    sent = filtered(make("my.app", attributes))

    assert sent.attributes == {"order.note": "mine", "order.sizes": (1, 2)}
    assert CANARY.encode() not in bytes_of(sent)


@pytest.mark.parametrize("scope", [LIBRARY, "my.app"])
def test_exception_texts_leave_only_if_they_may(scope: str):
    span = make(scope)

    silent = filtered(span)
    assert [(event.name, dict(event.attributes or {})) for event in silent.events] == [
        ("exception", {"exception.type": "ValueError"})
    ]
    assert (silent.status.status_code, silent.status.description) == (StatusCode.ERROR, None)

    full = filtered(span, "full")
    assert [dict(event.attributes or {}) for event in full.events] == [
        {"exception.type": "ValueError", "exception.message": CANARY}
    ]
    assert full.status.description == f"ValueError: {CANARY}"


def test_nothing_else_changes_and_the_original_does_not():
    span = make(LIBRARY, {"a": 1, "b": 2, "c": 3}, max_attributes=2, max_events=1)
    before = span.to_json()

    sent = filtered(span)

    assert span.to_json() == before
    for name in ("name", "kind", "parent", "resource", "start_time", "end_time", "instrumentation_scope"):
        assert getattr(sent, name) == getattr(span, name), name
    assert sent.get_span_context() == span.get_span_context()
    assert (sent.dropped_attributes, sent.dropped_events, sent.dropped_links) == (1, 1, 0)
    assert [(link.context, dict(link.attributes or {})) for link in sent.links] == [
        (span.links[0].context, {"rank": 1})
    ]
    assert sent.events[0].timestamp == span.events[-1].timestamp
    assert encode_spans([sent]).resource_spans[0].scope_spans[0].spans[0].dropped_attributes_count == 1
    assert '"name": "chat"' in sent.to_json()  # as the console exporter does


@pytest.mark.parametrize("scope", [LIBRARY, "my.app"])
@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://user:pass@host:8080/a/b?key=secret#part", "https://host:8080/a/b"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://host?key=secret", "https://host"),
        ("/a/b?key=secret", "/a/b"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("", ""),
    ],
)
def test_urls_lose_query_and_user(scope: str, url: str, sent: str):
    span = make(scope, {"url.full": url, "http.url": url, "url.query": "key=secret"})

    assert filtered(span).attributes == {"url.full": sent, "http.url": sent}


def test_where_content_may_leave_it_passes_the_gate():
    key = "AK" + "IA" + "IOSFODNN7EXAMPLE"
    given = {
        "gen_ai.prompt": f"with {key}",
        "llm.input_messages": ["a", "b"],
        "llm.headers": f"Authorization {CANARY}",
        "http.request.header.authorization": CANARY,
        "url.query": CANARY,
        "enduser.id": CANARY,
        "traceloop.association.properties.user_id": CANARY,
        "input.value": "denied",
        "llm.token_count.prompt": 3,
    }
    settings = Settings(content_on_spans=True, content_deny=("input.value",))
    keeps = Keeps()
    ContentFilter(keeps, settings).export([make("openinference.x", given)])

    assert keeps.spans[0].attributes == {
        "gen_ai.prompt": "with [redacted:aws_key]",
        "llm.input_messages": '["a", "b"]',
        "llm.token_count.prompt": 3,
    }
    assert keeps.spans[0].events[0].attributes == {"content": CANARY}


def test_where_content_leaves_in_events_only_spans_have_none():
    keeps = Keeps()
    ContentFilter(keeps, Settings(content_in_events=True)).export([make("openinference.x", {"gen_ai.prompt": "x"})])

    assert keeps.spans[0].attributes == {}


def test_a_scope_becomes_a_librarys_when_it_is_loaded():
    scope = "a.scope.that.nobody.knows"
    span = make(scope, {"note": "x"})

    assert filtered(span).attributes == {"note": "x"}
    treat_as_library(scope)
    assert filtered(span).attributes == {}


def test_result_flush_and_shutdown_are_the_exporters():
    keeps = Keeps(SpanExportResult.FAILURE)
    exporter = ContentFilter(keeps)

    assert exporter.export([make(LIBRARY)]) is SpanExportResult.FAILURE
    assert exporter.force_flush(5) is False
    exporter.shutdown()
    assert keeps.calls == ["force_flush 5", "shutdown"]


def test_a_span_that_cannot_be_judged_does_not_leave(monkeypatch: pytest.MonkeyPatch):
    class Odd(ReadableSpan):
        @property
        def attributes(self) -> Any:
            raise ValueError(CANARY)

    monkeypatch.setattr(guard, "strict", False)
    keeps, good = Keeps(), make(LIBRARY)
    ContentFilter(keeps).export([Odd("odd"), good])

    assert [span.name for span in keeps.spans] == [good.name]
    assert guard.faults == {"content.filter": 1}


def test_no_name_is_both_harmless_and_content():
    named = content_names.SAFE | content_names.URLS
    assert named & (content_names.CONTENT | content_names.MESSAGES) == set()
    assert [name for name in named if name.startswith(content_names.CONTENT_PREFIXES)] == []
    assert not content_names.SAFE_EVENTS & content_names.CONTENT_EVENTS


def test_a_span_costs_less_than_its_encoding():
    """Both are done in the exporter's thread; in CPU time, the best of five."""
    spans = [make(LIBRARY, {f"gen_ai.prompt.{n}.content": "x" * 50 for n in range(30)}) for _ in range(200)]

    class Nowhere(Keeps):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return self._result

    exporter = ContentFilter(Nowhere())

    def seconds(call: Any) -> float:
        start = time.process_time()
        call(spans)
        return time.process_time() - start

    assert min(seconds(exporter.export) for _ in range(5)) < min(seconds(encode_spans) for _ in range(5))
