"""Tools about single runs: which there are, what was in one, and why it was slow or failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from langflow_otel import _semconv as semconv
from langflow_otel.cli.mcp.answers import AnswerError, cut, moment, page, present
from langflow_otel.cli.mcp.context import LEFT_OUT, NARROWER, Answer, Asked, Flow, Limit, Since, Trace, Version
from langflow_otel.cli.trace_input import reading_lines
from langflow_otel.cli.why import sentences
from langflow_otel.insights._reading.content_attributes import is_content
from langflow_otel.insights._reading.run_lists import ListedRun, flow_summaries, list_runs
from langflow_otel.insights._statistics.differences import Differences, Fact
from langflow_otel.insights.trace import TraceSpan, build_trees, without_scope
from langflow_otel.insights.why import Explanation, explain

_NS: Final = 1_000_000_000
_MAX_NAMED: Final = 10


def overview(asked: Asked, flow: Flow = None, since: Since = None, limit: Limit = 20) -> Answer:
    """What is there: the flows, how often each ran and failed, how long it took, tokens and cost. Begin here."""
    found = flow_summaries(asked.traces.connection, asked.select(flow, since))
    shown = [
        present(
            flow=each.flow,
            flow_id=each.flow_id,
            newest_version=each.version,
            runs=each.runs,
            failed=each.failed,
            cancelled=each.cancelled or None,
            p50_s=each.p50_s,
            p95_s=each.p95_s,
            first=moment(each.first_ns),
            last=moment(each.last_ns),
            input_tokens=each.input_tokens,
            output_tokens=each.output_tokens,
            cost=each.cost,
        )
        for each in found
    ]
    return {
        "runs": sum(each.runs for each in found),
        "failed": sum(each.failed for each in found),
        "first": moment(min(each.first_ns for each in found)),
        "last": moment(max(each.last_ns for each in found)),
        "flows": page(shown, limit, NARROWER),
        **present(not_read=[cut(line) for line in reading_lines(asked.traces.reading)][:5]),
    }


def runs(
    asked: Asked,
    flow: Flow = None,
    version: Version = None,
    since: Since = None,
    status: Annotated[Literal["ok", "error", "cancelled"] | None, Field(description="Only runs that ended so")] = None,
    session: Annotated[str | None, Field(description="Only runs of this session.id", max_length=500)] = None,
    order: Literal["newest", "slowest", "tokens", "cost"] = "newest",
    limit: Limit = 20,
) -> Answer:
    """List runs of flows, with their trace ids: the newest, slowest or most expensive ones."""
    selection = asked.select(flow, since, version)
    found = list_runs(asked.traces.connection, selection, order=order, limit=limit, status=status, session=session)
    return page([_run(each) for each in found.runs], limit, NARROWER, found.total)


def _run(run: ListedRun) -> dict[str, Any]:
    return present(
        trace_id=run.trace_id,
        flow=run.flow,
        version=run.version,
        started=moment(run.start_ns),
        duration_s=run.duration_s,
        status=run.status,
        error_type=run.error_type,
        session=run.session_id,
        user=run.user_id,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        cost=None if run.cost is None else {run.currency or "": run.cost},
    )


def show_run(
    asked: Asked,
    trace: Trace = "last",
    limit: Annotated[int, Field(description="So many spans at most, the longest and failed ones", ge=1, le=200)] = 60,
) -> Answer:
    """The spans of one run as a tree, in the order of time: components, agents, tools, model calls."""
    roots = asked.traces.trace(asked.trace_id(trace))
    every = [span for root in roots for span in root.walk()]
    shown_roots = build_trees(without_scope(every, semconv.LANGFLOW_SCOPE))
    spans = [(depth, span) for root in shown_roots for depth, span in _with_depth(root)]
    first_ns = min(span.start_ns for _, span in spans)
    first = sorted(spans, key=lambda each: (each[0] > 0, not each[1].is_error, -each[1].duration_s))
    kept = {id(span) for _, span in first[:limit]}
    rows = [_tree_row(depth, span, first_ns) for depth, span in spans if id(span) in kept]
    return {
        "trace_id": every[0].trace_id,
        "started": moment(first_ns),
        "spans": page(rows, limit, "shorter spans; raise limit", len(spans)),
    }


def _with_depth(root: TraceSpan) -> Iterator[tuple[int, TraceSpan]]:
    spans = [(0, root)]
    while spans:
        depth, span = spans.pop()
        yield depth, span
        spans += [(depth + 1, child) for child in reversed(span.children)]


def _tree_row(depth: int, span: TraceSpan, first_ns: int) -> dict[str, Any]:
    told = span.attributes
    return present(
        depth=depth,
        span_id=span.span_id,
        name=span.name,
        after_s=(span.start_ns - first_ns) / _NS,
        duration_s=span.duration_s,
        status=span.status,
        error_type=told.get(semconv.ERROR_TYPE),
        model=told.get(semconv.GEN_AI_REQUEST_MODEL),
        input_tokens=told.get(semconv.GEN_AI_USAGE_INPUT_TOKENS, told.get(semconv.USAGE_INPUT_TOKENS)),
        output_tokens=told.get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS, told.get(semconv.USAGE_OUTPUT_TOKENS)),
        loop_index=told.get(semconv.LOOP_INDEX),
        events=sorted({cut(event.name) for event in span.events})[:_MAX_NAMED],
    )


def show_span(
    asked: Asked,
    trace: Trace,
    span: Annotated[str, Field(description="A span_id that show_run gives", pattern="^[0-9a-fA-F]{1,16}$")],
) -> Answer:
    """Everything about one span of a run: its attributes and events."""
    trace_id = asked.trace_id(trace)
    every = [each for root in asked.traces.trace(trace_id) for each in root.walk()]
    found = next((each for each in every if each.span_id == span.lower()), None)
    if found is None:
        raise AnswerError(f"no span of the trace {trace_id} has the id {span}: show_run lists them")
    attributes, hidden = asked.shown(found.attributes)
    events = []
    for event in found.events:
        of_event, more = asked.shown(event.attributes)
        hidden += more
        events.append(present(name=event.name, at=moment(event.time_ns), attributes=of_event))
    return {
        "name": cut(found.name),
        "scope": cut(found.scope),
        "started": moment(found.start_ns),
        "duration_s": found.duration_s,
        "status": found.status,
        "attributes": attributes,
        **present(events=events, left_out=f"{hidden} attributes: {LEFT_OUT}" if hidden else None),
    }


def why(
    asked: Asked,
    trace: Trace = "last",
    limit: Annotated[int, Field(description="So many components and differences at most", ge=1, le=50)] = 8,
) -> Answer:
    """Why a run was slow or failed, compared with the other runs of its flow. The summary is the answer."""
    found, hidden = _explained(asked, asked.trace_id(trace))
    components = [
        present(
            component=each.name or "LangFlow itself, between components",
            here_s=each.here_s,
            usual_s=each.usual_s,
            share_of_extra_time=each.share or None,
            longest_span=each.longest_span,
        )
        for each in found.components
    ]
    return {
        "trace_id": found.trace_id,
        "flow": cut(found.flow),
        "summary": " ".join(sentences(found)),
        "verdict": found.verdict,
        "duration_s": found.duration_s,
        **present(version=found.version, failure=_failure(found)),
        "history": present(
            other_runs=found.history.runs,
            succeeded=found.history.succeeded,
            median_s=found.history.median_s,
            share_of_them_faster=found.history.faster_share,
        ),
        "where_the_time_went": page(components, limit, "raise limit"),
        **present(
            goes_with_it=_differences(found.differences, limit),
            higher_peaks_of_the_process=_differences(found.peaks, limit),
            not_recorded=found.missing,
            left_out=f"{hidden} attributes or messages: {LEFT_OUT}" if hidden else None,
        ),
    }


def _explained(asked: Asked, trace_id: str) -> tuple[Explanation, int]:
    """Without content, if that is not wanted, and how much of it is left out."""
    hidden: set[str] = set()

    def is_compared(name: str, fact: Fact) -> bool:
        if asked.content or not _holds_content(name, fact):
            return True
        hidden.add(name)
        return False

    found = explain(asked.traces.connection, trace_id, is_compared=is_compared)
    failure = found.failure
    if failure is not None and failure.message is not None and not asked.content:
        hidden.add(failure.message)
        found = replace(found, failure=replace(failure, message=None))
    return found, len(hidden)


def _failure(found: Explanation) -> dict[str, Any] | None:
    failure = found.failure
    if failure is None:
        return None
    return present(
        error_type=failure.error_type,
        category=failure.category,
        component=failure.component,
        span=failure.name,
        message=failure.message,
    )


def _holds_content(name: str, fact: Fact) -> bool:
    attribute = name.rpartition(": ")[2]
    return any(is_content(attribute, each) for each in (fact if isinstance(fact, frozenset) else (fact,)))


def _differences(found: Differences | None, limit: int) -> list[dict[str, Any]]:
    return [
        present(
            what=each.name,
            value=each.value,
            usually=None if _holds_content(each.name, frozenset({each.usual})) else each.usual,
            of_runs_like_this=f"{each.like_with} of {each.like}",
            of_others=f"{each.rest_with} of {each.rest}",
            same_runs=[cut(name) for name in each.also[:5]],
        )
        for each in (found.found[:limit] if found is not None else ())
    ]
