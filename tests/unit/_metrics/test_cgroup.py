"""What a container limits, on made trees of /proc and /sys as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from langflow_otel._metrics.cgroup import cpu_limit, memory_limit, memory_usage

GIB = 2**30
MIB = 2**20
MACHINE = {"proc/meminfo": "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n"}

V2_MOUNT = (
    "31 23 0:27 / /sys/fs/cgroup rw,nosuid,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)
OTHER_MOUNTS = (
    "23 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
    "24 23 0:22 / /proc rw,nosuid master:5 - proc proc rw\n"
    "25 23 0:23 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
)


def v1_mounts(shown: str = "/") -> str:
    return OTHER_MOUNTS + "".join(
        f"3{index} 25 0:3{index} {shown} /sys/fs/cgroup/{name} ro,relatime master:1{index} - cgroup cgroup rw,{name}\n"
        for index, name in enumerate(("cpu,cpuacct", "memory", "cpuset"))
    )


def v1_groups(path: str) -> str:
    return f"12:cpuset:{path}\n9:memory:{path}\n4:cpu,cpuacct:{path}\n1:name=systemd:{path}\n0::/system.slice\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """The files below ``root``, on a machine with 16 GiB."""
    for name, content in {**MACHINE, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


def v2_tree(root: Path, files: dict[str, str], own: str = "/", mounts: str = V2_MOUNT) -> Path:
    groups = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    return tree(root, {"proc/self/cgroup": f"0::{own}\n", "proc/self/mountinfo": OTHER_MOUNTS + mounts, **groups})


def v1_tree(root: Path, files: dict[str, str], own: str, shown: str) -> Path:
    groups = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    return tree(root, {"proc/self/cgroup": v1_groups(own), "proc/self/mountinfo": v1_mounts(shown), **groups})


def test_v2_in_a_container(tmp_path):
    root = v2_tree(
        tmp_path,
        {
            "cpu.max": "150000 100000\n",
            "memory.max": f"{2 * GIB}\n",
            "memory.current": f"{900 * MIB}\n",
            "memory.stat": f"anon 1\nfile 2\ninactive_anon 5\ninactive_file {300 * MIB}\nactive_file 7\n",
        },
    )

    assert cpu_limit(root) == 1.5
    assert memory_limit(root) == 2 * GIB
    assert memory_usage(root) == 600 * MIB


def test_v1_in_a_container_that_sees_its_own_group_only(tmp_path):
    root = v1_tree(
        tmp_path,
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": f"{GIB}\n",
            "memory/memory.usage_in_bytes": f"{500 * MIB}\n",
            "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n",
        },
        own="/docker/abc",
        shown="/docker/abc",
    )

    assert cpu_limit(root) == 0.5
    assert memory_limit(root) == GIB
    assert memory_usage(root) == 400 * MIB


def test_a_group_below_the_one_that_is_mounted(tmp_path):
    limit = {"memory/memory.limit_in_bytes": f"{GIB}", "memory/worker/memory.limit_in_bytes": f"{GIB // 2}"}
    root = v1_tree(tmp_path, limit, own="/docker/abc/worker", shown="/docker/abc")

    assert memory_limit(root) == GIB // 2


@pytest.mark.parametrize("own", ["/elsewhere", "/../elsewhere", "/dockers", "relative", ""])
def test_a_path_from_another_cgroup_namespace_means_what_is_mounted(own: str, tmp_path):
    limit = {"memory/memory.limit_in_bytes": f"{GIB}", "elsewhere/memory.limit_in_bytes": "1"}

    assert memory_limit(v1_tree(tmp_path, limit, own=own, shown="/docker")) == GIB


def test_a_path_above_the_cgroup_namespace_does_not_leave_the_mount(tmp_path):
    root = v2_tree(tmp_path, {"memory.max": str(GIB), "../elsewhere/memory.max": "1"}, own="/../elsewhere")

    assert memory_limit(root) == GIB


def test_the_tightest_limit_counts_and_the_usage_of_the_group_that_sets_it(tmp_path):
    root = v2_tree(
        tmp_path,
        {
            "kube.slice/cpu.max": "400000 100000",
            "kube.slice/pod/cpu.max": "100000 50000",
            "kube.slice/pod/own/cpu.max": "max 100000",
            "kube.slice/memory.max": str(8 * GIB),
            "kube.slice/memory.current": str(7 * GIB),
            "kube.slice/pod/memory.max": str(3 * GIB),
            "kube.slice/pod/memory.current": str(2 * GIB),
            "kube.slice/pod/own/memory.max": "max",
            "kube.slice/pod/own/memory.current": str(GIB),
            "kube.slice/pod/sibling/memory.max": "1",
        },
        own="/kube.slice/pod/own",
    )

    assert (cpu_limit(root), memory_limit(root), memory_usage(root)) == (2.0, 3 * GIB, 2 * GIB)


def test_one_controller_on_v1_and_another_on_v2(tmp_path):
    unified = "41 25 0:41 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    cpu = "33 25 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu:/app\n0::/app.slice\n",
            "proc/self/mountinfo": OTHER_MOUNTS + cpu + unified,
            "sys/fs/cgroup/cpu/app/cpu.cfs_quota_us": "300000",
            "sys/fs/cgroup/cpu/app/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/unified/app.slice/memory.max": str(GIB),
            "sys/fs/cgroup/unified/app.slice/memory.current": str(MIB),
        },
    )

    assert (cpu_limit(root), memory_limit(root), memory_usage(root)) == (3.0, GIB, MIB)


def test_v1_with_a_v2_hierarchy_that_controls_nothing(tmp_path):
    """What systemd calls hybrid, and what the machine has where this was written."""
    root = v1_tree(tmp_path, {"memory/app/memory.limit_in_bytes": str(GIB)}, own="/app", shown="/")
    with (root / "proc/self/mountinfo").open("a") as mounts:
        mounts.write("41 25 0:41 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n")

    assert memory_limit(root) == GIB
    assert memory_usage(root) is None  # Of the machine would be wrong beside the container's limit.


@pytest.mark.parametrize(
    ("cpu", "memory"),
    [
        ("max 100000", "max"),
        ("0 100000", "0"),
        ("100000 0", str(16 * GIB)),
        ("100000", str(64 * GIB)),
        ("", ""),
        ("-1 100000", "-1"),
        ("x y", "1.5"),
        ("²³ 100000", "²³"),
        ("9" * 5000 + " 1", "9" * 5000),
        ("100000 100000 extra", "1 2"),
    ],
)
def test_no_limit_on_v2(cpu: str, memory: str, tmp_path):
    root = v2_tree(tmp_path, {"cpu.max": cpu, "memory.max": memory, "memory.current": "1000"})

    assert (cpu_limit(root), memory_limit(root), memory_usage(root)) == (None, None, None)


def test_no_limit_on_v1(tmp_path):
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.usage_in_bytes": "1000\n",
    }
    root = v1_tree(tmp_path, files, own="/", shown="/")
    assert (cpu_limit(root), memory_limit(root), memory_usage(root)) == (None, None, None)

    (root / "proc/meminfo").unlink()
    assert memory_limit(root) is None


def test_usage_without_statistics_and_with_more_cache_than_usage(tmp_path):
    root = v2_tree(tmp_path, {"memory.max": str(GIB), "memory.current": "1000"})
    assert memory_usage(root) == 1000

    (root / "sys/fs/cgroup/memory.stat").write_text("inactive_file 5000\n")
    assert memory_usage(root) == 0

    (root / "sys/fs/cgroup/memory.stat").write_text("inactive_file\n\nbroken")
    assert memory_usage(root) == 1000


def test_limits_that_are_changed_are_seen(tmp_path):
    root = v2_tree(tmp_path, {"cpu.max": "100000 100000", "memory.max": str(GIB)})
    assert (cpu_limit(root), memory_limit(root)) == (1.0, GIB)

    (root / "sys/fs/cgroup/cpu.max").write_text("200000 100000")
    (root / "sys/fs/cgroup/memory.max").write_text(str(2 * GIB))
    assert (cpu_limit(root), memory_limit(root)) == (2.0, 2 * GIB)


def test_a_mount_point_with_a_blank_and_a_backslash(tmp_path):
    mount = V2_MOUNT.replace("/sys/fs/cgroup", r"/my\040group\134x")
    root = v2_tree(tmp_path, {}, mounts=mount)
    tree(root, {"my group\\x/memory.max": str(GIB)})

    assert memory_limit(root) == GIB


@pytest.mark.parametrize(
    ("groups", "mounts"),
    [
        ("", ""),
        ("\n\n", "\n\n"),
        ("0", "1"),
        ("0::", "1 2 3 4 - cgroup2"),
        ("::::", " - "),
        ("9:memory", "31 23 0:27 / - cgroup"),
        ("9:memory:/\n4:cpu:/", "31 23 0:27 / /sys - cgroup\n32 23 0:27 / /sys - cgroup cgroup"),
        ("0::/\0x", "31 23 0:27 / /\0sys - cgroup2 cgroup2 rw"),
        ("0::/\0x", V2_MOUNT),
    ],
)
def test_what_is_not_understood_is_no_limit(groups: str, mounts: str, tmp_path):
    root = tree(tmp_path, {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, "proc/meminfo": "MemTotal: x"})

    assert (cpu_limit(root), memory_limit(root), memory_usage(root)) == (None, None, None)


def test_files_that_cannot_be_read(tmp_path):
    assert (cpu_limit(tmp_path), memory_limit(tmp_path), memory_usage(tmp_path)) == (None, None, None)

    root = v2_tree(tmp_path / "binary", {"cpu.max": ""})
    (root / "sys/fs/cgroup/memory.max").mkdir()
    (root / "sys/fs/cgroup/cpu.max").write_bytes(b"\xff\xfe\x00")
    assert (cpu_limit(root), memory_limit(root), memory_usage(root)) == (None, None, None)


def test_names_that_are_not_utf8_hide_nothing(tmp_path):
    root = v2_tree(tmp_path, {"memory.max": str(GIB)})
    with (root / "proc/self/mountinfo").open("ab") as mounts:
        mounts.write(b"50 23 0:50 / /mnt/\xff rw - ext4 /dev/sdb rw\n")

    assert memory_limit(root) == GIB


def test_of_this_process():
    cores, limit, usage = cpu_limit(), memory_limit(), memory_usage()

    assert cores is None or cores > 0
    assert (limit is None) >= (usage is None) or limit > 0
    assert usage is None or usage >= 0
