"""``langflow-otel forecast --risk``: figures that grow without stopping, and when they reach a limit."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import BAD_INPUT, give_up, heading, in_bytes, in_percent, make_console, printable
from langflow_otel.cli.forecast import Wanted, check_history, limits_of, metrics_source
from langflow_otel.cli.trace_input import check_flow, opened_traces
from langflow_otel.insights._forecasts.risks import KINDS, Risk, Risks
from langflow_otel.insights._statistics.differences import in_short

_HOUR_S = 3600
_DAY_S = 86_400
_FAR_S = 10 * 365 * _DAY_S
_FULL = {"disk": 1.0, "gpu memory": 1.0}
_NAMES = {
    "errors": "runs that fail",
    "retries": "runs with retries",
    "descriptors": "open file descriptors",
    "queue": "jobs that wait",
    "disk": "disk",
    "gpu memory": "GPU memory",
    "gpu temperature": "GPU temperature",
    "gpu slowed": "GPU slowed down",
    "gpu errors": "corrected ECC errors an hour",
}

_RISK_DAYS = 7
_RISK_LIMITS = {"memory": "memory", "disk": "disk", "descriptors": "descriptors", "queue": "queue"} | {
    "temperature": "gpu temperature"
}


def risks(paths: Sequence[Path], wanted: Wanted, *, as_json: bool) -> None:
    """What grows and does not stop; with limits, when they are reached."""
    given = limits_of(wanted.limits)
    if wanted.prometheus is None and set(given) - {"memory"}:
        give_up("--risk of trace files takes a limit of memory, and no other: --prometheus knows more")
    if set(given) - _RISK_LIMITS.keys():
        give_up(f"--risk takes limits of {', '.join(_RISK_LIMITS)}, and no others")
    check_history(wanted)
    limits = {_RISK_LIMITS[name]: value for name, value in given.items()}
    found = _risks_of_traces(paths, wanted.flow) if wanted.prometheus is None else _risks_of_metrics(wanted, paths)
    if as_json:
        typer.echo(json.dumps(risks_as_json(found, limits), indent=2))
    else:
        show_risks(found, limits, make_console())
    if not found.compared and not found.uncorrected:
        give_up("too short a history to say what grows: 20 minutes at least are needed, with runs in each")


def _risks_of_traces(paths: Sequence[Path], flow: str | None) -> Risks:
    with opened_traces(paths) as traces:
        from langflow_otel.insights._forecasts.risks import find_risks
        from langflow_otel.insights.selection import Selection

        if flow is not None:
            check_flow(traces, flow)
        return find_risks(traces.connection, Selection(flow=flow))


def _risks_of_metrics(wanted: Wanted, paths: Sequence[Path]) -> Risks:
    from langflow_otel.insights._forecasts.metric_risks import find_risks_of_metrics
    from langflow_otel.insights.prometheus_source import PrometheusError

    end_s = int(time.time())
    history_s = (wanted.history_days or _RISK_DAYS) * _DAY_S
    try:
        return find_risks_of_metrics(metrics_source(wanted, paths), end_s - history_s, end_s)
    except PrometheusError as exc:
        give_up(str(exc), BAD_INPUT)


def show_risks(risks: Risks, limits: Mapping[str, float], console: Console) -> None:
    """Print them.

    Args:
        limits: By kind, in its unit. Disks and GPU memory have one by themselves: being full.
    """
    for gpu, count in risks.uncorrected.items():
        line = f"GPU {printable(gpu)} has {count:,} ECC errors that could not be corrected: results may be wrong"
        console.print(Text(line, "bold"), soft_wrap=True)
    count = len(risks.found)
    heading(console, f"{count} {'risk' if count == 1 else 'risks'}", f"of {risks.compared} curves that were looked at")
    if risks.found:
        console.print(_table(risks))
    for risk in risks.found:
        limit = {**_FULL, **limits}.get(risk.kind)
        if limit is not None:
            console.print(Text(_when(risk, limit), "bold"), soft_wrap=True)
    if risks.too_short:
        line = f"{risks.too_short} more are known for too short a time: 20 minutes at least, with runs in each"
        console.print(Text(line, "dim"), soft_wrap=True)


def _table(risks: Risks) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("what grows", no_wrap=True)
    table.add_column("of")
    for title in ("grows for", "at first", "now", "growth", "95 % interval"):
        table.add_column(title, justify="right", no_wrap=True)
    for risk in risks.found:
        trend = risk.trend
        first, now = (_value(risk, each) for each in (trend.first, trend.last))
        growth, low, high = (_growth(risk, each) for each in (trend.slope, trend.low, trend.high))
        subject = Text(printable(risk.subject) or "-")
        table.add_row(
            _NAMES.get(risk.kind, risk.kind), subject, _span(risk.grows_for_s), first, now, growth, f"{low} to {high}"
        )
    return table


def _value(risk: Risk, value: float) -> str:
    value = max(value, 0.0)
    unit = KINDS[risk.kind][0]
    if unit == "bytes":
        return in_bytes(value)
    if unit == "share":
        return in_percent(100 * min(value, 1))
    return f"{value:.0f} °C" if unit == "celsius" else in_short(float(f"{value:.3g}"))


def _growth(risk: Risk, slope: float) -> str:
    """In an hour, of what grows for days in a day."""
    unit_s, of_time = (_DAY_S, "day") if risk.grows_for_s >= 2 * _DAY_S else (_HOUR_S, "h")
    unit = KINDS[risk.kind][0]
    if unit == "bytes":
        return f"{'-' if slope < 0 else '+'}{in_bytes(abs(slope * unit_s))}/{of_time}"
    if unit == "share":
        return f"{100 * slope * unit_s:+.2g} points/{of_time}"
    return f"{slope * unit_s:+.3g}{' °C' if unit == 'celsius' else ''}/{of_time}"


def _span(seconds: float) -> str:
    return f"{seconds / _DAY_S:.1f} days" if seconds >= 2 * _DAY_S else f"{seconds / _HOUR_S:.1f} h"


def _when(risk: Risk, limit: float) -> str:
    what = f"{_NAMES.get(risk.kind, risk.kind)} of {printable(risk.subject) or 'the process'}"
    what, most = f"The {what}", _value(risk, limit)
    if risk.trend.last >= limit:
        return f"{what} is above {most} already."
    expected, earliest, latest = (_moment(each, risk) for each in risk.trend.reached_s(limit))
    return f"{what} reaches {most}: {expected} UTC ({earliest} to {latest}), if it grows on like this."


def _moment(at_s: float | None, risk: Risk) -> str:
    if at_s is None or at_s - risk.trend.end_s > _FAR_S:
        return "never"
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d %H:%M}"


def risks_as_json(risks: Risks, limits: Mapping[str, float]) -> dict[str, Any]:
    """One object; times are Unix seconds, slopes in a second."""
    data = dataclasses.asdict(risks)
    for said, risk in zip(data["found"], risks.found, strict=True):
        said["unit"] = KINDS[risk.kind][0]
        limit = {**_FULL, **limits}.get(risk.kind)
        if limit is not None:
            names = ("expected_s", "earliest_s", "latest_s")
            said["reaches"] = {"limit": limit, **dict(zip(names, risk.trend.reached_s(limit), strict=True))}
    return data
