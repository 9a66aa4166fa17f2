"""The dashboard about one flow."""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import Panel, dashboard, graph, query, share, variable, with_exemplars
from queries import JOB, failed, mean, per_second, quantile

FLOW = f'{JOB},flow=~"$flow"'
RUN = f'{FLOW},flow_version=~"$version"'
"""The version is a label only with LANGFLOW_OTEL_METRIC_LABELS=flow,component_type,flow_version; else all match."""

RUNS = "langflow_flow_duration_seconds"
COMPONENTS = "langflow_component_duration_seconds"


def flow() -> Dashboard:
    board = dashboard(
        "langflow-flow",
        "LangFlow: Flow",
        "One flow: how fast, what of it takes the time, what fails, what it costs, and how its versions compare.",
        variable("flow", "Flow", f"{RUNS}_count{{{JOB}}}, flow", several=False),
        variable("version", "Version", f"{RUNS}_count{{{FLOW}}}, flow_version", all_value=".*"),
    )
    versions = "Versions: with LANGFLOW_OTEL_METRIC_LABELS=flow,component_type,flow_version"
    for title, panels in (
        ("Runs", _runs()),
        ("Components", _components()),
        ("Model calls", _model_calls()),
        ("Cost", _costs()),
        (versions, _versions()),
    ):
        board.with_row(Row(title))
        for panel in panels:
            board.with_panel(panel)
    return board


def _runs() -> Iterator[Panel]:
    yield graph(
        "Duration",
        "s",
        "Of the runs that ended ok. The dots are single runs: each leads to its trace.",
        with_exemplars(quantile(0.5, RUNS, f'{RUN},status="ok"'), "P50"),
        query(quantile(0.95, RUNS, f'{RUN},status="ok"'), "P95"),
        query(quantile(0.99, RUNS, f'{RUN},status="ok"'), "P99"),
    )
    yield graph(
        "Runs by outcome",
        "reqps",
        "Runs that ended, per second.",
        query(per_second(f"{RUNS}_count", RUN, "status"), "{{status}}"),
    )
    yield graph(
        "Failed",
        "percentunit",
        "Share of the runs that failed, of those that ended ok or failed.",
        query(failed(RUN, "flow"), "{{flow}}"),
    )
    yield graph(
        "Runs by entry point",
        "reqps",
        "How they were started.",
        query(per_second(f"{RUNS}_count", RUN, "entry_point"), "{{entry_point}}"),
    )


def _components() -> Iterator[Panel]:
    yield share(
        "Where the time goes",
        "Time spent in each component type, as a share of the time in all. Components that run at once count each.",
        query(per_second(f"{COMPONENTS}_sum", FLOW, "component_type"), "{{component_type}}"),
    )
    yield graph(
        "P95 of components",
        "s",
        "Of the executions that ended ok.",
        with_exemplars(quantile(0.95, COMPONENTS, f'{FLOW},status="ok"', "component_type"), "{{component_type}}"),
    )
    yield graph(
        "Errors by type",
        "cps",
        "Failed executions of components, by the class of the error.",
        query(
            per_second("langflow_component_errors_total", FLOW, "component_type", "error_type"),
            "{{component_type}} {{error_type}}",
        ),
    )
    yield graph(
        "Not run, and tried again",
        "cps",
        "Answered from LangFlow's cache (cached), on a branch that was not taken (skipped), retried.",
        query(
            per_second("langflow_component_bypassed_total", FLOW, "component_type", "reason"),
            "{{component_type}} {{reason}}",
        ),
        query(per_second("langflow_component_retries_total", FLOW, "component_type"), "{{component_type}} retried"),
    )
    first_chunk = "langflow_component_time_to_first_chunk_seconds"
    yield graph(
        "First chunk of streams (P95)",
        "s",
        "From the first pull to the first chunk: what a reader waits before words appear.",
        query(quantile(0.95, first_chunk, FLOW, "component_type"), "{{component_type}}"),
    )
    yield graph(
        "Time to recovery",
        "s",
        "Mean, from the first failed run after a good one to the next good one.",
        query(mean("langflow_flow_recovery_time_seconds", FLOW, "flow"), "{{flow}}"),
    )


def _model_calls() -> Iterator[Panel]:
    inference = "gen_ai_client_inference"
    yield graph(
        "Tokens",
        "cps",
        "Per second, in and out, of each model.",
        *(
            query(
                per_second(f"{inference}_usage_{kind}_tokens_total", FLOW, "gen_ai_request_model"),
                f"{{{{gen_ai_request_model}}}} {kind}",
            )
            for kind in ("input", "output")
        ),
    )
    yield graph(
        "Tokens of one call",
        "none",
        "Mean of the model calls that did not fail.",
        *(
            query(
                mean(f"{inference}_operation_{kind}_tokens", FLOW, "gen_ai_request_model"),
                f"{{{{gen_ai_request_model}}}} {kind}",
            )
            for kind in ("input", "output")
        ),
    )
    duration = f"{inference}_duration_seconds"
    yield graph(
        "Model calls (P95)",
        "s",
        "From the start of a call to its whole answer, retries included.",
        with_exemplars(quantile(0.95, duration, FLOW, "gen_ai_request_model"), "{{gen_ai_request_model}}"),
    )
    yield graph(
        "Model calls that failed or were tried again",
        "cps",
        "Per second, by the error's class; requests that the provider's library sent again.",
        query(
            per_second(f"{duration}_count", f'{FLOW},error_type!=""', "gen_ai_request_model", "error_type"),
            "{{gen_ai_request_model}} {{error_type}}",
        ),
        query(
            per_second("langflow_model_retries_total", FLOW, "gen_ai_request_model"),
            "{{gen_ai_request_model}} tried again",
        ),
    )


def _costs() -> Iterator[Panel]:
    yield graph(
        "Cost per hour",
        "none",
        "Of each model, in units of the currency, by the prices in LANGFLOW_OTEL_PRICES.",
        query(f"3600 * {per_second('langflow_cost_total', FLOW, 'model', 'currency')}", "{{model}} {{currency}}"),
    )
    yield graph(
        "Model calls without a price",
        "cps",
        "They are in no cost.",
        query(per_second("langflow_cost_unpriced_calls_total", FLOW, "model", "provider"), "{{model}} {{provider}}"),
    )


def _versions() -> Iterator[Panel]:
    yield graph(
        "P95 by version",
        "s",
        "Of the runs that ended ok.",
        with_exemplars(quantile(0.95, RUNS, f'{RUN},status="ok"', "flow_version"), "{{flow_version}}"),
        width=8,
    )
    yield graph(
        "Failed by version",
        "percentunit",
        "Share of the runs that failed.",
        query(failed(RUN, "flow_version"), "{{flow_version}}"),
        width=8,
    )
    yield graph(
        "Runs by version",
        "reqps",
        "Runs that ended, per second.",
        query(per_second(f"{RUNS}_count", RUN, "flow_version"), "{{flow_version}}"),
        width=8,
    )
