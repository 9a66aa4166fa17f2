"""Trace files, to be asked in SQL: read by Arrow into Parquet files, over which DuckDB has views.

Needs ``pip install 'langflow-otel[insights]'``, and no LangFlow::

    with open_traces([Path("spans.jsonl")]) as traces:
        traces.connection.sql("SELECT flow_name, count(*) FROM runs GROUP BY ALL").show()

The view ``spans`` has a row a span, in which one that was sent twice is once; ``runs`` has a row a run of a flow.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow.parquet as pq

from langflow_otel.insights.otlp_arrow import Block, read_block
from langflow_otel.insights.otlp_lines import CUT_OFF, NOT_JSON, TOO_LONG
from langflow_otel.insights.span_table import INTERNAL_COLUMNS, SCHEMA
from langflow_otel.insights.trace import SpanEvent, TraceSpan, build_trees
from langflow_otel.insights.trace_sources import Blocks, content, trace_files

_ROW_GROUP = 100_000
_MAX_WORKERS = 4
_MEMORY_LIMIT = "1GB"


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

    @property
    def bad_line_count(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.bad_lines.values())


class Traces:
    """Traces that were read; to be closed, or used as a context manager.

    Attributes:
        connection: DuckDB with the views ``spans`` and ``runs``.
        reading: What was read.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, reading: Reading, folder: Path) -> None:
        self.connection = connection
        self.reading = reading
        self._folder = folder

    def trace(self, trace_id: str) -> list[TraceSpan]:
        """The roots of a trace's trees: spans without a parent, and those whose parent is not in the files.

        Empty for a trace that is not there.
        """
        rows = self.connection.execute(f"SELECT {_OF_A_SPAN} FROM all_columns WHERE trace_id = ?", [trace_id])
        return build_trees(_trace_span(*row) for row in rows.fetchall())

    def close(self) -> None:
        self.connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

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
        cache_dir: Where Parquet files are kept.
        on_progress: Called with the bytes that were read and those that there are.

    Raises:
        OSError: A path cannot be read.
        NoSpansError: There is no span in them.
    """
    files = trace_files(paths)
    folder = Path(tempfile.mkdtemp(prefix="langflow-otel-"))
    try:
        reading = Reading(files=len(files))
        _read_all(files, folder / "spans.parquet", reading, on_progress)
        if not reading.spans:
            raise NoSpansError(_why_no_spans(reading))
        connection = _connection(folder)
        reading.duplicates = reading.spans - _count(connection)
        reading.spans -= reading.duplicates
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Traces(connection, reading, folder)


def _why_no_spans(reading: Reading) -> str:
    total: Counter[str] = Counter()
    for reasons in (*reading.bad_lines.values(), *reading.bad_spans.values()):
        total.update(reasons)
    if not total:
        return "no spans: " + ("the files are empty" if not reading.lines else "their lines hold none")
    return "no spans: " + ", ".join(f"{count:,} x {reason}" for reason, count in total.most_common())


def _read_all(
    files: Sequence[Path], target: Path, reading: Reading, on_progress: Callable[[int, int], object] | None
) -> None:
    total = sum(path.stat().st_size for path in files)
    done = 0
    with pq.ParquetWriter(target, SCHEMA, compression="zstd", compression_level=1) as writer, _pool() as pool:
        for path in files:
            with path.open("rb") as file:
                for block in _in_parallel(pool, Blocks(content(file)), path, reading):
                    for table in block.tables:
                        writer.write_table(table)
                        reading.spans += table.num_rows
                    if on_progress is not None:
                        on_progress(done + file.tell(), total)
            done += path.stat().st_size


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_WORKERS))


def _in_parallel(pool: ThreadPoolExecutor, blocks: Blocks, path: Path, reading: Reading) -> Iterator[Block]:
    """Each block read, in their order, so many at once as there are threads."""
    waiting: deque[Future[Block]] = deque()
    for data in blocks:
        waiting.append(pool.submit(read_block, data))
        if len(waiting) > _MAX_WORKERS:
            yield _noted(waiting.popleft().result(), path, reading)
    while waiting:
        yield _noted(waiting.popleft().result(), path, reading)
    if blocks.rest:
        block = read_block(blocks.rest)
        if block.problems.lines.pop(NOT_JSON, 0):
            block.problems.lines[CUT_OFF] += 1
        yield _noted(block, path, reading)
    if blocks.too_long or blocks.is_broken:
        reasons = reading.bad_lines.setdefault(path, Counter())
        reasons.update({TOO_LONG: blocks.too_long, CUT_OFF: blocks.is_broken})


def _noted(block: Block, path: Path, reading: Reading) -> Block:
    reading.lines += block.lines
    reading.end_before_start += block.end_before_start
    for reasons, all_reasons in (
        (block.problems.lines, reading.bad_lines),
        (block.problems.spans, reading.bad_spans),
    ):
        if reasons:
            all_reasons.setdefault(path, Counter()).update(reasons)
    return block


def _connection(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": str(folder / "spilled"),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "TimeZone": "UTC",
        }
    )
    parquet = str(folder / "spans.parquet").replace("'", "''")
    connection.execute(f"""
        CREATE TEMP TABLE repeated AS
        SELECT trace_id, span_id, min(file_row_number) AS first FROM read_parquet('{parquet}', file_row_number = true)
        GROUP BY ALL HAVING count(*) > 1
    """)
    connection.execute(f"""
        CREATE VIEW all_columns AS
        SELECT * EXCLUDE (file_row_number) FROM read_parquet('{parquet}', file_row_number = true) AS every
        WHERE NOT EXISTS (
            SELECT 1 FROM repeated
            WHERE trace_id = every.trace_id AND span_id = every.span_id AND first <> every.file_row_number
        )
    """)
    connection.execute(f"CREATE VIEW spans AS SELECT * EXCLUDE ({', '.join(INTERNAL_COLUMNS)}) FROM all_columns")
    connection.execute(_RUNS)
    return connection


# A flow that a flow runs has the entry point 'flow'. Running at a run's start are those of its instance that have
# started by then, less those that have ended.
_RUNS = """
    CREATE VIEW runs AS
    WITH flows AS (SELECT * FROM spans WHERE what = 'flow'),
    changes AS (
        SELECT instance, start_ns AS at_ns, 1 AS change FROM flows WHERE entry_point IS DISTINCT FROM 'flow'
        UNION ALL
        SELECT instance, end_ns, -1 FROM flows WHERE entry_point IS DISTINCT FROM 'flow'
    ),
    running AS (
        SELECT instance, at_ns, sum(sum(change)) OVER (PARTITION BY instance ORDER BY at_ns) AS running
        FROM changes GROUP BY instance, at_ns
    )
    SELECT
        flows.*,
        entry_point IS NOT DISTINCT FROM 'flow' AS is_sub_run,
        CAST(coalesce(running.running, 0) AS BIGINT) AS concurrent
    FROM flows ASOF LEFT JOIN running
    ON running.instance IS NOT DISTINCT FROM flows.instance AND flows.start_ns >= running.at_ns
"""


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    # All of them: a result that is not fetched to its end blocks the connection.
    return int(connection.execute("SELECT count(*) FROM all_columns").fetchall()[0][0])


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
