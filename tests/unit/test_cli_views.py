"""Trees and tables as they stand in a terminal."""

from __future__ import annotations

import io
import logging

from rich.console import Console

from langflow_otel.cli.console import Warnings, in_words
from langflow_otel.cli.stats_view import stats_view
from langflow_otel.cli.tree_view import tree_view
from langflow_otel.insights.components import component_stats
from langflow_otel.insights.trace import SpanEvent, TraceSpan

MS = 1_000_000


def span(name: str, start_ms: float, end_ms: float, *children: TraceSpan, **attributes: object) -> TraceSpan:
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    start_ns, end_ns = int(start_ms * MS), int(end_ms * MS)
    return TraceSpan(name, "t", name, None, start_ns, end_ns, named, scope="langflow_otel", children=list(children))


def run() -> TraceSpan:
    lookup = span("component Lookup", 0, 500, span("query", 100, 200, table="orders"))
    lookup.attributes.update({"langflow.component.kind": "other", "langflow.component.id": "Lookup-1"})
    model = span(
        "component Model",
        500,
        1500,
        langflow__component__kind="llm",
        langflow__component__id="Model-1",
        langflow__status="error",
        error__type="TimeoutError",
        gen_ai__usage__input_tokens=3,
        gen_ai__usage__output_tokens=5,
        langflow__stream__chunk_count=7,
        langflow__stream__time_to_first_chunk=0.0204,
    )
    for component in (lookup, model):
        component.attributes["langflow.component.display_name"] = component.name.split()[1]
    model.events = [SpanEvent("exception", 0, {"exception.message": "too late\nreally"})]
    root = span("invoke_workflow demo", 0, 2000, lookup, model, langflow__flow__name="demo", langflow__status="error")
    root.attributes["error.type"] = "TimeoutError"
    skipped = {"langflow.component.id": "B-1", "langflow.component.display_name": "Branch"}
    root.events = [SpanEvent("component.skipped", 490 * MS, skipped)]
    return root


def shown(width: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding, write_through=True), width=width)
    console.print(tree_view(run(), console))
    return [line.rstrip() for line in raw.getvalue().decode(encoding).splitlines()]


def test_a_tree_with_its_waterfall():
    assert shown(84) == [
        "✗ invoke_workflow demo  TimeoutError                2.00 s  ━━━━━━━━━━━━━━━━━━━━━━━━",
        "├─ ✓ component Lookup                               500 ms  ━━━━━━",
        "│  └─ ✓ query  table=orders                         100 ms   ━╸",
        "├─ ○ component Branch  skipped",
        "└─ ✗ component Model                                1.00 s        ━━━━━━━━━━━━",
        "      TimeoutError: too late · tokens 3 in, 5 out · 7 chunks, first after 20 ms",
    ]


def test_facts_stand_beside_the_name_where_there_is_room():
    facts = "TimeoutError: too late · tokens 3 in, 5 out · 7 chunks, first after 20 ms"

    assert f"└─ ✗ component Model  {facts}" in "\n".join(shown(160))


def test_control_codes_in_names_do_not_reach_the_terminal():
    console = Console(file=io.StringIO(), width=84)
    console.print(tree_view(span("a\x1b[2Jb\nc", 0, 1, note="x\ny"), console))

    assert console.file.getvalue().startswith("✓ a [2Jb c  note=x y  ")  # type: ignore[attr-defined]


def test_what_does_not_fit_is_cut():
    assert shown(60)[-1] == "      TimeoutError: too late · tokens 3 in, 5 out · 7 chunk…"
    assert shown(60, "ascii")[-1].endswith("...")


def test_a_narrow_terminal_is_never_overrun():
    for width in (40, 60, 100):
        assert max(map(len, shown(width))) <= width


def test_a_terminal_without_unicode_gets_other_signs():
    assert shown(84, "ascii")[:4] == [
        "x invoke_workflow demo  TimeoutError                2.00 s  ========================",
        "|- + component Lookup                               500 ms  ======",
        "|  `- + query  table=orders                         100 ms   ==",
        "|- o component Branch  skipped",
    ]


def test_the_table_of_components():
    console = Console(file=io.StringIO(), width=100)
    console.print(stats_view(component_stats([run()]), console))
    lines = [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]

    assert lines[1:-1] == [
        "Component   Runs   Errors   Skipped      P50      P95   Share of time",
        "─────────────────────────────────────────────────────────────────────",
        "Model          1        1             1.00 s   1.00 s    67% ━━━━━━━━",
        "Lookup         1        0             500 ms   500 ms    33% ━━━━",
        "Branch         0        0         1        -        -     0%",
    ]


def test_durations_in_words():
    told = [in_words(seconds) for seconds in (None, 0, 0.00009, 0.0004, 0.00994, 0.087, 0.9994, 1.234, 75)]

    assert told == ["-", "<0.1 ms", "<0.1 ms", "0.4 ms", "9.9 ms", "87 ms", "999 ms", "1.23 s", "75.00 s"]


def test_each_kind_of_warning_is_written_once_and_short():
    written: list[str] = []
    handler = Warnings(written.append)
    exporter = {"name": "opentelemetry.exporter", "levelno": logging.WARNING, "msg": "retrying in %s"}
    for wait_s in (1, 2):
        handler.handle(logging.makeLogRecord({**exporter, "args": (wait_s,)}))
    for text in ("a", "b", "b", "x" * 900):
        handler.handle(logging.makeLogRecord({"name": "langflow_otel", "msg": "%s", "args": (text,)}))

    assert written[:3] == ["warning: retrying in 1\n", "warning: a\n", "warning: b\n"]
    assert len(written) == 4
    assert len(written[3]) == len("warning: \n") + 240
