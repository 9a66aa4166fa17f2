"""What goes out on the wire below a run, whoever writes the headers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from langflow_otel import _guard as guard
from langflow_otel._sdk import outgoing_context
from langflow_otel._sdk.outgoing_context import inject_current_spans, inject_nearest_spans
from tests.support.recording import FLOW, recorder, recording

theirs = TracerProvider(shutdown_on_exit=False).get_tracer("theirs")


@pytest.fixture(autouse=True)
def _told() -> Iterator[None]:
    before = propagate.get_global_textmap()
    inject_nearest_spans()
    yield
    inject_current_spans()
    propagate.set_global_textmap(before)


def injected(context: Context | None = None) -> str:
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier["traceparent"].split("-")[2]


def span_id(span: trace.Span | None) -> str:
    assert span is not None
    return f"{span.get_span_context().span_id:016x}"


def test_below_a_run_our_span_goes_out():
    with recording():
        run = recorder().start_flow(FLOW)
        assert run is not None
        with theirs.start_as_current_span("theirs"):
            assert injected() == span_id(run.span)
        run.finish()


def test_a_span_through_the_same_provider_goes_out_itself():
    with recording() as telemetry:
        run = recorder().start_flow(FLOW)
        assert run is not None
        with telemetry.provider.get_tracer("nested").start_as_current_span("nested") as nested:
            assert injected() == span_id(nested)
        run.finish()


def test_a_context_that_the_caller_names_goes_out_as_it_is():
    with recording():
        run = recorder().start_flow(FLOW)
        assert run is not None
        span = theirs.start_span("theirs")
        assert injected(trace.set_span_in_context(span)) == span_id(span)
        run.finish()


def test_after_a_run_the_current_span_goes_out():
    with recording():
        run = recorder().start_flow(FLOW)
        assert run is not None
        run.finish()
        with theirs.start_as_current_span("theirs") as span:
            assert injected() == span_id(span)


def test_twice_is_once_and_undone_at_once():
    inject_nearest_spans()
    inject_current_spans()

    assert not isinstance(propagate.get_global_textmap(), outgoing_context.BelowRunsPropagator)


def test_a_propagator_that_was_set_meanwhile_stays():
    later = W3CBaggagePropagator()
    propagate.set_global_textmap(later)
    inject_current_spans()

    assert propagate.get_global_textmap() is later


def test_one_that_was_kept_by_others_hands_everything_through():
    kept = propagate.get_global_textmap()
    inject_current_spans()
    with recording():
        run = recorder().start_flow(FLOW)
        with theirs.start_as_current_span("theirs") as span:
            carrier: dict[str, str] = {}
            kept.inject(carrier)
        assert run is not None
        run.finish()

    assert carrier["traceparent"].split("-")[2] == span_id(span)


def test_what_comes_in_is_the_same():
    carrier = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "baggage": "tenant=acme"}
    context = propagate.extract(carrier, Context())

    assert span_id(trace.get_current_span(context)) == "b" * 16
    assert baggage.get_all(context) == {"tenant": "acme"}
    assert propagate.get_global_textmap().fields >= {"traceparent", "baggage"}


def test_an_error_of_ours_costs_no_header(monkeypatch):
    def broken() -> None:
        raise ValueError("canary")

    monkeypatch.setattr(outgoing_context, "current_run", broken)
    monkeypatch.setattr(guard, "strict", False)
    with theirs.start_as_current_span("theirs") as span:
        assert injected() == span_id(span)

    assert guard.faults["propagation.inject"] == 1
