"""What grows and does not stop, as a table and as JSON."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import heading, in_bytes, in_percent, printable
from langflow_otel.insights.risks import Risk, Risks

_HOUR_S = 3600
_DAY_S = 86_400
_FAR_S = 10 * 365 * _DAY_S
_NAMES = {"memory": "memory", "errors": "runs that fail", "retries": "runs with retries"}


def show_risks(risks: Risks, memory_limit: float | None, console: Console) -> None:
    """Print them.

    Args:
        memory_limit: Bytes; None for no limit.
    """
    count = len(risks.found)
    heading(console, f"{count} {'risk' if count == 1 else 'risks'}", f"of {risks.compared} curves that were looked at")
    if risks.found:
        console.print(_table(risks))
    for risk in risks.found if memory_limit is not None else ():
        if risk.kind == "memory":
            console.print(Text(_when(risk, memory_limit or 0.0), "bold"), soft_wrap=True)
    if risks.too_short:
        line = f"{risks.too_short} more are known for too short a time: 20 minutes at least, with runs in each"
        console.print(Text(line, "dim"), soft_wrap=True)


def _table(risks: Risks) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("what grows", no_wrap=True)
    table.add_column("process or flow")
    for title in ("known for", "at first", "now", "growth", "95 % interval"):
        table.add_column(title, justify="right", no_wrap=True)
    for risk in risks.found:
        trend = risk.trend
        first, now = (_value(risk, each) for each in (trend.first, trend.last))
        growth, low, high = (_growth(risk, each) for each in (trend.slope, trend.low, trend.high))
        subject = Text(printable(risk.subject) or "-")
        table.add_row(_NAMES[risk.kind], subject, _span(risk.age_s), first, now, growth, f"{low} to {high}")
    return table


def _value(risk: Risk, value: float) -> str:
    return in_bytes(max(value, 0)) if risk.kind == "memory" else in_percent(100 * min(max(value, 0), 1))


def _growth(risk: Risk, slope: float) -> str:
    """In an hour, of what is known for days in a day."""
    unit_s, unit = (_DAY_S, "day") if risk.age_s >= 2 * _DAY_S else (_HOUR_S, "h")
    if risk.kind == "memory":
        return f"{'-' if slope < 0 else '+'}{in_bytes(abs(slope * unit_s))}/{unit}"
    return f"{100 * slope * unit_s:+.2g} points/{unit}"


def _span(seconds: float) -> str:
    return f"{seconds / _DAY_S:.1f} days" if seconds >= 2 * _DAY_S else f"{seconds / _HOUR_S:.1f} h"


def _when(risk: Risk, limit: float) -> str:
    process = f"The memory of {printable(risk.subject) or 'the process'}"
    if risk.trend.last >= limit:
        return f"{process} is above {in_bytes(limit)} already."
    expected, earliest, latest = (_moment(each, risk) for each in risk.trend.reached_s(limit))
    return f"{process} reaches {in_bytes(limit)}: {expected} UTC ({earliest} to {latest}), if it grows on like this."


def _moment(at_s: float | None, risk: Risk) -> str:
    if at_s is None or at_s - risk.trend.end_s > _FAR_S:
        return "never"
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d %H:%M}"


def as_json(risks: Risks, memory_limit: float | None) -> dict[str, Any]:
    """One object; times are Unix seconds, slopes in a second."""
    data = dataclasses.asdict(risks)
    for said, risk in zip(data["found"], risks.found, strict=True):
        if memory_limit is not None and risk.kind == "memory":
            names = ("expected_s", "earliest_s", "latest_s")
            said["reaches"] = dict(zip(names, risk.trend.reached_s(memory_limit), strict=True))
    return data
