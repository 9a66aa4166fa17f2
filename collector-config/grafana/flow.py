"""The dashboard about one flow."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from overview import BUDGET_LEFT, FAILED_COLUMNS, FAILED_RUNS, HUNG, LAST_SUCCESS, OLDEST
from panels import (
    IN_JAEGER,
    OVERSPENT,
    PER_MINUTE,
    Panel,
    dashboard,
    durations,
    firing,
    found_in_jaeger,
    found_traces,
    graph,
    jaeger_variable,
    number,
    query,
    runbook_variable,
    share,
    to_traces,
    variable,
    versions_of_flows,
)
from queries import (
    COMPONENTS,
    FLOWS,
    JOB,
    LONGEST_CALL,
    LONGEST_RUN,
    MODELS,
    failed,
    mean,
    or_recorded,
    per_minute,
    per_second,
    quantile,
    recorded,
)

FLOW = f'{JOB},flow=~"$flow"'
RUN = f'{FLOW},flow_version=~"$version"'
"""The version is a label only with LANGFLOW_OTEL_METRIC_LABELS=flow,component_type,flow_version; else all match."""

OF_THE_FLOW = 'span.langflow.flow.name =~ "$flow"'
FAILED = FAILED_RUNS.replace(' && span.langflow.entry_point != "flow"', f" && {OF_THE_FLOW}")
SLOWEST = f'{{ name =~ "invoke_workflow.*" && {OF_THE_FLOW} && duration > 1s }}'


def flow() -> Dashboard:
    board = dashboard(
        "langflow-flow",
        "LangFlow: Flow",
        "One flow: how fast, what of it takes the time, what fails, what it costs, and how its versions compare.",
        variable("flow", "Flow", f"job_flow_status:langflow_flow_runs:rate1h{{{JOB}}}, flow", several=False),
        variable("version", "Version", f"{FLOWS}_count{{{FLOW}}}, flow_version", all_value=".*"),
    )
    board.annotation(versions_of_flows(RUN))
    for panel in (*_numbers(), *_faults()):
        board.with_panel(panel)
    versions = "Versions: with LANGFLOW_OTEL_METRIC_LABELS=flow,component_type,flow_version"
    for title, panels in (
        ("Runs", _runs()),
        ("Components", _components()),
        ("Model calls", _model_calls()),
        ("Cost", _costs()),
        (versions, _versions()),
    ):
        board.with_row(Row(title).collapsed(title == versions))
        for panel in panels:
            board.with_panel(panel)
    board.with_variable(runbook_variable())
    board.with_variable(jaeger_variable())
    board.with_row(Row("Failed runs in Jaeger").collapsed(collapsed=True))
    tags = 'error=true langflow.status=error langflow.flow.name="$flow"'
    board.with_panel(found_in_jaeger("Failed runs in Jaeger", IN_JAEGER, tags))
    return board


_recorded = partial(recorded, where=FLOW)


def _or_recorded(counted: str, name: str, *by: str, of: str = "sum", where: str = FLOW) -> str:
    return or_recorded(counted, recorded(name, *by, of=of, where=where), FLOW)


def _numbers() -> Iterator[Panel]:
    rate = _recorded("job_flow_status:langflow_flow_runs:rate$window")
    yield number("Runs", PER_MINUTE, "Runs that ended, per minute.", per_minute(rate))
    ratio = _recorded("job_flow:langflow_flow_runs_failed:ratio_rate$window", of="max")
    about = (
        "Share of its runs that failed. Red: the table of failed runs has their traces, Errors by type says"
        " which component."
    )
    yield number("Failed", "percentunit", about, ratio, (0.01, 0.06))
    about = "95 of 100 runs that ended ok were faster. Red: above the objective of 60 s (rules/recording.yml)."
    p95 = _recorded(f"job_flow:{FLOWS}:p95_$window", of="max")
    yield number("P95", "s", about, p95, (45, 60), above=LONGEST_RUN)
    about = "What the P95 may be, by rules/recording.yml. LangflowSlow pages above it."
    objective = f"min(last_over_time(job_flow:langflow_latency_objective:seconds{{{FLOW}}}[1d]))"
    yield number("P95 objective", "s", about, objective)
    about = (
        "Of the runs of 30 days that may fail (1 %, in rules/recording.yml). Below 0 it is overspent: no risky"
        " change of"
        " this flow until it recovers. Runs in the playground are not in it."
    )
    yield number(
        "Budget left", "percentunit", about, _recorded(BUDGET_LEFT, of="min"), (0.25, 0), low_is_bad=True
    ).mappings([OVERSPENT])
    about = "How long ago a run ended ok, within the last 30 days."
    last = f"time() - {_recorded(LAST_SUCCESS, of='max')}"
    yield number("Last success", "s", about, last, (3600, 86400), empty="never")
    about = "How long the run has gone on that began first. Red, it hangs or waits for something outside."
    yield number("Oldest run", "s", about, _recorded(OLDEST, of="max"), HUNG, empty="none")
    yield number("Active", "none", "Runs going on right now.", _recorded("job_flow:langflow_flow_active:sum"))


def _faults() -> Iterator[Panel]:
    about = "What fires now about this flow, and for how long. A click on an alert opens the runbook at what to do."
    yield firing("Alerts that fire", about, f',{JOB},flow=~"$flow"')
    about = (
        "The newest 20 of the time range, from Tempo. A click opens the trace: the red span is the component"
        " that failed."
    )
    yield found_traces("Failed runs", about, FAILED + FAILED_COLUMNS)


def _runs() -> Iterator[Panel]:
    yield graph(
        "Duration",
        "s",
        "Of the runs that ended ok. Above the largest bucket it says so. A click leads to slow runs.",
        *(
            query(
                _or_recorded(
                    quantile(q / 100, FLOWS, f'{RUN},status="ok"'), f"job_flow:{FLOWS}:p{q}_$window", of="max"
                ),
                f"P{q}",
            )
            for q in (50, 95, 99)
        ),
        above=LONGEST_RUN,
        links=(to_traces("Slow runs", SLOWEST),),
    )
    yield durations(
        "How long runs take",
        "Runs that ended ok: each row a range of durations, the darker the more runs. The dots are single"
        " runs: each leads"
        " to its trace.",
        _or_recorded(
            per_second(f"{FLOWS}_bucket", f'{RUN},status="ok"', "le"),
            f"job_flow_le:{FLOWS}_bucket:rate$window",
            "le",
        ),
        exemplars=True,
    )
    ended = per_second(f"{FLOWS}_count", RUN, "status")
    yield graph(
        "Runs by outcome",
        PER_MINUTE,
        "Runs that ended, per minute.",
        query(
            per_minute(_or_recorded(ended, "job_flow_status:langflow_flow_runs:rate$window", "status")), "{{status}}"
        ),
    )
    yield graph(
        "Failed",
        "percentunit",
        "Share of the runs that failed, of those that ended ok or failed. Above the line it pages, with 5"
        " failures in 5 min."
        " A click leads to failed runs.",
        query(
            _or_recorded(failed(RUN, "flow"), "job_flow:langflow_flow_runs_failed:ratio_rate$window", "flow", of="max"),
            "{{flow}}",
        ),
        limit=0.5,
        links=(to_traces("Failed runs", FAILED),),
    )
    entries = "job_flow_status_entry_point:langflow_flow_runs:increase$window"
    by_entry = _or_recorded(f"sum by (entry_point) (increase({FLOWS}_count{{{RUN}}}[$window]))", entries, "entry_point")
    yield graph(
        "Runs by entry point",
        "none",
        "How they were started: runs over the rollup's window, 1 min to 1 h by the time range.",
        query(by_entry, "{{entry_point}}"),
    )
    yield graph(
        "Oldest run",
        "s",
        "How long the run has gone on that began first. It falls to 0 when the run ends. A line that climbs"
        " above 15 min"
        " hangs: find its last span, or restart that replica.",
        query(f"{OLDEST}{{{FLOW}}}", "{{job}}"),
        limit=HUNG[1],
    )


def _components() -> Iterator[Panel]:
    by_type = "job_flow_component_type"
    yield share(
        "Where the time goes",
        "Time spent in each component type, as a share of the time in all. Components that run at once count each.",
        query(
            _or_recorded(
                per_second(f"{COMPONENTS}_sum", FLOW, "component_type"),
                f"{by_type}:{COMPONENTS}_sum:rate1h",
                "component_type",
            ),
            "{{component_type}}",
        ),
    )
    yield graph(
        "P95 of components",
        "s",
        "Of the executions that ended ok.",
        query(
            _or_recorded(
                quantile(0.95, COMPONENTS, f'{FLOW},status="ok"', "component_type"),
                f"{by_type}:{COMPONENTS}:p95_1h",
                "component_type",
                of="max",
            ),
            "{{component_type}}",
        ),
        above=LONGEST_RUN,
    )
    errors = ("component_type", "error_type")
    counted = per_second("langflow_component_errors_total", FLOW, *errors)
    yield graph(
        "Errors by type",
        PER_MINUTE,
        "Failed executions of components, per minute, by the class of the error. A click leads to failed runs.",
        query(
            per_minute(_or_recorded(counted, f"{by_type}_error_type:langflow_component_errors:rate1h", *errors)),
            "{{component_type}} {{error_type}}",
        ),
        links=(to_traces("Failed runs", FAILED),),
    )
    yield graph(
        "Not run, and tried again",
        PER_MINUTE,
        "Per minute. Answered from LangFlow's cache (cached), on a branch that was not taken (skipped), retried.",
        query(
            per_minute(per_second("langflow_component_bypassed_total", FLOW, "component_type", "reason")),
            "{{component_type}} {{reason}}",
        ),
        query(
            per_minute(per_second("langflow_component_retries_total", FLOW, "component_type")),
            "{{component_type}} retried",
        ),
    )
    first_chunk = "langflow_component_time_to_first_chunk_seconds"
    yield graph(
        "First chunk of streams (P95)",
        "s",
        "From the first pull to the first chunk: what a reader waits before words appear.",
        query(quantile(0.95, first_chunk, FLOW, "component_type"), "{{component_type}}"),
        above=LONGEST_RUN,
    )
    yield graph(
        "Time to recovery",
        "s",
        "Mean, from the first failed run after a good one to the next good one.",
        query(mean("langflow_flow_recovery_time_seconds", FLOW, "flow"), "{{flow}}"),
    )


def _model_calls() -> Iterator[Panel]:
    model = "gen_ai_request_model"
    by_model = f"job_flow_{model}"
    tokens = (
        (kind, per_second(f"{MODELS}_usage_{kind}_tokens_total", FLOW, model), f'{FLOW},type="{kind}"')
        for kind in ("input", "output")
    )
    yield graph(
        "Tokens",
        "suffix: tokens/min",
        "Per minute, in and out, of each model.",
        *(
            query(
                per_minute(
                    _or_recorded(counted, f"{by_model}_type:{MODELS}_tokens:rate1h", model, where=where),
                ),
                f"{{{{{model}}}}} {kind}",
            )
            for kind, counted, where in tokens
        ),
    )
    yield graph(
        "Tokens of one call",
        "none",
        "Mean of the model calls that did not fail. Growing input is a history that grows, or a prompt.",
        *(
            query(mean(f"{MODELS}_operation_{kind}_tokens", FLOW, model), f"{{{{{model}}}}} {kind}")
            for kind in ("input", "output")
        ),
    )
    yield graph(
        "Model calls (P95)",
        "s",
        "From the start of a call to its whole answer, retries included.",
        query(
            _or_recorded(
                quantile(0.95, f"{MODELS}_duration_seconds", FLOW, model),
                f"{by_model}:{MODELS}_duration_seconds:p95_1h",
                model,
                of="max",
            ),
            f"{{{{{model}}}}}",
        ),
        above=LONGEST_CALL,
    )
    category = "langflow_error_category"
    errors = per_second("langflow_model_errors_total", FLOW, model, category)
    yield graph(
        "Model calls that failed or were tried again",
        PER_MINUTE,
        "Per minute, by the category of the error; requests that the provider's library sent again.",
        query(
            per_minute(_or_recorded(errors, f"{by_model}_{category}:langflow_model_errors:rate1h", model, category)),
            f"{{{{{model}}}}} {{{{{category}}}}}",
        ),
        query(per_minute(per_second("langflow_model_retries_total", FLOW, model)), f"{{{{{model}}}}} tried again"),
    )


def _costs() -> Iterator[Panel]:
    labels = ("model", "currency")
    counted = per_second("langflow_cost_total", FLOW, *labels)
    yield graph(
        "Cost per hour",
        "none",
        "Of each model, in units of the currency, by the prices in LANGFLOW_OTEL_PRICES.",
        query(
            f"3600 * ({_or_recorded(counted, 'job_flow_model_currency:langflow_cost:rate1h', *labels)})",
            "{{model}} {{currency}}",
        ),
    )
    yield graph(
        "Model calls without a price",
        PER_MINUTE,
        "Per minute. They are in no cost: add their models to the list of LANGFLOW_OTEL_PRICES.",
        query(
            per_minute(per_second("langflow_cost_unpriced_calls_total", FLOW, "model", "provider")),
            "{{model}} {{provider}}",
        ),
    )


def _versions() -> Iterator[Panel]:
    yield graph(
        "P95 by version",
        "s",
        "Of the runs that ended ok.",
        query(quantile(0.95, FLOWS, f'{RUN},status="ok"', "flow_version"), "{{flow_version}}"),
        width=8,
        above=LONGEST_RUN,
    )
    yield graph(
        "Failed by version",
        "percentunit",
        "Share of the runs that failed. A version that fails more than the one before: publish the one before again.",
        query(failed(RUN, "flow_version"), "{{flow_version}}"),
        width=8,
    )
    yield graph(
        "Runs by version",
        PER_MINUTE,
        "Runs that ended, per minute.",
        query(per_minute(per_second(f"{FLOWS}_count", RUN, "flow_version")), "{{flow_version}}"),
        width=8,
    )
