"""The picture of ``langflow-otel top``: figures of a running LangFlow, for wide and narrow terminals."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import fitted, glyphs_of, in_bytes, in_percent, in_words, printable
from langflow_otel.insights.figures import ComponentFigures, Figures, FlowFigures, WorkerFigures

_NARROW = 100
_BAR_WIDTH = 12
_MAX_FLOWS = 8
_LINES_AROUND = 12
"""Those that are neither rows of tables nor of the summary."""


def top_view(
    figures: Figures, console: Console, *, url: str, problem: str = "", height: int | None = None, keys: str = ""
) -> RenderableType:
    """All of it.

    Args:
        figures: What was read last.
        console: Its width decides what is shown.
        url: Where it was read.
        problem: Why nothing could be read since; empty if it could.
        height: Lines that there are; None for as many as it takes.
        keys: What can be pressed.
    """
    glyphs = glyphs_of(console)
    narrow = console.width < _NARROW
    title = Text().append("langflow-otel top", "bold").append(f"  {printable(url)}  ", "cyan")
    title.append(_over(figures.seconds), "dim")
    parts: list[RenderableType] = [fitted(title, console.width, glyphs)]
    parts.append(fitted(Text(printable(problem), "bold red"), console.width, glyphs) if problem else Text())
    summary = _summary(figures, console)
    room = None if height is None else height - _LINES_AROUND - len(summary)
    flow_rows, component_rows = _rows(figures, room)
    parts += [*summary, Text(), _flows(figures.flows, flow_rows, console, narrow=narrow), Text()]
    parts.append(_components(figures.components, component_rows, console, narrow=narrow))
    if len(figures.workers) > 1:
        parts += [Text(), _workers(figures.workers, console)]
    if keys:
        parts += [Text(), Text(keys, "dim")]
    return Group(*parts)


def _over(seconds: float) -> str:
    if seconds < 120:
        return f"last {seconds:.0f} s"
    return f"last {seconds / 60:.0f} min" if seconds < 7200 else f"last {seconds / 3600:.1f} h"


def _rows(figures: Figures, room: int | None) -> tuple[int, int]:
    """How many flows and components there is room for."""
    if room is None:
        return len(figures.flows), len(figures.components)
    if len(figures.workers) > 1:
        room -= len(figures.workers) + 3
    flows = min(len(figures.flows), _MAX_FLOWS, max(1, room // 3))
    return flows, max(1, room - flows)


def _summary(figures: Figures, console: Console) -> list[Text]:
    """Lines of facts, as many in a line as fit."""
    lines, line = [], Text()
    for fact in _facts(figures):
        if line and line.cell_len + 3 + fact.cell_len > console.width:
            lines.append(line)
            line = Text()
        line = line.append("   ").append(fact) if line else fact
    return [*lines, line]


def _facts(figures: Figures) -> list[Text]:
    failed = "bold red" if figures.failed else "bold"
    facts = [
        _fact("runs", _count(figures.runs)),
        _fact("per second", f"{figures.throughput:.2f}"),
        _fact("errors", in_percent(figures.error_percent), failed),
        _fact("P50", in_words(figures.durations.p50_s)),
        _fact("P95", in_words(figures.durations.p95_s)),
        _fact("P99", in_words(figures.durations.p99_s)),
        _fact("active", _count(figures.active)),
    ]
    if figures.waiting is not None:
        running = "" if figures.running is None else f", {_count(figures.running)} running"
        facts.append(_fact("queue", f"{_count(figures.waiting)} waiting{running}"))
    if figures.loop_delay.p99_s is not None:
        facts.append(_fact("event loop delay P99", in_words(figures.loop_delay.p99_s)))
    if len(figures.workers) == 1:
        facts += _worker_facts(figures.workers[0])
    for what, share in (
        ("machine CPU", figures.system_cpu_utilization),
        ("machine memory", figures.system_memory_utilization),
        ("GPU", figures.gpu_utilization),
        ("GPU memory", figures.gpu_memory_utilization),
    ):
        if share is not None:
            facts.append(_fact(what, in_percent(100 * share)))
    tokens = [sum(model.input_tokens for model in figures.models), sum(model.output_tokens for model in figures.models)]
    if any(tokens):
        facts.append(_fact("tokens", f"{tokens[0]:,.0f} in, {tokens[1]:,.0f} out"))
    return facts


def _worker_facts(worker: WorkerFigures) -> list[Text]:
    facts = []
    if worker.cpu_utilization is not None:
        facts.append(_fact("CPU", in_percent(100 * worker.cpu_utilization)))
    if worker.memory_bytes is not None:
        facts.append(_fact("memory", in_bytes(worker.memory_bytes)))
    return facts


def _fact(name: str, value: str, style: str = "bold") -> Text:
    return Text().append(f"{name} ", "dim").append(value, style)


def _flows(flows: Sequence[FlowFigures], rows: int, console: Console, *, narrow: bool) -> Table:
    table = _table("Flow", ("Runs", "Errors", *(() if narrow else ("P50",)), "P95", "P99", "Active"))
    for flow in flows[:rows]:
        durations = flow.durations
        table.add_row(
            _name(flow.flow, console),
            _count(flow.runs),
            _errors(flow.error_percent),
            *(() if narrow else (in_words(durations.p50_s),)),
            in_words(durations.p95_s),
            in_words(durations.p99_s),
            _count(flow.active),
        )
    return _with_rest(table, len(flows) - rows)


def _components(components: Sequence[ComponentFigures], rows: int, console: Console, *, narrow: bool) -> Table:
    table = _table("Component", ("Runs", "Errors", *(() if narrow else ("P50",)), "P95", "Share of time"))
    table.columns[-1].justify = "left"
    if not narrow:
        table.columns[0].header = "Component, by its share of the time"
    bar = glyphs_of(console).bar
    for component in components[:rows]:
        ended_well = component.executions - component.failed
        percent = 100 * component.failed / (component.failed + ended_well) if component.executions else 0.0
        name = component.component_type if narrow else f"{component.component_type}  ({component.flow})"
        table.add_row(
            _name(name, console),
            _count(component.executions),
            _errors(percent),
            *(() if narrow else (in_words(component.durations.p50_s),)),
            in_words(component.durations.p95_s),
            Text(f"{component.share:>4.0%} ").append(
                f"{bar * round(component.share * _BAR_WIDTH):<{_BAR_WIDTH}}", "blue"
            ),
        )
    return _with_rest(table, len(components) - rows)


def _workers(workers: Sequence[WorkerFigures], console: Console) -> Table:
    table = _table("Worker", ("CPU", "Memory"))
    for worker in workers:
        name = " ".join(each for each in (worker.instance, worker.worker) if each)
        cpu = "-" if worker.cpu_utilization is None else in_percent(100 * worker.cpu_utilization)
        memory = "-" if worker.memory_bytes is None else in_bytes(worker.memory_bytes)
        table.add_row(_name(name, console), cpu, memory)
    return table


def _table(name: str, figures: Sequence[str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", expand=True, show_edge=False
    )
    table.add_column(name, no_wrap=True, ratio=1)
    for title in figures:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _with_rest(table: Table, left_out: int) -> Table:
    if left_out > 0:
        table.add_row(Text(f"{left_out} more", "dim"))
    elif not table.row_count:
        table.add_row(Text("none yet", "dim"))
    return table


def _name(name: str, console: Console) -> Text:
    return fitted(Text(printable(name)), max(12, console.width - 50), glyphs_of(console))


def _errors(percent: float) -> Text:
    return Text(in_percent(percent), "bold red" if percent else "dim")


def _count(number: float) -> str:
    """Whole, or of a Prometheus's extrapolation not quite so."""
    return f"{number:,.0f}" if abs(number - round(number)) < 0.05 or number >= 100 else f"{number:,.1f}"
