"""The dashboard about all flows."""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import (
    IN_JAEGER,
    OVERSPENT,
    PER_MINUTE,
    Column,
    Panel,
    dashboard,
    durations,
    firing,
    found_in_jaeger,
    found_traces,
    graph,
    grid,
    jaeger_variable,
    number,
    query,
    runbook_variable,
    to_flow,
    to_traces,
)
from queries import FLOWS, JOB, LONGEST_REQUEST, LONGEST_RUN, per_minute, recorded

FAILED_RUNS = '{ name =~ "invoke_workflow.*" && status = error && span.langflow.entry_point != "flow" }'
FAILED_COLUMNS = " | select(span.langflow.flow.name, span.error.type, span.langflow.entry_point)"
OLDEST = "job_flow:langflow_flow_oldest_age_seconds:max"
LAST_SUCCESS = "job_flow:langflow_flow_last_success:timestamp_seconds"
BUDGET_LEFT = "job_flow:langflow_error_budget_left:ratio"
PROBE = 'job=~"probe-($job)"'
HUNG = (120, 900)
"""Seconds: as LangflowRunHangs has them."""


def overview() -> Dashboard:
    about = "How are all flows doing? Begin here: a click on a flow opens its own dashboard."
    board = dashboard("langflow-overview", "LangFlow: Overview", about)
    for panel in (*_numbers(), *_faults()):
        board.with_panel(panel)
    for title, panels in (
        ("Flows", (_flows(), *_runs())),
        ("Do users get answers", _requests()),
        ("Background jobs", _jobs()),
        ("Component types", (_component_types(),)),
        ("Cost", _costs()),
    ):
        board.with_row(Row(title))
        for panel in panels:
            board.with_panel(panel)
    board.with_variable(runbook_variable())
    board.with_variable(jaeger_variable())
    board.with_row(Row("Failed runs in Jaeger").collapsed(collapsed=True))
    board.with_panel(found_in_jaeger("Failed runs in Jaeger", IN_JAEGER, "error=true langflow.status=error"))
    return board


def _numbers() -> Iterator[Panel]:
    runs = "job_status:langflow_flow_runs:rate$window"
    about = "Runs that ended, per minute. None, where there are always some: look at Answers, then at Replicas."
    yield number("Runs", PER_MINUTE, about, per_minute(recorded(runs)))
    failed, ended = (recorded(f"job:langflow_flow_runs{which}:increase5m") for which in ("_failed", ""))
    about = (
        "Share of the runs of the last 5 min that failed. Cancelled runs do not count. Red: open the worst"
        " flow of the table."
    )
    yield number("Failed", "percentunit", about, f"{failed} / ({ended} > 0)", (0.01, 0.06))
    buckets = recorded("job_flow_le:langflow_flow_duration_seconds_bucket:rate$window", "le")
    about = "95 of 100 runs that ended ok were faster. Over all flows."
    yield number("P95", "s", about, f"histogram_quantile(0.95, {buckets}) >= 0", above=LONGEST_RUN)
    yield number(
        "Active", "none", "Runs going on right now, on all replicas.", recorded("job:langflow_flow_active:sum")
    )
    about = "Age of the run that has gone on longest. Red, it hangs or waits for something outside: open its flow."
    yield number("Oldest run", "s", about, recorded(OLDEST, of="max"), HUNG, empty="none")
    about = (
        "Background jobs that wait. LangFlow's own server has a queue of them. Red: look at the wait below,"
        " and add replicas."
    )
    yield number("Waiting jobs", "none", about, recorded("job_queue:langflow_queue_depth:sum"), (1, 20))
    about = "Replicas that answer the scrape. 0: the runbook's section LangflowDown."
    yield number("Replicas", "none", about, recorded("job:langflow_replicas:sum"), (1, 1), low_is_bad=True)
    about = (
        "Share of the probes of 5 min that LangFlow answered, asked as its users do (blackbox.yml). Red while"
        " Replicas is"
        " green: something in front of LangFlow, its database, or a blocked event loop. Empty without a prober."
    )
    answered = f"avg(avg_over_time(probe_success{{{PROBE}}}[5m]))"
    yield number("Answers", "percentunit", about, answered, (1, 0.9), low_is_bad=True, empty="no prober")


def _faults() -> Iterator[Panel]:
    about = (
        "What fires now, and for how long. A click on an alert opens the runbook at what to do, one on a flow its"
        " dashboard."
    )
    yield firing("Alerts that fire", about, ',job=~"$job|otel-collector.*|prometheus|alertmanager|"')
    about = (
        "The newest 20 of the time range, from Tempo. A click opens the trace. In the store of Jaeger: the last row."
    )
    yield found_traces("Failed runs", about, FAILED_RUNS + FAILED_COLUMNS)


def _flows() -> Panel:
    rate = recorded("job_flow_status:langflow_flow_runs:rate$window", "flow")
    failed = recorded("job_flow:langflow_flow_runs_failed:ratio_rate$window", "flow", of="max")
    percentiles = {
        f"P{q}": Column("s", recorded(f"job_flow:{FLOWS}:p{q}_$window", "flow", of="max"), above=LONGEST_RUN)
        for q in (50, 95, 99)
    }
    last = f"time() - max by (flow) ({LAST_SUCCESS}{{{JOB}}})"
    columns = {
        "Runs/min": Column("none", per_minute(rate)),
        "Failed": Column("percentunit", failed, (0.01, 0.06)),
        **percentiles,
        "Active": Column("none", recorded("job_flow:langflow_flow_active:sum", "flow")),
        "Oldest run": Column("s", recorded(OLDEST, "flow", of="max"), HUNG),
        "Last success": Column("s", last, (3600, 86400)),
        "P95 objective": Column("s", recorded("job_flow:langflow_latency_objective:seconds", "flow", of="min")),
        "Budget left": Column(
            "percentunit", recorded(BUDGET_LEFT, "flow", of="min"), (0.25, 0), low_is_bad=True, mapping=OVERSPENT
        ),
    }
    about = (
        "One row for each flow; of several deployments the worst. A click on its name opens its dashboard."
        " Last success: how"
        " long ago. Budget left: of the runs of 30 days that may fail; below 0 it is overspent."
    )
    link = to_flow("${__value.raw}")
    return grid("Flows", about, columns, "flow", height=10, sort="Failed", row_link=link)


def _runs() -> Iterator[Panel]:
    yield graph(
        "Runs by outcome",
        PER_MINUTE,
        "Runs that ended, per minute.",
        query(per_minute(recorded("job_status:langflow_flow_runs:rate$window", "status")), "{{status}}"),
    )
    yield graph(
        "Failed runs of each flow",
        "percentunit",
        "Share of the runs that failed, of those that ended ok or failed. Above the line it pages, with 5"
        " failures in 5 min."
        " A click on a line opens its flow, or its failed runs.",
        query(f"job_flow:langflow_flow_runs_failed:ratio_rate$window{{{JOB}}}", "{{flow}}"),
        limit=0.5,
        links=(
            to_flow(),
            to_traces(
                "Its failed runs", FAILED_RUNS.replace(" }", ' && span.langflow.flow.name = "${__field.labels.flow}" }')
            ),
        ),
    )
    yield graph(
        "P95 of each flow",
        "s",
        "Of the runs that ended ok. Above the largest bucket it says so. A click on a line opens its flow.",
        query(f"job_flow:{FLOWS}:p95_$window{{{JOB}}}", "{{flow}}"),
        above=LONGEST_RUN,
        links=(to_flow(),),
    )
    yield durations(
        "How long runs take",
        "Runs that ended ok: each row a range of durations, the darker the more runs. Two bands are two kinds"
        " of runs, which"
        " a percentile hides. Single runs are dots on the dashboard of their flow.",
        recorded("job_flow_le:langflow_flow_duration_seconds_bucket:rate$window", "le"),
    )
    yield graph(
        "Oldest run of each flow",
        "s",
        "How long the run has gone on that began first. It falls to 0 when the run ends. A line that climbs"
        " above 15 min"
        " hangs: a click opens its flow.",
        query(f"{OLDEST}{{{JOB}}}", "{{flow}}"),
        limit=HUNG[1],
        links=(to_flow(),),
    )
    yield graph(
        "Active runs",
        "none",
        "Runs going on. Where they grow and Runs by outcome does not, runs hang or a resource is used up.",
        query(f"job:langflow_flow_active:sum{{{JOB}}}", "{{job}}"),
    )
    yield graph(
        "How fast the error budget burns",
        "none",
        "1: the budget (1 % of the runs) lasts as long as it has to. Pages come at 14.4 over 1 h and 6 over 6 h,"
        " tickets at 3 over a day and 1 over 3 days.",
        *(query(_burn_rate(window), f"{window} {{{{job}}}}") for window in ("1h", "6h", "1d", "3d")),
    )
    yield (
        graph(
            "Error budget left, of each flow",
            "percentunit",
            "Of the runs of 30 days that may fail. At 0 it is spent; lines below 0 are of flows that failed"
            " more often.",
            query(f"{BUDGET_LEFT}{{{JOB}}}", "{{flow}}"),
            links=(to_flow(),),
        )
        .min(-1)
        .max(1)
        .mappings([OVERSPENT])
    )


def _requests() -> Iterator[Panel]:
    requests = "http_server_request_duration_seconds"
    by_code = recorded("job_http_response_status_code:http_server_requests:rate$window", "http_response_status_code")
    yield graph(
        "Requests to the server",
        PER_MINUTE,
        "To LangFlow's API, per minute, by status code. 5xx: the traces of those requests have the error.",
        query(per_minute(by_code), "{{http_response_status_code}}"),
        width=8,
    )
    yield graph(
        "P95 of requests by route",
        "s",
        "Until the last byte of the answer.",
        query(recorded(f"job_http_route:{requests}:p95_$window", "http_route", of="max"), "{{http_route}}"),
        width=8,
        above=LONGEST_REQUEST,
    )
    yield graph(
        "Probes",
        "s",
        "How long LangFlow takes to answer a probe of /health_check; a gap where it does not. Needs blackbox.yml."
        " By hand: langflow-otel probe URL.",
        query(f"probe_duration_seconds{{{PROBE}}} and probe_success{{{PROBE}}} == 1", "{{instance}}"),
        width=8,
        limit=5,
    )


def _jobs() -> Iterator[Panel]:
    waits = recorded("job_queue_le:langflow_queue_wait_seconds_bucket:rate5m", "queue", "le")
    yield graph(
        "Background jobs",
        "none",
        "Those that wait, that run, and that may run at once. As many run as may, and more wait: add replicas.",
        query(recorded("job_queue:langflow_queue_depth:sum", "queue"), "{{queue}} waiting"),
        query(recorded("job_queue:langflow_queue_running:sum", "queue"), "{{queue}} running"),
        query(recorded("job_queue:langflow_queue_capacity:sum", "queue"), "{{queue}} capacity"),
    )
    yield graph(
        "How long jobs wait",
        "s",
        "From submission to start, of the jobs that were started in 5 min; and since when the one waits that is next.",
        *(query(f"histogram_quantile(0.{q}, {waits}) >= 0", f"{{{{queue}}}} P{q}") for q in (50, 95, 99)),
        query(recorded("job_queue:langflow_queue_oldest_age_seconds:max", "queue", of="max"), "{{queue}} still waits"),
        above=LONGEST_RUN,
    )


def _component_types() -> Panel:
    rate = recorded("job_component_type_status:langflow_component_executions:rate$window", "component_type")
    failed = recorded(
        "job_component_type:langflow_component_executions_failed:ratio_rate$window", "component_type", of="max"
    )
    duration = "job_component_type:langflow_component_duration_seconds"
    percentiles = {
        f"P{q}": Column("s", recorded(f"{duration}:p{q}_$window", "component_type", of="max"), above=LONGEST_RUN)
        for q in (50, 95, 99)
    }
    columns = {
        "Executions/min": Column("none", per_minute(rate)),
        "Failed": Column("percentunit", failed, (0.01, 0.06)),
        **percentiles,
    }
    return grid(
        "Component types", "Of all flows; of several deployments the worst.", columns, "component_type", sort="Failed"
    )


def _costs() -> Iterator[Panel]:
    yield graph(
        "Cost of 24 h, of each flow",
        "none",
        "In units of the currency, by the prices in LANGFLOW_OTEL_PRICES; models without a price are not in it.",
        query(recorded("job_flow_currency:langflow_cost:increase1d", "flow", "currency"), "{{flow}} {{currency}}"),
        links=(to_flow(),),
    )
    yield graph(
        "Cost of 24 h and its budget",
        "none",
        "A ticket comes when a deployment is over the budget of its currency. It stands in rules/recording.yml.",
        query(f"job_currency:langflow_cost:increase1d{{{JOB}}}", "{{job}} {{currency}}"),
        query("currency:langflow_cost_budget:increase1d", "budget {{currency}}"),
    )


def _burn_rate(window: str) -> str:
    ratio = f"job:langflow_flow_runs_failed:ratio_increase{window}{{{JOB}}}"
    return f"{ratio} / on () group_left () langflow:error_budget:ratio"
