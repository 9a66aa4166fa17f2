"""Numbers in a file that somebody else reads while they are written."""

from __future__ import annotations

import errno
import gc
import math
import mmap
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import astuple, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from langflow_otel._metrics import shared_file, window
from langflow_otel._metrics.catalogue import FLOW_WINDOW, Metric
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.shared_file import (
    BrokenFileError,
    FileStore,
    OtherVersionError,
    ValuesFile,
    ValuesReader,
    add_up,
)
from langflow_otel._metrics.store import Series

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="an open file cannot be renamed or removed there"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

COUNTER = Metric("orders", "counter", "", "Orders.", ("region",))
GAUGE = Metric("size", "gauge", "By", "Size.", ("pool",), per_worker=True)
HISTOGRAM = Metric("wait", "histogram", "s", 'Wait "ing"\n', ("queue", "kind"), (0.5, 1.0, 10.0))


def numbers(reader: ValuesReader) -> dict[tuple[str, tuple[str, ...]], list[float]]:
    return {(each.metric.name, each.labels): list(each.cells) for each in reader.all_series()}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "numbers"


@pytest.fixture(autouse=True)
def _closed_afterwards(monkeypatch) -> Iterator[None]:
    opened: list[BinaryIO] = []

    def remembering(make: Any) -> Any:
        def init(self: Any, path: Path) -> None:
            make(self, path)
            opened.append(self.file)

        return init

    for kind in (ValuesFile, ValuesReader):
        monkeypatch.setattr(kind, "__init__", remembering(kind.__init__))
    yield
    for file in opened:
        file.close()


def test_what_is_read_is_what_was_written(path):
    store = FileStore(path)
    instruments = Instruments(store, None)
    instruments.recording(COUNTER, "eu").add(3)
    instruments.recording(GAUGE, "日本 \n \0").set(-2.5)
    instruments.recording(HISTOGRAM, "", "a").record(0.7)
    instruments.recording(COUNTER, "us").add(0.25)
    found = ValuesReader(path).all_series()

    assert [(each.metric, each.labels, list(each.cells)) for each in found] == [
        (COUNTER, ("eu",), [3.0]),
        (GAUGE, ("日本 \n \0",), [-2.5]),
        (HISTOGRAM, ("", "a"), [0.0, 1.0, 0.0, 0.0, 0.7]),
        (COUNTER, ("us",), [0.25]),
    ]
    store.close()


def test_a_series_keeps_the_time_of_its_birth(path, monkeypatch):
    times_s = iter([1_700_000_000.25, 1_700_000_001.5])
    monkeypatch.setattr("langflow_otel._metrics.store.time.time", lambda: next(times_s))
    store = FileStore(path)
    store.series(COUNTER, ("eu",))
    store.series(HISTOGRAM, ("", "a"))
    store.series(COUNTER, ("eu",))

    expected = [1_700_000_000.25, 1_700_000_001.5]
    assert [each.created_s for each in store.all_series()] == expected
    assert [each.created_s for each in ValuesReader(path).all_series()] == expected
    store.close()


def test_a_file_of_a_version_without_births_is_read(path):
    file = ValuesFile(path)
    place = file._append(["metric", *astuple(COUNTER)], 0)[0]
    file._append(["series", place, ("eu",)], 1)[1][0] = 3.0

    (found,) = ValuesReader(path).all_series()
    assert (found.labels, list(found.cells), found.created_s) == (("eu",), [3.0], None)


def test_a_sum_began_with_the_first_of_its_series(path, tmp_path):
    file = ValuesFile(path)
    for created_s in (300.0, 100.0, 200.0):
        file.add_series(COUNTER, ("eu",), created_s)[0] = 0.1
    file.add_series(COUNTER, ("us",), 50.0)
    file.add_series(COUNTER, ("us",), None)
    add_up(tmp_path / "sums", ValuesReader(path).all_series(), 10, [])

    sums = ValuesReader(tmp_path / "sums").all_series()
    assert {(each.labels, each.created_s) for each in sums} == {(("eu",), 100.0), (("us",), None)}
    # Of the first a second series has what rounding would lose.
    assert [each.labels for each in sums] == [("eu",), ("eu",), ("us",)]


def test_a_reader_that_opened_early_sees_what_comes_later(path):
    store = FileStore(path)
    reader = ValuesReader(path)
    assert reader.all_series() == []
    series = store.series(COUNTER, ("eu",))
    assert numbers(reader) == {("orders", ("eu",)): [0.0]}
    series.cells[0] = 3.0

    assert numbers(reader) == {("orders", ("eu",)): [3.0]}
    assert len(reader.all_series()) == 1


def test_cells_go_on_working_while_the_file_grows(path):
    store = FileStore(path)
    reader = ValuesReader(path)
    first = store.series(COUNTER, ("first",))
    seen_early = reader.all_series()[0]
    size = path.stat().st_size
    windows = [store.series(FLOW_WINDOW, (f"flow {number}",)) for number in range(200)]
    assert path.stat().st_size > 4 * size
    first.cells[0] = 3.0
    for number, series in enumerate(windows):
        window.count(series.cells, window.OK, float(number), 60)

    again = numbers(reader)
    assert list(reader.all_series()[0].cells) == [3.0]
    assert reader.all_series()[0].labels == seen_early.labels
    assert again["orders", ("first",)] == [3.0]
    assert [again["langflow.flow.window", (f"flow {number}",)] for number in range(200)] == [
        list(series.cells) for series in windows
    ]
    assert numbers(ValuesReader(path)) == again


def test_a_series_larger_than_any_growth(path):
    wide = replace(HISTOGRAM, buckets=tuple(float(number) for number in range(1, 100_000)))
    store = FileStore(path)
    store.series(wide, ("a", "b")).cells[-1] = 3.0
    (found,) = ValuesReader(path).all_series()

    assert found.metric == wide
    assert found.cells[-1] == 3.0


@pytest.mark.parametrize("has_fallocate", [True, False])  # macOS has none.
def test_all_of_the_file_is_reserved(path, monkeypatch, has_fallocate: bool):
    """A hole that a full disk cannot fill would kill the process at the first write (SIGBUS)."""
    if not has_fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    store = FileStore(path)
    for number in range(100):
        store.series(FLOW_WINDOW, (f"flow {number}",)).cells[0] = float(number)

    found = path.stat()
    assert found.st_blocks * 512 >= found.st_size
    assert [cells[0] for cells in numbers(ValuesReader(path)).values()] == list(map(float, range(100)))


def test_metrics_of_one_name_are_told_apart(path):
    other = replace(COUNTER, labels=("region", "tier"))
    store = FileStore(path)
    store.series(COUNTER, ("eu",)).cells[0] = 1.0
    store.series(other, ("eu", "gold")).cells[0] = 2.0
    store.series(COUNTER, ("us",)).cells[0] = 3.0

    assert [(each.metric, each.labels, list(each.cells)) for each in ValuesReader(path).all_series()] == [
        (COUNTER, ("eu",), [1.0]),
        (other, ("eu", "gold"), [2.0]),
        (COUNTER, ("us",), [3.0]),
    ]


def test_notes_are_read_back(path):
    file = ValuesFile(path)
    file.add_note("123-4.values")
    reader = ValuesReader(path)
    file.add_series(COUNTER, ("eu",))
    file.add_note({"any": ["thing"]})
    reader.all_series()

    assert reader.notes == ["123-4.values", {"any": ["thing"]}]


def test_many_threads_at_once(path):
    store = FileStore(path)
    instruments = Instruments(store, None)
    reader = ValuesReader(path)

    def write(name: str) -> None:
        for number in range(300):
            instruments.recording(COUNTER, f"{name} {number % 100}").add()
            instruments.recording(FLOW_WINDOW, f"{name} {number}")
            instruments.recording(COUNTER, "all").add()

    threads = [threading.Thread(target=write, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        reader.all_series()
        time.sleep(0.001)  # a loop that never waits leaves the others the interpreter for a hundredth of the time
    found = numbers(reader)

    assert found["orders", ("all",)] == [1200.0]
    assert {cells[0] for (name, labels), cells in found.items() if name == "orders" and labels != ("all",)} == {3.0}
    assert len(found) == 4 * (100 + 300) + 1


def test_a_finalizer_that_runs_half_way_may_add_a_series_too(path, monkeypatch):
    """The garbage collector runs where it likes, and what it drops may be a run that is counted as it ends."""
    store = FileStore(path)
    depth = 0

    def dumps(*args: Any, **kwargs: Any) -> str:
        nonlocal depth
        text = real_dumps(*args, **kwargs)
        if depth < 3:
            depth += 1
            level = depth
            store.series(replace(GAUGE, name=f"nested {level}"), ("x",)).cells[0] = float(level)
            store.series(FLOW_WINDOW, (f"flow {level}",))
        return text

    def pack_into(buffer: Any, *args: Any) -> None:
        real_entry.pack_into(buffer, *args)
        nonlocal depth
        if depth == 3:
            depth += 1
            for number in range(100):
                store.series(FLOW_WINDOW, (f"late {number}",))
            # Somebody reads at that very moment.
            ValuesReader(path).all_series()

    class Entry:
        size = shared_file._ENTRY.size
        unpack_from = shared_file._ENTRY.unpack_from

    real_dumps, real_entry = shared_file.json.dumps, shared_file._ENTRY
    Entry.pack_into = staticmethod(pack_into)  # type: ignore[attr-defined]
    monkeypatch.setattr(shared_file.json, "dumps", dumps)
    monkeypatch.setattr(shared_file, "_ENTRY", Entry)
    store.series(COUNTER, ("eu",)).cells[0] = 7.0
    monkeypatch.undo()

    found = numbers(ValuesReader(path))
    assert found["orders", ("eu",)] == [7.0]
    assert [found[f"nested {number}", ("x",)] for number in (1, 2, 3)] == [[1.0], [2.0], [3.0]]
    assert len(found) == 1 + 3 + 3 + 100


# A writer that is killed, at whatever moment


def used(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[8:16], sys.byteorder)


@pytest.mark.parametrize("cut", ["key", "cells"])
def test_what_was_half_written_is_not_seen(path, cut: str):
    """Killed before "used" was moved past the entry."""
    store = FileStore(path)
    store.series(COUNTER, ("eu",)).cells[0] = 1.0
    before = used(path)
    store.series(COUNTER, ("us",)).cells[0] = 2.0
    after = used(path)
    with path.open("r+b") as file:
        file.seek(8)
        file.write(before.to_bytes(8, sys.byteorder))
        if cut == "key":
            file.seek(before + 10)
            file.write(bytes(after - before - 10))

    assert numbers(ValuesReader(path)) == {("orders", ("eu",)): [1.0]}


def write_until_killed(path: Path, ready: Connection) -> None:
    store = FileStore(path)
    instruments = Instruments(store, None)
    ready.send(True)
    number = 0
    while True:
        number += 1
        for metric in (COUNTER, GAUGE):
            instruments.recording(metric, f"{number}").add(number)
        instruments.recording(FLOW_WINDOW, f"{number}")


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_good_file(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(10):
        path = tmp_path / str(attempt)
        told, ready = context.Pipe(duplex=False)
        process = context.Process(target=write_until_killed, args=(path, ready))
        process.start()
        assert told.recv()
        reader = ValuesReader(path)
        while len(reader.all_series()) < 50 * attempt:
            pass
        process.kill()
        process.join()
        found = numbers(reader)
        assert found == numbers(ValuesReader(path))
        counted = [cells[0] for (name, _), cells in found.items() if name == "orders"]
        # All but the last, which may have been killed before its number was written.
        assert counted[:-1] == [float(number) for number in range(1, len(counted))]


def test_who_looks_at_any_moment_sees_no_fewer_series_than_before(path):
    context = multiprocessing.get_context("fork")
    told, ready = context.Pipe(duplex=False)
    process = context.Process(target=write_until_killed, args=(path, ready))
    process.start()
    try:
        assert told.recv()
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 16, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
            view.cast("Q") as header,
        ):
            seen = [header[1]]
            while header[1] < seen[0] + 500_000:
                seen += [header[1] for _ in range(10_000)]
    finally:
        process.kill()
        process.join()

    assert seen == sorted(seen)


# Files that are none


@pytest.mark.parametrize("content", [b"", b"short", bytes(100), b"LFOTEL02", b"\x7fELF" * 100])
def test_a_file_that_is_not_ours(path, content: bytes):
    path.write_bytes(content)

    with pytest.raises(BrokenFileError):
        ValuesReader(path)


@pytest.mark.parametrize("magic", [b"LFOTEL00", b"LFOTEL01", b"LFOTEL99"])
def test_a_file_of_another_version(path, magic: bytes):
    path.write_bytes(magic + bytes(100))

    with pytest.raises(OtherVersionError):
        ValuesReader(path)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_not_waited_for(path, make: Any):
    make(path)

    with pytest.raises(BrokenFileError, match="no regular file"):
        ValuesReader(path)


# Files that are damaged


@pytest.fixture
def good(path) -> bytes:
    """The valid part of a file."""
    store = FileStore(path)
    store.series(COUNTER, ("eu",)).cells[0] = 3.0
    store.series(HISTOGRAM, ("a", "b")).cells[1] = 2.0
    store.close()
    return path.read_bytes()[: used(path)]


def read_all(path: Path) -> ValuesReader:
    reader = ValuesReader(path)
    reader.all_series()
    reader.check_values()
    return reader


def test_a_damaged_byte_is_noticed_wherever_it_is(path, good):
    """Except in the numbers themselves, as long as they can be some, and where it makes the file one of before."""
    cells = {byte for start, end in read_all(path)._places for byte in range(start, end)}
    unnoticed = []
    for place in set(range(len(good))) - cells:
        for wrong in (0x01, 0x80):
            path.write_bytes(good[:place] + bytes([good[place] ^ wrong]) + good[place + 1 :])
            try:
                found = read_all(path)
            except (BrokenFileError, OtherVersionError):
                continue
            if len(found.series) == 2:
                unnoticed.append(place)

    # Padding means nothing.
    assert [good[place] for place in unnoticed] == [0] * len(unnoticed)
    assert len(unnoticed) < 2 * 4 * (4 + 7)
    assert len(good) > 300


@pytest.mark.parametrize("has_size", [True, False])
def test_a_file_that_is_cut_is_noticed_wherever(path, good, has_size: bool):
    """In its last numbers only by the size."""
    end = read_all(path)._places[-1][0] if has_size else len(good)
    for length in range(end):
        path.write_bytes(good[:length] + (bytes(len(good) - length + 100) if has_size else b""))
        if length >= end - 8 and has_size:
            continue  # Padding.
        with pytest.raises((BrokenFileError, OtherVersionError)):
            read_all(path)


def test_a_file_that_is_cut_while_it_is_read_kills_nobody(path):
    """A map of it would: SIGBUS."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from langflow_otel._metrics.shared_file import BrokenFileError, FileStore, ValuesReader\n"
        "from langflow_otel._metrics.catalogue import FLOW_WINDOW\n"
        "path = Path(sys.argv[1])\n"
        "store = FileStore(path)\n"
        "for number in range(200): store.series(FLOW_WINDOW, (str(number),)).cells[0] = 1.0\n"
        "reader = ValuesReader(path)\n"
        "series = reader.all_series()\n"
        "os.truncate(path, 16)\n"
        "print(sum(each.cells[0] for each in series))\n"
        "try: reader.all_series()\n"
        "except BrokenFileError as exc: print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "200.0"
    assert done.stdout.splitlines()[1].startswith(f"{path} is damaged: ")


def test_a_size_that_no_worker_has_is_not_believed(path, good):
    with path.open("r+b") as file:
        file.truncate(1 << 40)
        file.seek(8)
        file.write((1 << 39).to_bytes(8, sys.byteorder))

    with pytest.raises(BrokenFileError, match="is damaged"):
        ValuesReader(path)


def test_no_file_grows_past_what_is_read(path, monkeypatch, caplog):
    monkeypatch.setattr(shared_file, "_LARGEST", 1 << 17)
    store = FileStore(path)
    for number in range(200):
        store.series(FLOW_WINDOW, (f"flow {number}",)).cells[0] = 1.0

    assert 0 < len(ValuesReader(path).all_series()) < 200
    assert len(store.all_series()) == 200
    (record,) = caplog.records
    assert "cannot grow" in record.getMessage()


@pytest.mark.parametrize(
    ("metric", "cell", "number"),
    [(COUNTER, 0, math.nan), (HISTOGRAM, 0, -1.0), (HISTOGRAM, 2, math.nan), (HISTOGRAM, -1, math.nan)],
)
def test_numbers_that_cannot_be_are_noticed(path, metric: Metric, cell: int, number: float):
    store = FileStore(path)
    store.series(metric, ("x",) * len(metric.labels)).cells[cell] = number

    with pytest.raises(BrokenFileError, match=f"a number of {metric.name}"):
        read_all(path)


@pytest.mark.parametrize(
    "key",
    [
        ["metric", "m", "unknown kind", "", "", [], []],
        ["metric", "m", "gauge"],
        ["metric"],
        ["series", 8, []],
        ["series", 0, ["x"]],
        ["series"],
        [],
        "text",
        7,
        {},
        None,
    ],
)
def test_entries_that_make_no_sense_are_noticed(path, key: Any):
    file = ValuesFile(path)
    file._append(key, 1)

    with pytest.raises(BrokenFileError, match="its entry at byte 16 cannot be read"):
        ValuesReader(path).all_series()


@pytest.mark.parametrize("labels", [[], ["a", "b"], 7])
def test_a_series_that_does_not_fit_its_metric_is_noticed(path, labels: Any):
    file = ValuesFile(path)
    place, _ = file._append(["metric", "m", "gauge", "", "", ["x"], []], 0)
    file._append(["series", place, labels], 1)

    with pytest.raises(BrokenFileError):
        ValuesReader(path).all_series()


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        ValuesReader(path)


def test_a_file_that_is_there_already_is_not_overwritten(path):
    path.write_text("precious")

    with pytest.raises(FileExistsError):
        FileStore(path)
    assert path.read_text() == "precious"


# A full disk


@pytest.fixture
def full_disk(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)


def test_on_a_full_disk_series_live_in_memory(path, monkeypatch, caplog):
    store = FileStore(path)
    instruments = Instruments(store, None)
    instruments.recording(COUNTER, "before").add(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", lambda *_: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
        for number in range(200):
            instruments.recording(FLOW_WINDOW, f"flow {number}").add(1)
        instruments.recording(COUNTER, "before").add(1)

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("langflow_otel", "WARNING")
    assert str(path) in record.getMessage()
    assert "No space left on device" in record.getMessage()
    assert {series.cells[0] for series in store.all_series() if series.metric == FLOW_WINDOW} == {1.0}
    found = numbers(ValuesReader(path))
    assert found["orders", ("before",)] == [2.0]
    assert 0 < len(found) < 200
    # There is room again: new series are shared again.
    instruments.recording(COUNTER, "after").add(1)
    assert numbers(ValuesReader(path))["orders", ("after",)] == [1.0]
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("full_disk")
def test_on_a_full_disk_no_file_is_left_behind(path):
    with pytest.raises(OSError, match="No space left"):
        FileStore(path)

    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small tmpfs")
@pytest.mark.slow
def test_a_really_full_disk_does_not_kill_the_process(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("may not mount")
    code = (
        "import sys; from pathlib import Path\n"
        "from langflow_otel._metrics.shared_file import FileStore, ValuesReader\n"
        "from langflow_otel._metrics.catalogue import FLOW_WINDOW\n"
        "path = Path(sys.argv[1])\n"
        "store = FileStore(path)\n"
        "for number in range(1000):\n"
        "    series = store.series(FLOW_WINDOW, (f'flow {number}',))\n"
        "    for index in range(len(series.cells)): series.cells[index] = 1.0\n"
        "print(len(ValuesReader(path).all_series()))\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(small / "f")], capture_output=True, text=True, timeout=60
        )
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)

    assert done.returncode == 0, done.stderr
    assert 10 < int(done.stdout) < 1000
    assert done.stderr.count("cannot grow") == 1


def test_after_close_the_cells_stay_usable(path, caplog):
    store = FileStore(path)
    recording = Instruments(store, None).recording(COUNTER, "eu")
    store.close()
    recording.add(3)
    for number in range(100):
        store.series(FLOW_WINDOW, (f"flow {number}",)).cells[0] = 1.0

    assert numbers(ValuesReader(path))["orders", ("eu",)] == [3.0]
    assert len(caplog.records) == 1


# Sums


def some(file: ValuesFile, metric: Metric, labels: tuple[str, ...], *values: float) -> Series:
    cells = file.add_series(metric, labels)
    for index, value in enumerate(values):
        cells[index] = value
    return Series(metric, labels, cells)


def test_sums_are_exact(path, tmp_path):
    a, b = ValuesFile(tmp_path / "a"), ValuesFile(tmp_path / "b")
    series = [
        some(a, COUNTER, ("eu",), 1.0),
        some(a, HISTOGRAM, ("x", "y"), 1.0, 2.0, 3.0, 4.0, 5.5),
        some(b, COUNTER, ("eu",), 0.25),
        some(b, COUNTER, ("us",), 7.0),
        some(b, HISTOGRAM, ("x", "y"), 1.0, 0.0, 0.0, 1.0, 100.0),
    ]
    add_up(path, series, 100, notes=["b"])
    reader = ValuesReader(path)

    assert numbers(reader) == {
        ("orders", ("eu",)): [1.25],
        ("orders", ("us",)): [7.0],
        ("wait", ("x", "y")): [2.0, 2.0, 3.0, 5.0, 105.5],
    }
    assert reader.notes == ["b"]


def test_windows_are_merged_slot_by_slot(path, tmp_path):
    file = ValuesFile(tmp_path / "a")
    series = []
    for times in ((100.0, 100.0, 130.0), (100.0, 131.5)):
        series.append(some(file, FLOW_WINDOW, ("f",)))
        for now in times:
            window.count(series[-1].cells, window.OK, now, 60)
    add_up(path, series, 100, notes=())
    (total,) = ValuesReader(path).all_series()

    assert window.counts(total.cells, 131.9, 60).ok == 3.0 + 1.0 + 1.0


def test_definitions_that_do_not_fit_are_not_added_up(path, tmp_path):
    """Of workers before and after a reload that changed the code."""
    file = ValuesFile(tmp_path / "a")
    fewer = replace(HISTOGRAM, buckets=(1.0,))
    renamed = replace(COUNTER, labels=("zone",))
    reworded = replace(COUNTER, description="All orders.")
    series = [
        some(file, HISTOGRAM, ("x", "y"), 1.0, 2.0, 3.0, 4.0, 5.5),
        some(file, fewer, ("x", "y"), 1.0, 2.0, 3.0),
        some(file, COUNTER, ("eu",), 1.0),
        some(file, renamed, ("eu",), 2.0),
        some(file, reworded, ("eu",), 4.0),
    ]
    add_up(path, series, 100, notes=())

    assert [(each.metric, list(each.cells)) for each in ValuesReader(path).all_series()] == [
        (HISTOGRAM, [1.0, 2.0, 3.0, 4.0, 5.5]),
        (fewer, [1.0, 2.0, 3.0]),
        (COUNTER, [5.0]),
        (renamed, [2.0]),
    ]


def test_label_values_are_bounded_in_the_sums(path, tmp_path):
    file = ValuesFile(tmp_path / "a")
    series = [some(file, HISTOGRAM, (f"queue {number}", "k"), *([1.0] * 5)) for number in range(10)]
    add_up(path, series, 3, notes=())

    assert numbers(ValuesReader(path)) == {
        **{("wait", (f"queue {number}", "k")): [1.0] * 5 for number in range(3)},
        ("wait", ("other", "k")): [7.0] * 5,
    }


def test_a_sum_that_does_not_fit_on_the_disk_is_an_error(path, tmp_path, monkeypatch):
    """Never a sum with some left out: what was added is deleted afterwards."""
    file = ValuesFile(tmp_path / "a")
    series = [some(file, FLOW_WINDOW, (f"flow {number}",)) for number in range(100)]
    fallocate = os.posix_fallocate

    def refuse_to_grow(descriptor: int, offset: int, size: int) -> None:
        if offset:
            raise OSError(errno.ENOSPC, "No space left on device")
        fallocate(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", refuse_to_grow)
    with pytest.raises(OSError, match="No space left"):
        add_up(path, series, 1000, notes=())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_no_file_descriptor_is_left(path):
    def use() -> None:
        store = FileStore(path)
        store.series(FLOW_WINDOW, ("flow",))
        reader = ValuesReader(path)
        reader.all_series()
        reader.close()
        store.close()
        path.unlink()

    def open_files() -> int:
        gc.collect()
        links = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return sum(link.startswith(str(path)) for link in links)

    store = FileStore(path)
    assert open_files() >= 1
    store.close()
    path.unlink()
    del store
    use()

    assert open_files() == 0
