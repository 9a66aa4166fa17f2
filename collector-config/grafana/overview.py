"""The dashboard about all flows."""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import Panel, dashboard, graph, grid, number, query, with_exemplars
from queries import JOB, per_second, quantile, recorded


def overview() -> Dashboard:
    board = dashboard("langflow-overview", "LangFlow: Overview", "How are all flows doing? Begin here.")
    for panel in (*_numbers(), *_graphs(), *_costs(), *_grids()):
        board.with_panel(panel)
    return board


def _numbers() -> Iterator[Panel]:
    runs = "job_status:langflow_flow_runs:rate$window"
    yield number("Runs", "reqps", "Runs that ended, per second.", recorded(runs))
    failed, ended = (recorded(f"job:langflow_flow_runs{which}:increase5m") for which in ("_failed", ""))
    about = "Share of the runs of the last 5 min that failed. Cancelled runs do not count."
    yield number("Failed", "percentunit", about, f"{failed} / ({ended} > 0)", (0.01, 0.06))
    buckets = recorded("job_flow_le:langflow_flow_duration_seconds_bucket:rate$window", "le")
    about = "95 of 100 runs that ended ok were faster. Over all flows."
    yield number("P95", "s", about, f"histogram_quantile(0.95, {buckets})")
    active = "Runs going on right now, on all replicas."
    yield number("Active", "none", active, recorded("job:langflow_flow_active:sum"))
    about = "Background jobs that wait. LangFlow's own server has a queue of them."
    yield number("Waiting", "none", about, recorded("job_queue:langflow_queue_depth:sum"), (1, 20))
    yield number("Replicas", "none", "Replicas that answer.", recorded("job:langflow_replicas:sum"))


def _graphs() -> Iterator[Panel]:
    yield graph(
        "Runs by outcome",
        "reqps",
        "Runs that ended, per second.",
        query(recorded("job_status:langflow_flow_runs:rate$window", "status"), "{{status}}"),
    )
    yield graph(
        "Failed runs of each flow",
        "percentunit",
        "Share of the runs that failed, of those that ended ok or failed.",
        query(f"job_flow:langflow_flow_runs_failed:ratio_rate$window{{{JOB}}}", "{{flow}}"),
    )
    yield graph(
        "P95 of each flow",
        "s",
        "Of the runs that ended ok. The dots are single runs: each leads to its trace.",
        with_exemplars(quantile(0.95, "langflow_flow_duration_seconds", f'{JOB},status="ok"', "flow"), "{{flow}}"),
    )
    yield graph(
        "Active runs by replica",
        "none",
        "Runs going on.",
        query(recorded("langflow_flow_active", "instance"), "{{instance}}"),
    )
    yield graph(
        "Background jobs",
        "none",
        "Those that wait, that run, and that may run at once.",
        query(recorded("langflow_queue_depth", "queue"), "{{queue}} waiting"),
        query(recorded("langflow_queue_running", "queue"), "{{queue}} running"),
        query(recorded("langflow_queue_capacity", "queue"), "{{queue}} capacity"),
    )
    yield graph(
        "How fast the error budget burns",
        "none",
        "1: the budget (1 % of the runs) lasts as long as it has to. Pages come at 14.4 over 1 h and 6 over 6 h,"
        " tickets at 3 over a day and 1 over 3 days.",
        *(query(_burn_rate(window), f"{window} {{{{job}}}}") for window in ("1h", "6h", "1d", "3d")),
    )
    requests = "http_server_request_duration_seconds"
    yield graph(
        "Requests to the server",
        "reqps",
        "By status code, of the API.",
        query(per_second(f"{requests}_count", JOB, "http_response_status_code"), "{{http_response_status_code}}"),
    )
    yield graph(
        "P95 of requests by route",
        "s",
        "Until the last byte of the answer.",
        with_exemplars(quantile(0.95, requests, JOB, "http_route"), "{{http_route}}"),
    )


def _costs() -> Iterator[Panel]:
    yield graph(
        "Cost of 24 h, of each flow",
        "none",
        "In units of the currency, by the prices in LANGFLOW_OTEL_PRICES; models without a price are not in it.",
        query(recorded("job_flow_currency:langflow_cost:increase1d", "flow", "currency"), "{{flow}} {{currency}}"),
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


def _grids() -> Iterator[Panel]:
    for title, by, runs, duration in (
        ("Flows", "flow", "langflow_flow_runs", "langflow_flow_duration_seconds"),
        ("Component types", "component_type", "langflow_component_executions", "langflow_component_duration_seconds"),
    ):
        rate = recorded(f"job_{by}_status:{runs}:rate$window", by)
        failed = recorded(f"job_{by}:{runs}_failed:ratio_rate$window", by, of="max")
        percentiles = {
            f"P{q}": ("s", recorded(f"job_{by}:{duration}:p{q}_$window", by, of="max")) for q in (50, 95, 99)
        }
        columns = {"Per second": ("reqps", rate), "Failed": ("percentunit", failed), **percentiles}
        yield grid(title, "Over the last rollup window; of several deployments the worst.", columns, by)
