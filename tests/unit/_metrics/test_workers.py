"""Several processes, one scrape: real processes, killed at all the wrong moments."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from waiting import wait_until

from langflow_otel._metrics import shared_file, window, workers
from langflow_otel._metrics.catalogue import FLOW_ACTIVE, FLOW_WINDOW, Metric
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._metrics.workers import WorkerGroup, common_process
from langflow_otel._runs.recorder import count_dropped
from tests.support.processes import Start, parent, processes
from tests.support.recording import at_once

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="workers are forked on POSIX only"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
if os.name != "nt":
    import fcntl

COUNTER = Metric("orders", "counter", "", "Orders.", ("region",))
GAUGE = Metric("size", "gauge", "By", "Size.", per_worker=True)
HISTOGRAM = Metric("wait", "histogram", "s", "Waiting.", (), (0.5, 1.0))

Work = Callable[[Instruments], None]


def work(instruments: Instruments, times: int = 1) -> None:
    """What each worker of these tests does; all numbers are sums of powers of two, so that order does not matter."""
    for number in range(times):
        instruments.recording(COUNTER, "eu").add()
        instruments.recording(COUNTER, f"flow {number % 20}").add(0.25)
        instruments.recording(HISTOGRAM).record(0.75)
        cells = instruments.store.series(FLOW_WINDOW, ("flow",)).cells
        with instruments.store.lock:
            window.count(cells, window.OK, 1000.5, 60)
    instruments.recording(GAUGE).set(float(os.getpid()))
    instruments.recording(FLOW_ACTIVE, "flow", "api").add(1)


# The processes


@pytest.fixture
def start() -> Iterator[Start]:
    with processes() as start:
        yield start


def working(pipe: Connection, root: Path, times: int = 1, leads: bool = False) -> None:
    """Joins, works, and works again each time it is told to."""
    group = WorkerGroup(parent(), root)
    if leads:
        group.lead()
    instruments = Instruments(group.join(), None)
    work(instruments, times)
    pipe.send("ready")
    while pipe.recv() != "leave":
        work(instruments, times)
        pipe.send("done")
    instruments.store.close()
    pipe.send("done")
    pipe.recv()


def dead_worker(group: WorkerGroup, times: int) -> None:
    """The file of a worker that has worked and is no more; quicker than to start one and to kill it."""
    store = group.join()
    work(Instruments(store, None), times)
    store.close()


# What is read


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def group(root) -> Iterator[WorkerGroup]:
    group = WorkerGroup(os.getpid(), root, on_broken_file=partial(count_dropped, "metrics", "broken_file"))
    yield group
    group.leave()


@dataclass
class Totals:
    """Attributes: workers: How often each has added to everything; living: pids of those."""

    orders: float
    flows: float
    waits: list[float]
    ended: float
    gauges: dict[int, float]
    active: float
    living: list[int]


def totals(group: WorkerGroup) -> Totals:
    found = Totals(0, 0, [0.0] * 4, 0, {}, 0, [])
    for worker in group.gather():
        if worker.pid is not None:
            found.living.append(worker.pid)
        for series in worker.series:
            cells = list(series.cells)
            if series.metric == COUNTER:
                if series.labels == ("eu",):
                    found.orders += cells[0]
                else:
                    found.flows += cells[0]
            elif series.metric == HISTOGRAM:
                found.waits = [a + b for a, b in zip(found.waits, cells, strict=True)]
            elif series.metric == FLOW_WINDOW:
                found.ended += window.counts(cells, 1000.5, 60).ok
            elif series.metric == GAUGE:
                assert worker.pid is not None
                found.gauges[worker.pid] = cells[0]
            else:
                assert series.metric == FLOW_ACTIVE
                found.active += cells[0]
    found.living.sort()
    return found


def expected(times: int, *living: int) -> Totals:
    """After so many calls of work()'s inner part."""
    gauges = {pid: float(pid) for pid in living}
    return Totals(times, 0.25 * times, [0, times, 0, 0.75 * times], times, gauges, len(living), sorted(living))


def names(group: WorkerGroup) -> list[str]:
    return sorted(path.name for path in group.folder.iterdir())


# All of them together


def test_the_numbers_of_all_workers_are_exact(group, root, start):
    crew = [start(working, root, number * 10) for number in range(1, 5)]
    pids = [worker.pid for worker in crew]
    found = totals(group)

    assert found == expected(100, *pids)
    for worker in crew:
        worker.tell()
    assert totals(group) == replace(expected(200, *pids), active=8)


def test_a_page_adds_up_the_workers_and_tells_their_gauges_apart(group, root, start):
    crew = [start(working, root, 3) for _ in range(2)]
    scrape = Scrape(MemoryStore(), own_pid=os.getpid(), window_s=60, cores=1, read=lambda pids: [], info={})
    scrape.group = group
    lines = set(scrape.page("", "").body.decode().splitlines())

    assert 'orders_total{region="eu"} 6.0' in lines
    assert 'wait_seconds_bucket{le="1.0"} 6.0' in lines
    assert "wait_seconds_sum 4.5" in lines
    assert 'langflow_flow_active{flow="flow",entry_point="api"} 2.0' in lines
    assert "langflow_cpu_saturation_ratio 2.0" in lines
    assert {line for line in lines if line.startswith("size_bytes{")} == {
        f'size_bytes{{worker="{worker.pid}"}} {float(worker.pid)}' for worker in crew
    }


def created(group: WorkerGroup) -> dict[str, float]:
    """What a page says of beginnings."""
    scrape = Scrape(MemoryStore(), own_pid=os.getpid(), window_s=60, cores=1, read=lambda pids: [], info={})
    scrape.group = group
    lines = scrape.page("application/openmetrics-text", "").body.decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
        if "_created" in name or name == "langflow_otel_start_time_seconds"
    }


def test_counts_begin_with_the_first_worker_even_if_dead(group, monkeypatch):
    times_s = iter([200.0, 100.0, 150.0, 300.0])
    monkeypatch.setattr("langflow_otel._metrics.store.time.time", lambda: next(times_s))
    stores = [group.join() for _ in range(3)]
    stores[0].series(COUNTER, ("eu",)).cells[0] = 1.0
    stores[1].series(COUNTER, ("eu",)).cells[0] = 1.0
    stores[2].series(HISTOGRAM, ()).cells[0] = 1.0
    stores[2].series(COUNTER, ("us",)).cells[0] = 1.0
    expected = {
        'orders_created{region="eu"}': 100.0,
        'orders_created{region="us"}': 300.0,
        "wait_seconds_created": 150.0,
        "langflow_otel_start_time_seconds": 100.0,
    }
    assert created(group) == expected
    for store in stores:
        store.close()
        group.fold()
        assert created(group) == expected


def test_a_page_reads_the_living_workers(group, root, start):
    living, dead = start(working, root), start(working, root)
    dead.kill()
    asked: list[list[int]] = []

    def read(pids: Any) -> list[Any]:
        asked.append(list(pids))
        return []

    scrape = Scrape(MemoryStore(), own_pid=os.getpid(), window_s=60, cores=1, read=read, info={})
    scrape.group = group
    scrape.page("", "")

    assert asked == [[os.getpid(), living.pid]]


def test_a_worker_that_is_killed_leaves_its_counts_and_takes_its_gauges(group, root, start):
    living, dead = start(working, root, 10), start(working, root, 20)
    dead.kill()

    assert totals(group) == expected(30, living.pid)
    group.fold()
    assert totals(group) == expected(30, living.pid)
    assert len(names(group)) == 3  # fold, the living one's, total


def test_a_worker_that_leaves_is_as_good_as_dead(group, root, start):
    """Though it lives on, and its numbers are still mapped."""
    worker = start(working, root, 10)
    worker.tell("leave")

    assert totals(group) == expected(10)
    group.fold()
    assert totals(group) == expected(10)
    assert [name for name in names(group) if name.endswith(".values")] == []


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_twenty_replacements_leave_no_trace_but_the_counts(group, root, start, killed: bool):
    sizes = set()
    living = start(working, root, 5)
    for number in range(20):
        if killed:
            start(working, root, 25).kill()
        else:
            dead_worker(group, 25)
        group.fold()
        assert totals(group) == expected(5 + 25 * (number + 1), living.pid)
        sizes.add(sum(path.stat().st_size for path in group.folder.iterdir()))
        assert len(names(group)) == 3

    assert len(sizes) == 1


def test_one_fold_takes_all_that_have_died(group):
    for _ in range(5):
        dead_worker(group, 7)
    group.fold()

    assert totals(group) == expected(35)
    assert names(group) == ["fold", "total"]


def test_many_workers_cannot_fill_the_total_with_names(group, monkeypatch):
    monkeypatch.setattr(workers, "_MAX_VALUES", 3)
    group = WorkerGroup(1, group._root)
    for number in range(6):
        store = group.join()
        store.series(COUNTER, (f"of worker {number}",)).cells[0] = 1.0
        store.close()
        group.fold()

    assert {series.labels[0]: series.cells[0] for worker in group.gather() for series in worker.series} == {
        "of worker 0": 1.0,
        "of worker 1": 1.0,
        "of worker 2": 1.0,
        "other": 3.0,
    }
    group.leave()


def test_workers_of_different_code_are_folded_all_the_same(group):
    """A reload changed the buckets and the labels."""
    for metric, labels in (
        (HISTOGRAM, ()),
        (replace(HISTOGRAM, buckets=(1.0, 2.0, 3.0)), ()),
        (COUNTER, ("eu",)),
        (replace(COUNTER, labels=("region", "tier")), ("eu", "gold")),
        (replace(COUNTER, labels=("zone",)), ("eu",)),
    ):
        store = group.join()
        store.series(metric, labels).cells[0] = 1.0
        store.close()
        group.fold()

    (total,) = group.gather()
    assert [(each.metric.labels, each.metric.buckets, each.cells[0]) for each in total.series] == [
        ((), (0.5, 1.0), 1.0),
        ((), (1.0, 2.0, 3.0), 1.0),
        (("region",), (), 1.0),
        (("region", "tier"), (), 1.0),
        (("zone",), (), 1.0),
    ]
    scrape = Scrape(MemoryStore(), own_pid=os.getpid(), window_s=60, cores=1, read=lambda pids: [], info={})
    scrape.group = group
    lines = scrape.page("", "").body.decode().splitlines()
    assert [line for line in lines if line.startswith("orders_total")] == [
        'orders_total{region="eu"} 1.0',
        'orders_total{region="eu",tier="gold"} 1.0',
        'orders_total{zone="eu"} 1.0',
    ]
    assert [line for line in lines if line.startswith("wait_seconds_count")] == ["wait_seconds_count 1.0"]


# A leader that is killed while it folds


def folding(pipe: Connection, root: Path, die: Callable[[WorkerGroup], None]) -> None:
    group = WorkerGroup(parent(), root)
    die(group)
    pipe.send("ready")
    pipe.recv()
    group.fold()
    pipe.send("it folded, and did not die")


def killed(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _before_writing(_: WorkerGroup) -> None:
    workers.add_up = killed


def _half_way(_: WorkerGroup) -> None:
    shared_file.ValuesFile.add_note = killed  # type: ignore[method-assign]


def _before_renaming(_: WorkerGroup) -> None:
    Path.replace = killed  # type: ignore[method-assign]


def _after_renaming(_: WorkerGroup) -> None:
    replace_file = Path.replace

    def replace_and_die(self: Path, target: Path) -> None:
        replace_file(self, target)
        killed()

    Path.replace = replace_and_die  # type: ignore[method-assign, assignment]


def _between_removals(group: WorkerGroup) -> None:
    remove = group._remove

    def remove_one_and_die(readers: list[Any]) -> None:
        if readers:
            remove(readers[:1])
            killed()

    group._remove = remove_one_and_die  # type: ignore[method-assign]


STEPS = [_before_writing, _half_way, _before_renaming, _after_renaming, _between_removals]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__[1:])
def test_a_leader_killed_while_it_folds_loses_nothing(group, root, start, step):
    living = start(working, root, 1)
    dead_worker(group, 5)
    group.fold()
    for _ in range(3):
        dead_worker(group, 10)
    leader = start(folding, root, step)
    leader.pipe.send("go")
    leader.process.join()
    assert leader.process.exitcode == -signal.SIGKILL

    assert totals(group) == expected(36, living.pid)
    # Others die before anybody folds again, and the next leader is killed as well.
    dead_worker(group, 20)
    again = start(folding, root, step)
    again.pipe.send("go")
    again.process.join()
    assert totals(group) == expected(56, living.pid)
    group.fold()
    assert totals(group) == expected(56, living.pid)
    group.fold()
    assert totals(group) == expected(56, living.pid)
    assert [name for name in names(group) if name != "fold"] == sorted(
        ["total", *(path.name for path in group.folder.glob(f"{living.pid}-*"))]
    )


def test_what_does_not_fit_on_the_disk_is_not_deleted(group, monkeypatch):
    dead_worker(group, 10)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse, raising=False)
        for _ in range(3):
            with pytest.raises(OSError, match="No space left"):
                group.fold()
            assert totals(group) == expected(10)
    group.fold()
    assert totals(group) == expected(10)
    assert names(group) == ["fold", "total"]


def gathering(pipe: Connection, root: Path) -> None:
    """Reads as fast as it can; tells each total that was below the one before."""
    group = WorkerGroup(parent(), root)
    pipe.send("ready")
    last, read, fell = totals(group), 0, []
    while not pipe.poll():
        now = totals(group)
        read += 1
        if now.orders < last.orders or now.waits < last.waits or now.ended < last.ended:
            fell.append((last, now))
        last = now
    pipe.send((read, fell))
    pipe.recv()


@pytest.mark.slow
def test_no_reader_ever_sees_a_total_fall(group, root, start):
    reader = start(gathering, root)
    deadline = time.monotonic() + 2
    rounds = 0
    while rounds < 5 or time.monotonic() < deadline:
        for _ in range(3):
            start(working, root, 2).kill()
        group.fold()
        rounds += 1
    read, fell = reader.tell()

    assert fell == []
    assert read > 0
    assert totals(group) == expected(6 * rounds)


@pytest.mark.slow
def test_workers_that_write_while_they_are_read_and_killed(group, root, start):
    """Everything at once: what a worker said it had done before it was killed is in the sums."""
    reader = start(gathering, root)
    done = 0
    crew = [start(working, root, 50) for _ in range(3)]
    done += 150
    for _ in range(8):
        for worker in crew:
            worker.tell()
            done += 50
        crew.pop(0).kill()
        crew.append(start(working, root, 50))
        done += 50
        group.fold()
    _, fell = reader.tell()

    assert fell == []
    assert totals(group).orders == done
    assert totals(group).waits == [0, done, 0, 0.75 * done]


def test_many_threads_may_gather_at_once(group, root, start, monkeypatch):
    """Two Prometheus servers scrape one target, and the application's own route is asked as well."""
    loads = shared_file.json.loads

    def slow_loads(*args: Any) -> Any:
        time.sleep(0.0005)
        return loads(*args)

    monkeypatch.setattr(shared_file.json, "loads", slow_loads)
    crew = [start(working, root, 20) for _ in range(3)]
    pids = [worker.pid for worker in crew]
    found: list[Totals] = []

    def gather() -> None:
        for _ in range(3):
            found.append(totals(group))

    at_once(4, gather)

    assert found == [expected(60, *pids)] * 12


# Who leads, and who lives


def leading(pipe: Connection, root: Path) -> None:
    group = WorkerGroup(parent(), root)
    pipe.send("ready")
    while True:
        pipe.recv()
        pipe.send(group.lead())


def test_one_leads_and_when_it_is_killed_another_does(root, start):
    crew = [start(leading, root) for _ in range(3)]
    assert [worker.tell() for worker in crew] == [True, False, False]
    assert [worker.tell() for worker in crew] == [True, False, False]
    crew[0].kill()

    wait_until(lambda: crew[2].tell() is True)
    assert [worker.tell() for worker in crew[1:]] == [False, True]


def test_a_leader_that_leaves_lets_another_lead(group, root, start):
    other = start(leading, root)
    assert group.lead()
    assert other.tell() is False
    group.leave()

    assert other.tell() is True
    assert not group.lead()


@pytest.mark.parametrize("pid", [1, os.getpid()], ids=["init", "own"])
def test_a_process_id_that_is_somebody_elses_by_now_keeps_no_worker_alive(group, pid: int):
    dead_worker(group, 10)
    (file,) = group.folder.glob("*.values")
    file.rename(file.with_name(f"{pid}-{file.name.partition('-')[2]}"))

    assert totals(group) == expected(10)
    group.fold()
    assert totals(group) == expected(10)


def test_somebody_who_asks_whether_a_worker_lives_is_not_the_worker(group):
    """Two processes make a page at the same moment."""
    dead_worker(group, 10)
    (file,) = group.folder.glob("*.values")
    with file.open("rb") as asking:
        assert workers._try_lock(asking, fcntl.LOCK_SH)
        assert totals(group) == expected(10)


def forking(pipe: Connection, root: Path) -> None:
    """A leading worker that forks a child and is killed; the child lives on."""
    group = WorkerGroup(parent(), root)
    group.lead()
    group.fold()
    store = group.join()
    work(Instruments(store, None), 10)
    child = os.fork()
    if child == 0:
        group.forked()
        store.close()
        time.sleep(60)
        os._exit(0)
    pipe.send("ready")
    pipe.recv()
    pipe.send(child)
    pipe.recv()


def test_a_forked_child_does_not_keep_its_parent_alive(group, root, start):
    """An open file is shared with a child, its lock too; and a map of it keeps it open."""
    parent = start(forking, root)
    child = parent.tell()
    try:
        assert totals(group) == expected(10, parent.pid)
        assert not group.lead()
        # The child had its time to let go: what it closed was its own.
        parent.kill()
        wait_until(lambda: totals(group).living == [])
        assert totals(group) == expected(10)
        assert group.lead()
        group.fold()
        assert totals(group) == expected(10)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_forked_in_the_middle_of_a_fold_does_not_block_the_others(group):
    other = WorkerGroup(os.getpid(), group._root)
    with group._while_nobody_folds(fcntl.LOCK_EX):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with other._while_nobody_folds(fcntl.LOCK_EX | fcntl.LOCK_NB):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        other.leave()


def test_a_child_forked_while_another_thread_gathers_can_gather(group):
    dead_worker(group, 10)
    with group._thread_lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(20)
                group.forked()
                code = 0 if totals(group) == expected(10) else 1
            finally:
                os._exit(code)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


# The folder


def test_the_folder_is_the_users_alone(group, root):
    for folder in (root, group.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o711, 0o704])
def test_a_folder_that_others_could_use_is_refused(root, mode: int):
    root.mkdir()
    root.chmod(mode)

    with pytest.raises(PermissionError, match="is not a folder that only this user can use"):
        WorkerGroup(os.getpid(), root)
    assert list(root.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(root):
    root.mkdir(mode=0o700)
    os.chown(root, 12345, 12345)

    with pytest.raises(PermissionError):
        WorkerGroup(os.getpid(), root)
    assert list(root.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_refused(root, tmp_path):
    """Somebody else prepares it, so that we write where he likes."""
    (tmp_path / "target").mkdir(mode=0o700)
    root.symlink_to(tmp_path / "target")

    with pytest.raises(PermissionError):
        WorkerGroup(os.getpid(), root)
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize("make", [lambda root: root.write_text(""), lambda root: root.symlink_to("nowhere")])
def test_something_else_in_place_of_the_folder_is_an_os_error(root, make):
    make(root)

    with pytest.raises(OSError):
        WorkerGroup(os.getpid(), root)


def test_the_folder_is_in_memory_where_the_system_has_that(monkeypatch, tmp_path):
    monkeypatch.setattr(workers.tempfile, "gettempdir", lambda: str(tmp_path))
    expected_parent = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    assert workers.default_root() == expected_parent / f"langflow-otel-{os.getuid()}"
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert workers.default_root() == tmp_path / f"langflow-otel-{os.getuid()}"


def test_a_worker_that_cannot_join_leaves_nothing_behind(group, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)  # As on a network file system without locks.
        with pytest.raises(OSError, match="not supported"):
            group.join()
        patch.setattr(os, "posix_fallocate", refuse, raising=False)
        with pytest.raises(OSError, match="not supported"):
            group.join()

    assert names(group) == []


def test_a_file_of_another_version_is_left_out_and_left_alone(group, root, start, caplog):
    living = start(working, root, 10)
    strange = group.folder / "1-2.values"
    strange.write_bytes(b"LFOTEL99" + bytes(100))
    for _ in range(3):
        assert totals(group) == expected(10, living.pid)
        group.fold()

    (record,) = caplog.records
    assert str(strange) in record.getMessage()
    assert strange.exists()


Damage = Callable[[Path], None]


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _cut_short(path: Path) -> None:
    os.truncate(path, 200)


def _garble(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"orders", b"o\0\0\xffrs"))


def _overwrite(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def _spoil_the_numbers(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("d", 5.0), struct.pack("d", math.nan)))


DAMAGES = pytest.mark.parametrize("damage", [_empty, _cut_short, _garble, _overwrite, _spoil_the_numbers])


@DAMAGES
@pytest.mark.parametrize("known", [False, True], ids=["new", "read before"])
def test_a_damaged_file_of_a_dead_worker_is_set_aside(group, telemetry, caplog, damage: Damage, known: bool):
    dead_worker(group, 10)
    before = set(names(group))
    dead_worker(group, 5)
    (name,) = set(names(group)) - before
    if known and damage != _garble:  # What has been read of it once is known, and right.
        assert totals(group) == expected(15)
    damage(group.folder / name)
    for _ in range(3):
        assert totals(group) == expected(10)
        group.fold()
    dead_worker(group, 20)
    group.fold()

    assert totals(group) == expected(30)
    assert names(group) == sorted([f"{name}.broken", "fold", "total"])
    (line,) = telemetry.warnings
    assert f"It is set aside as {name}.broken; its numbers are missing in the scrape." in line
    telemetry.warnings.clear()
    assert telemetry.metrics("langflow_otel_dropped") == {
        'langflow_otel_dropped_total{signal="metrics",reason="broken_file"}': 1.0
    }


@DAMAGES
def test_the_first_to_fold_sets_a_damaged_file_aside(group, caplog, damage: Damage):
    dead_worker(group, 5)
    (path,) = group.folder.glob("*.values")
    damage(path)
    dead_worker(group, 10)
    group.fold()

    assert totals(group) == expected(10)
    assert names(group) == sorted([f"{path.name}.broken", "fold", "total"])


@pytest.mark.parametrize("damage", [_empty, _cut_short, _garble, _overwrite])
def test_a_damaged_total_is_set_aside(group, caplog, damage: Damage):
    dead_worker(group, 10)
    group.fold()
    damage(group.folder / "total")
    dead_worker(group, 20)
    assert totals(group) == expected(20)
    group.fold()
    assert totals(group) == expected(20)

    assert names(group) == ["fold", "total", "total.broken"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("damage", [_empty, _cut_short, _overwrite])
def test_a_damaged_file_of_a_living_worker_is_set_aside(group, root, start, caplog, damage: Damage):
    living, damaged = start(working, root, 10), start(working, root, 5)
    assert totals(group) == expected(15, living.pid, damaged.pid)
    (path,) = group.folder.glob(f"{damaged.pid}-*")
    damage(path)
    for _ in range(2):
        assert totals(group) == expected(10, living.pid)
        group.fold()

    assert len(caplog.records) == 1
    living.tell()
    assert totals(group).orders == 20


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_set_aside(group, caplog, make: Any):
    make(group.folder / "1-2.values")
    dead_worker(group, 10)
    for _ in range(2):
        assert totals(group) == expected(10)
        group.fold()

    assert names(group) == ["1-2.values.broken", "fold", "total"]
    assert len(caplog.records) == 1


def test_two_that_find_a_damaged_file_count_it_once(group, telemetry):
    other = WorkerGroup(os.getpid(), group._root)
    dead_worker(group, 5)
    (path,) = group.folder.glob("*.values")
    assert totals(group) == totals(other) == expected(5)
    _cut_short(path)
    assert totals(group) == totals(other) == expected(0)

    telemetry.warnings.clear()
    assert list(telemetry.metrics("langflow_otel_dropped").values()) == [1.0]
    other.leave()


def test_what_is_no_worker_file_does_not_matter(group, root, start):
    living = start(working, root, 10)
    (group.folder / "README").write_text("hello")
    (group.folder / ".1-2").write_bytes(b"half")

    assert totals(group) == expected(10, living.pid)


def test_when_the_folder_is_gone_a_page_shows_this_worker_and_says_so_once(group, caplog):
    """Some systems clean /dev/shm when a user logs out, or /tmp now and then."""
    store = group.join()
    store.series(COUNTER, ("eu",)).cells[0] = 3.0
    scrape = Scrape(store, own_pid=os.getpid(), window_s=60, cores=1, read=lambda pids: [], info={})
    scrape.group = group
    scrape.page("", "")
    workers.shutil.rmtree(group.folder)
    for _ in range(3):
        assert b'orders_total{region="eu"} 3.0' in scrape.page("", "").body

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{group.folder} is gone")
    store.close()


def test_an_error_that_may_pass_gives_no_page_rather_than_a_wrong_one(group, monkeypatch):
    """A total that falls looks like a restart, and rises again as if all of it had happened just now."""
    scrape = Scrape(MemoryStore(), own_pid=os.getpid(), window_s=60, cores=1, read=lambda pids: [], info={})
    scrape.group = group

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(group, "_refresh", refuse)
    with pytest.raises(OSError, match="Too many"):
        scrape.page("", "")


# Folders of groups that are no more


def old_folder(root: Path, name: str, *, age_s: float = 3600) -> Path:
    folder = root / name
    folder.mkdir(mode=0o700)
    (folder / "total").write_bytes(b"")
    (folder / "1-2.values").write_bytes(b"")
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_folders_of_dead_groups_are_removed(group, root):
    dead = old_folder(root, "999999999-123")
    os.mkfifo(dead / "3-4.values")  # Nobody would write to it.
    os.utime(dead, (time.time() - 3600,) * 2)
    reused = old_folder(root, f"{os.getpid()}-1")
    unrelated = old_folder(root, "notes")
    young = old_folder(root, "999999998-123", age_s=1)
    assert group.lead()

    assert [dead.exists(), reused.exists(), unrelated.exists(), young.exists()] == [False, False, True, True]
    assert group.folder.exists()


def test_folders_of_living_groups_are_not_removed(group, root, start):
    """A group lives as long as its common process or one of its workers does."""
    sibling = WorkerGroup(os.getppid(), root)
    living = start(working, root)
    orphans = root / "999999999-123"
    orphans.mkdir(mode=0o700)
    (file,) = group.folder.glob(f"{living.pid}-*")
    os.link(file, orphans / file.name)
    for folder in (sibling.folder, orphans):
        os.utime(folder, (0, 0))
    assert group.lead()

    assert sibling.folder.exists()
    assert orphans.exists()


# Which process the workers have in common


def test_a_plain_process_is_no_worker():
    assert common_process() is None


def put_common_process(queue: Any) -> None:
    queue.put(common_process())


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_child_of_multiprocessing_is_one(method: str):
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=put_common_process, args=(queue,))
    process.start()
    found = queue.get()
    process.join()

    assert found == os.getpid()


@pytest.fixture
def gunicorn(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", ModuleType("gunicorn.arbiter"))


def ask_in_a_child() -> str:
    """What a forked child of this process says."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(common_process()).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read()


@pytest.mark.usefixtures("gunicorn")
def test_a_fork_of_gunicorns_arbiter_is_one():
    assert ask_in_a_child() == str(os.getpid())
    # The arbiter itself, started by something else, is none.
    assert common_process() is None


def test_any_other_fork_is_none():
    assert ask_in_a_child() == "None"


PROGRAM = """
import sys, types
sys.modules["gunicorn.arbiter"] = types.ModuleType("gunicorn.arbiter")
from langflow_otel._metrics.workers import common_process
print(common_process())
"""


@pytest.mark.slow
def test_an_arbiter_that_a_shell_started_is_none():
    command = 'python="$1"; code="$2"; "$python" -c "$code"; exit $?'
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", sys.executable, PROGRAM], capture_output=True, text=True, timeout=60
    )

    assert (done.stdout, done.returncode) == ("None\n", 0), done.stderr


@pytest.mark.slow
def test_the_fork_of_a_program_under_gunicorn_has_its_arbiter_in_common():
    code = textwrap.dedent(
        """
        import os, sys, types
        if os.fork() == 0:
            sys.modules["gunicorn.arbiter"] = types.ModuleType("gunicorn.arbiter")
            from langflow_otel._metrics.workers import common_process
            print(common_process() == os.getppid(), flush=True)
            os._exit(0)
        os.wait()
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout == "True\n", done.stderr


@dataclass
class FakeProcess:
    pid: int | None = None
    of: Any = None

    def cmdline(self) -> list[str]:
        found = self.of[self.pid]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.usefixtures("gunicorn")
@pytest.mark.parametrize(
    ("own", "parents", "is_worker"),
    [
        (["gunicorn: worker [app]"], ["gunicorn: master [app]"], True),
        (["python", "-m", "app"], ["python", "-m", "app"], True),
        (["python", "-m", "app"], ["/bin/sh", "-c", "python -m app"], False),
        (["python", "-m", "app"], [], False),
        (["python", "-m", "app"], psutil.AccessDenied(1), False),
        (["python", "-m", "app"], psutil.NoSuchProcess(0), False),
        (["python", "-m", "app"], psutil.ZombieProcess(1), False),
        (["python", "-m", "app"], PermissionError(1, "hidepid"), False),
    ],
)
def test_what_the_system_tells_about_the_parent(monkeypatch, own, parents, is_worker: bool):
    """In a container the parent may be 0 or 1, and /proc may not tell."""
    of = {None: own, os.getppid(): parents}
    monkeypatch.setattr(workers.psutil, "Process", lambda pid=None: FakeProcess(pid, of))

    assert common_process() == (os.getppid() if is_worker else None)


def test_without_file_locks_there_are_no_groups(monkeypatch):
    monkeypatch.setattr(workers, "fcntl", None)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: pytest.fail("asked"))

    assert common_process() is None


def test_the_start_of_a_process_is_the_same_for_all_who_ask():
    own = workers._start_time(os.getpid())
    code = (
        "import sys; from langflow_otel._metrics import workers; print(workers._start_time(int(sys.argv[1])), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(os.getpid())], capture_output=True, text=True, timeout=60)

    assert own == done.stdout != ""
    assert workers._start_time(999_999_999) == ""
