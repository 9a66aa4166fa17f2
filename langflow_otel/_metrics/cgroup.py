"""What the container, or any other Linux control group, lets this process use. cgroup v1, v2 and both at once.

A group is limited by itself and by every group above it, so the tightest limit counts. Which groups these
are is found out once; what they say is read every time, since a limit may be changed while we run
(Kubernetes resizes in place). Whatever cannot be read or understood is no limit: nothing here raises.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_V2: Final = ""
"""cgroup v2 has one hierarchy for all controllers; /proc/self/cgroup names none for it."""

_HUGE: Final = 2**60
"""v1 writes "no limit" as the largest page count, about 2**63 bytes."""

_MOUNTINFO_ESCAPES: Final = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


class _MemoryFiles(NamedTuple):
    controller: str
    limit: str
    usage: str
    inactive: str
    """Key in memory.stat of the file cache that the kernel takes back first, this group and those below it."""


_MEMORY: Final = (
    _MemoryFiles(_V2, "memory.max", "memory.current", "inactive_file"),
    _MemoryFiles("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


class _LimitedMemory(NamedTuple):
    limit: int
    group: Path
    files: _MemoryFiles


def cpu_limit(root: Path = Path("/")) -> float | None:
    """CPU cores that the quota allows, perhaps a fraction; None without a quota."""
    limits = []
    for quota_text, period_text in _cpu_quotas(root):
        quota, period = _number(quota_text), _number(period_text)
        if quota and period:
            limits.append(quota / period)
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that may be used; None without a limit, or where the machine has no more than that anyway."""
    limited = _limited_memory(root)
    return limited.limit if limited else None


def memory_usage(root: Path = Path("/")) -> int | None:
    """Bytes in use, without the file cache that can be dropped: kubelet's "working set".

    Of the group that sets `memory_limit`, which may be one above ours: its use is what meets the limit.
    None without a limit.
    """
    limited = _limited_memory(root)
    if not limited:
        return None
    used = _number(_read(limited.group / limited.files.usage))
    if used is None:
        return None
    return max(0, used - (_stat(limited.group, limited.files.inactive) or 0))


def _cpu_quotas(root: Path) -> Iterator[tuple[str, str]]:
    """Microseconds of CPU time for each period, and the period's length; of our group and each above it."""
    for group in _groups(root, _V2):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        yield quota, period
    for group in _groups(root, "cpu"):
        yield _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")


def _limited_memory(root: Path) -> _LimitedMemory | None:
    machine = _machine_memory(root) or _HUGE
    found = []
    for files in _MEMORY:
        for group in _groups(root, files.controller):
            limit = _number(_read(group / files.limit))
            if limit and limit < machine:
                found.append(_LimitedMemory(limit, group, files))
    return min(found, key=lambda limited: limited.limit, default=None)


def _machine_memory(root: Path) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            kibibytes = _number(line.removeprefix("MemTotal:").removesuffix("kB"))
            return kibibytes * 1024 if kibibytes else None
    return None


def _stat(group: Path, key: str) -> int | None:
    for line in _read(group / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return _number(value)
    return None


@functools.cache
def _groups(root: Path, controller: str) -> tuple[Path, ...]:
    """Directories of our own group and of those above it, as far up as they can be seen from here."""
    own = _own_group(root, controller)
    mounts = list(_mounts(root, controller))
    if own is None or not mounts:
        return ()
    for shown, mount_point in mounts:
        # A mount may show a part of the hierarchy only: Docker with v1 shows the container's own group.
        if own.is_relative_to(shown) and ".." not in own.parts:
            below = own.relative_to(shown).parts
            return tuple(mount_point.joinpath(*below[:depth]) for depth in range(len(below), -1, -1))
    # Path and mount are told from different cgroup namespaces; what is mounted is then our own group.
    return (mounts[0][1],)


def _own_group(root: Path, controller: str) -> PurePosixPath | None:
    """From ``hierarchy:controller,controller:path`` (man 7 cgroups)."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _mounts(root: Path, controller: str) -> Iterator[tuple[PurePosixPath, Path]]:
    """Where the controller is mounted, each with the group that is shown there (man 5 proc_pid_mountinfo)."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")
        fields = mount.split(" ")
        kind, _, source_and_options = filesystem.partition(" ")
        options = source_and_options.rpartition(" ")[2].split(",")
        wanted = kind == "cgroup2" if controller == _V2 else kind == "cgroup" and controller in options
        if wanted and len(fields) > 4:
            yield PurePosixPath(_unescaped(fields[3])), root / _unescaped(fields[4]).lstrip("/")


def _unescaped(text: str) -> str:
    for escape, char in _MOUNTINFO_ESCAPES.items():
        text = text.replace(escape, char)
    return text


def _read(path: Path) -> str:
    """The file's text, empty if it cannot be had."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):  # ValueError: a path that the system cannot name.
        return ""


def _number(text: str) -> int | None:
    """A plain number; None for "max", -1 and what else stands for no limit."""
    text = text.strip()
    # No counter of the kernel's has more digits, and int() raises for very long texts.
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None
