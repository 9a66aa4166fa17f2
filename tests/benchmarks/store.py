"""How fast ``langflow-otel store`` fills a database, beside other ways to insert, and how long its queries take.

    python tests/benchmarks/store.py --rows 1000000                   # PostgreSQL, of Debian's package postgresql
    python tests/benchmarks/store.py --rows 1000000 --sqlite

Ways to insert, all with the same rows: ``row by row`` (a transaction each), ``in batches`` (SQLAlchemy's INSERT of many
rows with ON CONFLICT), ``ours`` (COPY into a temporary table and from there with ON CONFLICT; of SQLite executemany),
and ``COPY`` straight into the table, which fails at the first span that is there already. The slow ones insert fewer
rows. Queries run with the key that begins with the time, and without; daily figures and removal are of all rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from insights import write
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from langflow_otel.insights._store.database import Database
from langflow_otel.insights._store.schema import RAW_TABLES, metadata
from langflow_otel.insights._store.sql import POSTGRESQL, SQLITE, views
from langflow_otel.insights._store.storing import Storing

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from postgresql_server import Server

ROWS_A_SPAN = 1.007
KEEP_DAYS = 3650
RUN_OF_TIME = """
    SELECT components.* FROM components JOIN runs USING (trace_id)
    WHERE runs.trace_id = '{trace_id}'
    AND components.start_time BETWEEN runs.start_time AND runs.end_time
"""
LAST_HOUR = """
    SELECT component_type, count(*), avg(duration_s) FROM components
    WHERE start_time >= '{hour_before}' GROUP BY component_type
"""


class Kept(Database):
    """What would be written, kept."""

    def __init__(self) -> None:
        self.batches: list[dict[str, pa.Table]] = []

    def write(self, rows: Any) -> dict[str, int]:
        self.batches.append(dict(rows))
        return {}


def no_wait(_: float) -> bool:
    return False


def timed(name: str, action: Callable[[], int | None], of_server: Callable[[], float] = lambda: 0.0) -> None:
    """Print how long it took, the CPU time of this process and of the server, and how much it did in a second."""
    before = time.perf_counter(), time.process_time(), of_server()
    count = action()
    took_s, cpu_s, server_s = (
        now - then for now, then in zip((time.perf_counter(), time.process_time(), of_server()), before, strict=True)
    )
    rate = f"{count / took_s:10,.0f}/s, {count / (cpu_s + server_s):9,.0f} a second of CPU" if count else ""
    print(f"{name:<44}{took_s:8.2f} s, CPU {cpu_s:6.2f} + {server_s:6.2f} s {rate}", flush=True)


def batches_of(path: Path) -> list[dict[str, pa.Table]]:
    kept = Kept()
    storing = Storing(kept, keep_days=KEEP_DAYS, wait=no_wait, on_problem=print)
    from langflow_otel.insights._reading.span_stream import stream_spans

    for table in stream_spans([path], storing.stored.problems):
        storing.add(table)
    storing.write()
    return kept.batches


def head(batches: list[dict[str, pa.Table]], most: int) -> list[dict[str, pa.Table]]:
    """So many rows, of all tables."""
    first = batches[0]
    total = sum(each.num_rows for each in first.values())
    return [{name: each.slice(0, max(1, each.num_rows * most // total)) for name, each in first.items()}]


def ours(database: Database, batches: list[dict[str, pa.Table]]) -> int:
    return sum(sum(database.write(batch).values()) for batch in batches)


def copied(url: str, batches: list[dict[str, pa.Table]]) -> int:
    """Straight into the tables."""
    import io

    import psycopg
    import pyarrow.csv

    count = 0
    with psycopg.connect(url) as connection:
        for batch in batches:
            for name, rows in batch.items():
                lines = io.BytesIO()
                options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
                pyarrow.csv.write_csv(rows, lines, options)
                command = f"COPY {name} ({', '.join(rows.column_names)}) FROM STDIN (FORMAT csv)"
                with connection.cursor() as cursor, cursor.copy(command) as copy:
                    copy.write(lines.getbuffer())
                count += rows.num_rows
            connection.commit()
    return count


def inserted(engine: Any, batches: list[dict[str, pa.Table]], at_once: int) -> int:
    """By SQLAlchemy; 1 is a transaction a row."""
    insert = postgresql_insert if engine.dialect.name == "postgresql" else sqlite_insert
    count = 0
    for batch in batches:
        for name, rows in batch.items():
            statement = insert(metadata.tables[name]).on_conflict_do_nothing()
            for start in range(0, rows.num_rows, at_once):
                some = rows.slice(start, at_once).to_pylist()
                with engine.begin() as connection:
                    connection.execute(statement, some)
                count += len(some)
    return count


@contextmanager
def server() -> Iterator[Server]:
    # As in production: a commit is on the disk.
    made = Server(fsync="on", shared_buffers="256MB", max_wal_size="2GB")
    try:
        made.start()
        yield made
    finally:
        made.remove()


def queries(engine: Any, words: Any) -> dict[str, str]:
    with engine.connect() as connection:
        trace_id, hour_before = connection.execute(
            text("SELECT trace_id, start_time FROM runs ORDER BY start_time DESC LIMIT 1 OFFSET 1000")
        ).one()
    found = {
        "the components of one run": RUN_OF_TIME.format(trace_id=trace_id),
        "the newest 1,000 runs' time, by component type": LAST_HOUR.format(hour_before=hour_before),
    }
    return {**found, **{f"view {name}": query for name, query in views(words).items()}}


def ask_postgresql(url: str, heading: str) -> None:
    print(f"\n{heading}")
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for name, query in queries(engine, POSTGRESQL).items():
        with engine.begin() as connection:
            times = []
            for _ in range(3):
                found = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.replace(':', chr(92) + ':')}"))
                times.append(found.scalar_one()[0]["Execution Time"])
        print(f"  {name:<52}{min(times):10.2f} ms", flush=True)
    engine.dispose()


def postgresql(path: Path, batches: list[dict[str, pa.Table]], some: int) -> None:
    with server() as one:
        start_url = one.url()
        admin = create_engine(start_url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
        of_server = one.cpu_s
        with admin.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
            print(f"PostgreSQL {version}")
            for name in ("row_by_row", "in_batches", "copied", "ours", "whole"):
                connection.execute(text(f"CREATE DATABASE {name}"))
        for name in ("row_by_row", "in_batches", "copied"):
            Database(one.url(name)).close()
        engines = {
            name: create_engine(one.url(name).replace("postgresql:", "postgresql+psycopg:"))
            for name in ("row_by_row", "in_batches")
        }
        timed("row by row", lambda: inserted(engines["row_by_row"], head(batches, some // 10), 1), of_server)
        timed("in batches of 1,000", lambda: inserted(engines["in_batches"], head(batches, some), 1000), of_server)
        timed("COPY, which can be done once", lambda: copied(one.url("copied"), batches), of_server)
        with closing(Database(one.url("ours"))) as database:
            timed("ours", lambda: ours(database, batches), of_server)
            timed("ours, of rows that are there", lambda: ours(database, batches) or sum_of(batches), of_server)
        whole(Database(one.url("whole")), path, of_server)
        with closing(Database(one.url("ours"))) as database:
            engine = create_engine(
                one.url("ours").replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
            )
            with engine.connect() as connection:
                connection.execute(text("VACUUM ANALYZE"))
                size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
            print(f"size of the database: {size / 2**20:,.0f} MiB")
            timed("daily figures of that day", database.roll_up, of_server)
            ask_postgresql(one.url("ours"), "queries, with the keys")
            with engine.connect() as connection:
                for table in RAW_TABLES:
                    connection.execute(text(f"ALTER TABLE {table.name} DROP CONSTRAINT {table.name}_pkey"))
                connection.execute(text("DROP INDEX runs_trace_id"))
            ask_postgresql(one.url("ours"), "without any index")
            engine.dispose()
        with closing(Database(one.url("whole"))) as database:
            database.roll_up()
            timed("removal of that day", lambda: database.remove_before(date(2099, 1, 1), date(2000, 1, 1)), of_server)
        admin.dispose()


def sum_of(batches: list[dict[str, pa.Table]]) -> int:
    return sum(each.num_rows for batch in batches for each in batch.values())


def whole(database: Database, path: Path, of_server: Callable[[], float] = lambda: 0.0) -> None:
    with closing(database):
        storing = Storing(database, keep_days=KEEP_DAYS, wait=no_wait, on_problem=print)

        def action() -> int:
            storing.store([path])
            return sum(storing.stored.new.values())

        timed("langflow-otel store: reading, writing, figures", action, of_server)


def sqlite(path: Path, batches: list[dict[str, pa.Table]], some: int, folder: Path) -> None:
    urls = {name: f"sqlite:///{folder / name}.db" for name in ("row_by_row", "in_batches", "ours", "whole")}
    for name in ("row_by_row", "in_batches"):
        Database(urls[name]).close()
        at_once = 1 if name == "row_by_row" else 1000
        rows = head(batches, some // 10 if at_once == 1 else some)
        engine = create_engine(urls[name])
        timed(name.replace("_", " "), lambda: inserted(engine, rows, at_once))  # noqa: B023
        engine.dispose()
    with closing(Database(urls["ours"])) as database:
        timed("ours", lambda: ours(database, batches))
        timed("ours, of rows that are there", lambda: ours(database, batches) or sum_of(batches))
        timed("daily figures of that day", database.roll_up)
    print(f"size of the database: {(folder / 'ours.db').stat().st_size / 2**20:,.0f} MiB")
    engine = create_engine(urls["ours"])
    for name, query in queries(engine, SQLITE).items():
        with engine.connect() as connection:
            timed(f"  {name}", lambda: len(connection.exec_driver_sql(query).all()))  # noqa: B023
    engine.dispose()
    whole(Database(urls["whole"]), path)
    with closing(Database(urls["whole"])) as database:
        timed("removal of that day", lambda: database.remove_before(date(2099, 1, 1), date(2000, 1, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--some", type=int, default=50_000, help="so many rows for the slow ways, a tenth for the slowest"
    )
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spans.jsonl"
        write(path, int(arguments.rows / ROWS_A_SPAN))
        print(f"{path.stat().st_size / 2**20:,.0f} MiB of trace file")
        batches: list[dict[str, pa.Table]] = []
        timed("reading alone", lambda: (batches.extend(batches_of(path)), sum_of(batches))[1])
        counts = {name: sum(each[name].num_rows for each in batches if name in each) for name in batches[0]}
        print(f"{sum_of(batches):,} rows: {', '.join(f'{count:,} {name}' for name, count in counts.items())}")
        if arguments.sqlite:
            sqlite(path, batches, arguments.some, Path(folder))
        else:
            postgresql(path, batches, arguments.some)


if __name__ == "__main__":
    main()
