"""The dashboard about the telemetry itself."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import dashboard, graph, query
from queries import JOB, per_second

COLLECTOR = 'job=~"otel-collector.*"'
QUEUE = f"otelcol_exporter_queue_size{{{COLLECTOR}}} / otelcol_exporter_queue_capacity{{{COLLECTOR}}}"
MEMORY = f"otelcol_process_memory_rss{{{COLLECTOR}}} or otelcol_process_memory_rss_bytes{{{COLLECTOR}}}"
RULES = 'label_replace(prometheus_rule_group_last_duration_seconds, "group", "$1", "rule_group", ".*;(.*)")'
"""By the group's name alone, without the path of its file."""
FAILED_RULES = (
    'label_replace(increase(prometheus_rule_evaluation_failures_total[5m]), "group", "$1", "rule_group", ".*;(.*)")'
)


def _accepted(item: str) -> str:
    """With and without _total: which of them a collector says depends on its telemetry settings."""
    series = f'{{__name__=~"otelcol_receiver_accepted_{item}(_total)?",{COLLECTOR}}}'
    return f"sum by (instance) (rate({series}[$__rate_interval]))"


def _of_5_minutes(notifications: str) -> str:
    """Alertmanager counts those of each integration that there is, in use or not."""
    return f"round(sum by (integration) (increase({notifications}[5m]))) > 0"


def telemetry() -> Dashboard:
    board = dashboard(
        "langflow-telemetry",
        "LangFlow: Telemetry health",
        "Can the other dashboards be believed?",
        rollups=False,
        traces=False,
    )
    board.with_row(Row("LangFlow"))
    for panel in (
        graph(
            "Lost in LangFlow's processes",
            "cps",
            "Spans, data points and log records that the library lost, and errors of its own that it"
            " contained. queue_full:"
            " the collector does not keep up; export_failed: it does not answer.",
            query(per_second("langflow_otel_dropped_total", JOB, "signal", "reason"), "{{signal}} {{reason}}"),
        ),
        graph(
            "Answers the scrape",
            "none",
            "1: it does. 0: all panels about that target are blind, and alerts too.",
            query('up{job=~"langflow.*|otel-collector.*|prometheus"}', "{{job}} {{instance}}"),
        ),
        graph(
            "Time of a scrape",
            "s",
            "Of LangFlow's page of metrics. Above the scrape's timeout of 10 s there is none.",
            query(f"scrape_duration_seconds{{{JOB}}}", "{{instance}}"),
            limit=10,
        ),
        graph(
            "Series of a scrape", "none", "What is paid for.", query(f"scrape_samples_scraped{{{JOB}}}", "{{instance}}")
        ),
    ):
        board.with_panel(panel)
    board.with_row(Row("Collector"))
    for panel in (
        graph(
            "Taken in",
            "cps",
            "Spans, data points and log records.",
            *(query(_accepted(item), f"{{{{instance}}}} {item}") for item in ("spans", "metric_points", "log_records")),
        ),
        graph(
            "Lost",
            "cps",
            "Refused (the sender sends again), queue full, not delivered after all retries.",
            query(
                f"job_instance_signal_reason:otelcol_lost_items:rate5m{{{COLLECTOR}}}",
                "{{instance}} {{signal}} {{reason}}",
            ),
        ),
        graph(
            "Sending queues",
            "percentunit",
            "How full they are. A ticket comes at 80 %. Red: the backend behind the exporter does not answer.",
            query(f"max by (instance, exporter) ({QUEUE})", "{{instance}} {{exporter}}"),
            limit=0.8,
        ),
        graph(
            "Memory",
            "bytes",
            "Of the collector's process.",
            query(MEMORY, "{{instance}}"),
        ),
    ):
        board.with_panel(panel)
    board.with_row(Row("Prometheus and Alertmanager"))
    for panel in (
        graph(
            "Series",
            "none",
            "In memory; each costs about 3 kB.",
            query("prometheus_tsdb_head_series", "{{instance}}"),
            width=8,
        ),
        graph(
            "Time to evaluate the rules",
            "s",
            "Of each group, the last time.",
            query(RULES, "{{group}}"),
            width=8,
        ),
        graph(
            "Waiting for the long-term store",
            "none",
            "Samples of remote write that are not sent yet.",
            query("prometheus_remote_storage_samples_pending", "{{remote_name}}"),
            width=8,
        ),
        graph(
            "Rules that fail",
            "none",
            "Evaluations that failed within 5 min. Above 0 alerts are missing: the page /rules of Prometheus"
            " has the error.",
            query(f"sum by (group) ({FAILED_RULES}) > 0 or on () vector(0)", "failed {{group}}"),
            width=8,
            limit=1,
        ),
        graph(
            "Alerts that fire",
            "none",
            "By severity; the Watchdog fires always.",
            query('count by (severity) (ALERTS{alertstate="firing"})', "{{severity}}"),
            width=8,
        ),
        graph(
            "Notifications",
            "none",
            "Sent within 5 min, and those of them that failed: people were not told. Alertmanager's log has"
            " the reason.",
            query(_of_5_minutes("alertmanager_notifications_total"), "{{integration}}"),
            query(_of_5_minutes("alertmanager_notifications_failed_total"), "{{integration}} failed"),
            width=8,
        ),
    ):
        board.with_panel(panel)
    return board
