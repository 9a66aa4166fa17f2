"""Tools about many runs together: components, errors, models, use, anomalies."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from langflow_otel.cli.anomalies import in_unit, lasted, resource_lines
from langflow_otel.cli.mcp.answers import moment, page, present
from langflow_otel.cli.mcp.context import LEFT_OUT, NARROWER, Answer, Asked, Flow, Limit, Since, Version, ns_ago
from langflow_otel.insights._anomalies.search import find_anomalies
from langflow_otel.insights._usage.usage import Use, usage
from langflow_otel.insights.components import component_shares
from langflow_otel.insights.critical_path import critical_paths
from langflow_otel.insights.errors import error_groups
from langflow_otel.insights.models import model_use

_NS: Final = 1_000_000_000
_MAX_NAMED: Final = 10


def components(
    asked: Asked, flow: Flow = None, version: Version = None, since: Since = None, limit: Limit = 20
) -> Answer:
    """Which components take the time, fail, or come from the cache; total_s is without components inside of them."""
    found = component_shares(asked.traces.connection, asked.select(flow, since, version))
    shown = [
        present(
            flow=each.flow,
            component=each.name,
            component_id=each.component_id,
            kind=each.kind,
            executions=each.count,
            failed=each.errors,
            cached=each.cached or None,
            skipped=each.skipped or None,
            p50_s=each.p50_s,
            p95_s=each.p95_s,
            total_s=each.total_s,
            share_of_time=each.share,
        )
        for each in found
    ]
    return page(shown, limit, NARROWER)


def critical_path(
    asked: Asked, flow: Flow = None, version: Version = None, since: Since = None, limit: Limit = 20
) -> Answer:
    """What the runs wait for: the time of each place on the critical path. Only this makes runs faster."""
    found = critical_paths(asked.traces.connection, asked.select(flow, since, version))
    shown = [
        present(component=each.component, span=each.name, runs=each.runs, total_s=each.total_s, share=each.share)
        for each in found.shares
    ]
    of = {} if found.runs == found.runs_selected else {"newest_of": found.runs_selected}
    return {"runs": found.runs, **of, "places": page(shown, limit, NARROWER)}


def errors(asked: Asked, flow: Flow = None, version: Version = None, since: Since = None, limit: Limit = 20) -> Answer:
    """What failed: errors by type and place, with the newest trace of each."""
    found = error_groups(asked.traces.connection, asked.select(flow, since, version))
    shown = [
        present(
            error_type=each.error_type,
            category=each.category,
            flow=each.flow,
            component=each.component,
            span=each.name,
            count=each.count,
            runs=each.runs,
            failed_runs=each.failed_runs,
            first=moment(each.first_ns),
            last=moment(each.last_ns),
            http_status=each.http_status,
            newest_trace=each.sample_trace_id,
            newest_span=each.sample_span_id,
            message=each.message if asked.content else None,
        )
        for each in found
    ]
    has_messages = any(each.message for each in found) and not asked.content
    return {**page(shown, limit, NARROWER), **present(left_out=f"messages: {LEFT_OUT}" if has_messages else None)}


def models(asked: Asked, flow: Flow = None, since: Since = None, limit: Limit = 20) -> Answer:
    """Which models were called: how often, how fast, with which tokens, errors, retries and cost."""
    found = model_use(asked.traces.connection, asked.select(flow, since))
    shown = [
        present(
            model=each.model,
            provider=each.provider,
            calls=each.calls,
            runs=each.runs,
            failed=each.errors,
            retries=each.retries or None,
            p50_s=each.p50_s,
            p95_s=each.p95_s,
            first_chunk_p50_s=each.first_chunk_p50_s,
            input_tokens=each.input_tokens,
            output_tokens=each.output_tokens,
            cached_tokens=each.cached_tokens,
            reasoning_tokens=each.reasoning_tokens,
            cost=each.cost,
            calls_without_tokens=each.calls_without_tokens or None,
        )
        for each in found
    ]
    return page(shown, limit, NARROWER)


def used(
    asked: Asked,
    by: Annotated[
        Literal["flow", "model", "provider", "user", "session"], Field(description="A row for each")
    ] = "flow",
    flow: Flow = None,
    since: Since = None,
    limit: Limit = 20,
) -> Answer:
    """What was used and what it cost: runs, time, tokens, money by flow, model, provider, user or session."""
    found = usage(asked.traces.connection, by, asked.select(flow, since))
    answer = page([_use(each) for each in found.uses], limit, NARROWER)
    unpriced = dict(list(found.unpriced_models.items())[:_MAX_NAMED]) if found.has_prices else {}
    return {**answer, **present(cost_of_all=found.cost, calls_without_a_price=unpriced)}


def _use(use: Use) -> dict[str, Any]:
    return present(
        key=use.key or "(none)",
        runs=use.runs,
        failed=use.failed,
        total_s=use.seconds,
        last=moment(use.last_ns) if use.last_ns else None,
        calls=use.calls,
        input_tokens=use.input_tokens,
        output_tokens=use.output_tokens,
        cached_tokens=use.cached_tokens or None,
        reasoning_tokens=use.reasoning_tokens or None,
        cost=use.cost,
    )


def anomalies(asked: Asked, flow: Flow = None, since: Since = None, limit: Limit = 20) -> Answer:
    """When durations, errors or throughput of a flow, or of a type of component in it, were not as usual. The newest
    come first."""
    selection = asked.select(flow, None)
    found = find_anomalies(asked.traces.connection, flow=selection.flow, since_ns=ns_ago(since))
    shown = [
        present(
            since=moment(anomaly.since_s * _NS),
            lasted=lasted(anomaly),
            flow=anomaly.key.flow,
            component_type=anomaly.key.component_type,
            figure=anomaly.figure,
            value=in_unit(anomaly.figure, anomaly.value),
            usually=in_unit(anomaly.figure, anomaly.usual),
            sigmas=anomaly.sigmas,
            in_the_same_minutes=list(resource_lines(around)),
        )
        for anomaly, around in reversed(found.found)
    ]
    too_new = f"{found.learning} of {found.keys} flows and types of components have too little history"
    return {**page(shown, limit, NARROWER), **present(not_judged=too_new if found.learning else None)}
