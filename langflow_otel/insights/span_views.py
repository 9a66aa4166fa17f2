"""DuckDB's views over the Parquet files of spans."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

from langflow_otel.insights.span_table import INTERNAL_COLUMNS

_MEMORY_LIMIT: Final = "1GB"

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
        cache_dir: Where it is kept which spans are there several times, and where DuckDB may put what does not fit
            into 1 GB of memory.

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
    _add_repeated(connection, files, cache_dir)
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
    add_runs(connection)
    return connection


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _add_repeated(connection: duckdb.DuckDBPyConnection, files: str, cache_dir: Path) -> None:
    """Spans that are there several times, and which of them counts. It is looked for once for these files."""
    known = cache_dir / f"repeated-{hashlib.sha256(files.encode()).hexdigest()[:32]}.parquet"
    if not known.exists():
        temporary = cache_dir / f"{uuid.uuid4().hex}.tmp"
        connection.execute(f"COPY ({_REPEATED.format(files=files)}) TO {_quoted(temporary)} (FORMAT parquet)")
        temporary.replace(known)
    connection.execute(f"CREATE TEMP TABLE repeated AS FROM read_parquet({_quoted(known)})")


# First by a hash of the ids, since those of all spans need much memory.
_REPEATED = """
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
# started by then, less those that have ended. DuckDB 1.4 has no ASOF join that finds NULL.
_RUN_ROWS = f"""
    CREATE TABLE run_rows AS
    WITH flows AS (
        SELECT {", ".join(RUN_COLUMNS)}, entry_point IS NOT DISTINCT FROM 'flow' AS is_sub_run
        FROM spans WHERE what = 'flow'
    ),
    changes AS (
        SELECT coalesce(instance, '') AS instance, start_ns AS at_ns, 1 AS change FROM flows WHERE NOT is_sub_run
        UNION ALL
        SELECT coalesce(instance, ''), end_ns, -1 FROM flows WHERE NOT is_sub_run
    ),
    running AS (
        SELECT instance, at_ns, sum(sum(change)) OVER (PARTITION BY instance ORDER BY at_ns) AS running
        FROM changes GROUP BY instance, at_ns
    )
    SELECT flows.*, CAST(coalesce(running.running, 0) AS BIGINT) AS concurrent
    FROM flows ASOF LEFT JOIN running
    ON running.instance = coalesce(flows.instance, '') AND flows.start_ns >= running.at_ns
"""
_RUNS = """
    CREATE VIEW runs AS
    SELECT spans.*, is_sub_run, concurrent FROM spans JOIN run_rows USING (trace_id, span_id) WHERE what = 'flow'
"""


def add_runs(connection: duckdb.DuckDBPyConnection) -> None:
    """The table ``run_rows`` and the view ``runs``, of the view ``spans``."""
    connection.execute(_RUN_ROWS)
    connection.execute(_RUNS)
