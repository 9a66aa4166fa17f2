"""What was read of a trace file is not read again, and what changed is."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langflow_otel.insights import traces
from langflow_otel.insights._reading import new_lines, otlp_arrow, span_views, trace_cache, trace_reader, trace_sources
from langflow_otel.insights._reading.otlp_lines import CUT_OFF
from langflow_otel.insights.traces import Reading, open_traces


def line(*numbers: int, name: str = "x", **more: Any) -> str:
    """One line with a span for each number, which is its id."""
    spans = [
        {
            "traceId": f"{number + 1:032x}",
            "spanId": f"{number + 1:016x}",
            "name": name,
            "startTimeUnixNano": str(number),
            "endTimeUnixNano": str(number + 1),
            **more,
        }
        for number in numbers
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, separators=(",", ":")) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "traces" / "spans.jsonl"
    path.parent.mkdir()
    path.write_text(line(0) + line(1, 2))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is read of the trace files, not of the cache."""
    found: list[bytes] = []

    def read_block(data: bytes) -> otlp_arrow.Block:
        if data:
            found.append(data)
        return otlp_arrow.read_block(data)

    monkeypatch.setattr(new_lines, "read_block", read_block)
    return found


def read(path: Path, cache: Path) -> tuple[list[int], Reading]:
    """The starts of the spans, which are their numbers, and what was read."""
    with open_traces([path], cache_dir=cache) as opened:
        found = opened.connection.execute("SELECT start_ns FROM spans ORDER BY start_ns").fetchall()
        return [start_ns for (start_ns,) in found], opened.reading


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_an_unchanged_file_is_not_read_again(path, cache, blocks_read):
    first = read(path, cache)
    del blocks_read[:]

    assert read(path, cache) == first
    assert first[0] == [0, 1, 2]
    assert blocks_read == []


def test_of_a_file_that_grew_only_the_new_lines_are_read(path, cache, blocks_read):
    read(path, cache)
    del blocks_read[:]
    append(path, line(3))

    numbers, reading = read(path, cache)
    assert (numbers, reading.lines, reading.duplicates) == ([0, 1, 2, 3], 3, 0)
    assert blocks_read == [line(3).encode()]


def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(path, cache):
    append(path, line(3)[:40])
    numbers, reading = read(path, cache)
    assert (numbers, reading.bad_lines, reading.lines) == ([0, 1, 2], {path: {CUT_OFF: 1}}, 3)
    assert read(path, cache)[1].bad_lines == {path: {CUT_OFF: 1}}

    append(path, line(3)[40:])
    numbers, reading = read(path, cache)
    assert (numbers, reading.bad_lines, reading.lines) == ([0, 1, 2, 3], {}, 3)


def test_a_last_line_without_its_end_is_read_once(path, cache):
    append(path, line(3).rstrip())
    assert read(path, cache)[0] == [0, 1, 2, 3]
    append(path, "\n" + line(4))

    numbers, reading = read(path, cache)
    assert (numbers, reading.duplicates, reading.bad_lines) == ([0, 1, 2, 3, 4], 0, {})


def test_a_rotated_file_keeps_what_was_read_of_it(path, cache, blocks_read):
    read(path, cache)
    del blocks_read[:]
    path.rename(f"{path}.1")
    path.write_text(line(3))

    assert read(path, cache)[0] == [0, 1, 2, 3]
    assert blocks_read == [line(3).encode()]


def test_a_file_that_is_rotated_during_the_reading_is_read(path, cache, monkeypatch):
    list_files = trace_reader.trace_files

    def then_rotate(paths: Any) -> list[Path]:
        monkeypatch.setattr(trace_reader, "trace_files", list_files)
        found = list_files(paths)
        path.rename(f"{path}.1")
        path.write_text(line(3))
        return found

    monkeypatch.setattr(trace_reader, "trace_files", then_rotate)
    assert read(path, cache)[0] == [0, 1, 2, 3]


def test_a_file_that_grows_during_the_reading_is_read_on(path, cache, monkeypatch):
    def grows(data: bytes) -> otlp_arrow.Block:
        monkeypatch.setattr(new_lines, "read_block", otlp_arrow.read_block)
        append(path, line(3))
        return otlp_arrow.read_block(data)

    monkeypatch.setattr(new_lines, "read_block", grows)
    read(path, cache)

    numbers, reading = read(path, cache)
    assert (numbers, reading.lines, reading.duplicates, reading.bad_lines) == ([0, 1, 2, 3], 3, 0, {})


def test_a_file_that_is_cut_during_the_reading_is_read_anew(path, cache, monkeypatch):
    def is_cut(data: bytes) -> otlp_arrow.Block:
        monkeypatch.setattr(new_lines, "read_block", otlp_arrow.read_block)
        path.write_text(line(7))
        return otlp_arrow.read_block(data)

    monkeypatch.setattr(new_lines, "read_block", is_cut)
    read(path, cache)
    append(path, line(8, 9) + line(10))

    numbers, reading = read(path, cache)
    assert (numbers, reading.duplicates, reading.bad_lines) == ([7, 8, 9, 10], 0, {})


def written_anew(path: Path) -> None:
    path.write_text(line(7) + line(8, 9) + line(10))


def cut(path: Path) -> None:
    path.write_text(line(0))


def same_size(path: Path) -> None:
    changed_ns = path.stat().st_mtime_ns + 1
    path.write_text(path.read_text().replace('"x"', '"y"'))
    os.utime(path, ns=(changed_ns, changed_ns))


@pytest.mark.parametrize("change", [written_anew, cut, same_size])
def test_a_file_with_another_content_is_read_anew(path, cache, change: Callable[[Path], None]):
    read(path, cache)
    change(path)
    with open_traces([path], cache_dir=cache) as cached, open_traces([path], cache_dir=cache / "other") as anew:
        found = [
            opened.connection.execute("SELECT start_ns, name FROM spans ORDER BY start_ns").fetchall()
            for opened in (cached, anew)
        ]
    assert found[0] == found[1]


def test_a_compressed_file_is_read_once(path, cache, blocks_read):
    compressed = path.with_suffix(".jsonl.gz")
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    first = read(compressed, cache)
    del blocks_read[:]

    assert read(compressed, cache) == first
    assert (first[0], blocks_read) == ([0, 1, 2], [])
    compressed.write_bytes(gzip.compress(line(3).encode()))
    assert read(compressed, cache)[0] == [3]


def test_after_an_interruption_the_reading_goes_on(path, cache, monkeypatch):
    """Parts that were finished are kept."""
    monkeypatch.setattr(new_lines, "_PART_BYTES", 1)
    monkeypatch.setattr(trace_sources.Blocks, "_read", lambda blocks: blocks.stream.read(len(line(0))))
    seen: list[bytes] = []

    def interrupted(data: bytes) -> otlp_arrow.Block:
        if data == line(1, 2).encode():
            raise KeyboardInterrupt
        return otlp_arrow.read_block(data)

    def goes_on(data: bytes) -> otlp_arrow.Block:
        seen.append(data)
        return otlp_arrow.read_block(data)

    monkeypatch.setattr(new_lines, "read_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(path, cache)
    monkeypatch.setattr(new_lines, "read_block", goes_on)

    assert read(path, cache)[0] == [0, 1, 2]
    assert b"".join(seen) == line(1, 2).encode()
    assert list(cache.rglob("*.tmp")) == []


def descriptions(cache: Path) -> list[Path]:
    return list(cache.glob("*/read.json"))


def emptied(cache: Path) -> None:
    for each in cache.glob("*/*.parquet"):
        each.write_bytes(b"")


def removed(cache: Path) -> None:
    for each in cache.glob("*/*.parquet"):
        each.unlink()


def overwritten(cache: Path) -> None:
    for each in cache.rglob("*.parquet"):
        each.write_bytes(b"PAR1" + bytes(500) + b"PAR1")


def described_wrongly(cache: Path) -> None:
    for each in descriptions(cache):
        each.write_text('{"parts": [3]}')


def of_another_version(cache: Path) -> None:
    for each in descriptions(cache):
        each.write_text(each.read_text().replace(trace_cache._FORMAT, "0.1"))


@pytest.mark.parametrize("damage", [emptied, removed, overwritten, described_wrongly, of_another_version])
def test_a_damaged_cache_is_made_anew(path, cache, damage: Callable[[Path], None]):
    read(path, cache)
    damage(cache)

    assert read(path, cache)[0] == [0, 1, 2]


def test_without_a_cache_folder_a_temporary_one_is_used(path, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")

    assert read(path, blocked / "cache")[0] == [0, 1, 2]


def test_where_a_folder_of_the_cache_cannot_be_written_a_temporary_one_is_used(path, cache):
    """As one that belongs to another user."""
    read(path, cache)
    for each in cache.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
            each.write_text("")

    assert read(path, cache)[0] == [0, 1, 2]


def test_the_cache_is_for_its_owner_alone(path, cache):
    read(path, cache)

    assert os.name == "nt" or cache.stat().st_mode & 0o077 == 0


def test_many_small_readings_are_merged(path, cache):
    for number in range(3, 15):
        read(path, cache)
        append(path, line(number))

    assert read(path, cache)[0] == list(range(15))
    (description,) = descriptions(cache)
    assert len(json.loads(description.read_text())["parts"]) <= 9


def run_line(number: int, duration_ns: int = 1000) -> str:
    """One line with a run of a flow."""
    told = {"gen_ai.operation.name": "invoke_workflow", "langflow.flow.name": "shop"}
    span = {
        "traceId": f"{number + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "name": "invoke_workflow shop",
        "startTimeUnixNano": str(number),
        "endTimeUnixNano": str(number + duration_ns),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in told.items()],
    }
    scope_spans = [{"scope": {"name": "langflow_otel"}, "spans": [span]}]
    return json.dumps({"resourceSpans": [{"scopeSpans": scope_spans}]}, separators=(",", ":")) + "\n"


def runs(path: Path, cache: Path) -> list[tuple[int, int]]:
    """The starts of the runs, and how many were going on then."""
    with open_traces([path], cache_dir=cache) as opened:
        return opened.connection.execute("SELECT start_ns, concurrent FROM runs ORDER BY start_ns").fetchall()


def test_the_runs_of_an_unchanged_file_are_found_once(path, cache, monkeypatch):
    path.write_text(run_line(1) + run_line(5))
    first = runs(path, cache)
    monkeypatch.setattr(span_views, "_run", None)

    assert runs(path, cache) == first == [(1, 1), (5, 2)]


def test_the_runs_of_a_file_that_grew_are_found_anew(path, cache):
    path.write_text(run_line(5))
    assert runs(path, cache) == [(5, 1)]
    append(path, run_line(1))

    assert runs(path, cache) == [(1, 1), (5, 2)]
    append(path, run_line(1))
    assert runs(path, cache) == [(1, 1), (5, 2)]


def test_the_runs_are_kept_for_a_few_sets_of_files(path, cache):
    for number in range(3, 15):
        append(path, run_line(number))
        runs(path, cache)

    assert len(list(cache.glob("run_rows-*"))) == len(list(cache.glob("repeated-*"))) == span_views._MAX_KEPT
    assert len(runs(path, cache)) == 12


def test_what_was_not_used_for_long_is_removed(path, cache):
    read(path, cache)
    (description,) = descriptions(cache)
    os.utime(description, (0, 0))
    other = path.with_name("other.jsonl")
    other.write_text(line(5))
    read(other, cache)

    assert not description.parent.exists()


def test_parquet_files_that_nothing_names_are_removed_a_day_later(path, cache):
    read(path, cache)
    written_anew(path)
    read(path, cache)
    (description,) = descriptions(cache)
    assert len(list(description.parent.glob("*.parquet"))) == 2

    data = json.loads(description.read_text())
    description.write_text(json.dumps({**data, "unnamed": dict.fromkeys(data["unnamed"], 0)}))
    append(path, line(11))
    read(path, cache)
    names = {part["name"] for part in json.loads(description.read_text())["parts"]}
    assert {each.name for each in description.parent.glob("*.parquet")} == names


def _numbers(path: Path, cache: Path) -> list[int]:
    return read(path, cache)[0]


@pytest.mark.slow
def test_several_processes_may_read_at_once(path, cache):
    path.write_text("".join(line(*range(start, start + 100)) for start in range(0, 20_000, 100)))
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        found = pool.starmap(_numbers, [(path, cache)] * 4)

    assert found == [list(range(20_000))] * 4
    assert len(list(cache.glob("*/*.parquet"))) == 1


def test_progress_reaches_the_end(path, cache):
    seen: list[tuple[int, int]] = []
    traces.open_traces([path], cache_dir=cache, on_progress=lambda done, total: seen.append((done, total))).close()

    size = path.stat().st_size
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)
