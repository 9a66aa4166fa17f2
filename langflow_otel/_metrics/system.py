"""The machine and the processes of this service, read when somebody asks; psutil is the source.

What the system does not tell is left out: a reading that is missing on a platform, in a container or for
want of permission is no error, and never a made up 0.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from langflow_otel._metrics import catalogue, cgroup
from langflow_otel._metrics.catalogue import Metric, Reading

# psutil parses what the kernel writes: beside its own errors, a line that it does not know raises
# ValueError or LookupError, and a platform without the call AttributeError or NotImplementedError.
_NOT_TOLD: Final = (psutil.Error, OSError, RuntimeError, ValueError, LookupError, AttributeError)


def usable_cores(root: Path = Path("/")) -> float:
    """CPU cores that this process may use: its affinity or the container's quota, whichever is less."""
    affinity = _ask(os, "sched_getaffinity", 0)  # Linux only.
    cores = float(len(affinity) if affinity else os.cpu_count() or 1)
    quota = cgroup.cpu_limit(root)
    return cores if quota is None else min(cores, quota)


def resident_memory() -> int:
    """Physical memory of this process in bytes; 0 where the system does not tell."""
    memory = _ask(_process(os.getpid()), "memory_info")
    return int(memory.rss) if memory else 0


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> Any:
    """By pid, so that a forked worker does not go on reading its parent."""
    return _ask(psutil, "Process", pid)


class _MallInfo2(ctypes.Structure):
    """``struct mallinfo2`` of glibc's malloc.h, see man 3 mallinfo2."""

    _fields_ = [
        ("arena", ctypes.c_size_t),
        ("ordblks", ctypes.c_size_t),
        ("smblks", ctypes.c_size_t),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks", ctypes.c_size_t),
        ("fsmblks", ctypes.c_size_t),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    ]


@functools.cache
def _mallinfo2() -> Callable[[], Any] | None:
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):  # Not glibc, or before 2.33; Windows knows no CDLL(None).
        return None
    function.argtypes = ()
    function.restype = _MallInfo2
    return function


def heap_fragmentation() -> float | None:
    """Share of the C heap that is held from the system but not in use; None without glibc's mallinfo2.

    Python's own objects of up to 512 bytes are not in it: they live in arenas that Python maps itself.
    """
    mallinfo2 = _mallinfo2()
    if mallinfo2 is None:
        return None
    heap = mallinfo2()
    # Held is arena + hblkhd, in use is uordblks + hblkhd: a block that is mapped for itself is never free.
    return _share(heap.arena - heap.uordblks, heap.arena + heap.hblkhd)


@dataclass(frozen=True)
class _Sample:
    """A process as it was at the last reading."""

    process: Any
    at: float
    cpu_seconds: float | None


class MachineCpu:
    """The CPU cores of the machine, whoever uses them."""

    def __init__(self) -> None:
        self._times: Any = None

    def utilization(self) -> float | None:
        """Their busy share since the last reading; None at the first, and where the system does not tell."""
        before, now = self._times, _ask(psutil, "cpu_times")
        self._times = now
        if before is None or now is None:
            return None
        (busy_before, total_before), (busy, total) = _busy_and_total(before), _busy_and_total(now)
        return _share(busy - busy_before, total - total_before)


class SystemReader:
    """Reads ``process.*`` and ``system.*`` of the catalogue.

    CPU utilization is over the time since this reader's last `read`: whoever reads at intervals of his own
    needs a reader of his own, and the first reading, of the machine or of a process, has none. The kernel
    counts CPU time in steps of about 10 ms, so intervals should be well above that. Safe to call from
    several threads.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._samples: dict[int, _Sample] = {}
        self._cpu = MachineCpu()

    def read(self, workers: Sequence[int]) -> list[Reading]:
        """All readings of the machine, and of those processes with these ids that are alive."""
        cores = usable_cores(self._root)
        readings = [Reading(catalogue.SYSTEM_CPU_CORES, cores)]
        readings += _reading(catalogue.SYSTEM_CPU_UTILIZATION, self._cpu.utilization()) + _memory(self._root)
        disks, networks = _ask(psutil, "disk_io_counters"), _ask(psutil, "net_io_counters")
        readings += _io(catalogue.SYSTEM_DISK_IO, disks, read="read_bytes", write="write_bytes")
        readings += _io(catalogue.SYSTEM_NETWORK_IO, networks, transmit="bytes_sent", receive="bytes_recv")
        readings += _file_systems()
        samples = {}
        for pid in dict.fromkeys(workers):
            process = self._read_process(pid, cores)
            if process is not None:
                samples[pid], of_process = process
                readings += of_process
        # Replaced and not changed, because another thread may read too. Forgets the dead.
        self._samples = samples
        return readings

    def _read_process(self, pid: int, cores: float) -> tuple[_Sample, list[Reading]] | None:
        before = self._samples.get(pid)
        if before and not _ask(before.process, "is_running"):  # Ended; its id may be another process now.
            before = None
        process = before.process if before else _ask(psutil, "Process", pid)
        if process is None:
            return None
        with process.oneshot():
            if _ask(process, "status") == psutil.STATUS_ZOMBIE:
                return None
            sample = _Sample(process, time.monotonic(), _cpu_seconds(process))
            return sample, _cpu_utilization(before, sample, cores) + _process_readings(process)


def _busy_and_total(times: Any) -> tuple[float, float]:
    # Linux counts a guest's time in user and nice already, and waits for I/O beside idle.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _memory(root: Path) -> list[Reading]:
    """Of the container where it has a limit, else of the machine."""
    limit, used = cgroup.memory_limit(root), cgroup.memory_usage(root)
    if limit is None:
        machine = _ask(psutil, "virtual_memory")
        if machine is None:
            return []
        limit, used = machine.total, machine.total - machine.available
    readings = [*_reading(catalogue.SYSTEM_MEMORY_LIMIT, limit), *_reading(catalogue.SYSTEM_MEMORY_USAGE, used)]
    if used is not None:
        readings += _reading(catalogue.SYSTEM_MEMORY_UTILIZATION, _share(used, limit))
    return readings


def _cpu_seconds(process: Any) -> float | None:
    times = _ask(process, "cpu_times")
    return times.user + times.system if times else None


def _cpu_utilization(before: _Sample | None, now: _Sample, cores: float) -> list[Reading]:
    if before is None or before.cpu_seconds is None or now.cpu_seconds is None:
        return []
    used, possible = now.cpu_seconds - before.cpu_seconds, (now.at - before.at) * cores
    return _reading(catalogue.PROCESS_CPU_UTILIZATION, _share(used, possible), worker=now.process.pid)


def _process_readings(process: Any) -> list[Reading]:
    pid = process.pid
    readings = []
    times, memory, created = (_ask(process, name) for name in ("cpu_times", "memory_info", "create_time"))
    if times:
        readings += _reading(catalogue.PROCESS_CPU_TIME, times.user, "user", worker=pid)
        readings += _reading(catalogue.PROCESS_CPU_TIME, times.system, "system", worker=pid)
    if memory:
        readings += _reading(catalogue.PROCESS_MEMORY_USAGE, memory.rss, worker=pid)
        readings += _reading(catalogue.PROCESS_MEMORY_VIRTUAL, memory.vms, worker=pid)
    disk = _ask(process, "io_counters")  # Not on macOS.
    readings += _io(catalogue.PROCESS_DISK_IO, disk, worker=pid, read="read_bytes", write="write_bytes")
    readings += _reading(catalogue.PROCESS_THREADS, _ask(process, "num_threads"), worker=pid)
    readings += _reading(catalogue.PROCESS_OPEN_FILES, _ask(process, "num_fds"), worker=pid)  # Not on Windows.
    if created is not None:
        readings += _reading(catalogue.PROCESS_UPTIME, max(0.0, time.time() - created), worker=pid)
    return readings


def _file_systems() -> list[Reading]:
    """Where this process works, and where LangFlow keeps its files: each file system once."""
    folders = (_ask(os, "getcwd"), os.environ.get("LANGFLOW_CONFIG_DIR"))
    readings = []
    for place in dict.fromkeys(_mount_point(folder) for folder in folders if folder):
        disk = _ask(psutil, "disk_usage", place)
        if disk is not None:
            readings += _reading(catalogue.SYSTEM_FILESYSTEM_USAGE, disk.used, place, "used")
            readings += _reading(catalogue.SYSTEM_FILESYSTEM_USAGE, disk.free, place, "free")
            # Without what is reserved for root, as df(1) says it.
            share = _share(disk.used, disk.used + disk.free)
            readings += _reading(catalogue.SYSTEM_FILESYSTEM_UTILIZATION, share, place)
    return readings


@functools.lru_cache(maxsize=8)
def _mount_point(folder: str) -> str:
    path = Path(os.path.realpath(folder))
    return str(next((each for each in (path, *path.parents) if os.path.ismount(each)), path))


def _io(metric: Metric, counters: Any, worker: int | None = None, **fields: str) -> list[Reading]:
    """One reading for each direction; psutil says None without any device, and -1 for what it cannot tell."""
    values = {direction: getattr(counters, field, -1) for direction, field in fields.items()}
    return [Reading(metric, value, (direction,), worker) for direction, value in values.items() if value >= 0]


def _reading(metric: Metric, value: float | None, *labels: str, worker: int | None = None) -> list[Reading]:
    """Empty without a value."""
    return [] if value is None else [Reading(metric, value, labels, worker)]


def _share(part: float, whole: float) -> float | None:
    """Between 0 and 1, since the counters of CPUs are not exact; None where there is nothing to share."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def _ask(source: Any, question: str, *args: Any) -> Any:
    """What the system answers, None if it does not."""
    try:
        return getattr(source, question)(*args)
    except _NOT_TOLD:
        return None
