"""What the demo shows of its runs. All of it is read back: from the trace file, and from the scrape endpoint."""

from __future__ import annotations

import importlib.util
import io
import shlex
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel import _semconv as semconv
from langflow_otel._metrics import catalogue
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.console import (
    FAILED,
    fitted,
    give_up,
    glyphs_of,
    heading,
    in_bytes,
    in_percent,
    in_words,
    make_console,
    printable,
)
from langflow_otel.cli.scraping import ScrapedPage
from langflow_otel.cli.tracing import metric_destinations, trace_destinations
from langflow_otel.cli.tree import tree_view
from langflow_otel.insights.components import ComponentShare, shares_in_trees
from langflow_otel.insights.trace import TraceSpan, build_trees, from_file, without_scope

_PICTURE_WIDTH = 110
NEXT_STEPS = (
    ("send it to a collector", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 langflow-otel demo"),
    ("watch it in Prometheus", "langflow-otel demo --serve"),
    ("trace your own server", "the variable above, and: langflow run"),
    ("scrape your own server", "OTEL_METRICS_EXPORTER=prometheus langflow run"),
    ("see inside your own node", "from langflow_otel import traced, then @traced above any method"),
)
_SHARE_BAR_WIDTH = 12
_RUNS = f"{catalogue.FLOW_DURATION.prometheus_name}_count"
_GAPS = 6
_LEAST_WORDS = 20


@dataclass(frozen=True)
class Report:
    """The demo's traces, one tree for each run, and its metrics.

    Attributes:
        spans: How many the runs have in the file, LangFlow's own among them.
        url: Where the metrics were read.
        is_live: They can still be read there.
    """

    roots: list[TraceSpan]
    spans: int
    settings: Settings
    figures: Figures
    url: str
    is_live: bool

    @classmethod
    def read(cls, settings: Settings, session: str, figures: Figures, url: str, *, is_live: bool) -> Report:
        """The runs of this demo; the file may hold older ones, and a server may write there as well."""
        path = settings.trace_file
        if path is None:
            raise ValueError("the demo has no trace file")
        try:
            every_span = list(from_file(path))
        except (OSError, ValueError) as exc:
            give_up(f"the trace file cannot be read back: {exc}", FAILED)
        roots = [
            root
            for root in build_trees(without_scope(every_span, semconv.LANGFLOW_SCOPE))
            if str(root.attributes.get(semconv.SESSION_ID, "")).startswith(session)
        ]
        if not roots:
            give_up(f"no run was recorded in {path}; is OTEL_TRACES_SAMPLER set?", FAILED)
        traces = {root.trace_id for root in roots}
        spans = sum(span.trace_id in traces for span in every_span)
        return cls(roots, spans, settings, figures, url, is_live)

    @property
    def good_run(self) -> TraceSpan | None:
        """The one of median duration."""
        good = [root for root in self.roots if root.status == "ok"]
        if not good:
            return None
        middle_s = statistics.median_low(root.duration_s for root in good)
        return next(root for root in good if root.duration_s == middle_s)

    @property
    def failed_run(self) -> TraceSpan | None:
        return next((root for root in self.roots if root.status == "error"), None)

    def show(self, console: Console) -> None:
        """Both trees, the components, the metrics, where all that is, and what to do next."""
        for title, root in (("A good run", self.good_run), ("The failed run", self.failed_run)):
            if root is not None:
                heading(console, title, f"trace {root.trace_id}")
                console.print(tree_view(root, console))
        heading(console, "Components", f"all {len(self.roots)} runs")
        console.print(stats_view(shares_in_trees(self.roots), console))
        heading(console, "Metrics", "as Prometheus reads them")
        console.print(metrics_view(self.figures, console))
        _list(console, self._about_metrics())
        heading(console, "Traces", f"{len(self.roots)} of them, {self.spans} spans, OTLP JSON lines")
        _list(console, trace_destinations(self.settings))
        if not self.is_live:
            heading(console, "Next")
            console.print(_pairs(NEXT_STEPS, console.width), soft_wrap=True)
            heading(console, "Find out", "one component is slow in some of these runs, on purpose: which, and why?")
            console.print(_pairs(_questions(self.settings.trace_file), console.width), soft_wrap=True)

    def _about_metrics(self) -> list[str]:
        if self.is_live:
            return metric_destinations(self.settings, self.url)
        return [
            *metric_destinations(self.settings, None),
            f"read from {self.url}, which closed with the demo",
            "the same page, live: langflow-otel demo --serve",
        ]

    def save_picture(self, path: Path) -> None:
        """The good run's tree as an SVG."""
        console = Console(
            record=True, file=io.StringIO(), width=_PICTURE_WIDTH, force_terminal=True, color_system="truecolor"
        )
        if self.good_run is not None:
            console.print(tree_view(self.good_run, console))
        try:
            path.write_text(console.export_svg(title="langflow-otel demo"), encoding="utf-8")
        except OSError as exc:
            give_up(f"{path} cannot be written: {exc.strerror}")
        make_console().print(f"picture saved: {path}", markup=False, soft_wrap=True)


def _questions(trace_file: Path | None) -> tuple[tuple[str, str], ...]:
    """The commands that find it, as they can be typed here."""
    program, pip = _programs()
    path = shlex.quote(str(trace_file))
    commands = (
        ("all runs, in the browser", f"{program} report {path} --open"),
        ("why the slowest was slow", f"{program} why slowest {path}"),
    )
    if all(importlib.util.find_spec(name) for name in ("duckdb", "jinja2", "pyarrow")):
        return commands
    return (("first, what these need", f"{pip} install 'langflow-otel[insights]'"), *commands)


def _programs() -> tuple[str, str]:
    """This command and the pip beside it: with their folder, if they are not on the path."""
    called = Path(sys.argv[0])
    on_path = shutil.which("langflow-otel")
    if called.name != "langflow-otel" or (on_path and Path(on_path).absolute() == called.absolute()):
        return "langflow-otel", "pip"
    pip = called.with_name("pip")
    return shlex.quote(str(called)), shlex.quote(str(pip)) if pip.exists() else "pip"


def _list(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _pairs(rows: tuple[tuple[str, str], ...], width: int) -> Text:
    left_width = max(len(left) for left, _ in rows)
    in_two_columns = left_width + max(len(right) for _, right in rows) + 4 <= width
    gap = "  " if in_two_columns else "\n    "
    return Text("\n").join(
        Text(f"  {left:<{left_width if in_two_columns else 0}}{gap}").append(right, "cyan") for left, right in rows
    )


def stats_view(stats: Sequence[ComponentShare], console: Console) -> Table:
    """One row for each component; those that never ran are dim."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Component", no_wrap=True)
    for title in ("Runs", "Errors", "Skipped", "P50", "P95"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Share of time", no_wrap=True)
    bar = glyphs_of(console).bar
    for each in stats:
        table.add_row(
            Text(printable(each.name)),
            str(each.count),
            Text(str(each.errors), "bold red" if each.errors else "dim"),
            str(each.skipped) if each.skipped else "",
            in_words(each.p50_s),
            in_words(each.p95_s),
            _share(each.share, bar),
            style=None if each.count else "dim",
        )
    return table


def _share(share: float, bar: str) -> Text:
    part = "<1%" if 0 < share < 0.005 else f"{share:.0%}"
    return Text(f"{part:>4} ").append(bar * round(share * _SHARE_BAR_WIDTH), "blue")


@dataclass(frozen=True)
class Figures:
    """What scrapes said.

    Attributes:
        page: The last one.
        busiest: The highest CPU saturation of all of them; it is 0 as soon as the runs have ended.
        window_s: What rates are over.
    """

    page: ScrapedPage
    busiest: float | None
    window_s: float

    @property
    def runs(self) -> int:
        return int(self.page.total(_RUNS) or 0)

    @property
    def failed_runs(self) -> int:
        return int(self.page.total(_RUNS, status="error") or 0)

    @property
    def throughput(self) -> str:
        """Runs a second."""
        return f"{self.page.total(catalogue.THROUGHPUT.prometheus_name) or 0:.2f}"

    @property
    def error_percent(self) -> float:
        return self.page.total(catalogue.ERROR_RATE.prometheus_name) or 0.0


@dataclass(frozen=True)
class _Row:
    label: str
    value: str
    name: str
    labels: dict[str, str] = field(default_factory=dict)
    bad: bool = False

    @property
    def selector(self) -> str:
        """The series as PromQL names it."""
        escaped = ((key, told.replace("\\", "\\\\").replace('"', '\\"')) for key, told in self.labels.items())
        pairs = ",".join(f'{key}="{told}"' for key, told in escaped)
        return printable(f"{self.name}{{{pairs}}}" if pairs else self.name)


def metrics_view(figures: Figures, console: Console) -> Table:
    """One row for each figure, with the series that it is read from as far as there is room."""
    rows = list(_rows(figures))
    values = _aligned([row.value for row in rows])
    room = console.width - _GAPS - _widest(values)
    names = _names(rows, room)
    label_width = room - _widest(names)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for title in ("Metric", "Value", *(["In the scrape"] if names else [])):
        table.add_column(title, no_wrap=True)
    for row, value, name in zip_longest(rows, values, names):
        label = fitted(Text(printable(row.label)), label_width, glyphs_of(console))
        cells = [label, Text(value, "bold red" if row.bad else ""), Text(name or "", "dim")]
        table.add_row(*cells[: len(table.columns)])
    return table


def _names(rows: Sequence[_Row], room: int) -> list[str]:
    """With labels, or without those that are too long, or none at all: what leaves enough of the room to the words."""
    selectors, names = [row.selector for row in rows], [row.name for row in rows]
    if _widest(selectors) + _widest([row.label for row in rows]) <= room:
        return selectors
    fitting = [name if cell_len(name) + _LEAST_WORDS <= room else "" for name in names]
    return fitting if 2 * fitting.count("") < len(names) else []


def _widest(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _rows(figures: Figures) -> Iterator[_Row]:
    page, window = figures.page, f"last {figures.window_s:g} s"
    yield _Row("Flow runs", f"{figures.runs:,}", _RUNS)
    failed, errors = figures.failed_runs, figures.error_percent
    yield _Row("Flow runs that failed", f"{failed:,}", _RUNS, {"status": "error"}, bad=failed > 0)
    yield _Row(f"Throughput, {window}", f"{figures.throughput} runs/s", catalogue.THROUGHPUT.prometheus_name)
    yield _Row(f"Error rate, {window}", in_percent(errors), catalogue.ERROR_RATE.prometheus_name, bad=errors > 0)
    yield from _flow_and_component_rows(page)
    if figures.busiest is not None:
        busiest = f"{figures.busiest:.2f} runs/core"
        yield _Row("CPU saturation, highest", busiest, catalogue.CPU_SATURATION.prometheus_name)
    for metric, word in ((catalogue.MODEL_INPUT_TOKENS, "in"), (catalogue.MODEL_OUTPUT_TOKENS, "out")):
        tokens = page.total(metric.prometheus_name)
        if tokens is not None:
            yield _Row(f"Tokens {word}", f"{tokens:,.0f}", metric.prometheus_name)
    memory = page.total(catalogue.PROCESS_MEMORY_USAGE.prometheus_name)
    if memory is not None:
        yield _Row("Memory", in_bytes(memory), catalogue.PROCESS_MEMORY_USAGE.prometheus_name)
    unused = page.total(catalogue.MEMORY_FRAGMENTATION.prometheus_name)
    if unused is not None:
        yield _Row("Heap held but unused", in_percent(100 * unused), catalogue.MEMORY_FRAGMENTATION.prometheus_name)


def _flow_and_component_rows(page: ScrapedPage) -> Iterator[_Row]:
    for each in page.series(catalogue.FLOW_DURATION_EMA.prometheus_name):
        yield _Row(_of("Run time", each.labels, "flow"), f"{in_words(each.value)} avg", each.name, each.labels)
    ratios = page.series(catalogue.COMPONENT_FAILURE_RATIO.prometheus_name)
    for each in sorted(ratios, key=lambda ratio: -ratio.value):
        if each.value > 0:
            label = _of("Failures", each.labels, "component_type")
            yield _Row(label, in_percent(100 * each.value), each.name, each.labels, bad=True)


def _of(what: str, labels: dict[str, str], name: str) -> str:
    return f"{what}, {labels[name]}" if labels.get(name) else what


def _aligned(values: Sequence[str]) -> list[str]:
    """Numbers end, and their units begin, in one column."""
    parts = [value.partition(" ") for value in values]
    width = max(len(number) for number, _, _ in parts)
    return [f"{number:>{width}} {unit}".rstrip() for number, _, unit in parts]
