"""The dashboard about what LangFlow's processes use."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import dashboard, graph, number, query
from queries import JOB, of_machine_per_second

USED = "job_instance_resource:langflow_utilization:ratio"
LIMITS = (0.8, 0.9)


def resources() -> Dashboard:
    board = dashboard("langflow-resources", "LangFlow: Resources", "What LangFlow's processes use, and what is scarce.")
    for title, resource in (
        ("CPU", "cpu"),
        ("Memory", "memory"),
        ("CPU of the machine", "machine_cpu"),
        ("Background jobs", "background_jobs"),
        ("GPU", "gpu"),
        ("GPU memory", "gpu_memory"),
    ):
        about = f"The replica that uses most of its {title}."
        board.with_panel(number(title, "percentunit", about, f'max({USED}{{{JOB},resource="{resource}"}})', LIMITS))
    board.with_row(Row("Saturation"))
    for panel in (
        graph(
            "Used, as a share of what may be used",
            "percentunit",
            "The fullest replica, for each resource. A ticket comes at 80 %.",
            query(f"max by (resource) ({USED}{{{JOB}}})", "{{resource}}"),
            width=8,
        ),
        graph(
            "Active runs for each core",
            "none",
            "Runs going on, divided by the cores that the process may use.",
            query(f"langflow_cpu_saturation_ratio{{{JOB}}}", "{{instance}}"),
            width=8,
        ),
        graph(
            "Delay of the event loop (P99)",
            "s",
            "How late it ran what was due. Above 0.5 s a component blocks it.",
            query(f"job_instance:langflow_event_loop_delay_seconds:p99_5m{{{JOB}}}", "{{instance}}"),
            width=8,
        ),
    ):
        board.with_panel(panel)
    board.with_row(Row("CPU and memory"))
    for panel in (
        graph(
            "CPU cores in use",
            "none",
            "Of each worker; the line of the limit is what the process may use.",
            query(
                of_machine_per_second("process_cpu_time_seconds_total", "instance", "worker"), "{{instance}} {{worker}}"
            ),
            query(f"max by (instance) (system_cpu_cores{{{JOB}}})", "{{instance}} limit"),
        ),
        graph(
            "CPU of the machine",
            "percentunit",
            "All cores of the machine, whoever uses them.",
            query(f"system_cpu_utilization_ratio{{{JOB}}}", "{{instance}}"),
        ),
        graph(
            "Memory of the processes",
            "bytes",
            "Resident, of each worker, and what may be used.",
            query(f"process_memory_usage_bytes{{{JOB}}}", "{{instance}} {{worker}}"),
            query(f"max by (instance) (system_memory_limit_bytes{{{JOB}}})", "{{instance}} limit"),
        ),
        graph(
            "Memory that is held, and not in use",
            "percentunit",
            "Of the C heap. Memory that only seems to leak makes it high.",
            query(f"langflow_memory_fragmentation_ratio{{{JOB}}}", "{{instance}} {{worker}}"),
        ),
    ):
        board.with_panel(panel)
    board.with_row(Row("Disk and network"))
    for panel in (
        graph(
            "Disk, of the processes",
            "Bps",
            "Bytes read and written.",
            query(
                of_machine_per_second("process_disk_io_bytes_total", "instance", "disk_io_direction"),
                "{{instance}} {{disk_io_direction}}",
            ),
            width=8,
        ),
        graph(
            "Disk, of the machine",
            "Bps",
            "Bytes read and written on all disks.",
            query(
                of_machine_per_second("system_disk_io_bytes_total", "instance", "disk_io_direction"),
                "{{instance}} {{disk_io_direction}}",
            ),
            width=8,
        ),
        graph(
            "Network, of the machine",
            "Bps",
            "Over all interfaces.",
            query(
                of_machine_per_second("system_network_io_bytes_total", "instance", "network_io_direction"),
                "{{instance}} {{network_io_direction}}",
            ),
            width=8,
        ),
    ):
        board.with_panel(panel)
    board.with_row(Row("GPU: with pip install 'langflow-otel[gpu]'"))
    for panel in (
        graph(
            "GPU",
            "percentunit",
            "Share of the time in which it was busy.",
            query(f"hw_gpu_utilization_ratio{{{JOB}}}", "{{hw_name}} {{hw_id}}"),
        ),
        graph(
            "GPU memory",
            "bytes",
            "In use, and there.",
            query(f"hw_gpu_memory_usage_bytes{{{JOB}}}", "{{hw_name}} {{hw_id}}"),
            query(f"hw_gpu_memory_limit_bytes{{{JOB}}}", "{{hw_name}} {{hw_id}} limit"),
        ),
    ):
        board.with_panel(panel)
    board.with_row(Row("Processes"))
    for panel in (
        graph(
            "Uptime",
            "s",
            "Falls back when a process starts again.",
            query(f"process_uptime_seconds{{{JOB}}}", "{{instance}} {{worker}}"),
            width=8,
        ),
        graph(
            "Threads", "none", "Of each worker.", query(f"process_threads{{{JOB}}}", "{{instance}} {{worker}}"), width=8
        ),
        graph(
            "Open files",
            "none",
            "Of each worker.",
            query(f"process_open_fds{{{JOB}}}", "{{instance}} {{worker}}"),
            width=8,
        ),
    ):
        board.with_panel(panel)
    return board
