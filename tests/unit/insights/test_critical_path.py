"""The critical path: what would have to be faster for the run to be faster."""

from __future__ import annotations

import random

import pytest

from langflow_otel.insights.critical_path import critical_path, critical_paths
from langflow_otel.insights.selection import Selection
from langflow_otel.insights.trace import TraceSpan, build_trees
from tests.support.made_spans import MadeTraces


def tree(*spans: tuple[str, str | None, float, float]) -> TraceSpan:
    """Spans as (id, parent, start, end); the first is the root."""
    made = [
        TraceSpan(name, "t", name, parent, round(start * 1_000_000), round(end * 1_000_000))
        for name, parent, start, end in spans
    ]
    build_trees(made)
    return made[0]


def path(root: TraceSpan) -> list[tuple[str, float, float]]:
    return [(each.span.name, each.start_ns / 1e6, each.end_ns / 1e6) for each in critical_path(root)]


def test_path_of_a_run_without_children_is_the_run():
    assert path(tree(("run", None, 0, 10))) == [("run", 0, 10)]


def test_path_goes_through_what_ended_last():
    root = tree(
        ("run", None, 0, 100), ("short", "run", 10, 40), ("long", "run", 10, 60), ("model", "long", 20, 50),
        ("last", "run", 70, 90),
    )  # fmt: skip

    assert path(root) == [
        ("run", 0, 10), ("long", 10, 20), ("model", 20, 50), ("long", 50, 60), ("run", 60, 70), ("last", 70, 90),
        ("run", 90, 100),
    ]  # fmt: skip


def test_concurrent_child_is_not_on_the_path():
    root = tree(("run", None, 0, 100), ("early", "run", 0, 60), ("last", "run", 40, 100))

    assert path(root) == [("run", 0, 40), ("last", 40, 100)]


def test_small_overlap_is_two_clocks_and_no_concurrency():
    root = tree(("run", None, 0, 100), ("first", "run", 0, 50.5), ("second", "run", 50, 100))

    assert path(root) == [("first", 0, 50), ("second", 50, 100)]


def test_child_of_a_skewed_clock_is_cut_to_its_parent():
    root = tree(("run", None, 0, 100), ("call", "run", 10, 50), ("remote", "call", 5, 50.2), ("lost", "call", 1, 9))

    assert path(root) == [("run", 0, 10), ("remote", 10, 50), ("run", 50, 100)]


def test_stream_read_after_its_component_is_on_the_path():
    root = tree(
        ("run", None, 0, 100), ("llm", "run", 0, 30), ("prepare", "llm", 0, 10), ("stream", "llm", 20, 90),
        ("out", "run", 90, 95),
    )  # fmt: skip

    assert path(root) == [
        ("prepare", 0, 10), ("llm", 10, 20), ("stream", 20, 90), ("out", 90, 95), ("run", 95, 100),
    ]  # fmt: skip


def test_task_that_outlives_the_run_is_not_on_the_path():
    root = tree(("run", None, 0, 100), ("background", "run", 50, 300))

    assert path(root) == [("run", 0, 100)]


def test_clock_that_went_back_takes_no_time():
    root = tree(("run", None, 0, 10), ("odd", "run", 5, 2), ("good", "run", 6, 8))

    assert path(root) == [("run", 0, 6), ("good", 6, 8), ("run", 8, 10)]


def test_deep_trace_needs_no_deep_recursion():
    depth = 5000
    root = tree(("0", None, 0, depth * 2), *((str(i), str(i - 1), i, depth * 2 - i) for i in range(1, depth)))

    assert sum(each.end_ns - each.start_ns for each in critical_path(root)) == depth * 2_000_000


@pytest.mark.parametrize("seed", range(50))
def test_segments_cover_any_run_exactly(seed):
    chance = random.Random(seed)
    spans = [("0", None, 0.0, 100.0)]
    for number in range(1, 40):
        parent = chance.choice(spans)
        start = parent[2] + chance.uniform(-5, 40)
        spans.append((str(number), parent[0], start, start + chance.choice([0, 1, 10, 80, -3])))

    segments = path(tree(*spans))

    assert segments[0][1] == 0
    assert segments[-1][2] == 100
    assert [each[2] for each in segments[:-1]] == [each[1] for each in segments[1:]]


def test_paths_of_many_runs_are_added_up_by_place():
    made = MadeTraces()
    for seconds in (1.0, 3.0):
        run = made.run(seconds + 1)
        run.add("component LLM", 0, seconds + 0.5).add("chat m", 0.5, seconds, what="model")
    made.run(7, flow="other")
    connection = made.connect()

    both = critical_paths(connection, Selection(flow="shop"))
    newest = critical_paths(connection, max_runs=1)

    assert (both.runs, both.runs_selected, both.total_s) == (2, 2, 6)
    assert [(each.component, each.name, each.runs, each.total_s) for each in both.shares] == [
        ("LLM", "chat m", 2, 4.0), ("", "invoke_workflow shop", 2, 1.0), ("LLM", "component LLM", 2, 1.0),
    ]  # fmt: skip
    assert sum(each.share for each in both.shares) == pytest.approx(1)
    assert (newest.runs, newest.runs_selected, newest.total_s) == (1, 3, 7)
