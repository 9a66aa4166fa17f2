"""Curves of CPU, memory and delay under runs, from the spans of flows."""

from __future__ import annotations

import duckdb

from langflow_otel.insights.resources import ResourcePoint, resources_from_runs

S = 1_000_000_000


def with_runs(*runs: tuple[str, int, int, dict[str, str]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE runs (instance VARCHAR, start_ns BIGINT, end_ns BIGINT, duration_ns BIGINT, "
        "attributes MAP(VARCHAR, VARCHAR))"
    )
    for instance, start_s, end_s, attributes in runs:
        connection.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?, map(?, ?))",
            [instance, start_s * S, end_s * S, (end_s - start_s) * S, list(attributes), list(attributes.values())],
        )
    return connection


def said(cpu_s: float, memory: int, delay_s: float = 0.0, active: int = 1) -> dict[str, str]:
    return {
        "langflow.flow.process.cpu.time": str(cpu_s),
        "langflow.flow.process.memory.peak": str(memory),
        "langflow.flow.event_loop.delay.peak": str(delay_s),
        "langflow.flow.active.peak": str(active),
    }


def test_steps_have_the_figures_of_the_runs_in_them():
    connection = with_runs(("a", 0, 2, said(1.0, 100)), ("a", 4, 5, said(1.0, 300, 0.5, 2)))

    assert resources_from_runs(connection, 0, 6 * S, points=6) == [
        ResourcePoint(0, 0.5, 100, 0.0, 1, None),
        ResourcePoint(1 * S, 0.5, 100, 0.0, 1, None),
        ResourcePoint(4 * S, 1.0, 300, 0.5, 2, None),
    ]


def test_runs_at_once_do_not_add_up_and_processes_do():
    runs = [("a", 0, 2, said(1.0, 100)), ("a", 0, 2, said(1.0, 120)), ("b", 0, 2, said(0.5, 50, 0.2, 3))]

    assert resources_from_runs(with_runs(*runs), 0, 2 * S, points=1) == [ResourcePoint(0, 0.75, 170, 0.2, 4, None)]


def test_runs_of_older_versions_leave_unknown_what_they_do_not_say():
    found = resources_from_runs(with_runs(("a", 0, 1, {"langflow.flow.process.memory.peak": "7"})), 0, S, points=1)

    assert found == [ResourcePoint(0, None, 7, None, None, None)]
