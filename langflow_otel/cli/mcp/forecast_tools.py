"""Tools about what comes: forecasts, an estimate of a flow before it runs, and what grows by the metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from langflow_otel.cli.estimate import sentences
from langflow_otel.cli.mcp.answers import AnswerError, cut, moment, page, present
from langflow_otel.cli.mcp.context import NEEDS_FORECAST, Answer, Asked, Flow, Limit, Since
from langflow_otel.insights._estimates.estimate import NoHistoryError
from langflow_otel.insights._estimates.estimate import estimate as estimate_of
from langflow_otel.insights._estimates.execution_history import past_runs
from langflow_otel.insights._forecasts.daily import day_of, series_from_runs
from langflow_otel.insights._forecasts.metric_risks import find_risks_of_metrics
from langflow_otel.insights._forecasts.risks import KINDS, Risk, Risks, find_risks
from langflow_otel.insights.prometheus_source import PrometheusError

if TYPE_CHECKING:
    from langflow_otel.insights._forecasts.forecast import Forecast

_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400


def forecast(
    asked: Asked,
    days: Annotated[int, Field(description="How many days ahead", ge=1, le=365)] = 30,
    flow: Flow = None,
    limits: Annotated[
        dict[str, float] | None,
        Field(description="By figure: when is it reached? runs, tokens, cost (of a day), cpu (cores), memory (bytes)"),
    ] = None,
) -> Answer:
    """How many runs, tokens and how much cost, CPU and memory the next days will have, with 95 % intervals, when a
    limit is reached, and how far off such forecasts were in the past. Three weeks of history are needed."""
    try:
        from langflow_otel.insights._forecasts.forecast import TooShortError
        from langflow_otel.insights._forecasts.forecast import forecast as forecast_of
    except ImportError as exc:
        raise AnswerError(NEEDS_FORECAST.format((exc.name or "").partition(".")[0])) from None
    series = series_from_runs(asked.traces.connection, asked.select(flow))
    names = dict.fromkeys(each.name.split()[0] for each in series)
    unknown = [cut(name) for name in limits or {} if name not in names]
    if unknown:
        raise AnswerError(f"limits: there is no {', '.join(unknown)}; there are {', '.join(names) or 'none'}")
    made, refused = [], []
    for each in series:
        try:
            made.append(_forecast(forecast_of(each, days, (limits or {}).get(each.name.split()[0]))))
        except TooShortError as exc:
            refused.append(f"{cut(each.name)}: {exc}")
    if not made:
        raise AnswerError("; ".join(refused) or "there are less than three days of runs, and 21 are needed")
    return {"forecasts": made, **present(refused=refused)}


def _forecast(found: Forecast) -> dict[str, Any]:
    # Not at the top: it needs the packages of the extra "forecast".
    from langflow_otel.cli.forecast import SHOWN_DAYS, back_test_line, crossing_line

    series, count = found.series, len(found.days)
    shown = (found.days[ahead - 1] for ahead in sorted({each for each in SHOWN_DAYS if each <= count} | {count}))
    return present(
        figure=series.name,
        unit=series.unit,
        of="the sum of a day" if series.is_sum else "the level of a day",
        days=[{"day": day_of(each.start_s), "value": each.value, "interval": [each.low, each.high]} for each in shown],
        total=found.total if series.is_sum else None,
        limit=None if found.crossing is None else crossing_line(series, found.crossing, count),
        how_good=cut(back_test_line(found), 500),
    )


def estimate(
    asked: Asked,
    flow: Annotated[str, Field(description="The name or id of one of the flows given at start", max_length=500)],
    since: Since = None,
    limit: Limit = 20,
) -> Answer:
    """What a run of a flow will take before it runs: time (s), tokens, cost, memory (bytes), with 90 % intervals, from
    what its components took in the past."""
    graph = next((each for each in asked.given.flows if flow in (each.name, each.flow_id)), None)
    if graph is None:
        raise AnswerError(
            f"there is no flow {cut(flow)}; there are {', '.join(cut(each.name) for each in asked.given.flows)}"
        )
    try:
        found = estimate_of(graph, past_runs(asked.traces.connection, asked.select(since=since)))
    except NoHistoryError as exc:
        raise AnswerError(cut(str(exc.args[0]), 500)) from None
    components = [
        present(
            component=each.name,
            type=each.component_type,
            model=each.model,
            median_s=each.seconds,
            on_critical_path_s=each.on_path_s,
            executions=each.executions,
            known_from=each.source,
        )
        for each in found.components
    ]
    return {
        "flow": cut(found.flow),
        "runs_of_this_flow": found.runs,
        "runs_of_all_flows": found.all_runs,
        "figures": [
            present(figure=each.name, median=each.median, mean=each.mean, interval=[each.low, each.high])
            for each in found.figures
        ],
        "components": page(components, limit, "raise limit"),
        "notes": [cut(each, 500) for each in sentences(found)],
    }


def risks(asked: Asked, flow: Flow = None, since: Since = None, limit: Limit = 20) -> Answer:
    """What grows and does not stop: memory of a process (bytes), the share of runs that fail or retry. Slopes are per
    hour, with 95 % intervals."""
    return _risks(find_risks(asked.traces.connection, asked.select(flow, since)), limit)


def risks_of_metrics(
    asked: Asked,
    days: Annotated[int, Field(description="So many days of history", ge=1, le=730)] = 7,
    limit: Limit = 20,
) -> Answer:
    """What grows and does not stop, by the metrics of all flows: memory and open file descriptors of processes, jobs
    that wait, disk in use, runs that fail or retry, memory, temperature, throttling and ECC errors of GPUs. Slopes are
    per hour, with 95 % intervals."""
    source = asked.given.prometheus
    assert source is not None  # noqa: S101 - for mypy: the tool is only there if there is one
    end_s = int(time.time())
    try:
        found = find_risks_of_metrics(source, end_s - days * _DAY_S, end_s)
    except PrometheusError as exc:
        raise AnswerError(cut(str(exc), 500)) from None
    uncorrected = {cut(gpu): count for gpu, count in found.uncorrected.items()}
    return {**_risks(found, limit), **present(uncorrected_errors_of_gpus=uncorrected)}


def _risks(found: Risks, limit: int) -> dict[str, Any]:
    shown = page(list(_rows(found.found)), limit, "raise limit")
    return {**shown, "curves": found.compared, "known_for_too_short_a_time": found.too_short}


def _rows(found: Iterable[Risk]) -> Iterable[dict[str, Any]]:
    for each in found:
        trend = each.trend
        full_s = trend.reached_s(1.0)[0] if each.kind in ("disk", "gpu memory") else None
        yield present(
            what=each.kind,
            of=each.subject,
            unit=KINDS[each.kind][0],
            known_for_hours=each.age_s / 3600,
            grows_for_hours=each.grows_for_s / 3600,
            at_first=trend.first,
            now=trend.last,
            slope=trend.slope * 3600,
            interval=[trend.low * 3600, trend.high * 3600],
            full=None if full_s is None else moment(int(full_s * _NS)),
        )
