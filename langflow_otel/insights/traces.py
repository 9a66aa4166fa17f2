"""Trace files, to be asked in SQL: read by Arrow into Parquet files, over which DuckDB has views.

Needs ``pip install 'langflow-otel[insights]'``, and no LangFlow::

    with open_traces([Path("spans.jsonl")]) as traces:
        traces.connection.sql("SELECT flow_name, count(*) FROM runs GROUP BY ALL").show()

The view ``spans`` has a row a span, in which one that was sent twice is once; ``runs`` has a row a run of a flow.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from langflow_otel.insights._reading.span_views import span_views
from langflow_otel.insights._reading.trace_cache import CacheError, Read, default_cache_dir, remove_old
from langflow_otel.insights._reading.trace_reader import read_files
from langflow_otel.insights.trace import SpanEvent, TraceSpan, build_trees

__all__ = ["NoSpansError", "Reading", "Traces", "open_traces"]


class NoSpansError(ValueError):
    """There is no span in the files; the message says what is in them instead."""


@dataclass
class Reading:
    """What was read, and what could not be.

    Attributes:
        files: Number of files.
        lines: Number of lines that are not empty.
        spans: Number of spans, duplicates not among them.
        duplicates: Number of spans that were left out, since one with the same ids was there before.
        bad_lines: Number of lines of which nothing could be read, by file and reason.
        bad_spans: Number of spans left out of the other lines, by file and reason.
        end_before_start: Number of spans that ended before they started, since a clock was set back; their
            duration is 0.
    """

    files: int = 0
    lines: int = 0
    spans: int = 0
    duplicates: int = 0
    bad_lines: dict[Path, Counter[str]] = field(default_factory=dict)
    bad_spans: dict[Path, Counter[str]] = field(default_factory=dict)
    end_before_start: int = 0

    def add(self, path: Path, read: Read) -> None:
        """Count a file."""
        self.files += 1
        self.lines += read.lines + bool(read.bad_rest)
        self.spans += sum(part.spans for part in read.parts)
        self.end_before_start += read.end_before_start
        bad_lines = Counter(read.bad_lines) + Counter([read.bad_rest] if read.bad_rest else [])
        for reasons, all_reasons in ((bad_lines, self.bad_lines), (Counter(read.bad_spans), self.bad_spans)):
            if reasons:
                all_reasons.setdefault(path, Counter()).update(reasons)

    @property
    def bad_line_count(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.bad_lines.values())


class Traces:
    """Traces that were read; to be closed, or used as a context manager.

    Attributes:
        connection: DuckDB with the views ``spans`` and ``runs``.
        reading: What was read.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, reading: Reading, resources: ExitStack) -> None:
        self.connection = connection
        self.reading = reading
        self._resources = resources

    def trace(self, trace_id: str) -> list[TraceSpan]:
        """The roots of a trace's trees: spans without a parent, and those whose parent is not in the files.

        Empty for a trace that is not there.
        """
        rows = self.connection.execute(f"SELECT {_OF_A_SPAN} FROM all_columns WHERE trace_id = ?", [trace_id])
        return build_trees(_trace_span(*row) for row in rows.fetchall())

    def close(self) -> None:
        self.connection.close()
        self._resources.close()

    def __enter__(self) -> Traces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_traces(
    paths: Sequence[Path],
    *,
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Traces:
    """Read trace files: OTLP JSON lines, as ``LANGFLOW_OTEL_TRACE_FILE`` and the collector's file exporter write them.

    Args:
        paths: Files and folders; a file comes with those that were rotated away from it.
        cache_dir: Where what was read is kept, so that only what is new is read again; by default a folder in the
            user's cache folder, and where that cannot be written a temporary one.
        on_progress: Called with the bytes that were read and those that there are to read.

    Raises:
        OSError: A path cannot be read.
        NoSpansError: There is no span in them.
    """
    with ExitStack() as stack:
        folder = _cache_folder(cache_dir or default_cache_dir(), stack)
        try:
            connection, reading = _opened(paths, folder, on_progress)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error:
            # A Parquet file is damaged. All of them are made anew.
            for each in folder.glob("*/read.json"):
                each.unlink(missing_ok=True)
            connection, reading = _opened(paths, folder, on_progress)
        except CacheError:
            # It belongs to another user.
            connection, reading = _opened(paths, _temporary_folder(stack), on_progress)
        return Traces(connection, reading, stack.pop_all())


def _cache_folder(wanted: Path, stack: ExitStack) -> Path:
    try:
        wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=wanted):
            pass
    except OSError:
        return _temporary_folder(stack)
    remove_old(wanted)
    return wanted


def _temporary_folder(stack: ExitStack) -> Path:
    made = tempfile.TemporaryDirectory(prefix="langflow-otel-", ignore_cleanup_errors=True)
    return Path(stack.enter_context(made))


def _opened(
    paths: Sequence[Path], folder: Path, on_progress: Callable[[int, int], object] | None
) -> tuple[duckdb.DuckDBPyConnection, Reading]:
    reading = Reading()
    parts: list[Path] = []
    for path, read, read_folder in read_files(paths, folder, on_progress):
        reading.add(path, read)
        parts += [read_folder / part.name for part in read.parts]
    if not reading.spans:
        raise NoSpansError(_why_no_spans(reading))
    connection = span_views(parts, folder)
    repeated = connection.execute("SELECT coalesce(sum(times - 1), 0) FROM repeated").fetchall()
    reading.duplicates = int(repeated[0][0])
    reading.spans -= reading.duplicates
    return connection, reading


def _why_no_spans(reading: Reading) -> str:
    total: Counter[str] = Counter()
    for reasons in (*reading.bad_lines.values(), *reading.bad_spans.values()):
        total.update(reasons)
    if not total:
        return "no spans: " + ("the files are empty" if not reading.lines else "their lines hold none")
    return "no spans: " + ", ".join(f"{count:,} x {reason}" for reason, count in total.most_common())


_OF_A_SPAN = (
    "name, trace_id, span_id, parent_id, start_ns, end_ns, "
    "map_keys(attributes), map_values(attributes), attribute_types, "
    "list_transform(events, lambda event: {'name': event.name, 'time_ns': event.time_ns, "
    "'keys': map_keys(event.attributes), 'texts': map_values(event.attributes)}), "
    "event_attribute_types, status, scope"
)


def _trace_span(
    name: str,
    trace_id: str,
    span_id: str,
    parent_id: str | None,
    start_ns: int,
    end_ns: int,
    keys: list[str],
    texts: list[str | None],
    types: str,
    events: list[dict[str, Any]],
    event_types: list[str],
    status: str,
    scope: str,
) -> TraceSpan:
    return TraceSpan(
        name=name,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=_typed(keys, texts, types),
        events=[
            SpanEvent(event["name"], event["time_ns"], _typed(event["keys"], event["texts"], letters))
            for event, letters in zip(events, event_types, strict=True)
        ],
        is_error=status == "error",
        scope=scope,
    )


def _typed(keys: list[str], texts: list[str | None], types: str) -> dict[str, Any]:
    return {
        key: None if text is None else _VALUES[letter](text)
        for key, text, letter in zip(keys, texts, types, strict=True)
    }


_VALUES: dict[str, Callable[[str], Any]] = {
    "s": str,
    "i": int,
    "b": lambda text: text == "true",
    "d": float,
    "y": str,
    "a": lambda text: tuple(json.loads(text)),
    "k": json.loads,
    "n": lambda _: None,
}
