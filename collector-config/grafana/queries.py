"""PromQL that several panels ask."""

from __future__ import annotations

from typing import Final

FLOWS: Final = "langflow_flow_duration_seconds"
COMPONENTS: Final = "langflow_component_duration_seconds"
MODELS: Final = "gen_ai_client_inference"

# Largest buckets: see SECONDS, _REQUEST_SECONDS, _MODEL_SECONDS and _DELAY_SECONDS in _metrics/catalogue.py.
LONGEST_RUN: Final = 300.0
LONGEST_REQUEST: Final = 10.0
LONGEST_CALL: Final = 81.92
LONGEST_DELAY: Final = 5.0

JOB: Final = 'job=~"$job",namespace=~"$namespace"'
"""Chooses a deployment: the scrape's job and, on Kubernetes, the namespace."""


def recorded(name: str, *by: str, of: str = "sum", where: str = JOB) -> str:
    """What a recording rule made; by default over the chosen deployments."""
    grouped = f" by ({', '.join(by)}) " if by else " "
    return f"{of}{grouped}({name}{{{where}}})"


def per_second(counter: str, where: str, *by: str) -> str:
    """A rate that has a series whole from its birth, as the recording rules do: see rules/recording.yml."""
    series, began = f"{counter}{{{where}}}", f"langflow_otel_start_time_seconds{{{JOB}}}"
    seconds = "$__rate_interval_ms / 1000"
    return (
        f"sum by ({', '.join(by)}) ("
        f"max_over_time({series}[$__rate_interval]) / ({seconds})"
        f" unless last_over_time({series}[2m] offset $__rate_interval)"
        f" and on (job, namespace, instance) (max_over_time(up{{{JOB}}}[2m] offset $__rate_interval) == 1"
        f" or min_over_time({began}[$__rate_interval]) > time() - {seconds} - 60)"
        f" or rate({series}[$__rate_interval]))"
    )


def of_machine_per_second(counter: str, where: str, *by: str) -> str:
    """Of counters that the system keeps, which do not begin with their first sample."""
    return f"sum by ({', '.join(by)}) (rate({counter}{{{where}}}[$__rate_interval]))"


def per_minute(rate: str) -> str:
    return f"60 * ({rate})"


def mean(histogram: str, where: str, *by: str) -> str:
    return f"{per_second(f'{histogram}_sum', where, *by)} / ({per_second(f'{histogram}_count', where, *by)} > 0)"


def quantile(q: float, histogram: str, where: str, *by: str) -> str:
    """Absent where nothing happened: the quantile of nothing is NaN."""
    return f"histogram_quantile({q}, {per_second(f'{histogram}_bucket', where, 'le', *by)}) >= 0"


def or_recorded(counted: str, recorded_: str, where: str) -> str:
    """What is counted now or, in a store that has recorded series only, what the recording rules made of it.

    Args:
        counted: By the library's own series.
        recorded_: The same figure, with the same labels.
        where: The labels of the library's own series of flows, which tell whether the store has them.
    """
    return f"({counted}) or (({recorded_}) unless on () ({FLOWS}_count{{{where}}}))"


def failed(where: str, *by: str) -> str:
    """Failed runs as a share of those that ended ok or failed, from the counters."""
    counter = "langflow_flow_duration_seconds_count"
    ended = per_second(counter, f'{where},status=~"ok|error"', *by)
    failures = per_second(counter, f'{where},status="error"', *by)
    return f"({failures} or 0 * {ended}) / ({ended} > 0)"
