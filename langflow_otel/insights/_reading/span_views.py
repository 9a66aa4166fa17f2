"""DuckDB's views over the Parquet files of spans."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import duckdb

from langflow_otel.insights._reading.span_columns import INTERNAL_COLUMNS

_MEMORY_LIMIT: Final = "1GB"
_MAX_KEPT: Final = 8
"""For so many sets of files it is kept which spans are there several times, and the runs: those used last."""

RUN_COLUMNS: Final = (
    "trace_id", "span_id", "start_ns", "end_ns", "duration_ns", "status", "error_type", "error_category", "instance",
    "flow_name", "flow_id", "flow_version", "entry_point", "session_id", "user_id", "input_tokens", "output_tokens",
    "cost", "currency",
)  # fmt: skip
"""Of ``run_rows``, the table of all runs, which is held in memory; the others are in the view ``runs``."""


def span_views(parts: Sequence[Path], cache_dir: Path) -> duckdb.DuckDBPyConnection:
    """A connection with the views ``spans``, ``runs`` and ``all_columns``, the tables ``repeated`` and ``run_rows``.

    Args:
        parts: Parquet files.
        cache_dir: Where it is kept which spans are there several times, and the runs, and where DuckDB may put what
            does not fit into 1 GB of memory.

    Raises:
        duckdb.Error: A file is damaged.
    """
    connection = duckdb.connect(
        config={
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": str(cache_dir / "spilled"),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
        }
    )
    files = ", ".join(_quoted(each) for each in sorted(parts))
    _add_kept(connection, "repeated", [_REPEATED.format(files=files)], files, cache_dir)
    if connection.execute("SELECT 1 FROM repeated LIMIT 1").fetchall():
        connection.execute(f"""
            CREATE VIEW all_columns AS
            SELECT * EXCLUDE (filename, file_row_number)
            FROM read_parquet([{files}], filename = true, file_row_number = true) AS every
            WHERE NOT EXISTS (
                SELECT 1 FROM repeated
                WHERE trace_id = every.trace_id AND span_id = every.span_id
                AND (file <> every.filename OR row <> every.file_row_number)
            )
        """)
    else:
        connection.execute(f"CREATE VIEW all_columns AS SELECT * FROM read_parquet([{files}])")
    connection.execute(f"CREATE VIEW spans AS SELECT * EXCLUDE ({', '.join(INTERNAL_COLUMNS)}) FROM all_columns")
    _add_kept(connection, "run_rows", _RUN_ROWS, files, cache_dir)
    connection.execute(_RUNS)
    return connection


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _add_kept(
    connection: duckdb.DuckDBPyConnection, table: str, queries: Sequence[str], files: str, cache_dir: Path
) -> None:
    """A table that these queries make once for these files, and that is kept then."""
    # The name of a Parquet file is given once: the same names are the same spans.
    key = hashlib.sha256("\n".join([files, *queries]).encode()).hexdigest()[:32]
    kept = cache_dir / f"{table}-{key}.parquet"
    if kept.exists():
        connection.execute(f"CREATE TABLE {table} AS FROM read_parquet({_quoted(kept)})")
        with suppress(OSError):
            os.utime(kept)
        return
    temporary = cache_dir / f"{uuid.uuid4().hex}.tmp"
    _run(connection, queries)
    connection.execute(f"COPY {table} TO {_quoted(temporary)} (FORMAT parquet, COMPRESSION zstd)")
    temporary.replace(kept)
    for path in sorted(cache_dir.glob(f"{table}-*.parquet"), key=_used_ns, reverse=True)[_MAX_KEPT:]:
        path.unlink(missing_ok=True)


def _run(connection: duckdb.DuckDBPyConnection, queries: Sequence[str]) -> None:
    for query in queries:
        connection.execute(query)


def _used_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        # Another process has removed it.
        return 0


# First by a hash of the ids, since those of all spans need much memory.
_REPEATED = """
    CREATE TABLE repeated AS
    WITH hashes AS (
        SELECT hash(trace_id, span_id) AS ids FROM read_parquet([{files}]) GROUP BY ids HAVING count(*) > 1
    )
    SELECT trace_id, span_id, count(*) AS times,
        arg_min(filename, (filename, file_row_number)) AS file,
        arg_min(file_row_number, (filename, file_row_number)) AS row
    FROM read_parquet([{files}], filename = true, file_row_number = true)
    WHERE hash(trace_id, span_id) IN (SELECT ids FROM hashes)
    GROUP BY trace_id, span_id HAVING count(*) > 1
"""

# A flow that a flow runs has the entry point 'flow'. Running at a run's start are those of its instance that have
# started by then, less those that have ended.
_RUN_ROWS = (
    f"""
    CREATE TEMP TABLE flow_rows AS
    SELECT {", ".join(RUN_COLUMNS)}, entry_point IS NOT DISTINCT FROM 'flow' AS is_sub_run
    FROM spans WHERE what = 'flow'
    """,
    """
    CREATE TABLE run_rows AS
    WITH changes AS (
        SELECT rowid AS id, instance, start_ns AS at_ns, CASE WHEN is_sub_run THEN 0 ELSE 1 END AS change FROM flow_rows
        UNION ALL
        SELECT NULL, instance, end_ns, -1 FROM flow_rows WHERE NOT is_sub_run
    ),
    counted AS (
        SELECT id, sum(change) OVER (PARTITION BY instance ORDER BY at_ns) AS concurrent
        FROM changes QUALIFY id IS NOT NULL
    )
    SELECT flow_rows.*, CAST(concurrent AS BIGINT) AS concurrent
    FROM flow_rows JOIN counted ON counted.id = flow_rows.rowid
    """,
    "DROP TABLE flow_rows",
)
_RUNS = """
    CREATE VIEW runs AS
    SELECT spans.*, is_sub_run, concurrent FROM spans JOIN run_rows USING (trace_id, span_id) WHERE what = 'flow'
"""


def add_runs(connection: duckdb.DuckDBPyConnection) -> None:
    """The table ``run_rows`` and the view ``runs``, of the view ``spans``."""
    _run(connection, _RUN_ROWS)
    connection.execute(_RUNS)
