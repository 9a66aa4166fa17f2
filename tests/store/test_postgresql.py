"""Trace files in a real PostgreSQL: the same as in SQLite, over restarts, by several writers, and what is wrong."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from made_traces import write
from postgresql_server import NOT_INSTALLED, PASSWORD, Server, programs
from stored import Expected, check_all, made_file, spans_of, store, storing_into
from typer.testing import CliRunner
from waiting import wait_until

from langflow_otel.cli.main import app
from langflow_otel.insights._store import storing as storing_module
from langflow_otel.insights._store.database import Database, StoreError
from langflow_otel.insights._store.sql import POSTGRESQL, views

if programs() is None:
    pytest.skip(NOT_INSTALLED, allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.any_version]

DOCS = Path(__file__).parents[2] / "docs" / "insights" / "storage.md"
WEEKS = ("--keep", "3650", "--keep-daily", "3650")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    try:
        made.start()
        yield made
    finally:
        made.remove()


class New:
    """A new database on it."""

    def __init__(self, server: Server, name: str, options: str = "") -> None:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")
        self.address = server.url(name)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description else []


_numbers = itertools.count()


@pytest.fixture
def database(server: Server) -> New:
    return New(server, f"made_{next(_numbers)}")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_file(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def expected(path: Path) -> Expected:
    return Expected(path)


def test_tables_and_views_say_what_the_file_does(path, expected, database):
    for _ in range(2):
        store(database.address, path)

    check_all(database.ask, expected)


def test_hostile_values_are_stored(database, tmp_path):
    from made_traces import hostile_lines

    path = write(tmp_path / "spans.jsonl", hostile_lines())
    runs = sum(each["name"].startswith("invoke_workflow") for each in spans_of(path))

    storing = store(database.address, path, content=True, now_s=1_790_100_000)

    assert storing.stored.new["runs"] == runs > 10
    assert len(database.ask("SELECT flow_name FROM daily WHERE kind = 'run' OR kind = 'sub_run'")) == runs


def test_restart_of_the_server_loses_and_doubles_nothing(path, expected, database, server, tmp_path):
    followed = tmp_path / "followed.jsonl"
    followed.touch()
    lines = path.read_text().splitlines(keepends=True)
    stopped = False

    def append(until: int) -> None:
        with followed.open("a") as file:
            file.writelines(lines[len(followed.read_text().splitlines()) : until])

    def stop() -> None:
        nonlocal stopped
        append(200)
        server.stop()
        stopped = True

    steps: Iterator[Callable[[], object]] = iter([lambda: append(100), stop, lambda: append(len(lines)), lambda: None])

    def wait(seconds: float) -> bool:
        nonlocal stopped
        if not seconds:
            return False
        if stopped:
            # It is asked again after this.
            server.start()
            stopped = False
            return False
        step = next(steps, None)
        if step is not None:
            step()
        return step is None

    problems: list[str] = []
    opened = Database(database.address)
    storing_into(opened, wait=wait, problems=problems).follow([followed], 1)
    opened.close()

    check_all(database.ask, expected)
    assert len(problems) == 2
    assert "cannot be written to" in problems[0]
    assert " answers again after " in problems[1]
    assert PASSWORD not in "".join(problems)


def test_writers_at_once_store_each_span_once(path, expected, database, monkeypatch):
    monkeypatch.setattr(storing_module, "_BATCH_SPANS", 500)

    # The tables, too, are made by all of them.
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: store(database.address, path).stored, range(4)))

    check_all(database.ask, expected)
    assert sum(each.new["runs"] for each in made) == len(expected.runs)


def test_wrong_password_is_one_line_without_it(path, server):
    address = server.url(password="wr0ng-" + PASSWORD)

    result = CliRunner().invoke(app, ["store", str(path), "--to", address])

    assert result.exit_code == 2
    assert "password authentication failed" in result.stderr
    assert "langflow:***@127.0.0.1" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "wr0ng" not in result.output


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [
        ("", "permission denied"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {0}", "permission denied"),
        (
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {0}; ALTER ROLE {0} SET default_transaction_read_only = on",
            "read-only transaction",
        ),
    ],
    ids=["nothing", "reading", "read-only"],
)
def test_role_that_may_not_write_is_one_line(path, server, database, allowed, reason):
    store(database.address, path)
    role = f"role_{next(_numbers)}"
    database.ask(f"CREATE ROLE {role} LOGIN PASSWORD 'reading'; {allowed.format(role)}")
    name = database.address.rpartition("/")[2]

    with pytest.raises(StoreError, match=reason) as raised:
        Database(server.url(name, role, "reading"))

    assert "\n" not in str(raised.value)
    assert "reading@" not in str(raised.value)


def test_other_encodings_are_one_line(path, server):
    database = New(server, "latin", "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")

    with pytest.raises(StoreError, match="the database's encoding is LATIN1, and UTF8 is needed"):
        Database(database.address)


def test_spans_of_time_are_found_by_the_key(path, database):
    store(database.address, path)
    database.ask("ANALYZE")
    query = "SELECT * FROM components WHERE start_time BETWEEN '2026-09-20 10:00Z' AND '2026-09-20 10:10Z'"

    with psycopg.connect(database.address) as connection:
        # So few rows are read faster one after the other.
        connection.execute("SET enable_seqscan = off")
        plan = str(connection.execute(f"EXPLAIN {query}").fetchall())
        plans = {
            name: str(connection.execute(f"EXPLAIN {text}").fetchall()) for name, text in views(POSTGRESQL).items()
        }

    assert "components_pkey" in plan
    del plans["model_usage_by_day"]
    assert [name for name, each in plans.items() if "_pkey" not in each] == []


def test_command_follows_until_sigterm(path, expected, database, tmp_path):
    followed = tmp_path / "followed.jsonl"
    command = [sys.executable, "-m", "langflow_otel", "store", followed, "--follow", "--every", "0.1", "--json", *WEEKS]
    process = subprocess.Popen(
        command,
        env={"LANGFLOW_OTEL_STORE": database.address, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == f"waiting for {followed}\n"
        followed.write_text(path.read_text())
        wait_until(lambda: _count(database) == len(expected.runs))
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()

    assert process.returncode == 0, errors
    assert f'"runs": {len(expected.runs)}' in output
    assert "storing what comes in postgresql://langflow:***@127.0.0.1" in errors
    assert PASSWORD not in output + errors
    check_all(database.ask, expected)


def test_command_that_cannot_store_says_so_at_its_end(path, server, database, tmp_path):
    Database(database.address).close()
    followed = tmp_path / "followed.jsonl"
    followed.touch()
    command = [sys.executable, "-m", "langflow_otel", "store", followed, "--follow", "--every", "0.1", *WEEKS]
    process = subprocess.Popen(
        [*command, "--to", database.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("storing what comes in ")
        server.stop()
        followed.write_text(path.read_text())
        assert "cannot be written to" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        server.start()

    assert process.returncode == 1
    assert "spans are not stored: the same command stores them later" in errors


def _count(database: New) -> int:
    try:
        return int(database.ask("SELECT count(*) FROM runs")[0][0])
    except psycopg.errors.UndefinedTable:
        return 0


STATEMENTS = [
    each.strip()
    for block in re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    for each in re.sub(r"--.*", "", block).split(";")
    if each.strip()
]


def test_statements_of_the_documentation_run(path, server, database):
    store(database.address, path)
    trace_id = database.ask("SELECT trace_id FROM errors LIMIT 1")[0][0]

    assert len(STATEMENTS) > 5
    for statement in STATEMENTS:
        # The made runs are older than an hour, and the database has another name.
        of_them = statement.replace("now()", "timestamptz '2026-09-21 14:13:21Z'").replace("TRACE_ID", trace_id)
        rows = database.ask(of_them)
        assert rows or not of_them.startswith("SELECT"), statement
