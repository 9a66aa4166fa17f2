"""The dashboard about what LangFlow's processes use."""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import Panel, dashboard, graph, number, query, variable
from queries import JOB, LONGEST_DELAY, of_machine_per_second

PODS = f'{JOB},pod=~"$pod"'
USED = "job_instance_resource:langflow_utilization:ratio"
CONTAINERS = 'container=~"langflow.*",namespace=~"$namespace",pod=~"$pod"'
HOST = 'job="host"'
LIMITS = (0.8, 0.9)
LATE_S = 10
"""As LangflowEventLoopStopped has it."""


def resources() -> Dashboard:
    board = dashboard(
        "langflow-resources",
        "LangFlow: Resources",
        "What LangFlow's processes use, and what is scarce. Pods and namespaces are those of Kubernetes.",
        variable("pod", "Pod", f"up{{{JOB}}}, pod", all_value=".*"),
        rollups=False,
        traces=False,
    )
    for panel in _numbers():
        board.with_panel(panel)
    for title, panels, is_for_some in (
        ("Saturation", _saturation(), False),
        ("CPU and memory", _cpu_and_memory(), False),
        ("Disk and network", _disk_and_network(), False),
        ("Processes", _processes(), False),
        ("GPU: with pip install 'langflow-otel[gpu]'", _gpu(), True),
        ("Kubernetes: with kube-state-metrics", _kubernetes(), True),
        ("Hosts: with the collector's agent.yaml", _hosts(), True),
    ):
        board.with_row(Row(title).collapsed(is_for_some))
        for panel in panels:
            board.with_panel(panel)
    return board


def _numbers() -> Iterator[Panel]:
    for title, resource in (
        ("CPU", "cpu"),
        ("Memory", "memory"),
        ("CPU of the machine", "machine_cpu"),
        ("Background jobs", "background_jobs"),
        ("GPU", "gpu"),
        ("GPU memory", "gpu_memory"),
    ):
        about = f"{title}: the replica that uses most of it. Red: see Saturation for which one, and add replicas."
        used = f'max({USED}{{{PODS},resource="{resource}"}})'
        yield number(title, "percentunit", about, used, LIMITS, width=4)


def _saturation() -> Iterator[Panel]:
    yield graph(
        "Used, as a share of what may be used",
        "percentunit",
        "The fullest replica, for each resource. A ticket comes at 80 %.",
        query(f"max by (resource) ({USED}{{{PODS}}})", "{{resource}}"),
        width=6,
        limit=LIMITS[0],
    )
    yield graph(
        "Active runs for each core",
        "none",
        "Runs going on, divided by the cores that the process may use.",
        query(f"langflow_cpu_saturation_ratio{{{PODS}}}", "{{instance}}"),
        width=6,
    )
    yield graph(
        "Delay of the event loop (P99)",
        "s",
        "How late it ran what was due. Above 0.5 s a component blocks it.",
        query(f"job_instance:langflow_event_loop_delay_seconds:p99_5m{{{PODS}}}", "{{instance}}"),
        width=6,
        limit=0.5,
        above=LONGEST_DELAY,
    )
    yield graph(
        "Event loop: late right now",
        "s",
        "Since when it has run nothing of what is due. A line that climbs: a component blocks the process, and all its"
        " requests and runs wait. Above 10 s it pages: restart that replica, then look for the component in Flow.",
        query(f"max by (instance, worker) (langflow_event_loop_lateness_seconds{{{PODS}}})", "{{instance}} {{worker}}"),
        width=6,
        limit=LATE_S,
    )


def _cpu_and_memory() -> Iterator[Panel]:
    cpu = of_machine_per_second("process_cpu_time_seconds_total", PODS, "instance", "worker")
    yield graph(
        "CPU cores in use",
        "none",
        "Of each worker; the line of the limit is what the process may use.",
        query(cpu, "{{instance}} {{worker}}"),
        query(f"max by (instance) (system_cpu_cores{{{PODS}}})", "{{instance}} limit"),
    )
    yield graph(
        "CPU of the machine",
        "percentunit",
        "All cores of the machine, also what other processes use.",
        query(f"system_cpu_utilization_ratio{{{PODS}}}", "{{instance}}"),
    )
    yield graph(
        "Memory of the processes",
        "bytes",
        "Resident, of each worker, and what may be used.",
        query(f"process_memory_usage_bytes{{{PODS}}}", "{{instance}} {{worker}}"),
        query(f"max by (instance) (system_memory_limit_bytes{{{PODS}}})", "{{instance}} limit"),
    )
    yield graph(
        "Memory that is held, and not in use",
        "percentunit",
        "Of the C heap. Memory that only seems to leak makes it high.",
        query(f"langflow_memory_fragmentation_ratio{{{PODS}}}", "{{instance}} {{worker}}"),
    )


def _disk_and_network() -> Iterator[Panel]:
    for title, about, counter, direction in (
        ("Disk, of the processes", "Bytes read and written.", "process_disk_io_bytes_total", "disk_io_direction"),
        ("Disk, of the machine", "On all disks.", "system_disk_io_bytes_total", "disk_io_direction"),
        ("Network, of the machine", "Over all interfaces.", "system_network_io_bytes_total", "network_io_direction"),
    ):
        moved = of_machine_per_second(counter, PODS, "instance", direction)
        yield graph(title, "Bps", about, query(moved, f"{{{{instance}}}} {{{{{direction}}}}}"), width=6)
    yield graph(
        "Disk in use",
        "percentunit",
        "Of the file systems of the working directory and of LANGFLOW_CONFIG_DIR. A full one stops LangFlow's"
        " database.",
        query(
            f"max by (instance, system_filesystem_mountpoint) (system_filesystem_utilization_ratio{{{PODS}}})",
            "{{instance}} {{system_filesystem_mountpoint}}",
        ),
        width=6,
        limit=0.9,
    ).max(1)


def _gpu() -> Iterator[Panel]:
    yield graph(
        "GPU",
        "percentunit",
        "Share of the time in which it was busy.",
        query(f"hw_gpu_utilization_ratio{{{PODS}}}", "{{hw_name}} {{hw_id}}"),
    )
    yield graph(
        "GPU memory",
        "bytes",
        "In use, and there.",
        query(f"hw_gpu_memory_usage_bytes{{{PODS}}}", "{{hw_name}} {{hw_id}}"),
        query(f"hw_gpu_memory_limit_bytes{{{PODS}}}", "{{hw_name}} {{hw_id}} limit"),
    )


def _processes() -> Iterator[Panel]:
    for title, unit, about, gauge in (
        ("Uptime", "s", "Falls back when a process starts again.", "process_uptime_seconds"),
        ("Threads", "none", "Of each worker.", "process_threads"),
        (
            "Open files",
            "none",
            "Of each worker. One that climbs: files or connections are not closed.",
            "process_open_fds",
        ),
    ):
        yield graph(title, unit, about, query(f"{gauge}{{{PODS}}}", "{{instance}} {{worker}}"), width=8)


def _kubernetes() -> Iterator[Panel]:
    of_namespace = '{namespace=~"$namespace"}'
    yield graph(
        "Replicas wanted and available",
        "none",
        "Apart for long: kubectl describe the pods that are not ready.",
        *(
            query(f"job_namespace_deployment:{name}:max{of_namespace}", f"{{{{namespace}}}}/{{{{deployment}}}} {what}")
            for name, what in (
                ("kube_deployment_spec_replicas", "wanted"),
                ("kube_deployment_status_replicas_available", "available"),
            )
        ),
        width=8,
    )
    yield graph(
        "Restarts within an hour",
        "none",
        "Of LangFlow's containers, by pod. kubectl logs --previous says why; OOMKilled: the memory limit.",
        query(
            f"round(sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{{{CONTAINERS}}}[1h])))",
            "{{namespace}}/{{pod}}",
        ),
        width=8,
    )
    yield graph(
        "Containers that wait",
        "none",
        "And for what: ImagePullBackOff, CrashLoopBackOff, ContainerCreating.",
        query(
            f"sum by (reason) (kube_pod_container_status_waiting_reason{{{CONTAINERS}}}) > 0",
            "{{reason}}",
        ),
        width=8,
    )


def _hosts() -> Iterator[Panel]:
    yield graph(
        "CPU of each host",
        "percentunit",
        "All cores. The machines on which agents run, also what other processes use.",
        query(f'1 - avg by (instance) (system_cpu_utilization_ratio{{{HOST},state="idle"}})', "{{instance}}"),
        width=8,
        limit=0.9,
    ).max(1)
    yield graph(
        "Load of each core",
        "none",
        "Processes that run or wait to run, over 1 min. Above 1 they wait for each other.",
        query(f"system_cpu_load_average_1m{{{HOST}}} / system_cpu_logical_count{{{HOST}}}", "{{instance}}"),
        width=8,
        limit=1,
    )
    yield graph(
        "Memory of each host",
        "percentunit",
        "In use; caches are not in it.",
        query(f'sum by (instance) (system_memory_utilization_ratio{{{HOST},state="used"}})', "{{instance}}"),
        width=8,
        limit=0.9,
    ).max(1)
    yield graph(
        "File systems of each host",
        "percentunit",
        "In use. Full: the collector's queue, Prometheus or LangFlow's database cannot write.",
        query(
            f"max by (instance, mountpoint) (system_filesystem_utilization_ratio{{{HOST}}})",
            "{{instance}} {{mountpoint}}",
        ),
        width=8,
        limit=0.9,
    ).max(1)
    yield graph(
        "Disks of each host: busy",
        "percentunit",
        "Share of the time in which the disk worked. Near 100 % everything that writes waits.",
        query(
            f"max by (instance, device) (rate(system_disk_io_time_seconds_total{{{HOST}}}[$__rate_interval]))",
            "{{instance}} {{device}}",
        ),
        width=8,
    ).max(1)
    yield graph(
        "Network of each host",
        "Bps",
        "Received and sent, over all interfaces.",
        query(
            f"sum by (instance, direction) (rate(system_network_io_bytes_total{{{HOST}}}[$__rate_interval]))",
            "{{instance}} {{direction}}",
        ),
        width=8,
    )
