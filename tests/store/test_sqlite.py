"""Trace files in SQLite: what is in them, once, as long as it is to be kept, and without content."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import threading
from collections import Counter
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_traces import write
from stored import KINDS, NOW_S, Expected, check_all, made_file, spans_of, store, storing_into
from typer.testing import CliRunner, Result

from langflow_otel.cli import store as store_command
from langflow_otel.cli.main import app
from langflow_otel.insights._store import storing as storing_module
from langflow_otel.insights._store.database import Database, PassingError
from langflow_otel.insights._store.schema import metadata, version_table
from langflow_otel.insights._store.sql import SQLITE, rollups
from langflow_otel.insights._store.storing import Stopped

DOCS = Path(__file__).parents[2] / "docs" / "insights" / "storage.md"
SECRET = "hunter2secret"
WEEKS = ("--keep", "3650", "--keep-daily", "3650")
"""The made runs have a fixed time."""


class File:
    """A database, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs.db"
        self.address = f"sqlite:///{self.path}"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def counts(self) -> dict[str, int]:
        return {name: self.ask(f"SELECT count(*) FROM {name}")[0][0] for name in KINDS}


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_file(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def expected(path: Path) -> Expected:
    return Expected(path)


def command(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["store", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_tables_and_views_say_what_the_file_does(path, expected, file):
    store(file.address, path)

    check_all(file.ask, expected)


def test_same_file_twice_is_stored_once(path, expected, file):
    store(file.address, path)
    before = file.ask("SELECT * FROM daily ORDER BY 1, 2, 3, 4, 5, 6")

    again = store(file.address, path).stored

    check_all(file.ask, expected)
    assert file.ask("SELECT * FROM daily ORDER BY 1, 2, 3, 4, 5, 6") == before
    assert sum(again.new.values()) == 0
    assert again.there_already == sum(file.counts().values())


def test_parts_that_overlap_are_stored_once(tmp_path, expected, path, file):
    lines = path.read_text().splitlines()
    parts = [write(tmp_path / f"{number}.jsonl", each) for number, each in enumerate((lines[:200], lines[100:], lines))]

    for each in parts:
        store(file.address, each)

    check_all(file.ask, expected)


def test_small_batches_make_no_difference(path, expected, file, monkeypatch):
    monkeypatch.setattr(storing_module, "_BATCH_SPANS", 1)
    store(file.address, [path, path])

    check_all(file.ask, expected)


def test_content_is_stored_only_where_it_is_asked_for(path, file, tmp_path):
    words = "The parcel came open and one of the two lamps is missing"
    assert words in path.read_text()
    store(file.address, path)
    assert words.encode() not in file.path.read_bytes()
    assert file.ask("SELECT count(content) FROM runs") == [(0,)]

    with_content = File(tmp_path / "other")
    with_content.path.parent.mkdir()
    store(with_content.address, path, content=True)

    for table in ("runs", "model_calls"):
        (text,) = with_content.ask(f"SELECT content FROM {table} WHERE content LIKE '%{words}%' LIMIT 1")[0]
        assert set(json.loads(text)) == {"gen_ai.input.messages", "gen_ai.output.messages"}


def test_messages_of_errors_are_content(file, tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(line(failing={"exception.message": f"no such user {SECRET}"}))
    store(file.address, path)
    assert SECRET.encode() not in file.path.read_bytes()

    with_content = File(tmp_path / "other")
    with_content.path.parent.mkdir()
    store(with_content.address, path, content=True)

    assert with_content.ask("SELECT message FROM errors") == [(f"no such user {SECRET}",)]


def test_retries_have_their_delay_and_error(file, tmp_path):
    path = tmp_path / "one.jsonl"
    event = {"langflow.retry.attempt": 1, "langflow.retry.delay": 0.5, "error.type": "TimeoutError"}
    path.write_text(line(retries=[event, {**event, "langflow.retry.delay": "never"}]))

    store(file.address, path)

    query = "SELECT number, count, kind, component_type, delay_s, error_type FROM retries ORDER BY number"
    assert file.ask(query) == [
        (1, 1, "component", "Bad\ufffdType", 0.5, "TimeoutError"),
        (2, 1, "component", "Bad\ufffdType", None, "TimeoutError"),
    ]
    assert file.ask("SELECT retries FROM components") == [(2,)]


def test_values_that_no_database_takes_are_stored_all_the_same(file, tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(line(tokens=2**62, cost="NaN", model="m" * 100_000))

    storing = store(file.address, path)

    assert storing.stored.new == {"components": 1, "model_calls": 1}
    assert file.ask("SELECT component_type, input_tokens, cost FROM components") == [("Bad\ufffdType", None, None)]
    assert file.ask("SELECT length(model) FROM daily WHERE kind = 'model'") == [(200,)]


def test_rows_and_figures_are_removed_when_they_are_old(path, file):
    store(file.address, path)
    days = sorted(day for (day,) in file.ask("SELECT DISTINCT day FROM days"))
    runs = dict(file.ask("SELECT substr(start_time, 1, 10), count(*) FROM runs GROUP BY 1"))
    later_s = NOW_S + 27 * 86_400

    store(file.address, path, now_s=later_s)

    kept = [day for (day,) in file.ask("SELECT DISTINCT substr(start_time, 1, 10) FROM runs ORDER BY 1")]
    assert 0 < len(kept) < len(days)
    assert kept == days[-len(kept) :]
    assert dict(file.ask("SELECT substr(start_time, 1, 10), count(*) FROM runs GROUP BY 1")) == {
        day: runs[day] for day in kept
    }
    daily = dict(file.ask("SELECT day, sum(executions) FROM daily WHERE kind = 'run' GROUP BY 1"))
    assert daily == runs

    store(file.address, path, now_s=NOW_S + 363 * 86_400)
    assert sum(file.counts().values()) == 0
    left = {day for (day,) in file.ask("SELECT DISTINCT day FROM daily")}
    assert set() < left < set(days)


def test_removal_goes_on_where_there_are_many_rows(path, file, monkeypatch):
    monkeypatch.setattr("langflow_otel.insights._store.database._DELETED_AT_ONCE", 7)
    store(file.address, path)
    rows = sum(file.counts().values())
    database = Database(file.address)

    removed = database.remove_before(date(2099, 1, 1), date(2000, 1, 1))
    database.close()

    assert (removed, sum(file.counts().values())) == (rows, 0)
    assert file.ask("SELECT count(*) FROM daily") > [(0,)]


def test_days_without_their_figures_are_not_removed(path, file):
    database = Database(file.address)
    storing = storing_into(database)
    for table in tables_of(path):
        storing.add(table)
    storing.write()
    before = file.counts()

    assert database.remove_before(date(2099, 1, 1), date(2000, 1, 1)) == 0
    assert file.counts() == before

    database.roll_up()
    assert database.remove_before(date(2099, 1, 1), date(2000, 1, 1)) == sum(before.values())
    database.close()


def test_what_is_too_old_or_in_the_future_is_left_out(path, expected, file):
    early = store(file.address, path, now_s=NOW_S - 4 * 86_400).stored
    assert list(early.left_out) == ["in the future"]

    late = store(file.address, path, now_s=NOW_S + 26 * 86_400).stored
    assert list(late.left_out) == ["older than 30 days"]
    assert sum(late.new.values()) + sum(early.new.values()) < sum(expected.counts.values())


def test_calls_within_a_call_of_another_instrumentor_count_once(file, tmp_path):
    path = tmp_path / "one.jsonl"
    outer = call(1, None, "openinference.instrumentation.langchain")
    path.write_text(outer + call(2, 1, "openinference.instrumentation.openai") + call(3, None, "langflow_otel"))

    store(file.address, path)

    assert file.ask("SELECT count(*) FROM model_calls") == [(3,)]
    assert file.ask("SELECT calls, input_tokens FROM model_usage_by_day") == [(2, 20)]


class Failing:
    """A database that does not answer for some time."""

    shown = "sqlite:///made.db"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: Counter[str] = Counter()

    def write(self, rows: dict[str, pa.Table]) -> dict[str, int]:
        if self.failures:
            self.failures -= 1
            raise PassingError("it does not answer")
        self.written.update({name: each.num_rows for name, each in rows.items()})
        return {name: each.num_rows for name, each in rows.items()}

    def roll_up(self) -> int:
        return 0

    def remove_before(self, *_: date) -> int:
        return 0


def test_database_that_does_not_answer_is_asked_again(path, expected):
    waits: list[float] = []
    problems: list[str] = []
    database = Failing(7)

    storing_into(database, problems=problems, wait=lambda seconds: waits.append(seconds)).store([path])

    assert database.written["runs"] == len(expected.runs)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert problems == ["it does not answer; trying again until it answers", f"{Failing.shown} answers again after 0 s"]


def test_patience_ends(path):
    with pytest.raises(PassingError, match="it does not answer"):
        storing_into(Failing(10**9), patience_s=0.5).store([path])


def test_end_is_possible_while_the_database_does_not_answer(path):
    storing = storing_into(Failing(10**9), wait=lambda seconds: seconds > 2)

    with pytest.raises(Stopped):
        storing.follow([path], 0.1)

    assert storing.waiting == len(spans_of(path))


class Growing:
    """A trace file to which lines are appended while it is followed, and that is rotated."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        self.steps = iter(
            [
                lambda: self.append(lines[:40]),
                lambda: self.append(lines[40:100]),
                self.rotate,
                lambda: self.append(lines[100:150]),
                # Half a line, and its rest after the next look.
                lambda: self.write(lines[150][:300]),
                lambda: self.write(lines[150][300:] + "\n"),
                self.rotate,
                self.path.unlink,
                lambda: None,
                lambda: None,
                lambda: self.append(lines[151:]),
                lambda: None,
            ]
        )
        path.touch()

    def append(self, lines: list[str]) -> None:
        self.write("".join(f"{each}\n" for each in lines))

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)

    def rotate(self) -> None:
        for number in (2, 1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.rename(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        self.path.touch()

    def wait(self, seconds: float) -> bool:
        if not seconds:
            return False
        step = next(self.steps, None)
        if step is not None:
            step()
        return step is None


def test_followed_file_may_grow_and_rotate(path, expected, file, tmp_path):
    growing = Growing(tmp_path / "followed.jsonl", path.read_text().splitlines())
    problems: list[str] = []
    database = Database(file.address)

    storing = storing_into(database, wait=growing.wait, problems=problems)
    storing.follow([growing.path], 1)
    database.close()

    check_all(file.ask, expected)
    assert storing.stored.there_already == 0
    # While it was not there, in three looks.
    assert problems == [f"{growing.path} cannot be read: No such file or directory"]


def test_followed_folder_is_read_from_its_start_each_time(path, expected, file, tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    (folder / "spans.jsonl").write_text(path.read_text())
    for _ in range(2):
        database = Database(file.address)
        storing_into(database, wait=lambda seconds: seconds > 0).follow([folder], 1)
        database.close()

    check_all(file.ask, expected)


def test_command_says_what_it_stored(path, expected, file):
    said = command(path, "--to", file.address, *WEEKS).stdout
    counts = expected.counts
    assert said.startswith(f"stored {counts['runs']:,} runs, {counts['components']:,} component executions, ")
    assert f" in {file.address}, in " in said

    said = json.loads(command(path, "--to", file.address, *WEEKS, "--json").stdout)
    assert said["new"] == dict.fromkeys(KINDS, 0)
    assert said["there_before"] == sum(file.counts().values())
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_default_is_a_file_in_the_folder(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command(path, *WEEKS)
    assert (tmp_path / "runs.db").exists()

    monkeypatch.setenv("LANGFLOW_OTEL_STORE", "sqlite:///named.db")
    command(path, *WEEKS)
    assert (tmp_path / "named.db").exists()


def test_old_runs_are_reported(path, file):
    said = command(path, "--to", file.address, "--keep", 1)

    assert "spans left out: older than 1 day\n" in said.stderr


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (
            f"mysql://me:{SECRET}@host/x",
            "is not accepted; accepted are postgresql://USER@HOST/DATABASE and sqlite:///FILE",
        ),
        (f"postgresql://me:{SECRET}@host:port/x", "cannot be read; accepted are"),
        (f"me:{SECRET}@host", "is not accepted"),
        ("sqlite://", "an address of SQLite names a file"),
        ("sqlite:///:memory:", "an address of SQLite names a file"),
        ("sqlite:////no/such/folder/runs.db", "cannot be opened: [Errno 2] No such file or directory"),
        (f"postgresql://me:{SECRET}@127.0.0.1:1/x", "postgresql://me:***@127.0.0.1:1/x cannot be opened: "),
        (f"postgresql://me@127.0.0.1:1/x?password={SECRET}", "postgresql://me@127.0.0.1:1/x cannot be opened: "),
        (f"postgresql://me@127.0.0.1:1/x?password={SECRET}&nonsense={SECRET}", "cannot be opened: "),
    ],
)
def test_address_that_cannot_be_used_is_one_line_without_its_password(path, address, line, monkeypatch):
    for result in (command(path, "--to", address, code=2), command(path, "--to", address, "--follow", code=2)):
        assert line in result.stderr
        assert result.stderr.count("\n") == 1
        assert SECRET not in result.output


def test_file_of_a_newer_version_is_left_alone(path, file):
    store(file.address, path)
    connection = sqlite3.connect(file.path)
    connection.execute("UPDATE langflow_otel_schema SET version = 2")
    connection.commit()
    connection.close()

    said = command(path, "--to", file.address, code=2).stderr

    assert f"{file.address} has tables of version 2, and this langflow-otel knows 1: a newer one is needed" in said


def test_tables_of_another_program_are_left_alone(path, file):
    connection = sqlite3.connect(file.path)
    connection.execute("CREATE TABLE runs (id)")
    connection.close()

    said = command(path, "--to", file.address, code=2).stderr

    assert "has a table runs of another program: a database or schema of its own is needed" in said
    assert file.ask("SELECT name FROM sqlite_master") == [("runs",)]


def test_file_that_is_no_database_is_one_line(path, file):
    file.path.write_text("something else, which is long enough to be a header of a database" * 20)

    assert "cannot be opened: file is not a database" in command(path, "--to", file.address, code=2).stderr


def test_without_spans_or_files_the_exit_code_is_2(file, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert "there are no spans in these files" in command(empty, "--to", file.address, code=2).stderr
    assert "cannot be read" in command(tmp_path / "none.jsonl", "--to", file.address, code=2).stderr
    assert "no trace files" in command("--to", file.address, code=2).stderr


@pytest.mark.parametrize("exists", [True, False])
def test_end_before_anything_came_is_no_error(file, tmp_path, monkeypatch, exists):
    path = tmp_path / "spans.jsonl"
    if exists:
        path.touch()
    ended = threading.Event()
    ended.set()
    monkeypatch.setattr(store_command, "_ending", lambda: nullcontext(ended))

    said = command(path, "--follow", "--to", file.address)

    assert said.stdout.startswith("stored 0 runs, ")
    assert said.stderr.startswith("storing what comes in" if exists else f"waiting for {path}")


def test_bad_lines_are_counted(path, file, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(path.read_text() + 'nonsense\n{"resourceSpans": [{"reso')

    said = command(bad, "--to", file.address, *WEEKS).stderr

    assert "1 line not read: not JSON" in said
    assert "1 line not read: cut off at the end of the file" in said


def test_without_the_extra_a_line_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    for module in [each for each in sys.modules if each.startswith("langflow_otel.insights._store.")]:
        monkeypatch.delitem(sys.modules, module)

    for follow in ([], ["--follow"]):
        said = command(path, *follow, code=2).stderr
        assert said == "langflow-otel: sqlalchemy is not installed; this needs: pip install 'langflow-otel[store]'\n"


def test_columns_are_documented():
    text = DOCS.read_text(encoding="utf-8")
    for table in metadata.tables.values():
        if table is version_table:
            continue
        section = re.search(rf"### `{table.name}`\n(.*?)(?=\n##|\Z)", text, re.DOTALL)
        assert section is not None, table.name
        rows = re.findall(r"^\| `(\w+)` \| (.*?) \|$", section[1], re.MULTILINE)
        assert rows == [(column.name, column.comment) for column in table.columns]
        assert table.comment in section[1]


def test_daily_figures_fill_every_column():
    (first, *_) = rollups(SQLITE)

    assert re.findall(r"INSERT INTO daily \((.*?)\)", first) == [", ".join(metadata.tables["daily"].columns.keys())]


def tables_of(path: Path) -> list[pa.Table]:
    from langflow_otel.insights._reading.otlp_arrow import read_block

    return read_block(path.read_bytes()).tables


def line(
    *,
    failing: dict[str, str] | None = None,
    retries: list[dict[str, Any]] | None = None,
    tokens: int | None = None,
    cost: float | str | None = None,
    model: str | None = None,
) -> str:
    """A span of a component."""
    values = {
        "langflow.component.kind": "other",
        "langflow.component.type": "Bad\0Type",
        "langflow.flow.name": "shop",
        "langflow.status": "error" if failing else "ok",
        "langflow.usage.input_tokens": tokens,
        "langflow.cost.amount": cost,
        "gen_ai.request.model": model,
    }
    events = [{"name": "component.retry", "attributes": attributes(each)} for each in retries or []]
    events += [{"name": "exception", "attributes": attributes(failing)}] if failing else []
    return one_span("component Bad", 1, None, values, "langflow_otel", events=events)


def call(number: int, parent: int | None, scope: str) -> str:
    values = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt", "gen_ai.usage.input_tokens": 10}
    return one_span("chat gpt", number, parent, values, scope)


def one_span(
    name: str,
    number: int,
    parent: int | None,
    values: dict[str, Any],
    scope: str,
    events: list[dict[str, Any]] | None = None,
) -> str:
    start_ns = (NOW_S - 100) * 10**9
    span = {
        "traceId": f"{1:032x}",
        "spanId": f"{number:016x}",
        **({"parentSpanId": f"{parent:016x}"} if parent else {}),
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + 10**9),
        "attributes": attributes(values),
        "events": [{**each, "timeUnixNano": str(start_ns)} for each in events or []],
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": scope}, "spans": [span]}]}]}) + "\n"


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {int: "intValue", float: "doubleValue", str: "stringValue"}
    return [
        {"key": name, "value": {"doubleValue" if value == "NaN" else kinds[type(value)]: value}}
        for name, value in values.items()
        if value is not None
    ]
