"""The report from metrics: asks a Prometheus-compatible API for what the page shows of them."""

from __future__ import annotations

import time
from typing import Final

from langflow_otel._metrics import catalogue
from langflow_otel.insights._report.build import Report
from langflow_otel.insights._report.figures import MAX_BINS, WIDTHS_S
from langflow_otel.insights._report.metrics_data import GAUGES, HIGHEST, MEDIAN, Bins, Known, report_of
from langflow_otel.insights._report.steps import OnProgress, Steps
from langflow_otel.insights.figures import FLOW, LOOP, figures_of
from langflow_otel.insights.prometheus_source import LEAST_STEP_S, Curve, NoSeriesError, PrometheusSource

_OVER_TIME: Final = {
    f"{FLOW}_count": ("flow", "status"),
    f"{FLOW}_bucket": ("flow", "le"),
    catalogue.MODEL_INPUT_TOKENS.prometheus_name: ("flow",),
    catalogue.MODEL_OUTPUT_TOKENS.prometheus_name: ("flow",),
    catalogue.COST.prometheus_name: ("flow", "currency"),
    f"{LOOP}_bucket": ("le",),
}
_MAX_NAMED: Final = 10


def report_from_metrics(
    source: PrometheusSource,
    seconds: float,
    *,
    at_s: float | None = None,
    flow: str | None = None,
    described: str = "",
    on_progress: OnProgress | None = None,
) -> Report:
    """What a Prometheus knows of so many seconds. Metrics know no single run: the page says what it lacks.

    Args:
        seconds: At least 1; whole ones count.
        at_s: The end, Unix time; default: now.
        flow: Of the flow with this name only.
        described: The selection in words, for the page.
        on_progress: Called with the number of steps that are done, and of all.

    Raises:
        NoSeriesError: There is nothing of this library in that time, or no run of that flow.
        PrometheusError: There is no answer that can be used.
    """
    end_s = time.time() if at_s is None else at_s
    seconds = max(1, round(seconds))
    steps = Steps(1 + len(_OVER_TIME) + len(GAUGES), on_progress)
    measured = source.measured(seconds, at_s=end_s, flow=flow, details=True)
    figures = figures_of(measured)
    if flow is not None and not any(each.flow == flow and each.runs for each in figures.flows):
        raise NoSeriesError(_no_such_flow(source, seconds, end_s))
    steps.done()
    bins = bins_of(seconds, end_s)
    over: dict[str, list[Curve]] = {}
    for counter, labels in _OVER_TIME.items():
        only = flow if "flow" in labels else None
        over[counter] = source.grown_over_time(counter, labels, bins.start_s, end_s, bins.width_s, flow=only)
        steps.done()
    gauges: dict[tuple[str, str], list[Curve]] = {}
    for gauge in GAUGES:
        name, together = gauge.metric.prometheus_name, gauge.together
        for each in (HIGHEST, MEDIAN):
            gauges[name, each] = source.gauge_over_time(name, each, together, bins.start_s, end_s, bins.width_s)
        steps.done()
    return report_of(Known(source.url, measured, figures, bins, over, gauges), described)


def bins_of(seconds: int, end_s: float) -> Bins:
    """Equal steps that end where the time does. The first one may begin before it, where no width divides it."""
    known = [LEAST_STEP_S, *(each for each in WIDTHS_S if each > LEAST_STEP_S)]
    widths = [each for each in known if seconds / each <= MAX_BINS] or known[-1:]
    width_s = next((each for each in widths if seconds % each == 0), widths[0])
    count = -(-seconds // width_s)
    return Bins(end_s - count * width_s, width_s, count)


def _no_such_flow(source: PrometheusSource, seconds: float, end_s: float) -> str:
    runs = source.flows(seconds, at_s=end_s)
    names = ", ".join(sorted((name for name in runs if name and runs[name]), key=lambda name: -runs[name])[:_MAX_NAMED])
    return f"{source.url} has no run of that flow in that time" + (f"; there are runs of {names}" if names else "")
