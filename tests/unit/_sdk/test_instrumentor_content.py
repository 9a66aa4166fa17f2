"""The filter before each exporter: what of other instrumentors' spans leaves."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from langflow_otel import _guard as guard
from langflow_otel._runs.facts import ComponentInfo, FlowInfo, Outcome
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._sdk import content_attributes
from langflow_otel._sdk.content_filter import ContentFilter, ReplacedSpan, treat_as_library
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction.known_secrets import remember_secrets
from langflow_otel.testing import Telemetry, capture_telemetry

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


def failed_run(settings: Settings) -> Telemetry:
    """A component that failed, with what may be on a span of ours."""
    with capture_telemetry(settings=settings) as telemetry:
        recorder = active_recorder()
        assert recorder is not None
        flow = recorder.start_flow(FlowInfo("demo"))
        assert flow is not None
        component = recorder.start_component(ComponentInfo("Fails-1", "Fails", "Fails"), flow)
        component.retried(1, 0.5, ValueError(CANARY))
        flow.component_skipped(ComponentInfo("Skipped-1", "Skipped", "Skipped"))
        error = ValueError(CANARY)
        component.finish(Outcome.of(error))
        flow.finish(Outcome.of(error))
    return telemetry


@pytest.mark.parametrize("error_messages", ["none", "full"])
def test_our_own_spans_pass_as_they_are(error_messages: Any):
    keeps, settings = Keeps(), Settings(error_messages=error_messages)
    spans = failed_run(settings).sdk_spans
    ContentFilter(keeps, settings).export(spans)

    assert len(spans) == 2
    assert all(sent is span for sent, span in zip(keeps.spans, spans, strict=True))
    assert sorted(event.name for span in spans for event in span.events) == [
        *("component.retry", "component.skipped", "exception", "exception")
    ]


def test_what_others_put_on_our_spans_is_as_on_a_users_own():
    """Code that runs in a component may put events, links and a status on the current span."""
    ours, users = (make(scope, {"n": 1}) for scope in ("langflow_otel", "my.app"))
    found = {span: filtered(span) for span in (ours, users)}

    assert CANARY.encode() not in bytes_of(found[ours])
    assert found[ours].attributes == {"n": 1}
    for span in found.values():
        assert [(event.name, event.attributes) for event in span.events] == [
            ("exception", {"exception.type": "ValueError"})
        ]
        assert [link.attributes for link in span.links] == [{"rank": 1}]
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert filtered(ours, "full").status.description == f"ValueError: {CANARY}"


@pytest.mark.parametrize("scope", ["langflow_otel", LIBRARY, "my.app"])
def test_what_did_not_fit_is_still_counted(scope: str):
    span = make(scope, {"a": 1, "b": 2, "c": 3}, max_span_attributes=2, max_event_attributes=1, max_link_attributes=1)
    remember_secrets([CANARY])
    found = filtered(span)

    assert span.events[-1].dropped_attributes == 1
    for each in (span, found):
        assert (each.dropped_attributes, each.events[-1].dropped_attributes, each.links[0].dropped_attributes) == (
            1,
            1,
            1,
        )


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
        "gen_ai.retrieval.query.text": CANARY,
        "gen_ai.retrieval.documents": CANARY,
        "gen_ai.retrieval.documents.0.content": CANARY,
        "gen_ai.retrieval.top_k": 4,
    }

    sent = filtered(make("my.app", attributes))

    assert sent.attributes == {"order.note": "mine", "order.sizes": (1, 2), "gen_ai.retrieval.top_k": 4}
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


def failed(scope: str, error: Exception) -> ReadableSpan:
    """As an instrumentor records an error: by the SDK, and its own way in the status."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    span = provider.get_tracer(scope).start_span("chat")
    try:
        raise error  # canary-7f3a is in this line
    except type(error) as exc:
        span.record_exception(exc)
        span.set_status(Status(StatusCode.ERROR, f"{exc!r}\n\n{traceback.format_exc()}"))
    span.end()
    return memory.get_finished_spans()[0]


@pytest.mark.parametrize("scope", [LIBRARY, "my.app"])
@pytest.mark.parametrize("error_messages", ["redacted", "full"])
def test_lines_of_source_never_leave(scope: str, error_messages: Any):
    span = failed(scope, ValueError("why"))

    sent = filtered(span, error_messages)

    assert CANARY.encode() in bytes_of(span)
    assert CANARY.encode() not in bytes_of(sent)
    trace = str((sent.events[0].attributes or {})["exception.stacktrace"]).split("\n")
    assert [line.split(",")[0] for line in trace] == [
        "Traceback (most recent call last):",
        f'  File "{__file__}"',
        "ValueError: why",
        "",
    ]
    assert trace[1].endswith(", in failed")
    assert str(sent.status.description).startswith("ValueError('why')\n\nTraceback (most recent call last):\n  File ")


def test_a_redacted_message_quotes_no_query():
    url = f"https://host/search/{CANARY}?q={CANARY}"

    sent = filtered(failed(LIBRARY, ValueError(f"Client error '404 Not Found' for url '{url}'")), "redacted")

    assert CANARY.encode() not in bytes_of(sent)
    assert sent.events[0].attributes is not None
    message = sent.events[0].attributes["exception.message"]
    assert message == "Client error '404 Not Found' for url 'https://host/search/REDACTED'"


URLS = ("url.full", "http.url", "http.target", "url.original", "url.path", "url.template", "http.route")


@pytest.mark.parametrize("scope", [LIBRARY, "my.app"])
@pytest.mark.parametrize(
    ("url", "whole", "sent"),
    [
        ("https://user:pass@host:8080/a/b?key=secret#part", "https://host:8080/a/b", "https://host:8080/R/R"),
        ("https://host/a@b", "https://host/a@b", "https://host/R"),
        ("https://host?key=secret", "https://host", "https://host"),
        ("https://user:pa/ss@host/v1", "https://R", "https://R"),
        ("https://host/v1/chat/completions", "https://host/v1/chat/completions", "https://host/v1/chat/completions"),
        ("https://host/v1beta/models/mine", "https://host/v1beta/models/mine", "https://host/v1beta/models/R"),
        ("/a/b?key=secret", "/a/b", "/R/R"),
        ("http://[::1]:80/x", "http://[::1]:80/x", "http://[::1]:80/R"),
        ("", "", ""),
    ],
)
def test_urls_lose_query_user_and_values_of_the_path(scope: str, url: str, whole: str, sent: str):
    span = make(scope, {**dict.fromkeys(URLS, url), "url.query": "key=secret"})

    assert filtered(span).attributes == dict.fromkeys(URLS, sent.replace("R", "REDACTED"))
    keeps = Keeps()
    ContentFilter(keeps, Settings(url_paths=True)).export([span])
    assert keeps.spans[0].attributes == dict.fromkeys(URLS, whole.replace("R", "REDACTED"))


def test_a_path_that_may_leave_is_redacted_where_texts_are():
    key = "AK" + "IA" + "IOSFODNN7EXAMPLE"
    keeps = Keeps()
    settings = Settings(url_paths=True, error_messages="redacted")
    ContentFilter(keeps, settings).export([make(LIBRARY, {"url.path": f"/orders/{key}"})])

    assert keeps.spans[0].attributes == {"url.path": "/orders/[redacted:aws_key]"}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        (f"GET /users/{CANARY}", "GET /users/REDACTED"),
        (f"GET https://host/{CANARY}?q={CANARY}", "GET https://host/REDACTED"),
        (f"/{CANARY} http send", "/REDACTED http send"),
        ("GET /checkout/{order_id}", "GET /checkout/{order_id}"),
        (f"GET /checkout/{CANARY}/%7Bx%7D/{{x}}", "GET /REDACTED/REDACTED/REDACTED/REDACTED"),
        ("retrieve me/collection", "retrieve me/collection"),
    ],
)
def test_the_name_of_a_librarys_span_has_no_values_of_paths(name: str, sent: str):
    span = ReplacedSpan(make(LIBRARY), name=name)

    assert filtered(span).name == sent
    assert filtered(ReplacedSpan(make("my.app"), name=name)).name == name


def everywhere(scope: str, secret: str) -> ReadableSpan:
    """A span with the secret in each place that has a text."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    span = provider.get_tracer(scope).start_span(
        f"execute_tool {secret}",
        attributes={
            "session.id": f"s-{secret}",
            "gen_ai.tool.name": secret,
            "tags": ["a", secret],
            secret: True,
            "n": 1,
        },
        links=[Link(SpanContext(1, 2, is_remote=True), {"tags": (secret,)})],
    )
    span.add_event(f"event {secret}", {"note": f"with {secret}"})
    span.set_status(Status(StatusCode.ERROR, f"ValueError: {secret}"))
    span.end()
    return memory.get_finished_spans()[0]


@pytest.mark.parametrize("scope", ["langflow_otel", LIBRARY, "my.app"])
@pytest.mark.parametrize("error_messages", ["none", "redacted", "full"])
@pytest.mark.parametrize("on_spans", [False, True])
def test_a_known_secret_leaves_under_no_name(scope: str, error_messages: Any, on_spans: bool):
    remember_secrets(["other-secret", CANARY])
    keeps, span = Keeps(), everywhere(scope, CANARY)
    settings = Settings(error_messages=error_messages, content_on_spans=on_spans)
    ContentFilter(keeps, settings).export([span])

    assert CANARY.encode() in bytes_of(span)
    assert CANARY.encode() not in bytes_of(keeps.spans[0])
    assert keeps.spans[0].name == "execute_tool [redacted:secret]"


def test_our_own_span_keeps_everything_but_the_secret():
    remember_secrets([CANARY])

    sent = filtered(everywhere("langflow_otel", CANARY), "full")

    hidden = "[redacted:secret]"
    assert sent.attributes == {
        "session.id": f"s-{hidden}",
        "gen_ai.tool.name": hidden,
        "tags": ("a", hidden),
        hidden: True,
        "n": 1,
    }
    assert [(event.name, event.attributes) for event in sent.events] == [
        (f"event {hidden}", {"note": f"with {hidden}"})
    ]
    assert [dict(link.attributes or {}) for link in sent.links] == [{"tags": (hidden,)}]
    assert sent.status.description == f"ValueError: {hidden}"


def test_a_secret_that_becomes_known_later_is_searched_again():
    keeps, span = Keeps(), make("langflow_otel", {"note": CANARY})
    exporter = ContentFilter(keeps)
    remember_secrets(["other-secret"])
    exporter.export([span])
    remember_secrets([CANARY])
    exporter.export([span])

    assert [each.attributes["note"] for each in keeps.spans if each.attributes] == [CANARY, "[redacted:secret]"]


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
    named = content_attributes.SAFE | content_attributes.URLS
    assert named & (content_attributes.CONTENT | content_attributes.MESSAGES) == set()
    assert [name for name in named if name.startswith(content_attributes.CONTENT_PREFIXES)] == []
    assert not content_attributes.SAFE_EVENTS & content_attributes.CONTENT_EVENTS


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
