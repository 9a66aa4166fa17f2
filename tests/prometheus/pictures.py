"""The dashboards as pictures, from what a Prometheus answers to their queries: what a person would look at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from live import Live
from matplotlib import pyplot
from matplotlib.axes import Axes
from promql import DASHBOARDS, chosen

CELL_IN = (0.75, 0.32)
"""One cell of Grafana's grid, in inches."""


def draw(live: Live, folder: Path) -> list[Path]:
    """One picture for each dashboard."""
    return [_draw_dashboard(live, path, folder) for path in sorted(DASHBOARDS.glob("*.json"))]


def _draw_dashboard(live: Live, path: Path, folder: Path) -> Path:
    dashboard = json.loads(path.read_text())
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    figure = pyplot.figure(figsize=(24 * CELL_IN[0], (rows + 2) * CELL_IN[1]))
    figure.suptitle(dashboard["title"], x=0.01, ha="left", y=1 - 0.3 / (rows + 2), fontsize=14)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, bottom = (place["x"] + 0.9) / 24, (rows - place["y"] - place["h"] + 0.9) / (rows + 2)
        size = (place["w"] - 1.3) / 24, max(place["h"] - 2.2, 0.1) / (rows + 2)
        axes = figure.add_axes((left, bottom, *size))
        axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold" if panel["type"] == "row" else None)
        if panel["type"] in ("row", "stat", "table"):
            axes.axis("off")
        if panel["type"] == "stat":
            _draw_number(live, panel, axes)
        elif panel["type"] == "table":
            _draw_table(live, panel, axes)
        elif panel["type"] == "timeseries":
            _draw_lines(live, panel, axes)
    made = folder / f"{dashboard['uid']}.png"
    figure.savefig(made, dpi=70)
    pyplot.close(figure)
    return made


def _draw_number(live: Live, panel: dict[str, Any], axes: Axes) -> None:
    found = live.now(chosen(panel["targets"][0]["expr"]))
    text = _worded(float(found[0]["value"][1]), panel["fieldConfig"]["defaults"]["unit"]) if found else "-"
    axes.text(0.5, 0.4, text, ha="center", va="center", fontsize=20, color="tab:green" if found else "grey")


def _draw_table(live: Live, panel: dict[str, Any], axes: Axes) -> None:
    columns = {target["legendFormat"]: live.now(chosen(target["expr"])) for target in panel["targets"]}
    units = {each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
    names = sorted({next(iter(each["metric"].values())) for series in columns.values() for each in series})
    cells = [
        [
            next((_worded(float(s["value"][1]), units[c]) for s in found if name in s["metric"].values()), "")
            for c, found in columns.items()
        ]
        for name in names
    ]
    drawn = axes.table(cells, rowLabels=names, colLabels=list(columns), loc="center")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)


def _draw_lines(live: Live, panel: dict[str, Any], axes: Axes) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    lines = {}
    for target in panel["targets"]:
        for series in live.lines(chosen(target["expr"])):
            times, values = zip(
                *((float(at) - live.started_s, float(value)) for at, value in series["values"]), strict=True
            )
            lines[_legend(target["legendFormat"], series["metric"])] = times, values
    if panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "percent":
        _stack(lines, axes)
    else:
        for label, (times, values) in lines.items():
            axes.plot(times, values, linewidth=1, label=label)
        axes.set_ylim(bottom=0)
    if lines:
        axes.legend(fontsize=6, loc="upper left", ncols=1 + len(lines) // 7)
    else:
        axes.text(0.5, 0.5, "No data", ha="center", transform=axes.transAxes, color="grey")
    axes.yaxis.set_major_formatter(lambda value, _: _worded(value, unit))
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.3)


def _stack(lines: dict[str, Any], axes: Axes) -> None:
    at = sorted({time for times, _ in lines.values() for time in times})
    values = np.array([[dict(zip(*line, strict=True)).get(time, 0.0) for time in at] for line in lines.values()])
    axes.stackplot(at, values / np.maximum(values.sum(axis=0), 1e-9), labels=list(lines))


def _legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern)


def _worded(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit in ("bytes", "Bps"):
        size, prefix = next(
            (value / 2**n, p) for n, p in ((30, "Gi"), (20, "Mi"), (10, "Ki"), (0, "")) if value >= 2**n or not n
        )
        return f"{size:.3g} {prefix}B{'/s' if unit == 'Bps' else ''}"
    return f"{value:.3g}{ {'s': ' s', 'reqps': '/s', 'cps': '/s'}.get(unit, '') }"
