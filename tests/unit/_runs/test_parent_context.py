"""Where a run belongs, for each kind of caller."""

from __future__ import annotations

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from langflow_otel._runs.facts import FlowInfo
from langflow_otel._runs.parent_context import caller_of, parent_and_links
from langflow_otel._runs.untrusted_callers import refused_baggage
from langflow_otel._settings.settings import RemoteParent, Settings
from tests.support.recording import recorder, recording

REMOTE = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
QUEUED_BY = SpanContext(0xC, 0xD, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

tracer = TracerProvider(shutdown_on_exit=False).get_tracer("host")


def below(span: trace.Span) -> Context:
    return trace.set_span_in_context(span, baggage.set_baggage("tenant", "acme", Context()))


def remote() -> trace.Span:
    return NonRecordingSpan(REMOTE)


def hosts_own_below_a_remote() -> trace.Span:
    return tracer.start_span("POST", trace.set_span_in_context(remote(), Context()))


def local() -> trace.Span:
    return tracer.start_span("job", Context())


def ended() -> trace.Span:
    span = local()
    span.end()
    return span


def placed(span: trace.Span, remote_parent: RemoteParent, queued_by: SpanContext | None = None) -> tuple[str, str]:
    """Where the run goes, and what it is linked to."""
    context, links = parent_and_links(below(span), remote_parent, queued_by)
    # A caller that is not believed loses its baggage; what waited in a queue never had that of its worker.
    is_foreign = queued_by is not None or (remote_parent != "continue" and caller_of(span) is not None)
    assert baggage.get_all(context) == ({} if is_foreign else {"tenant": "acme"})
    names = {span.get_span_context().span_id: "the caller", QUEUED_BY.span_id: "the submitter", 0: "nobody"}
    parent = names[trace.get_current_span(context).get_span_context().span_id]
    linked = [names[link.context.span_id] for link in links or []]
    return f"below {parent}", f"linked to {', '.join(linked) or 'nobody'}"


STAYS = ("below the caller", "linked to nobody")
LINKED = ("below nobody", "linked to the caller")
ALONE = ("below nobody", "linked to nobody")


@pytest.mark.parametrize(
    ("caller", "remote_parent", "expected"),
    [
        (remote, "continue", STAYS),
        (remote, "link", LINKED),
        (remote, "ignore", ALONE),
        (hosts_own_below_a_remote, "continue", STAYS),
        (hosts_own_below_a_remote, "link", LINKED),
        (hosts_own_below_a_remote, "ignore", ALONE),
        (local, "continue", STAYS),
        (local, "link", STAYS),
        (local, "ignore", STAYS),
        (ended, "continue", LINKED),
        (ended, "link", LINKED),
        (ended, "ignore", LINKED),
    ],
)
def test_below_its_caller_linked_to_it_or_alone(caller, remote_parent, expected):
    assert placed(caller(), remote_parent) == expected


@pytest.mark.parametrize("remote_parent", ["continue", "link", "ignore"])
@pytest.mark.parametrize("caller", [remote, local, ended])
def test_what_waited_in_a_queue_is_linked_to_who_put_it_there(caller, remote_parent):
    assert placed(caller(), remote_parent, QUEUED_BY) == ("below nobody", "linked to the submitter")


def test_link_to_an_untrusted_caller_has_no_tracestate():
    caller = SpanContext(0xA, 0xB, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "canary")]))

    _, links = parent_and_links(below(NonRecordingSpan(caller)), "link")

    assert links is not None
    assert [(link.context, link.context.trace_state.to_header()) for link in links] == [(REMOTE, "")]


def test_baggage_of_the_caller_is_separated_from_the_hosts():
    context = baggage.set_baggage("plan", "gold", baggage.set_baggage("tenant", "acme", below(local())))
    context = baggage.set_baggage("user", "u1", context)
    token = refused_baggage.set({"tenant": "acme", "plan": "free", "user": "u1"})
    try:
        context, _ = parent_and_links(context, "link")
    finally:
        refused_baggage.reset(token)

    assert baggage.get_all(context) == {"plan": "gold"}


def test_without_a_caller_it_is_alone():
    context, links = parent_and_links(Context(), "link")

    assert (trace.get_current_span(context), links) == (trace.INVALID_SPAN, None)


def test_what_nobody_put_into_a_queue_is_not_below_who_took_it_out():
    assert placed(local(), "continue", trace.INVALID_SPAN_CONTEXT) == ALONE


def test_a_queued_run_is_a_trace_of_its_own_with_a_link():
    with recording() as telemetry, telemetry.provider.get_tracer("host").start_as_current_span("worker"):
        run = recorder().start_flow(FlowInfo("demo"), queued_by=QUEUED_BY)
        assert run is not None
        run.finish()

    flow = next(span for span in telemetry.sdk_spans if span.name == "invoke_workflow demo")
    assert flow.parent is None
    assert [link.context for link in flow.links] == [QUEUED_BY]


@pytest.mark.parametrize(("remote_parent", "links"), [("link", 1), ("ignore", 0)])
def test_a_run_whose_caller_is_not_believed_is_a_root(remote_parent, links: int):
    with recording(Settings(remote_parent=remote_parent)) as telemetry:
        run = recorder().start_flow(FlowInfo("demo"), parent=below(remote()))
        assert run is not None
        run.finish()

    (flow,) = telemetry.sdk_spans
    assert (flow.parent, len(flow.links)) == (None, links)
