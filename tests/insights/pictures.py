"""The pictures of the guides, from what the commands say of planted data.

    python tests/insights/pictures.py [NAME ...]     # into docs/pictures; needs langflow-otel[insights,forecast,mcp]

Terminals are what the command prints; charts are drawn from its ``--json``. The pictures of the report are screenshots.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any, Final

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import TextContent
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

ROOT: Final = Path(__file__).parents[2]
PICTURES: Final = ROOT / "docs" / "pictures"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from made_series import Day  # noqa: E402
from made_traces import made_lines, write  # noqa: E402

from tests.support.made_spans import START_NS, MadeTraces  # noqa: E402

NS: Final = 10**9
DAY_S: Final = 86_400
MIB: Final = 2**20
GIB: Final = 2**30
MEMORY: Final = "langflow.flow.process.memory.peak"
INK, GREY, BLUE, RED, BAND = "#1f2328", "#8c959f", "#0969da", "#cf222e", "#ddf4ff"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 320, 80, 770, 48, 284
"""Of a chart, and of the part with the lines."""

# The data.


def a_week(folder: Path) -> Path:
    """Four flows of a busy LangFlow; in one of them a tool has become slow."""
    return write(folder / "week.jsonl", made_lines(600, days=7))


def a_week_of_support(folder: Path) -> Path:
    """One of them alone."""
    return write(folder / "support.jsonl", (line for line in made_lines(600, days=7) if "invoke_workflow Cus" in line))


def a_slow_hour(folder: Path) -> Path:
    """Two flows for three hours; one is three times as slow for 20 minutes, when it also needs more memory."""
    traces = MadeTraces()
    day = Day(hours=3, rate=0.15, from_s=7200, to_s=8400, slower=3)
    for flow, made in (("shop", day), ("billing", replace(day, slower=1))):
        for execution in made.executions(1 if flow == "shop" else 2):
            at_s = execution.end_ns / NS - START_NS / NS - execution.duration_s
            is_slow = flow == "shop" and made.from_s <= at_s < made.to_s
            attributes = {MEMORY: (1400 if is_slow else 1000) * MIB}
            traces.run(execution.duration_s, flow=flow, at_s=at_s, attributes=attributes, instance=flow)
    return traces.write(folder / "hours.jsonl")


def six_weeks(folder: Path) -> Path:
    """42 days of one flow; on the 31st comes a version whose model takes longer."""
    traces, rand = MadeTraces(), random.Random(1)
    for day in range(42):
        is_new, level = day >= 30, rand.lognormvariate(0, 0.03)
        for number in range(40):
            took_s = level * (1.25 if is_new else 1.0) * rand.lognormvariate(0, 0.25)
            version = "99fe02ab11cd" if is_new else "b7d0c1f2a9e4"
            run = traces.run(took_s + 0.1, at_s=day * DAY_S + 900.0 * number, flow_version=version)
            run.add("component LLM", 0.05, took_s, component_type="Model", code_hash="91c0de" if is_new else "5ec2a0")
    return traces.write(folder / "weeks.jsonl")


def two_months(folder: Path) -> Path:
    """60 days; memory grows, less on weekends."""
    traces, rand = MadeTraces(), random.Random(1)
    for day in range(62):
        for number in range(6):
            memory = (700 + 12 * day + 60 * math.sin(2 * math.pi * day / 7) + rand.gauss(0, 15)) * MIB
            traces.run(1.0, at_s=day * DAY_S + 3600 * number, attributes={MEMORY: int(memory)})
    return traces.write(folder / "months.jsonl")


def a_day_of_processes(folder: Path) -> Path:
    """12 hours of three processes: one leaks since the middle, one fills a cache, one stays."""
    shapes: dict[str, Callable[[float], float]] = {
        "leaks": lambda x: 1.0 + 1.4 * max(0.0, x - 0.5),
        "fills a cache": lambda x: 1.6 - 0.8 * math.exp(-9 * x),
        "stays": lambda _: 0.7,
    }
    traces, rand = MadeTraces(), random.Random(1)
    for minute in range(0, 720, 2):
        for instance, shape in shapes.items():
            memory = int((shape(minute / 720) + rand.gauss(0, 0.02)) * GIB)
            traces.run(1.0, at_s=60.0 * minute, instance=instance, attributes={MEMORY: memory})
    return traces.write(folder / "day.jsonl")


# What commands say.


def command(*arguments: str | Path, columns: int = 0) -> str:
    """What it prints: with colours if the width of a terminal is given, else as in a pipe."""
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(columns)} if columns else {}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LANGFLOW_", "OTEL_"))}
    done = subprocess.run(
        [sys.executable, "-m", "langflow_otel", *map(str, arguments)],
        env={**clean, **terminal, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode in (0, 1), arguments
    return done.stdout


def draw_terminal(
    name: str, typed: str, shown: str, columns: int, *, rows: int | None = None, prompt: str = "$ "
) -> None:
    """A terminal in which this was typed, and that has shown this."""
    lines = shown.strip("\n").splitlines()
    cut = lines if rows is None or len(lines) <= rows else [*lines[:rows], "..."]
    console = Console(record=True, width=columns, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    console.print(Text.assemble((prompt, "dim"), (typed, "bold")))
    console.print(Text.from_ansi("\n".join(cut)), soft_wrap=True)
    svg = console.export_svg(title="", theme=DEFAULT_TERMINAL_THEME, code_format=TERMINAL)
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")


TERMINAL: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; white-space: pre; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
<rect fill="#ffffff" stroke="#d0d7de" stroke-width="3" width="100%" height="100%" rx="8"/>
<g transform="translate({terminal_x}, 24)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


# Charts.


@dataclass(frozen=True)
class Line:
    """Attributes:
    points: Unix seconds and values.
    is_dashed: For what is computed and not measured.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = BLUE
    is_dashed: bool = False


@dataclass(frozen=True)
class Axes:
    """Where times and values are in the picture.

    Attributes:
        unit, unit_name: In which values are written.
        every_s: How far the written times are apart.
    """

    first_s: float
    last_s: float
    most: float
    unit: float
    unit_name: str
    every_s: int

    def x(self, at_s: float) -> float:
        return LEFT + (RIGHT - LEFT) * (at_s - self.first_s) / (self.last_s - self.first_s)

    def y(self, at: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * at / self.most

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        return "M" + " L".join(f"{self.x(at_s):.1f},{self.y(at):.1f}" for at_s, at in points)

    def drawn(self) -> Iterator[str]:
        step = next(each for each in (0.1, 0.2, 0.5, 1, 2, 5, 10) if each * self.unit * 6 >= self.most)
        for number in range(7):
            at = number * step * self.unit
            if at <= self.most:
                yield f'<path d="M{LEFT},{self.y(at):.1f} H{RIGHT}" stroke="#eaeef2"/>'
                yield words(LEFT - 8, self.y(at) + 4, self.written(at), colour=GREY, anchor="end")
        for at_s in range(math.ceil(self.first_s / self.every_s) * self.every_s, int(self.last_s) + 1, self.every_s):
            shown = datetime.fromtimestamp(at_s, timezone.utc)
            written = f"{shown:%m-%d}" if self.every_s >= DAY_S else f"{shown:%H:%M}"
            yield words(self.x(at_s), HEIGHT - 12, written, colour=GREY, anchor="middle")

    def written(self, at: float) -> str:
        return f"{at / self.unit:.1f} {self.unit_name}"


def words(x: float, y: float, text: str, *, colour: str = INK, anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
    return f"<text {place}>{escape(text)}</text>"


def draw_chart(
    name: str,
    title: str,
    lines: Sequence[Line],
    *,
    unit: tuple[float, str],
    every_s: int,
    band: Sequence[tuple[float, float, float]] = (),
    limit: float | None = None,
    marked: tuple[float, float, str] | None = None,
) -> None:
    """Lines over time.

    Args:
        unit, every_s: As in :class:`Axes`.
        band: Times with a lower and an upper bound.
        limit: A horizontal line.
        marked: From when to when something is marked, and its words.
    """
    points = [point for line in lines for point in line.points] + [(at_s, high) for at_s, _, high in band]
    most = 1.08 * max([*(at for _, at in points), limit or 0.0])
    axes = Axes(min(points)[0], max(points)[0], most, *unit, every_s)
    drawn = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-family="Helvetica, sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        words(LEFT, 24, title, size=15),
    ]
    if marked:
        from_x, to_x = axes.x(marked[0]), axes.x(marked[1])
        drawn.append(
            f'<rect x="{from_x:.1f}" y="{TOP}" width="{to_x - from_x:.1f}" height="{BOTTOM - TOP}" fill="#ffebe9"/>'
        )
        drawn.append(words(from_x - 6, TOP + 14, marked[2], colour=RED, anchor="end"))
    drawn += axes.drawn()
    if band:
        around = [(at_s, low) for at_s, low, _ in band] + [(at_s, high) for at_s, _, high in reversed(band)]
        drawn.append(f'<path d="{axes.path(around)} Z" fill="{BAND}"/>')
    if limit is not None:
        drawn.append(f'<path d="M{LEFT},{axes.y(limit):.1f} H{RIGHT}" stroke="{RED}"/>')
        drawn.append(words(RIGHT + 8, axes.y(limit) + 4, f"limit {axes.written(limit)}", colour=RED))
    for line in lines:
        dashes = ' stroke-dasharray="6 4"' if line.is_dashed else ""
        drawn.append(
            f'<path d="{axes.path(line.points)}" fill="none" stroke="{line.colour}" stroke-width="1.8"{dashes}/>'
        )
        drawn.append(words(axes.x(line.points[-1][0]) + 8, axes.y(line.points[-1][1]) + 4, line.name, colour=INK))
    (PICTURES / f"{name}.svg").write_text("\n".join([*drawn, "</svg>"]) + "\n", encoding="utf-8")


SECONDS: Final = (1.0, "s")
GIBIBYTES: Final = (GIB, "GiB")


# The pictures.


def of_reading(folder: Path) -> None:
    path = a_week_of_support(folder)
    for name in ("tree", "why"):
        shown = command(name, "slowest", path, columns=110)
        draw_terminal(name, f"langflow-otel {name} slowest spans.jsonl", shown, 110)


def of_usage(folder: Path) -> None:
    shown = command("usage", a_week(folder), "--by", "flow", columns=130)
    draw_terminal("usage", "langflow-otel usage spans.jsonl --by flow", shown, 130)


def of_anomalies(folder: Path) -> None:
    path = a_slow_hour(folder)
    draw_terminal("anomalies", "langflow-otel anomalies spans.jsonl", command("anomalies", path, columns=120), 120)
    (found,) = json.loads(command("anomalies", path, "--json"))["anomalies"]
    points = [(at_s, value) for at_s, value, *_ in found["minutes"] if value is not None]
    draw_chart(
        "anomaly",
        "shop: the median duration of each minute, and the anomaly",
        [Line("duration", points)],
        unit=SECONDS,
        every_s=1200,
        marked=(found["since_s"], found["until_s"], "unusual, x {:.1f}".format(found["ratio"])),
    )


def of_baselines(folder: Path) -> None:
    found = json.loads(command("baseline", "history", six_weeks(folder), "--json"))
    (llm,) = (
        each
        for each in found["figures"]
        if (each["name"], each["measured"], each["statistic"]) == ("LLM", "duration", "p50")
    )
    (change,) = llm["changes"]
    times = [datetime.fromisoformat(f"{step}T00:00+00:00").timestamp() for step in llm["steps"]]
    earliest, latest = (times[llm["steps"].index(change[name])] for name in ("earliest", "latest"))
    since_s = times[llm["steps"].index(change["since"])]
    draw_chart(
        "baseline-history",
        f"LLM: the median duration of each day; changed for good on {change['since']}",
        [
            Line("P50 of a day", list(zip(times, llm["values"], strict=True))),
            Line("", [(times[0], change["before"]), (since_s, change["before"])], GREY, is_dashed=True),
            Line("", [(since_s, change["after"]), (times[-1], change["after"])], GREY, is_dashed=True),
        ],
        unit=SECONDS,
        every_s=7 * DAY_S,
        marked=(earliest - DAY_S / 2, latest + DAY_S / 2, "+{:.0%}".format(change["shift"] / change["before"])),
    )


def of_forecasts(folder: Path) -> None:
    found = json.loads(command("forecast", two_months(folder), "--days", "30", "--limit", "memory=1.6GiB", "--json"))
    (memory,) = (each for each in found["forecasts"] if each["history"]["name"] == "memory")
    start_s, crossing = memory["history"]["start_s"], memory["crossing"]
    known = [(start_s + place * DAY_S, value) for place, value in enumerate(memory["history"]["values"])]
    draw_chart(
        "forecast",
        "Memory: the highest of each day, 30 days more with their 95 % interval",
        [
            Line("", known),
            Line("forecast", [known[-1], *((day["start_s"], day["value"]) for day in memory["days"])], is_dashed=True),
        ],
        unit=GIBIBYTES,
        every_s=14 * DAY_S,
        band=[(day["start_s"], day["low"], day["high"]) for day in memory["days"]],
        limit=1.6 * GIB,
        marked=(crossing["earliest_s"], crossing["latest_s"] or memory["days"][-1]["start_s"], "reached"),
    )
    path = a_day_of_processes(folder)
    shown = command("forecast", "--risk", path, "--limit", "memory=2GiB", columns=130)
    draw_terminal("risks", "langflow-otel forecast --risk spans.jsonl --limit memory=2GiB", shown, 130)


def of_assistants(folder: Path) -> None:
    """What passes between an assistant and the server."""
    asked = {"trace": "slowest"}
    answer = asyncio.run(_ask(a_week_of_support(folder), "why", asked))
    said = json.dumps(json.loads(answer), indent=2, ensure_ascii=False)
    wrapped = [
        part for line in said.splitlines() for part in textwrap.wrap(line, 108, subsequent_indent=" " * 6) or [""]
    ]
    draw_terminal(
        "assistant", f"why {json.dumps(asked)}", "\n".join(wrapped), 112, rows=30, prompt="the assistant calls "
    )


async def _ask(path: Path, tool: str, arguments: dict[str, Any]) -> str:
    server = StdioServerParameters(command=sys.executable, args=["-m", "langflow_otel", "mcp", str(path)])
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        (content,) = (await session.call_tool(tool, arguments)).content
        assert isinstance(content, TextContent)
        return content.text


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for draw in (of_reading, of_usage, of_anomalies, of_baselines, of_forecasts, of_assistants):
            if not sys.argv[1:] or draw.__name__.removeprefix("of_") in sys.argv[1:]:
                draw(Path(name))


if __name__ == "__main__":
    main()
