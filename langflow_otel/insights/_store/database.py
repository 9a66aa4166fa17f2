"""A PostgreSQL or SQLite database with these tables: opened and checked, written to, and cut to what is to be kept."""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sqlalchemy import Connection, Engine, bindparam, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from langflow_otel._settings.masking import HIDDEN
from langflow_otel.insights._store.schema import RAW_TABLES, SCHEMA_VERSION, daily, days, metadata, version_table
from langflow_otel.insights._store.sql import POSTGRESQL, SQLITE, Words, rollups, views
from langflow_otel.redaction.known_secrets import HIDDEN as REDACTED
from langflow_otel.redaction.known_secrets import without_secrets
from langflow_otel.redaction.secret_names import may_be_secret_name

ACCEPTED: Final = "postgresql://USER@HOST/DATABASE and sqlite:///FILE"

_LOCK: Final = 0x6C666F74
"""Of PostgreSQL's advisory locks: for what two writers must not do at once."""
_CONNECT_S: Final = 10
_LOCKED_S: Final = 60
_DELETED_AT_ONCE: Final = 50_000
_MAX_LINE: Final = 300


class StoreError(Exception):
    """What is wrong with the database, as one line without credentials."""


class PassingError(StoreError):
    """The same of what may pass: no connection, a lock, a full disk."""


class Database:
    """A database for what :mod:`langflow_otel.insights._store.schema` describes; to be closed.

    Args:
        address: Such as ``postgresql://user:password@host/database`` or ``sqlite:///runs.db``.

    Attributes:
        shown: The address without its credentials.

    Raises:
        StoreError: It cannot be used; :class:`PassingError` where there is no connection.
    """

    def __init__(self, address: str) -> None:
        url = _url(address)
        self._secrets = _secrets_of(url)
        self.shown = url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)
        self._kind: type[_Kind] = _PostgreSQL if url.get_backend_name() == "postgresql" else _SQLite
        with self._as_store_error("cannot be opened"):
            self._engine = self._kind.engine(url)
        try:
            with self._as_store_error("cannot be opened"):
                self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._engine.dispose()

    def write(self, rows: Mapping[str, pa.Table]) -> dict[str, int]:
        """Insert the rows that are not there yet, all of them or none.

        Args:
            rows: By table, as :func:`~langflow_otel.insights._store.span_rows.rows_of` makes them.

        Returns:
            How many were new, by table.

        Raises:
            StoreError: They could not be written.
        """
        with self._as_store_error("cannot be written to"), self._transaction() as connection:
            new = {name: self._kind.insert(connection, name, each) for name, each in rows.items()}
            if any(new.values()):
                # At the end: another writer waits for these rows until this transaction ends.
                statement = text(
                    "INSERT INTO days (day, changes, rolled_up) VALUES (:day, 1, 0) "
                    "ON CONFLICT (day) DO UPDATE SET changes = days.changes + 1"
                ).bindparams(_day_parameter())
                connection.execute(statement, [{"day": each} for each in _days_of(rows)])
        return new

    def roll_up(self) -> int:
        """Bring ``daily`` up to date; returns of how many days.

        Raises:
            StoreError: It cannot be written.
        """
        with self._as_store_error("cannot be written to"):
            with self._transaction() as connection:
                stale = [row.day for row in connection.execute(days.select().where(days.c.changes != days.c.rolled_up))]
            for day in sorted(stale):
                with self._transaction() as connection:
                    self._kind.lock(connection)
                    self._roll_up(connection, day)
        return len(stale)

    def _roll_up(self, connection: Connection, day: date) -> None:
        # What comes after this is read may be counted or not: the day stays marked.
        changes = connection.execute(days.select().where(days.c.day == day)).one().changes
        connection.execute(daily.delete().where(daily.c.day == day))
        start = datetime.combine(day, time(), timezone.utc)
        times = {"start_time": start, "end_time": start + timedelta(days=1)}
        for query in rollups(self._kind.words):
            statement = text(query).bindparams(_day_parameter(), *map(_time_parameter, times))
            connection.execute(statement, {"day": day, **times})
        connection.execute(days.update().where(days.c.day == day).values(rolled_up=changes))

    def remove_before(self, day: date, daily_day: date) -> int:
        """Remove rows of days before ``day``, and figures of days before ``daily_day``; returns how many rows.

        Days that :meth:`roll_up` has not counted are kept.

        Raises:
            StoreError: It cannot be written.
        """
        removed = 0
        with self._as_store_error("cannot be written to"):
            with self._transaction() as connection:
                stale = connection.execute(days.select().where(days.c.changes != days.c.rolled_up)).all()
                day = min([day, *(row.day for row in stale)])
                connection.execute(daily.delete().where(daily.c.day < daily_day))
                connection.execute(days.delete().where(days.c.day < day))
            start = datetime.combine(day, time(), timezone.utc)
            for table in RAW_TABLES:
                while count := self._remove_some(table.name, start):
                    removed += count
        return removed

    def _remove_some(self, name: str, before: datetime) -> int:
        """In a transaction of its own each, so that a writer never waits for long."""
        place = (
            f"SELECT max(start_time) FROM (SELECT start_time FROM {name} WHERE start_time < :before "
            f"ORDER BY start_time LIMIT {_DELETED_AT_ONCE}) AS oldest"
        )
        statement = text(f"DELETE FROM {name} WHERE start_time <= ({place})").bindparams(_time_parameter("before"))
        with self._transaction() as connection:
            return int(connection.execute(statement, {"before": before}).rowcount)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            self._kind.begin(connection)
            yield connection

    def _prepare(self) -> None:
        with self._transaction() as connection:
            self._kind.lock(connection)
            self._kind.check(connection)
            there = set(inspect(connection).get_table_names())
            if version_table.name in there:
                version = connection.execute(version_table.select()).scalar_one()
                if version > SCHEMA_VERSION:
                    raise StoreError(
                        f"{self.shown} has tables of version {version}, and this langflow-otel knows {SCHEMA_VERSION}: "
                        "a newer one is needed"
                    )
            else:
                taken = sorted(there & set(metadata.tables))
                if taken:
                    raise StoreError(
                        f"{self.shown} has a table {taken[0]} of another program: "
                        "a database or schema of its own is needed"
                    )
                self._create(connection)
            # Without a row, too, this fails where it may not be done.
            for name in metadata.tables:
                if name != version_table.name:
                    connection.execute(text(f"INSERT INTO {name} SELECT * FROM {name} WHERE 1 = 0"))
                    connection.execute(text(f"DELETE FROM {name} WHERE 1 = 0"))

    def _create(self, connection: Connection) -> None:
        metadata.create_all(connection, checkfirst=False)
        for name, query in views(self._kind.words).items():
            connection.execute(text(f"CREATE VIEW {name} AS {query}"))
        connection.execute(version_table.insert().values(version=SCHEMA_VERSION))

    @contextmanager
    def _as_store_error(self, problem: str) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
            passes = self._kind.passes(cause)
            if passes is None:
                raise
            line = " ".join(without_secrets(str(cause), self._secrets).replace(REDACTED, HIDDEN).split())
            # What is open may be broken, whatever the pool thinks.
            engine = getattr(self, "_engine", None)
            if engine is not None:
                engine.dispose()
            kind = PassingError if passes else StoreError
            raise kind(f"{self.shown} {problem}: {line[:_MAX_LINE]}") from None


def _url(address: str) -> URL:
    """Of the address, with the driver that is used.

    Raises:
        StoreError: It is none. What is wrong with it is not quoted.
    """
    scheme, separator, rest = address.partition("://")
    schemes = {
        "postgresql": "postgresql+psycopg",
        "postgres": "postgresql+psycopg",
        "postgresql+psycopg": "postgresql+psycopg",
        "sqlite": "sqlite",
    }
    if not separator or scheme not in schemes:
        raise StoreError(f"the address of the database is not accepted; accepted are {ACCEPTED}")
    try:
        url = make_url(f"{schemes[scheme]}://{rest}")
    except (ArgumentError, ValueError):
        raise StoreError(f"the address of the database cannot be read; accepted are {ACCEPTED}") from None
    if url.get_backend_name() == "sqlite" and (url.database in (None, "", ":memory:") or url.host):
        raise StoreError("an address of SQLite names a file: sqlite:///runs.db, or sqlite:////var/lib/runs.db")
    return url


def _secrets_of(url: URL) -> list[str]:
    """What a message of the driver must not have."""
    found = [url.password, *(value for name, value in url.query.items() if may_be_secret_name(name))]
    return [each for each in found if isinstance(each, str) and each]


def _day_parameter() -> Any:
    return bindparam("day", type_=days.c.day.type)


def _time_parameter(name: str) -> Any:
    return bindparam(name, type_=RAW_TABLES[0].c.start_time.type)


def _days_of(rows: Mapping[str, pa.Table]) -> list[date]:
    found: set[date] = set()
    for each in rows.values():
        found.update(pc.unique(each["start_time"].cast(pa.date32(), safe=False)).to_pylist())
    return sorted(found)


class _Kind:
    """What the two databases do differently."""

    words: Words

    @staticmethod
    def engine(url: URL) -> Engine:
        raise NotImplementedError

    @staticmethod
    def begin(connection: Connection) -> None:
        """What a transaction begins with."""

    @staticmethod
    def lock(connection: Connection) -> None:
        """Until the transaction ends, no other writer does this."""

    @staticmethod
    def check(connection: Connection) -> None:
        """What a database needs."""

    @staticmethod
    def insert(connection: Connection, name: str, rows: pa.Table) -> int:
        raise NotImplementedError

    @staticmethod
    def passes(error: BaseException) -> bool | None:
        """Whether an error may pass; None for one that is not the database's."""
        raise NotImplementedError


class _PostgreSQL(_Kind):
    words = POSTGRESQL

    @staticmethod
    def engine(url: URL) -> Engine:
        wanted = {
            "connect_timeout": _CONNECT_S,
            "application_name": "langflow-otel store",
            # A server that is gone without a word is noticed.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        }
        arguments = {name: value for name, value in wanted.items() if name not in url.query}
        # Behind a pooler such as PgBouncer, a prepared statement may belong to another connection.
        return create_engine(url, pool_size=1, max_overflow=1, connect_args={**arguments, "prepare_threshold": None})

    @staticmethod
    def begin(connection: Connection) -> None:
        connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))

    @staticmethod
    def lock(connection: Connection) -> None:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    @staticmethod
    def check(connection: Connection) -> None:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise StoreError(f"the database's encoding is {encoding}, and UTF8 is needed")

    @staticmethod
    def insert(connection: Connection, name: str, rows: pa.Table) -> int:
        # COPY has no ON CONFLICT: into a table without a key, and from there.
        columns, temporary = ", ".join(rows.column_names), f"langflow_otel_new_{name}"
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {temporary} (LIKE {name}) ON COMMIT DELETE ROWS"
        )
        lines = io.BytesIO()
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
        pyarrow.csv.write_csv(rows, lines, options)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {temporary} ({columns}) FROM STDIN (FORMAT csv)") as copy:
            copy.write(lines.getbuffer())
        key = ", ".join(column.name for column in metadata.tables[name].primary_key)
        inserted = connection.exec_driver_sql(
            f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {temporary} ORDER BY {key} ON CONFLICT DO NOTHING"
        )
        return int(inserted.rowcount)

    @staticmethod
    def passes(error: BaseException) -> bool | None:
        import psycopg

        if isinstance(error, psycopg.Error):
            # A standby is read-only until it has taken over.
            return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) or error.sqlstate == "25006"
        return True if isinstance(error, (PoolTimeoutError, OSError)) else None


class _SQLite(_Kind):
    words = SQLITE

    @staticmethod
    def engine(url: URL) -> Engine:
        file = Path(str(url.database))
        with suppress(FileExistsError):
            # What is in it is for its owner alone, as in a trace file.
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        engine = create_engine(url, connect_args={"timeout": _LOCKED_S})

        event.listen(engine, "connect", _SQLite._connected)
        event.listen(engine, "begin", _SQLite._begun)
        return engine

    @staticmethod
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        # Transactions begin where SQLAlchemy says, and with the right to write.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    @staticmethod
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @staticmethod
    def insert(connection: Connection, name: str, rows: pa.Table) -> int:
        columns = [
            (each.cast(pa.string()) if pa.types.is_timestamp(each.type) else each).to_pylist() for each in rows.columns
        ]
        names, values = ", ".join(rows.column_names), ", ".join("?" * len(columns))
        statement = f"INSERT OR IGNORE INTO {name} ({names}) VALUES ({values})"
        return int(connection.exec_driver_sql(statement, list(zip(*columns, strict=True))).rowcount)

    @staticmethod
    def passes(error: BaseException) -> bool | None:
        if isinstance(error, sqlite3.Error):
            line = str(error)
            return isinstance(error, sqlite3.OperationalError) and any(
                each in line for each in ("locked", "full", "disk I/O")
            )
        return False if isinstance(error, OSError) else None
