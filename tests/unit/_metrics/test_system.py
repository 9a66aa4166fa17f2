"""Readings of the machine and of processes, against psutil and against what processes really do."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from langflow_otel._metrics import catalogue as metrics
from langflow_otel._metrics import system
from langflow_otel._metrics.catalogue import Reading
from langflow_otel._metrics.system import SystemReader, heap_fragmentation, resident_memory, usable_cores
from tests.support.recording import at_once
from tests.unit._metrics.test_cgroup import GIB, MIB, v2_tree

ME = os.getpid()
LINUX = sys.platform == "linux"
DISKS = SimpleNamespace(read_bytes=10, write_bytes=20)
NETWORKS = SimpleNamespace(bytes_sent=30, bytes_recv=40)
FAILURES = [
    psutil.AccessDenied(1),
    psutil.NoSuchProcess(1),
    psutil.ZombieProcess(1),
    PermissionError("hidden"),
    NotImplementedError("here"),
    ValueError("a line that psutil does not know"),
]


def raising(failure: Exception) -> Any:
    def call(*args: object) -> None:
        raise failure

    # What psutil's oneshot() switches on and off.
    call.cache_activate = call.cache_deactivate = lambda process: None
    return call


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A second worker, started up."""
    code = "import sys; block = bytearray(50_000_000); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def values(readings: list[Reading], worker: int | None = None) -> dict[str, float]:
    """Values by name and labels, of one process or of the machine."""
    return {
        " ".join((reading.metric.name, *reading.labels)): reading.value
        for reading in readings
        if reading.worker == worker
    }


def burn(seconds: float) -> None:
    """Use CPU time, however long the machine takes to give it."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        sum(range(1000))


def catalogue(*prefixes: str) -> set[str]:
    return {metric.name for metric in metrics.CATALOGUE if metric.name.startswith(prefixes)}


@pytest.mark.skipif(not LINUX, reason="the only platform that tells everything")
def test_every_metric_of_the_catalogue(monkeypatch):
    # A container may have neither.
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: DISKS)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: NETWORKS)
    reader = SystemReader()
    first = reader.read([ME])
    burn(0.05)
    second = reader.read([ME])

    utilization = {"process.cpu.utilization", "system.cpu.utilization"}
    assert {reading.metric.name for reading in first} == catalogue("process.", "system.") - utilization
    assert {reading.metric.name for reading in second} == catalogue("process.", "system.")
    for reading in second:
        assert len(reading.labels) == len(reading.metric.labels)
        assert (reading.worker == ME) == reading.metric.per_worker
    assert len({(reading.metric.name, reading.labels) for reading in second}) == len(second)


def test_the_process():
    now = values(SystemReader().read([ME]), ME)

    me = psutil.Process()
    assert now["process.memory.usage"] == pytest.approx(me.memory_info().rss, rel=0.1)
    assert now["process.memory.virtual"] == pytest.approx(me.memory_info().vms, rel=0.1)
    assert now["process.thread.count"] == me.num_threads()
    assert now["process.uptime"] == pytest.approx(time.time() - me.create_time(), abs=1)
    assert now["process.cpu.time user"] == pytest.approx(me.cpu_times().user, abs=0.5)
    assert now["process.cpu.time system"] == pytest.approx(me.cpu_times().system, abs=0.5)
    assert resident_memory() == pytest.approx(me.memory_info().rss, rel=0.1)


@pytest.mark.skipif(not LINUX, reason="Linux's counters")
def test_open_files_and_disk_io_of_the_process(tmp_path):
    reader = SystemReader()
    before = values(reader.read([ME]), ME)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"x" * MIB)
        os.fsync(file.fileno())
        after = values(reader.read([ME]), ME)

    assert after["process.unix.file_descriptor.count"] == before["process.unix.file_descriptor.count"] + 1
    assert after["process.disk.io read"] >= before["process.disk.io read"] >= 0
    assert after["process.disk.io write"] >= before["process.disk.io write"] >= 0


def test_the_machine(monkeypatch):
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: DISKS)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: NETWORKS)
    monkeypatch.setattr(system.cgroup, "memory_limit", lambda root: None)
    now = values(SystemReader().read([]))

    memory = psutil.virtual_memory()
    assert now["system.cpu.logical.count"] == usable_cores()
    assert now["system.memory.limit"] == memory.total
    assert now["system.memory.usage"] == pytest.approx(memory.total - memory.available, rel=0.3)
    assert now["system.memory.utilization"] == now["system.memory.usage"] / now["system.memory.limit"]
    assert (now["system.disk.io read"], now["system.disk.io write"]) == (10, 20)
    assert (now["system.network.io transmit"], now["system.network.io receive"]) == (30, 40)


def test_disks_and_networks_are_those_of_psutil():
    now = values(SystemReader().read([]))

    for name, counters, field in (
        ("system.disk.io write", psutil.disk_io_counters(), "write_bytes"),
        ("system.network.io receive", psutil.net_io_counters(), "bytes_recv"),
    ):
        if counters is None:
            assert name not in now
        else:
            assert now[name] == pytest.approx(getattr(counters, field), rel=0.1, abs=100 * MIB)


def test_in_a_container_with_limits(tmp_path):
    limits = {
        "cpu.max": "10000 100000",
        "memory.max": str(2 * GIB),
        "memory.current": str(800 * MIB),
        "memory.stat": f"inactive_file {288 * MIB}",
    }
    root = v2_tree(tmp_path, limits)
    now = values(SystemReader(root).read([]))

    assert usable_cores(root) == now["system.cpu.logical.count"] == 0.1
    assert now["system.memory.limit"] == 2 * GIB
    assert now["system.memory.usage"] == 512 * MIB
    assert now["system.memory.utilization"] == 0.25

    (root / "sys/fs/cgroup/memory.current").unlink()
    assert [name for name in values(SystemReader(root).read([])) if "memory" in name] == ["system.memory.limit"]


@pytest.mark.skipif(not LINUX, reason="affinity")
def test_usable_cores_without_a_quota_are_those_of_the_affinity(tmp_path):
    before = os.sched_getaffinity(0)
    assert usable_cores(tmp_path) == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores(tmp_path) == 1.0
        assert usable_cores(v2_tree(tmp_path / "more", {"cpu.max": "9900000 100000"})) == 1.0
    finally:
        os.sched_setaffinity(0, before)


def test_usable_cores_where_there_is_no_affinity(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6.0

    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1.0


def test_utilization_is_cpu_time_over_time_and_cores():
    reader = SystemReader()
    started = time.monotonic()
    before = values(reader.read([ME]), ME)
    burn(0.4)
    readings = reader.read([ME])
    elapsed = time.monotonic() - started

    after = values(readings, ME)
    used = sum(after[f"process.cpu.time {mode}"] - before[f"process.cpu.time {mode}"] for mode in ("user", "system"))
    assert used > 0.2
    assert after["process.cpu.utilization"] == pytest.approx(min(1.0, used / elapsed / usable_cores()), abs=0.1)
    assert 0 < after["process.cpu.utilization"] <= 1
    assert 0 < values(readings)["system.cpu.utilization"] <= 1


def test_utilization_is_since_the_last_reading_of_the_same_reader():
    one, other = SystemReader(), SystemReader()
    one.read([ME])
    burn(0.3)
    other.read([ME])
    time.sleep(0.3)

    busy, idle = (values(reader.read([ME]), ME)["process.cpu.utilization"] for reader in (one, other))
    assert idle < busy


def test_utilization_within_a_small_quota_is_at_most_1(tmp_path):
    reader = SystemReader(v2_tree(tmp_path, {"cpu.max": "1000 100000"}))
    reader.read([ME])
    burn(0.1)

    assert values(reader.read([ME]), ME)["process.cpu.utilization"] == 1.0


def test_utilization_without_time_passed_is_left_out(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleTimes(1.0, 2.0))
    reader = SystemReader()
    reader.read([ME])

    assert not any("cpu.utilization" in reading.metric.name for reading in reader.read([ME]))


class SimpleTimes(tuple[float, float]):
    """Times of a platform that tells busy and idle only."""

    def __new__(cls, user: float, idle: float) -> SimpleTimes:
        return super().__new__(cls, (user, idle))

    @property
    def idle(self) -> float:
        return self[1]


def test_utilization_of_the_machine(monkeypatch):
    reader = SystemReader()
    shares = []
    for times in (SimpleTimes(10, 100), SimpleTimes(13, 101), SimpleTimes(13, 103), SimpleTimes(12, 104)):
        monkeypatch.setattr(psutil, "cpu_times", lambda times=times: times)
        shares.append(values(reader.read([])).get("system.cpu.utilization"))

    # The last one went backwards, as counters of CPUs do now and then.
    assert shares == [None, 0.75, 0.0, None]


@pytest.mark.skipif(not LINUX, reason="Linux's times")
def test_waiting_for_io_is_not_busy_and_a_guest_is_not_counted_twice(monkeypatch):
    zero = psutil.cpu_times()._replace(**dict.fromkeys(psutil.cpu_times()._fields, 0.0))
    reader = SystemReader()
    monkeypatch.setattr(psutil, "cpu_times", lambda: zero)
    reader.read([])
    monkeypatch.setattr(
        psutil, "cpu_times", lambda: zero._replace(user=2.0, guest=1.0, steal=1.0, idle=4.0, iowait=5.0)
    )

    assert values(reader.read([]))["system.cpu.utilization"] == 0.25


def test_two_workers_of_which_one_dies(child):
    reader = SystemReader()
    reader.read([ME, child.pid])
    time.sleep(0.05)
    readings = reader.read([ME, child.pid, ME])
    mine, its = values(readings, ME), values(readings, child.pid)
    assert mine.keys() == its.keys()
    assert its["process.memory.usage"] == pytest.approx(psutil.Process(child.pid).memory_info().rss, rel=0.1)
    assert its["process.memory.usage"] > 50_000_000
    assert 0 < its["process.uptime"] < mine["process.uptime"] + 1
    assert len([reading for reading in readings if reading.metric is metrics.PROCESS_THREADS]) == 2

    child.kill()
    if LINUX:
        # Dead, but not waited for.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert values(reader.read([ME, child.pid]), child.pid) == {}
    child.wait()
    readings = reader.read([ME, child.pid])
    assert values(readings, child.pid) == {}
    assert values(readings, ME).keys() == mine.keys()
    assert reader._samples.keys() == {ME}


def test_a_process_that_took_over_the_id_starts_anew(child):
    reader = SystemReader()
    reader.read([child.pid])
    # What psutil tells processes of one id apart by.
    reader._samples[child.pid].process._ident = (child.pid, 1.0)
    time.sleep(0.05)
    assert "process.cpu.utilization" not in values(reader.read([child.pid]), child.pid)

    time.sleep(0.05)
    assert "process.cpu.utilization" in values(reader.read([child.pid]), child.pid)


@pytest.mark.parametrize("pid", [-1, 2**22 + 1, 2**40, 2**70])
def test_ids_of_no_process(pid: int):
    assert [reading for reading in SystemReader().read([pid]) if reading.worker is not None] == []


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize(
    ("question", "lost"),
    [
        ("cpu_times", {"process.cpu.time", "process.cpu.utilization"}),
        ("memory_info", {"process.memory.usage", "process.memory.virtual"}),
        ("io_counters", {"process.disk.io"}),
        ("num_threads", {"process.thread.count"}),
        ("num_fds", {"process.unix.file_descriptor.count"}),
        ("create_time", {"process.uptime"}),
        ("status", set()),
    ],
)
def test_what_a_process_does_not_tell_is_left_out(question: str, lost: set[str], failure: Exception, monkeypatch):
    reader = SystemReader()
    reader.read([ME])
    time.sleep(0.02)
    told = {reading.metric.name for reading in reader.read([ME])}
    # On the processes that the reader holds, for psutil itself asks for some of these.
    process = reader._samples[ME].process
    monkeypatch.setattr(process, question, raising(failure), raising=False)
    time.sleep(0.02)

    assert {reading.metric.name for reading in reader.read([ME])} == told - lost


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize(
    ("question", "lost"),
    [
        ("cpu_times", "system.cpu.utilization"),
        ("virtual_memory", "system.memory."),
        ("disk_io_counters", "system.disk.io"),
        ("net_io_counters", "system.network.io"),
        ("disk_usage", "system.filesystem."),
        ("Process", "process."),
    ],
)
def test_what_the_machine_does_not_tell_is_left_out(question: str, lost: str, failure: Exception, monkeypatch):
    monkeypatch.setattr(system.cgroup, "memory_limit", lambda root: None)
    told = {reading.metric.name for reading in SystemReader().read([ME])}
    monkeypatch.setattr(psutil, question, raising(failure))

    readings = SystemReader().read([ME])
    assert {reading.metric.name for reading in readings} == {name for name in told if not name.startswith(lost)}


def test_without_disks_and_networks(monkeypatch):
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)

    assert not any(".io" in name for name in values(SystemReader().read([])))


def test_file_systems_are_those_of_the_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGFLOW_CONFIG_DIR", str(tmp_path))
    said = {name: value for name, value in values(SystemReader().read([])).items() if "filesystem" in name}

    mount_points = {name.split(" ")[1] for name in said}
    assert len(mount_points) == 1
    (place,) = mount_points
    assert os.path.ismount(place)
    assert tmp_path.is_relative_to(place)
    disk = psutil.disk_usage(str(tmp_path))
    used, free = (said[f"system.filesystem.usage {place} {state}"] for state in ("used", "free"))
    assert used + free == pytest.approx(disk.used + disk.free, rel=0.01)
    assert said[f"system.filesystem.utilization {place}"] == pytest.approx(disk.percent / 100, abs=0.01)


def test_folder_that_is_gone_is_no_file_system(monkeypatch):
    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    monkeypatch.delenv("LANGFLOW_CONFIG_DIR", raising=False)

    assert not any("filesystem" in name for name in values(SystemReader().read([])))


def test_counters_of_a_platform_that_tells_only_one_direction(monkeypatch):
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: SimpleNamespace(read_bytes=-1, write_bytes=5))

    assert [name for name in values(SystemReader().read([])) if "disk" in name] == ["system.disk.io write"]


def test_several_threads_may_read(child):
    reader = SystemReader()

    def read() -> None:
        for workers in ([ME], [ME, child.pid], [child.pid]) * 10:
            assert {reading.worker for reading in reader.read(workers)} == {None, *workers}

    at_once(4, read)


def test_memory_that_cannot_be_read_is_0(monkeypatch):
    system._process.cache_clear()
    monkeypatch.setattr(psutil, "Process", raising(psutil.AccessDenied(ME)))
    assert resident_memory() == 0
    system._process.cache_clear()


def test_resident_memory_follows_what_is_allocated():
    before = resident_memory()
    # Not malloc's: it may have as much at hand that was resident before.
    with mmap.mmap(-1, 64 * MIB) as block:
        for _ in range(64):
            block.write(b"x" * MIB)

        assert resident_memory() - before == pytest.approx(len(block), rel=0.2)


@pytest.mark.skipif(system._mallinfo2() is None, reason="not glibc 2.33")
def test_fragmentation_grows_when_every_other_block_is_freed():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    blocks = [libc.malloc(2000) for _ in range(40_000)]
    full = heap_fragmentation()
    for block in blocks[::2]:
        libc.free(block)
    holes = heap_fragmentation()
    again = [libc.malloc(1900) for _ in blocks[::2]]
    filled = heap_fragmentation()
    for block in blocks[1::2] + again:
        libc.free(block)

    assert full is not None
    assert holes is not None
    assert filled is not None
    # Half of 80 MB is free in between.
    assert 0 <= full < holes <= 1
    assert filled < holes


def test_fragmentation_where_the_heap_does_not_tell(monkeypatch):
    monkeypatch.setattr(system, "_mallinfo2", lambda: None)
    assert heap_fragmentation() is None

    monkeypatch.setattr(system, "_mallinfo2", lambda: system._MallInfo2)
    assert heap_fragmentation() is None


@pytest.mark.parametrize("failure", [TypeError, OSError])
def test_fragmentation_without_glibc(failure: type[Exception], monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", raising(failure("no such library")))
    assert system._mallinfo2.__wrapped__() is None

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert system._mallinfo2.__wrapped__() is None


def test_fragmentation_counts_each_byte_once(monkeypatch):
    heap = system._MallInfo2(arena=600, hblkhd=400, uordblks=350, fordblks=250)
    monkeypatch.setattr(system, "_mallinfo2", lambda: lambda: heap)

    assert heap_fragmentation() == pytest.approx(1 - (350 + 400) / (600 + 400))
