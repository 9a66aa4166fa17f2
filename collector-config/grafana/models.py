"""The dashboard about the models that flows call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import PER_MINUTE, Panel, dashboard, durations, graph, number, query, share, to_flow, to_traces, variable
from queries import JOB, LONGEST_CALL, MODELS, or_recorded, per_minute, per_second, quantile, recorded

MODEL: Final = "gen_ai_request_model"
CALLS = f'{JOB},{MODEL}=~"$model"'
PRICED = f'{JOB},model=~"$model"'
FAILED_CALLS = '{ kind = client && status = error && span.gen_ai.request.model =~ "$model" }'
FAILED_COLUMNS = " | select(span.langflow.flow.name, span.langflow.error.category, span.error.type)"


def models() -> Dashboard:
    board = dashboard(
        "langflow-models",
        "LangFlow: Models",
        "The models that flows call: how fast, how many tokens, what they cost, and how they fail.",
        variable("model", "Model", f"job_flow_{MODEL}:{MODELS}_calls:rate1h{{{JOB}}}, {MODEL}", all_value=".*"),
        rollups=False,
    )
    for panel in _numbers():
        board.with_panel(panel)
    for title, panels in (
        ("Latency", _latency()),
        ("Errors", _errors()),
        ("Tokens", _tokens()),
        ("Cost", _costs()),
        ("Embeddings", _embeddings()),
    ):
        board.with_row(Row(title))
        for panel in panels:
            board.with_panel(panel)
    return board


_recorded = partial(recorded, where=CALLS)


def _or_recorded(counted: str, name: str, *by: str, of: str = "sum", where: str = CALLS) -> str:
    return or_recorded(counted, recorded(name, *by, of=of, where=where), JOB)


def _numbers() -> Iterator[Panel]:
    calls = _recorded(f"job_flow_{MODEL}:{MODELS}_calls:rate1h")
    yield number(
        "Calls", PER_MINUTE, "Calls of models that write, per minute, over an hour.", per_minute(calls), width=4
    )
    errors = _recorded(f"job_flow_{MODEL}_langflow_error_category:langflow_model_errors:rate1h")
    about = "Share of the calls of the last hour that failed. Red: Errors by category says why."
    failed = f"({errors} or vector(0)) / ({calls} > 0)"
    yield number("Failed", "percentunit", about, failed, (0.01, 0.06), width=4)
    duration = _recorded(f"job_{MODEL}:{MODELS}_duration_seconds:p95_1h", of="max")
    about = "Of the slowest model, over an hour: 95 of 100 calls were faster."
    yield number("P95", "s", about, duration, above=LONGEST_CALL, width=4)
    chunk = _recorded(f"job_{MODEL}:{MODELS}_time_to_first_chunk_seconds:p95_1h", of="max")
    about = "Of the slowest model, over an hour: 95 of 100 streamed answers began sooner."
    yield number("First chunk (P95)", "s", about, chunk, above=LONGEST_CALL, width=4)
    tokens = _recorded(f"job_flow_{MODEL}_type:{MODELS}_tokens:rate1h", where=f'{CALLS},type=~"input|output"')
    yield number("Tokens", "suffix: tokens/min", "In and out, per minute, over an hour.", per_minute(tokens), width=4)
    cost = _recorded("job_flow_model_currency:langflow_cost:rate1h", "currency", where=PRICED)
    about = "Per hour, one figure for each currency, by the prices in LANGFLOW_OTEL_PRICES."
    yield number("Cost per hour", "none", about, f"3600 * {cost}", width=4).decimals(2)


def _latency() -> Iterator[Panel]:
    duration = f"{MODELS}_duration_seconds"
    yield graph(
        "Duration of calls (P95)",
        "s",
        "From the start of a call to its whole answer, retries included. One model slower and not the others: its"
        " provider. All slower: the network, or a blocked event loop (Resources).",
        query(
            _or_recorded(quantile(0.95, duration, CALLS, MODEL), f"job_{MODEL}:{duration}:p95_1h", MODEL, of="max"),
            f"{{{{{MODEL}}}}}",
        ),
        above=LONGEST_CALL,
        links=(to_traces("Slow calls", '{ kind = client && span.gen_ai.request.model =~ "$model" && duration > 5s }'),),
    )
    yield graph(
        "Duration of calls (P50)",
        "s",
        "Half of the calls were faster.",
        query(
            _or_recorded(quantile(0.5, duration, CALLS, MODEL), f"job_{MODEL}:{duration}:p50_1h", MODEL, of="max"),
            f"{{{{{MODEL}}}}}",
        ),
        above=LONGEST_CALL,
    )
    chunk = f"{MODELS}_time_to_first_chunk_seconds"
    yield graph(
        "Time to the first chunk (P95)",
        "s",
        "Of streamed calls: what a reader waits before words appear.",
        query(
            _or_recorded(quantile(0.95, chunk, CALLS, MODEL), f"job_{MODEL}:{chunk}:p95_1h", MODEL, of="max"),
            f"{{{{{MODEL}}}}}",
        ),
        above=LONGEST_CALL,
    )
    yield durations(
        "How long calls take",
        "Each row a range of durations, the darker the more calls. The dots are single calls: each leads to its trace.",
        per_second(f"{duration}_bucket", CALLS, "le"),
        exemplars=True,
    )


def _errors() -> Iterator[Panel]:
    category = "langflow_error_category"
    counted = per_second("langflow_model_errors_total", CALLS, MODEL, category)
    name = f"job_flow_{MODEL}_{category}:langflow_model_errors:rate1h"
    yield graph(
        "Errors by category",
        PER_MINUTE,
        "Failed calls, per minute. rate_limit: ask the provider for more, or spread the load. authentication: the key."
        " timeout, network, provider: outside; see the provider's status page. content_filter,"
        " invalid_request: the input."
        " A click leads to failed calls.",
        query(per_minute(_or_recorded(counted, name, MODEL, category)), f"{{{{{MODEL}}}}} {{{{{category}}}}}"),
        links=(to_traces("Failed calls", FAILED_CALLS + FAILED_COLUMNS),),
    )
    by_flow = per_second("langflow_model_errors_total", CALLS, "flow")
    yield graph(
        "Errors of each flow",
        PER_MINUTE,
        "Failed calls, per minute. A click opens the flow.",
        query(per_minute(_or_recorded(by_flow, name, "flow")), "{{flow}}"),
        links=(to_flow(),),
    )
    yield graph(
        "Requests sent again",
        PER_MINUTE,
        "By the provider's library, within calls: users wait, and nothing has failed yet.",
        query(per_minute(per_second("langflow_model_retries_total", CALLS, MODEL)), f"{{{{{MODEL}}}}}"),
    )
    calls = per_second(f"{MODELS}_duration_seconds_count", CALLS, MODEL)
    yield graph(
        "Calls",
        PER_MINUTE,
        "Per minute, of each model.",
        query(per_minute(_or_recorded(calls, f"job_flow_{MODEL}:{MODELS}_calls:rate1h", MODEL)), f"{{{{{MODEL}}}}}"),
    )


def _tokens() -> Iterator[Panel]:
    types = {
        "input": "input",
        "output": "output",
        "cache_read": "cache_read_input",
        "cache_write": "cache_write_input",
        "reasoning": "reasoning_output",
    }
    name = f"job_flow_{MODEL}_type:{MODELS}_tokens:rate1h"
    yield graph(
        "Tokens by type",
        "suffix: tokens/min",
        "Per minute. Those that were read from or written to a cache are in input, those of reasoning in output.",
        *(
            query(
                per_minute(
                    _or_recorded(
                        per_second(f"{MODELS}_usage_{metric}_tokens_total", CALLS, MODEL),
                        name,
                        MODEL,
                        where=f'{CALLS},type="{kind}"',
                    )
                ),
                f"{{{{{MODEL}}}}} {kind}",
            )
            for kind, metric in types.items()
        ),
    )
    counted = " + ".join(
        per_second(f"{MODELS}_usage_{kind}_tokens_total", CALLS, "flow") for kind in ("input", "output")
    )
    recorded_ = _recorded(name, "flow", where=f'{CALLS},type=~"input|output"')
    yield graph(
        "Tokens of each flow",
        "suffix: tokens/min",
        "In and out, per minute. A click opens the flow.",
        query(per_minute(or_recorded(counted, recorded_, JOB)), "{{flow}}"),
        links=(to_flow(),),
    )


def _costs() -> Iterator[Panel]:
    labels = ("model", "currency")
    counted = per_second("langflow_cost_total", PRICED, *labels)
    cost = "job_flow_model_currency:langflow_cost:rate1h"
    yield graph(
        "Cost per hour of each model",
        "none",
        "In units of the currency, by the prices in LANGFLOW_OTEL_PRICES.",
        query(f"3600 * ({_or_recorded(counted, cost, *labels, where=PRICED)})", "{{model}} {{currency}}"),
        width=8,
    )
    by_flow = per_second("langflow_cost_total", PRICED, "flow", "currency")
    yield share(
        "Who spends it",
        "Each flow's share of the cost.",
        query(_or_recorded(by_flow, cost, "flow", "currency", where=PRICED), "{{flow}} {{currency}}"),
        width=8,
    )
    yield graph(
        "Calls without a price",
        PER_MINUTE,
        "Per minute. They are in no cost: add their models to the list of LANGFLOW_OTEL_PRICES.",
        query(
            per_minute(per_second("langflow_cost_unpriced_calls_total", PRICED, "model", "provider")),
            "{{model}} {{provider}}",
        ),
        width=8,
    )


def _embeddings() -> Iterator[Panel]:
    duration = "gen_ai_client_embeddings_duration_seconds"
    yield graph(
        "Duration of embeddings (P95)",
        "s",
        "Of a call, of each model.",
        query(quantile(0.95, duration, CALLS, MODEL), f"{{{{{MODEL}}}}}"),
        above=LONGEST_CALL,
    )
    yield graph(
        "Calls of embeddings",
        PER_MINUTE,
        "Per minute, of each model; those that failed by the class of the error.",
        query(
            per_minute(per_second(f"{duration}_count", CALLS, MODEL, "error_type")),
            f"{{{{{MODEL}}}}} {{{{error_type}}}}",
        ),
    )
