"""The dashboards as pictures, from what a Prometheus answers to their queries: what a person would look at.

    python tests/prometheus/pictures.py FOLDER [DASHBOARD ...]    # by uid, such as langflow-overview; by default all

Needs Debian's prometheus, lfx and matplotlib. Real flows run meanwhile; what is not here, such as Kubernetes, is made
(board_series.py).
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from board_series import served
from live import living
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from promql import DASHBOARDS, chosen

CELL_IN = (0.75, 0.32)
"""One cell of Grafana's grid, in inches."""
_UNITS = {"s": " s", "cps": "/s"}


class Answers(Protocol):
    """What a Prometheus answers; see :class:`live.Live`."""

    started_s: float
    at_s: float

    def now(self, promql: str) -> list[dict[str, Any]]: ...

    def lines(self, promql: str) -> list[dict[str, Any]]: ...


def main() -> None:
    folder, *chosen_uids = sys.argv[1:]
    with served() as made, tempfile.TemporaryDirectory() as data, living(Path(data), made) as live:
        for uid in chosen_uids or sorted(path.stem for path in DASHBOARDS.glob("*.json")):
            print(draw(live, uid, Path(folder)), flush=True)


def draw(live: Answers, uid: str, folder: Path, window: str = "1m") -> Path:
    """The picture of one dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    return _Picture(live, DASHBOARDS / f"{uid}.json", window).draw(folder)


class _Picture:
    def __init__(self, live: Answers, path: Path, window: str) -> None:
        self._live = live
        self._window = window
        self._dashboard = json.loads(path.read_text())
        marks = {each["name"]: each for each in self._dashboard["annotations"]["list"] if "expr" in each}
        self._marks = {
            (name, each["iconColor"]): [float(at) for found in self._lines(each) for at, _ in found["values"][:1]]
            for name, each in marks.items()
        }

    def draw(self, folder: Path) -> Path:
        # As they are when each row is open.
        panels = [each for panel in self._dashboard["panels"] for each in (panel, *panel.get("panels", ()))]
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        figure = pyplot.figure(figsize=(24 * CELL_IN[0], (rows + 2) * CELL_IN[1]))
        marks = ", ".join(f"{name}: {len(times)} ({color})" for (name, color), times in self._marks.items())
        title = f"{self._dashboard['title']}    marks of {marks}"
        figure.suptitle(title, x=0.01, ha="left", y=1 - 0.3 / (rows + 2), fontsize=14)
        for panel in panels:
            place = panel["gridPos"]
            below = 0 if panel["type"] == "row" else 0.9
            left, bottom = (place["x"] + 0.9) / 24, (rows - place["y"] - place["h"] + below) / (rows + 2)
            size = (place["w"] - 1.3) / 24, max(place["h"] - 2.2, 0.1) / (rows + 2)
            axes = figure.add_axes((left, bottom, *size))
            weight = "bold" if panel["type"] == "row" else None
            axes.set_title(panel["title"], loc="left", fontsize=9, fontweight=weight)
            if panel["type"] in ("row", "stat", "table"):
                axes.axis("off")
            if panel["type"] != "row":
                self._draw_panel(panel, axes)
        made = folder / f"{self._dashboard['uid']}.png"
        figure.savefig(made, dpi=70)
        pyplot.close(figure)
        return made

    def _draw_panel(self, panel: dict[str, Any], axes: Axes) -> None:
        if "expr" not in panel["targets"][0]:
            asked = panel["targets"][0]
            words = f"asks {panel['datasource']['type']}: {asked.get('query') or asked['tags']}"
            axes.text(0, 0.5, words[:110], fontsize=7)
        elif panel["type"] == "stat":
            self._draw_number(panel, axes)
        elif panel["type"] == "table":
            self._draw_table(panel, axes)
        elif panel["type"] == "heatmap":
            self._draw_heatmap(panel, axes)
        else:
            self._draw_lines(panel, axes)

    def _now(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        return self._live.now(chosen(target["expr"], self._window))

    def _lines(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        return self._live.lines(chosen(target["expr"], self._window))

    def _draw_number(self, panel: dict[str, Any], axes: Axes) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        found = [float(each["value"][1]) for each in self._now(panel["targets"][0])]
        text = "  ".join(_worded(value, defaults) for value in found[:2]) or defaults["noValue"]
        color = _color(found[0], defaults) if found else "grey"
        axes.text(0.5, 0.4, text, ha="center", va="center", fontsize=16, color=color)

    def _draw_table(self, panel: dict[str, Any], axes: Axes) -> None:
        overrides = {
            each["matcher"]["options"]: {found["id"]: found["value"] for found in each["properties"]}
            for each in panel["fieldConfig"]["overrides"]
        }
        if len(panel["targets"]) == 1:
            shown = panel["transformations"][0]["options"]["include"]["pattern"].strip("^()$").split("|")
            found = self._now(panel["targets"][0])
            cells = [
                [*(s["metric"].get(name, "") for name in shown[:-1]), _worded(float(s["value"][1]), {"unit": "s"})]
                for s in found
            ]
            renamed = panel["transformations"][1]["options"]["renameByName"]
            columns = [renamed.get(name, name) for name in shown]
        else:
            by = panel["transformations"][0]["options"]["byField"]
            answers = {t["legendFormat"]: {s["metric"].get(by, ""): s for s in self._now(t)} for t in panel["targets"]}
            columns = [by, *answers]
            names = sorted({name for answer in answers.values() for name in answer})
            cells = [
                [
                    name,
                    *(
                        _worded(float(a[name]["value"][1]), overrides[c]) if name in a else ""
                        for c, a in answers.items()
                    ),
                ]
                for name in names
            ]
        if not cells:
            axes.text(0.5, 0.5, panel["fieldConfig"]["defaults"].get("noValue", "No data"), ha="center", color="grey")
            return
        # As many as there is room for: a person would scroll.
        drawn = axes.table(cells[: int(1.2 * panel["gridPos"]["h"])], colLabels=columns, loc="upper left")
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(7)
        drawn.auto_set_column_width(range(len(columns)))

    def _draw_heatmap(self, panel: dict[str, Any], axes: Axes) -> None:
        found = sorted(self._lines(panel["targets"][0]), key=lambda each: float(each["metric"]["le"]))
        if not found:
            axes.text(0.5, 0.5, "No data", ha="center", transform=axes.transAxes, color="grey")
            return
        at = sorted({at_s for each in found for at_s, _ in each["values"]})
        counts = np.array([[float(dict(each["values"]).get(at_s, 0)) for at_s in at] for each in found])
        axes.imshow(np.diff(counts, axis=0, prepend=0), aspect="auto", origin="lower", cmap="Oranges")
        bounds = [f"{float(each['metric']['le']):g} s" for each in found]
        axes.set_yticks(range(len(bounds)), bounds, fontsize=6)
        axes.set_xticks([])
        axes.tick_params(labelsize=6)

    def _draw_lines(self, panel: dict[str, Any], axes: Axes) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        lines = {}
        for target in panel["targets"]:
            for series in self._lines(target):
                times, values = zip(*((float(at), float(value)) for at, value in series["values"]), strict=True)
                label = _legend(target["legendFormat"], series["metric"])
                lines[f"{label}   {_worded(values[-1], defaults)}"] = times, values
        if defaults["custom"].get("stacking", {}).get("mode") == "percent":
            _stack(lines, axes)
        else:
            for label, (times, values) in lines.items():
                axes.plot(times, values, linewidth=1, label=label, marker="." if len(times) == 1 else None)
            highest = max((max(values) for _, values in lines.values()), default=0)
            axes.set_ylim(min(0, defaults.get("min", 0)), 1.1 * highest if highest > 0 else 1)
        for step in defaults.get("thresholds", {}).get("steps", ())[1:]:
            if axes.get_ylim()[1] > step["value"]:
                axes.axhline(step["value"], color="red", linewidth=0.7, linestyle="--")
        for (_, color), times in self._marks.items():
            for at in times:
                axes.axvline(at, color=color, linewidth=0.7, linestyle=":")
        axes.set_xlim(self._live.started_s, self._live.at_s)
        if lines:
            axes.legend(fontsize=6, loc="upper left", ncols=1 + len(lines) // 7, framealpha=0.5)
        else:
            axes.text(0.5, 0.5, "No data", ha="center", transform=axes.transAxes, color="grey")
        # Words of a unit are long, and stand in the legend.
        unit = "none" if defaults["unit"].startswith("suffix:") else defaults["unit"]
        axes.yaxis.set_major_formatter(lambda value, _: _worded(value, {"unit": unit}))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda at_s, _: time.strftime("%H:%M:%S", time.localtime(at_s)))
        axes.tick_params(labelsize=6)
        axes.grid(alpha=0.3)


def _stack(lines: dict[str, Any], axes: Axes) -> None:
    at = sorted({at_s for times, _ in lines.values() for at_s in times})
    values = np.array([[dict(zip(*line, strict=True)).get(at_s, 0.0) for at_s in at] for line in lines.values()])
    if len(at) > 0:
        axes.stackplot(at, values / np.maximum(values.sum(axis=0), 1e-9), labels=list(lines))


def _legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern)


def _color(value: float, defaults: dict[str, Any]) -> str:
    steps = defaults["thresholds"]["steps"]
    color = next(step["color"] for step in reversed(steps) if step.get("value") is None or value >= step["value"])
    return {"yellow": "tab:orange", "green": "tab:green", "red": "tab:red"}[color]


def _worded(value: float, field: dict[str, Any]) -> str:
    """As Grafana words a value: by its mapping, else by its unit."""
    for mapping in field.get("mappings") or ():
        low, high = (mapping["options"].get(end) for end in ("from", "to"))
        if (low is None or value >= low) and (high is None or value <= high):
            return mapping["options"]["result"]["text"]
    unit = field["unit"]
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit in ("bytes", "Bps"):
        size, prefix = next(
            (value / 2**n, p) for n, p in ((30, "Gi"), (20, "Mi"), (10, "Ki"), (0, "")) if value >= 2**n or not n
        )
        return f"{size:.3g} {prefix}B{'/s' if unit == 'Bps' else ''}"
    if unit == "s" and value >= 60:
        size, name = next((value / n, p) for n, p in ((86400, "days"), (3600, "hours"), (60, "min")) if value >= n)
        return f"{size:.3g} {name}"
    number = f"{value / 1000:.3g} K" if abs(value) >= 1000 and unit != "s" else f"{value:.3g}"
    return number + (unit.removeprefix("suffix:") if unit.startswith("suffix:") else _UNITS.get(unit, ""))


if __name__ == "__main__":
    main()
