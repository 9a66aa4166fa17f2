"""The table of metrics: what a scrape says, in units that people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel._metrics import catalogue
from langflow_otel.cli.console import fitted, glyphs_of, in_bytes, in_percent, in_words, printable
from langflow_otel.cli.scraping import ScrapedPage

_RUNS = f"{catalogue.FLOW_DURATION.prometheus_name}_count"

_GAPS = 6
_LEAST_WORDS = 20


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
