"""``langflow-otel tree``: one trace of a trace file in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console, Group
from rich.text import Text

from langflow_otel import _semconv as semconv
from langflow_otel.cli.console import (
    Glyphs,
    fitted,
    give_up,
    glyphs_of,
    heading,
    in_money,
    in_words,
    make_console,
    printable,
    say,
    shortened,
)
from langflow_otel.cli.trace_input import chosen_paths, opened_traces, problem_lines, trace_and_paths, trace_id_of
from langflow_otel.insights._reading.otlp_lines import Problems
from langflow_otel.insights._reading.trace_search import LongLineError, last_trace_id, spans_of_trace
from langflow_otel.insights._reading.trace_sources import trace_files
from langflow_otel.insights.selection import FAILED, LAST, SLOWEST
from langflow_otel.insights.trace import SpanEvent, TraceSpan, build_trees, without_scope

_DURATION_WIDTH = 9
_MIN_BAR_WIDTH, _MAX_BAR_WIDTH = 16, 40
_TOO_NARROW_FOR_BARS = 50
_GAP = "  "
_STATUS_STYLES = {"ok": "green", "error": "bold red", "cached": "cyan", "cancelled": "yellow", "paused": "yellow"}
_KIND_STYLES = {"llm": "magenta", "agent": "cyan", "tool": "yellow"}
_MODEL_CALLS = (semconv.CHAT, semconv.TEXT_COMPLETION, semconv.EMBEDDINGS)
_OPERATIONS = (
    semconv.INVOKE_WORKFLOW,
    semconv.INVOKE_AGENT,
    semconv.EXECUTE_TOOL,
    *_MODEL_CALLS,
    semconv.COMPONENT,
    semconv.STREAM,
    semconv.OUTPUT,
)
_NOT_THE_AUTHORS = ("langflow.", "gen_ai.", "error.", "server.", "session.", "user.", "openinference.", "llm.")


def tree(which: str, paths: Sequence[Path], *, as_json: bool) -> None:
    """Show the trace with this id, or the one that ended last, took longest or failed last."""
    which, paths = trace_and_paths(which, paths)
    roots = None if which in (SLOWEST, FAILED) else _by_search(which, paths)
    if roots is None:
        roots = _by_query(which, paths, as_json=as_json)
    if as_json:
        typer.echo(json.dumps([_as_json(root) for root in roots], indent=2))
    else:
        _show(roots, make_console())


def _by_query(which: str, paths: Sequence[Path], *, as_json: bool) -> list[TraceSpan]:
    with opened_traces(paths) as traces:
        return traces.trace(trace_id_of(traces, which, nothing="[]" if as_json else None))


def _by_search(which: str, paths: Sequence[Path]) -> list[TraceSpan] | None:
    """Without reading all: a file of 64 MiB takes less than a second. None if a line is too long for that."""
    chosen = chosen_paths(paths)
    of_last, of_trace = Problems(), Problems()
    try:
        files = trace_files(chosen)
        trace_id = last_trace_id(files, of_last) if which == LAST else which
        spans = spans_of_trace(files, trace_id, of_trace) if trace_id else []
    except LongLineError:
        return None
    except OSError as exc:
        give_up(f"{printable(exc.filename or 'a trace file')} cannot be read: {exc.strerror or exc}")
    # The same lines may have been looked at for both.
    for line in problem_lines(Problems(of_last.lines | of_trace.lines, of_last.spans | of_trace.spans)):
        say(f"warning: {line}")
    if not spans:
        _not_found(which, chosen)
    traces = {span.trace_id for span in spans}
    if len(traces) > 1:
        give_up(f"{len(traces)} traces begin with {which}: give more digits")
    return build_trees(spans)


def _not_found(which: str, paths: Sequence[Path]) -> NoReturn:
    names = ", ".join(printable(path) for path in paths)
    give_up(f"{names}: no spans" if which == LAST else f"{names}: there is no trace {which}")


def _show(roots: list[TraceSpan], console: Console) -> None:
    spans = [span for root in roots for span in root.walk()]
    # LangFlow's own span of a run adds a line and no facts.
    shown = build_trees(without_scope(spans, semconv.LANGFLOW_SCOPE))
    started = datetime.fromtimestamp(min(span.start_ns for span in spans) / 1e9, timezone.utc)
    heading(console, f"trace {spans[0].trace_id}", f"{started:%Y-%m-%d %H:%M:%S} UTC")
    for root in shown:
        if root.parent_id is not None:
            say(f"the span above {shortened(printable(root.name))} is not in the files")
        console.print(tree_view(root, console), soft_wrap=True)


def _as_json(span: TraceSpan) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "scope": span.scope,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "status": span.status,
        "attributes": span.attributes,
        "events": [{"name": each.name, "time_ns": each.time_ns, "attributes": each.attributes} for each in span.events],
        "children": [_as_json(child) for child in span.children],
    }


def tree_view(root: TraceSpan, console: Console) -> Group:
    """The tree below this span: one line each, with status, duration and where in the run it lies.

    Components that a router left out are shown where the decision fell.
    """
    return Group(*_View(root, glyphs_of(console), console.width).lines())


@dataclass(frozen=True)
class _Place:
    """Where in the tree a line stands: what precedes it, and what precedes the lines below it."""

    lead: str = ""
    below: str = ""

    def child(self, glyphs: Glyphs, *, is_last: bool) -> _Place:
        return _Place(
            self.below + (glyphs.last if is_last else glyphs.branch),
            self.below + (" " * len(glyphs.down) if is_last else glyphs.down),
        )


class _View:
    def __init__(self, root: TraceSpan, glyphs: Glyphs, width: int) -> None:
        self._root = root
        self._glyphs = glyphs
        self._width = width
        self._end_ns = max(span.end_ns for span in root.walk())
        bar_width = min(max(width // 3 - 4, _MIN_BAR_WIDTH), _MAX_BAR_WIDTH)
        self._bar_width = 0 if width < _TOO_NARROW_FOR_BARS else bar_width
        self._label_width = width - self._bar_width - _DURATION_WIDTH - len(_GAP) - 1

    def lines(self) -> Iterator[Text]:
        yield from self._lines_of(self._root, _Place())

    def _lines_of(self, span: TraceSpan, place: _Place) -> Iterator[Text]:
        entries = _in_order(span)
        yield from self._span_lines(span, place, has_children=bool(entries))
        for entry in entries:
            child = place.child(self._glyphs, is_last=entry is entries[-1])
            if isinstance(entry, TraceSpan):
                yield from self._lines_of(entry, child)
            else:
                yield self._skipped_line(entry, child)

    def _span_lines(self, span: TraceSpan, place: _Place, *, has_children: bool) -> Iterator[Text]:
        label = Text().append(place.lead, "dim").append_text(self._mark(span)).append_text(_name(span))
        facts = _facts(span, self._glyphs)
        on_one_line = label.cell_len + len(_GAP) + facts.cell_len <= self._label_width
        if facts and on_one_line:
            label.append(_GAP).append_text(facts)
        yield self._with_time(label, span)
        if facts and not on_one_line:
            lead = place.below + (self._glyphs.down if has_children else " " * len(self._glyphs.down))
            yield fitted(Text().append(lead, "dim").append_text(facts), self._width, self._glyphs)

    def _with_time(self, label: Text, span: TraceSpan) -> Text:
        label = fitted(label, self._label_width, self._glyphs)
        label.pad_right(self._label_width - label.cell_len)
        label.append(f" {in_words(span.duration_s):>{_DURATION_WIDTH}}{_GAP}")
        return label.append(self._bar(span), _bar_style(span))

    def _bar(self, span: TraceSpan) -> str:
        """The span's part of the run, in steps of half a character."""
        glyphs = self._glyphs
        whole_ns = max(self._end_ns - self._root.start_ns, 1)
        halves = 2 * self._bar_width
        first = min(round(halves * (span.start_ns - self._root.start_ns) / whole_ns), halves - 1)
        last = max(round(halves * (span.end_ns - self._root.start_ns) / whole_ns), first + 1)
        signs = {(True, True): glyphs.bar, (True, False): glyphs.bar_end, (False, True): glyphs.bar_start}
        cells = (signs.get((first <= half < last, first <= half + 1 < last), " ") for half in range(0, halves, 2))
        return "".join(cells).rstrip()

    def _mark(self, span: TraceSpan) -> Text:
        signs = {"ok": self._glyphs.ok, "error": self._glyphs.error}
        return Text(signs.get(span.status, self._glyphs.other) + " ", _STATUS_STYLES.get(span.status, ""))

    def _skipped_line(self, event: SpanEvent, place: _Place) -> Text:
        name = event.attributes.get(semconv.COMPONENT_DISPLAY_NAME, event.attributes.get(semconv.COMPONENT_ID))
        line = f"{place.lead}{self._glyphs.skipped} {semconv.COMPONENT} {printable(name)}{_GAP}skipped"
        return fitted(Text(line, "dim"), self._width, self._glyphs)


def _in_order(span: TraceSpan) -> list[TraceSpan | SpanEvent]:
    """What happened directly below the span: its children and the components that were skipped."""
    skipped = [event for event in span.events if event.name == semconv.COMPONENT_SKIPPED]
    entries: list[TraceSpan | SpanEvent] = [*span.children, *skipped]
    return sorted(entries, key=lambda each: each.start_ns if isinstance(each, TraceSpan) else each.time_ns)


def _name(span: TraceSpan) -> Text:
    operation, _, rest = printable(span.name).partition(" ")
    if span.scope == semconv.SCOPE and rest and operation in _OPERATIONS:
        return Text().append(f"{operation} ", "dim").append(rest, "bold")
    return Text(printable(span.name))


def _facts(span: TraceSpan, glyphs: Glyphs) -> Text:
    """What is worth knowing besides the time, in a few words."""
    facts: list[Text] = []
    if span.status == "error":
        facts.append(Text(_error(span), "red"))
    elif span.status != "ok":
        facts.append(Text(span.status, _STATUS_STYLES.get(span.status, "")))
    facts += [
        Text(fact, "dim")
        for fact in (_iteration(span), _stop_reason(span), _tokens(span), _cost(span), _chunks(span), *_authors(span))
        if fact
    ]
    return Text().append(f" {glyphs.dot} ", "dim").join(facts)


def _error(span: TraceSpan) -> str:
    kind = str(span.attributes.get(semconv.ERROR_TYPE, "error"))
    messages = [event.attributes.get(semconv.EXCEPTION_MESSAGE) for event in span.events]
    told = next((str(message).strip() for message in messages if message), None)
    return printable(f"{kind}: {told.splitlines()[0]}" if told else kind)


def _iteration(span: TraceSpan) -> str:
    index = span.attributes.get(semconv.LOOP_INDEX)
    return "" if index is None else f"iteration {index}"


def _stop_reason(span: TraceSpan) -> str:
    """Of an agent that was stopped before it had an answer."""
    reason = span.attributes.get(semconv.AGENT_STOP_REASON)
    return "" if reason is None else f"stopped by {printable(str(reason)).replace('_', ' ')}"


def _tokens(span: TraceSpan) -> str:
    """Its own, or the sums of what is below."""
    names = (
        (semconv.GEN_AI_USAGE_INPUT_TOKENS, semconv.USAGE_INPUT_TOKENS, "in"),
        (semconv.GEN_AI_USAGE_OUTPUT_TOKENS, semconv.USAGE_OUTPUT_TOKENS, "out"),
    )
    used = [(span.attributes.get(own, span.attributes.get(below)), which) for own, below, which in names]
    known = [f"{count} {which}" for count, which in used if count is not None]
    return f"tokens {', '.join(known)}" if known else ""


def _cost(span: TraceSpan) -> str:
    amount = span.attributes.get(semconv.COST_AMOUNT)
    parts = []
    if isinstance(amount, (int, float)):
        parts.append(f"{in_money(amount)} {span.attributes.get(semconv.COST_CURRENCY)}")
    unpriced = span.attributes.get(semconv.COST_UNPRICED_CALLS)
    if unpriced is not None:
        parts.append(f"{unpriced} {'call' if unpriced == 1 else 'calls'} without a price")
    return printable(", ".join(parts))


def _chunks(span: TraceSpan) -> str:
    count = span.attributes.get(semconv.STREAM_CHUNK_COUNT)
    if count is None:
        return ""
    first_s = span.attributes.get(semconv.STREAM_TIME_TO_FIRST_CHUNK)
    return f"{count} chunks" + ("" if first_s is None else f", first after {in_words(first_s)}")


def _authors(span: TraceSpan) -> Iterator[str]:
    """Attributes that the author of a component gave."""
    if span.scope != semconv.SCOPE:
        return
    for name, value in span.attributes.items():
        if not name.startswith(_NOT_THE_AUTHORS):
            yield printable(f"{name}={value}")


def _bar_style(span: TraceSpan) -> str:
    if span.status == "error":
        return "red"
    if span.name.startswith(semconv.EXECUTE_TOOL):
        return _KIND_STYLES["tool"]
    if semconv.ENTRY_POINT in span.attributes:
        return "green"
    if span.attributes.get(semconv.GEN_AI_OPERATION_NAME) in _MODEL_CALLS:
        return _KIND_STYLES["llm"]
    kind = span.attributes.get(semconv.COMPONENT_KIND)
    return "bright_black" if kind is None else _KIND_STYLES.get(str(kind), "blue")
