"""What finished traces tell about components."""

from __future__ import annotations

from typing import Any

import pytest

from langflow_otel.insights.components import percentile, shares_in_trees
from langflow_otel.insights.trace import SpanEvent, TraceSpan, build_trees, without_scope

S = 1_000_000_000


def span(name: str, start_s: float, end_s: float, *children: TraceSpan, **attributes: Any) -> TraceSpan:
    return TraceSpan(
        name,
        "t",
        f"{name}-{start_s}",
        None,
        int(start_s * S),
        int(end_s * S),
        {key.replace("__", "."): value for key, value in attributes.items()},
        scope="langflow_otel",
        children=list(children),
    )


def flow(*children: TraceSpan, name: str = "demo", skipped: tuple[str, ...] = ()) -> TraceSpan:
    root = span(f"invoke_workflow {name}", 0, 10, *children, langflow__flow__name=name)
    root.events = [
        SpanEvent("component.skipped", 1, {"langflow.component.id": each, "langflow.component.display_name": each})
        for each in skipped
    ]
    return root


def component(name: str, start_s: float, end_s: float, *children: TraceSpan, status: str = "ok") -> TraceSpan:
    return span(
        f"component {name}",
        start_s,
        end_s,
        *children,
        langflow__component__id=f"{name}-1",
        langflow__component__display_name=name,
        langflow__component__kind="other",
        langflow__status=status,
    )


def test_every_component_has_its_counts_and_percentiles():
    runs = [flow(component("a", 0, n), component("b", 0, 1, status="error" if n == 1 else "ok")) for n in (1, 2, 3)]

    slow, fast = shares_in_trees(runs)
    assert (slow.flow, slow.component_id, slow.name, slow.kind) == ("demo", "a-1", "a", "other")
    assert (slow.count, slow.errors, slow.p50_s, slow.p95_s) == (3, 0, 2.0, pytest.approx(2.9))
    assert (slow.total_s, slow.share) == (6.0, pytest.approx(6 / 9))
    assert (fast.name, fast.count, fast.errors, fast.share) == ("b", 3, 1, pytest.approx(3 / 9))


def test_what_did_not_run_has_no_time():
    cached, skipped = shares_in_trees([flow(component("cached", 0, 1, status="cached"), skipped=("skipped",))])

    assert (cached.count, cached.cached, cached.p50_s, cached.total_s) == (0, 1, None, 0.0)
    assert (skipped.count, skipped.skipped, skipped.p95_s, skipped.share) == (0, 1, None, 0.0)


def test_a_loop_does_not_count_the_time_of_its_body():
    body = [component("body", 1, 3), span("step", 4, 8, component("body", 4, 6), component("body", 5, 7))]
    loop, inner = sorted(shares_in_trees([flow(component("loop", 0, 10, *body))]), key=lambda each: each.count)

    assert (loop.p50_s, loop.total_s) == (10.0, 5.0)
    assert (inner.count, inner.total_s) == (3, 6.0)


def test_a_tool_call_is_no_component():
    call = span("execute_tool a", 0, 1, langflow__component__id="a-1")

    assert [each.name for each in shares_in_trees([flow(component("agent", 0, 2, call))])] == ["agent"]


def test_a_flow_within_a_flow_keeps_its_own_components():
    inner = flow(component("a", 0, 1), name="inner")

    assert sorted((each.flow, each.name) for each in shares_in_trees([flow(component("runs", 0, 2, inner))])) == [
        ("demo", "runs"),
        ("inner", "a"),
    ]


@pytest.mark.parametrize(
    ("values", "rank", "expected"),
    [([], 0.5, None), ([3], 0.95, 3), ([4, 1], 0.5, 2.5), ([1, 2, 3, 4, 5], 0.5, 3), (range(101), 0.95, 95)],
)
def test_percentiles_are_interpolated(values, rank, expected):
    assert percentile(values, rank) == (None if expected is None else pytest.approx(expected))


def test_without_a_scope_its_children_move_up():
    def link(name: str, parent: str | None, scope: str) -> TraceSpan:
        return TraceSpan(name, "t", name, parent, 0, 1, scope=scope)

    spans = [link("a", None, "theirs"), link("b", "a", "theirs"), link("c", "b", "ours"), link("d", "c", "ours")]
    roots = build_trees(without_scope(spans, "theirs"))

    assert [each.name for root in roots for each in root.walk()] == ["c", "d"]
    assert len(roots) == 1
    assert spans[2].parent_id == "b"
