"""Anomalies as a table, as lines while they come, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import finite, glyphs_of, heading, in_bytes, in_percent, in_words, printable
from langflow_otel.insights._anomalies.episodes import Anomaly
from langflow_otel.insights._anomalies.search import Anomalies, Around
from langflow_otel.insights._statistics.correlation import Correlation

_MAX_ROWS = 50
_MAX_NAME = 40
_NAMES = {"cpu": "CPU", "memory": "memory", "loop_delay": "event loop delay"}
_CHANGED = 1.25


def show(anomalies: Anomalies, console: Console) -> None:
    """Print it: the newest at the end."""
    count = len(anomalies.found)
    heading(console, f"{count:,} {'anomaly' if count == 1 else 'anomalies'}", _looked_at(anomalies))
    if anomalies.found:
        console.print()
        console.print(_table(anomalies, console))
    if count > _MAX_ROWS:
        console.print(Text(f"{count - _MAX_ROWS:,} older ones are in --json", "dim"))
    if anomalies.learning:
        console.print(
            Text(
                f"{anomalies.learning:,} of {anomalies.keys:,} have too little history to say what is usual: "
                "a quarter of an hour and 30 executions are needed, for throughput and for arima an hour or more",
                "dim",
            ),
            soft_wrap=True,
        )


def _looked_at(anomalies: Anomalies) -> str:
    executions = f"{anomalies.executions:,} execution{'' if anomalies.executions == 1 else 's'}"
    return f"in {executions} of {anomalies.keys:,} flows and types of components, {anomalies.windows:,} windows"


def _table(anomalies: Anomalies, console: Console) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for title in ("since (UTC)", "lasted", "flow, component", "figure"):
        table.add_column(title, no_wrap=title != "flow, component")
    for title in ("value", "usually", "change", "sigmas"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("in the same minutes")
    arrow = "→" if glyphs_of(console).ok == "✓" else "->"
    for anomaly, around in anomalies.found[-_MAX_ROWS:]:
        value, usual = (in_unit(anomaly.figure, each) for each in (anomaly.value, anomaly.usual))
        table.add_row(
            moment(anomaly.since_s),
            lasted(anomaly),
            Text(where(anomaly)),
            anomaly.figure,
            value,
            usual,
            change(anomaly),
            f"{anomaly.sigmas:+.1f}",
            Text(", ".join(resource_lines(around, arrow))),
        )
    return table


def where(anomaly: Anomaly) -> str:
    """``shop, LLM``; the flow alone for its runs."""
    names = [each for each in anomaly.key if each]
    return ", ".join(printable(each)[:_MAX_NAME] for each in names)


def moment(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d %H:%M:%S}"


def lasted(anomaly: Anomaly) -> str:
    """``12 s``, ``4 min``, or that there is no end."""
    if anomaly.is_lasting:
        return "to stay"
    if anomaly.until_s is None:
        return "goes on"
    seconds = anomaly.until_s - anomaly.since_s
    return f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def in_unit(figure: str, value: float) -> str:
    if figure == "duration":
        return in_words(value)
    if figure == "errors":
        return in_percent(100 * value)
    return f"{60 * value:.3g}/min" if 60 * value < 1000 else f"{60 * value:,.0f}/min"


def change(anomaly: Anomaly) -> str:
    """As a multiple; for shares of errors the difference."""
    if anomaly.figure == "errors":
        return f"{100 * (anomaly.value - anomaly.usual):+.0f} points"
    if anomaly.ratio is None:
        return "-"
    return f"x {anomaly.ratio:.2g}" if anomaly.ratio < 99.5 else f"x {anomaly.ratio:,.0f}"


def resource_lines(around: Around, arrow: str = "->") -> Iterator[str]:
    """What was different, and what goes together with the figure."""
    together = {each.name: each for each in around.together}
    for name, said in _NAMES.items():
        if name not in around.during:
            continue
        before, during = around.before.get(name), around.during[name]
        has_changed = before is not None and not before / _CHANGED <= during <= before * _CHANGED
        if not has_changed and name not in together:
            continue
        values = [_resource(name, each) for each in (before, during) if each is not None]
        lag = f" ({_lag(together[name])})" if name in together else ""
        yield f"{said} {f' {arrow} '.join(dict.fromkeys(values))}{lag}"


def _resource(name: str, value: float) -> str:
    if name == "memory":
        return in_bytes(value)
    return in_words(value) if name == "loop_delay" else f"{value:.2f} cores"


def _lag(correlation: Correlation) -> str:
    if correlation.lag == 0:
        order = "at the same time"
    else:
        order = f"{abs(correlation.lag)} min {'before' if correlation.lag > 0 else 'after'}"
    return f"correlation {correlation.size:+.2f}, {order}"


def as_json(anomalies: Anomalies) -> dict[str, Any]:
    """One object; shares are 0 to 1, times Unix seconds."""
    counts = {name: getattr(anomalies, name) for name in ("executions", "keys", "learning", "windows", "unusable")}
    return {"anomalies": [anomaly_as_json(*each) for each in anomalies.found], **counts}


def anomaly_as_json(anomaly: Anomaly, around: Around) -> dict[str, Any]:
    data = dataclasses.asdict(anomaly)
    del data["key"]
    return {
        "flow": anomaly.key.flow,
        "component_type": anomaly.key.component_type or None,
        **data,
        "ratio": anomaly.ratio,
        "resources": {
            "before": finite(around.before),
            "during": finite(around.during),
            "together": [dataclasses.asdict(each) for each in around.together],
            "points": [finite(dataclasses.asdict(point)) for point in around.points],
        },
    }


def news_as_json(state: str, anomaly: Anomaly, around: Around) -> dict[str, Any]:
    """One that began or ended."""
    return {"state": state, **anomaly_as_json(anomaly, around)}


def line_of(state: str, anomaly: Anomaly, around: Around, console: Console) -> Text:
    """The same as a line."""
    value, usual = (in_unit(anomaly.figure, each) for each in (anomaly.value, anomaly.usual))
    at_s = anomaly.raised_s if state == "began" else anomaly.until_s or anomaly.since_s
    since = "" if state == "ended" else f" since {moment(anomaly.since_s)[11:]}"
    after = f" after {lasted(anomaly)}" if state == "ended" else ""
    line = Text(f"{moment(at_s)} UTC  ", "dim").append(f"{state}{after}", "bold red" if state == "began" else "bold")
    line.append(f"  {where(anomaly)}: {anomaly.figure} {value} instead of {usual} ({change(anomaly)}, ")
    line.append(f"{anomaly.sigmas:+.1f} sigmas){since}")
    arrow = "→" if glyphs_of(console).ok == "✓" else "->"
    resources = ", ".join(resource_lines(around, arrow))
    return line.append(f"; {resources}" if resources else "")
