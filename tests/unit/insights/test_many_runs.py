"""Components, flames, errors, models and sessions over many runs."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from langflow_otel.insights.components import component_shares, shares_in_trees
from langflow_otel.insights.critical_path import critical_paths
from langflow_otel.insights.errors import error_groups
from langflow_otel.insights.flames import Frame, flame_difference, flame_graph
from langflow_otel.insights.models import model_use
from langflow_otel.insights.selection import Selection
from langflow_otel.insights.sessions import sessions
from langflow_otel.insights.traces import open_traces
from tests.support.made_spans import START_NS, MadeTraces


def lines(frame: Frame, depth: int = 0) -> list[str]:
    line = f"{'  ' * depth}{frame.name or 'all'} x{frame.count} {frame.total_s:g} {frame.self_s:g}"
    return [line, *(each for child in frame.children for each in lines(child, depth + 1))]


def test_flames_merge_runs_by_their_names():
    made = MadeTraces()
    for seconds in (1.0, 2.0):
        run = made.run(seconds + 0.5)
        run.add("component A", 0, seconds).add("chat m", 0.5, seconds - 0.5, what="model")
        run.add("component B", seconds, 0.25)

    assert lines(flame_graph(made.connect())) == [
        "all x2 4 0",
        "  invoke_workflow shop x2 4 0.5",
        "    component A x2 3 1",
        "      chat m x2 2 2",
        "    component B x2 0.5 0.5",
    ]


def test_own_time_counts_parallel_children_once():
    made = MadeTraces()
    run = made.run(10)
    run.add("component A", 1, 4)
    run.add("component A", 2, 1)
    run.add("component A", 3, 4)
    run.add("component A", 9, 5)  # it ends after the run

    frame = flame_graph(made.connect()).children[0]

    assert (frame.total_s, frame.self_s) == (10, 3)
    assert frame.width_s == pytest.approx(3 + 14)


def test_backward_clock_takes_no_time():
    made = MadeTraces()
    run = made.run(2)
    run.add("component A", 1, -5)

    frame = flame_graph(made.connect()).children[0]

    assert (frame.self_s, frame.children[0].total_s, frame.children[0].self_s) == (2, 0, 0)


def test_flame_difference_is_of_a_mean_run():
    made = MadeTraces()
    for version, slow_s, count in (("old", 1.0, 3), ("new", 4.0, 1)):
        for _ in range(count):
            run = made.run(slow_s + 1, flow_version=version)
            run.add("component Slow", 0, slow_s)
            if version == "new":
                run.add("component New", slow_s, 0.5)
            else:
                run.add("component Old", slow_s, 0.25)

    whole = flame_difference(made.connect(), Selection(version="old"), Selection(version="new"))

    children = whole.children[0].children
    assert [(each.name, each.change_s) for each in children] == [
        ("component Slow", 3.0),
        ("component New", 0.5),
        ("component Old", -0.25),
    ]
    assert (children[1].before, children[2].after) == (None, None)
    assert (whole.count_before, whole.count_after, whole.change_s) == (1, 1, 3.0)


def test_flames_of_sub_flow_begin_at_it():
    made = MadeTraces()
    caller = made.run(5).add("component Run Flow", 0, 4)
    caller.add("invoke_workflow inner", 1, 2, what="flow").add("component Deep", 1, 1)

    connection = made.connect()

    assert lines(flame_graph(connection, Selection(flow="inner"))) == [
        "all x1 2 0",
        "  invoke_workflow inner x1 2 1",
        "    component Deep x1 1 1",
    ]
    assert flame_graph(connection).count == 1


def test_two_runs_of_a_trace_are_kept_apart():
    made = MadeTraces()
    request = made.make("POST /chat", START_NS, 10, what="request")
    for name in ("first", "second"):
        run = request.add(f"invoke_workflow {name}", 1, 2, what="flow")
        run.add(f"component In {name}", 1, 1)
    connection = made.connect()

    assert [each.name for each in component_shares(connection, Selection(flow="first"))] == ["In first"]
    assert [run.name for run in flame_graph(connection).children] == ["invoke_workflow first", "invoke_workflow second"]


def test_parents_in_a_circle_end():
    made = MadeTraces()
    run = made.run(1)
    one = run.add("component A", 0, 1)
    one.row["parent_id"] = one.add("component B", 0, 1).row["span_id"]
    connection = made.connect()

    assert lines(flame_graph(connection)) == ["all x1 1 0", "  invoke_workflow shop x1 1 1"]
    assert {each.name for each in component_shares(connection)} == {"A", "B"}


def test_component_shares_leave_out_inner_components():
    made = MadeTraces()
    run = made.run(10)
    loop = run.add("component Loop", 0, 8)
    for index in (0, 1):
        loop.add("component Body", index * 3, 3, loop_index=index)
    loop.add("execute_tool Search", 6, 2, what="tool").add("component Search", 6, 1.5, component_id="Search-1")
    run.add("component Out", 8, 0.5, status="error")
    run.add("component Cheap", 9, 0.01, status="cached")
    run.row["events"] = [
        {
            "name": "component.skipped",
            "time_ns": START_NS,
            "attributes": {"langflow.component.id": "Left-1", "langflow.component.display_name": "Left"},
        },
    ]

    shares = component_shares(made.connect())

    assert [(each.name, each.count, each.runs, each.total_s) for each in shares] == [
        ("Body", 2, 1, 6.0),
        ("Search", 1, 1, 1.5),
        ("Loop", 1, 1, 0.5),
        ("Out", 1, 1, 0.5),
        ("Cheap", 0, 0, 0.0),
        ("Left", 0, 0, 0.0),
    ]
    assert [each.cumulative_share for each in shares] == pytest.approx([6 / 8.5, 7.5 / 8.5, 8 / 8.5, 1, 1, 1])
    assert [each.in_pareto for each in shares] == [True, True, False, False, False, False]
    assert [(each.errors, each.cached, each.skipped) for each in shares[3:]] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert (shares[0].p50_s, shares[4].p50_s) == (3.0, None)


def test_component_shares_are_the_same_in_trees(tmp_path):
    made = MadeTraces()
    for seconds in (1, 3):
        run = made.run(10)
        loop = run.add("component Loop", 0, 8)
        loop.add("component Body", 0, seconds)
        loop.add("component Body", 1, 3)
        run.add("component Out", 8, 0.5, status="error")
        run.add("component Cheap", 9, 0.01, status="cached")
        run.row["events"] = [
            {
                "name": "component.skipped",
                "time_ns": START_NS,
                "attributes": {"langflow.component.id": "Left-1", "langflow.component.display_name": "Left"},
            },
        ]
    with open_traces([made.write(tmp_path / "spans.jsonl")], cache_dir=tmp_path) as traces:
        of_file = component_shares(traces.connection)
        roots = [root for row in made.rows if row["what"] == "flow" for root in traces.trace(row["trace_id"])]

    assert len(of_file) == 5
    assert [asdict(each) for each in shares_in_trees(roots)] == [pytest.approx(asdict(each)) for each in of_file]


def test_errors_are_grouped_where_they_arose():
    made = MadeTraces()
    for message in ("first", "second"):
        run = made.run(3, status="error", error_type="RateLimitError", error_category="rate_limit")
        llm = run.add("component LLM", 0, 2, status="error", error_type="RateLimitError", error_category="rate_limit")
        call = llm.add(
            "chat m", 0, 2, what="model", status="error", error_type="RateLimitError", error_category="rate_limit"
        )
        call.row["events"] = [
            {
                "name": "exception",
                "time_ns": START_NS,
                "attributes": {"exception.message": message, "http.response.status_code": "429"},
            }
        ]
    agent = made.run(3).add("invoke_agent Helper", 0, 2, what="agent")
    agent.add("execute_tool web", 0, 1, what="tool", status="error", error_type="KeyError", error_category="tool")

    first, second = error_groups(made.connect())

    assert (first.error_type, first.category, first.component, first.name) == (
        "RateLimitError",
        "rate_limit",
        "LLM",
        "chat m",
    )
    assert (first.count, first.runs, first.failed_runs) == (2, 2, 2)
    assert (first.message, first.http_status, first.sample_span_id) == ("second", "429", made.rows[5]["span_id"])
    assert first.first_ns == START_NS
    assert (second.error_type, second.component, second.failed_runs, second.message) == ("KeyError", "Helper", 0, None)


def test_error_of_a_request_is_that_of_its_call():
    made = MadeTraces()
    failed = {"status": "error", "error_type": "AuthenticationError", "error_category": "authentication"}
    refused = {"status": "error", "error_type": "401", "attributes": {"http.request.method": "POST"}}
    call = made.run(3, **failed).add("component LLM", 0, 2, **failed).add("chat m", 0, 2, what="model", **failed)
    for attempt in range(2):
        call.add("POST", attempt, 1, what="other", **refused)
    repeated = made.run(3).add("component LLM", 0, 2).add("chat m", 0, 2, what="model")
    repeated.add("POST", 0, 1, what="other", **refused)

    first, second = error_groups(made.connect())

    assert (first.error_type, first.category, first.name, first.count) == (
        "AuthenticationError",
        "authentication",
        "chat m",
        1,
    )
    assert (second.error_type, second.name, second.count, second.failed_runs) == ("401", "POST", 1, 0)


def test_errors_of_the_same_moment_are_in_order_of_their_names():
    made = MadeTraces()
    run = made.run(3)
    names = [f"call {number:02}" for number in range(40)]
    for name in sorted(names, key=lambda each: each[::-1]):
        run.add(name, 0, 1, what="tool", status="error", error_type="KeyError")

    assert [each.name for each in error_groups(made.connect())] == names


def test_models_have_their_sums():
    made = MadeTraces()
    run = made.run(9, model=None, input_tokens=300)
    agent = run.add("invoke_agent Helper", 0, 4, what="agent", input_tokens=300)
    for currency, retries in (("USD", 2), ("EUR", None)):
        agent.add(
            "chat m",
            0,
            2,
            what="model",
            model="m",
            provider="openai",
            input_tokens=100,
            output_tokens=10,
            cost=0.5,
            currency=currency,
            retries=retries,
            time_to_first_chunk=0.25,
        )
    agent.add("chat m", 2, 1, what="model", model="m", provider="openai", status="error")
    run.add("component Own", 5, 1, model="other", input_tokens=7)

    first, second = model_use(made.connect())

    assert (first.model, first.provider, first.calls, first.errors, first.retries) == ("m", "openai", 3, 1, 2)
    assert (first.input_tokens, first.output_tokens, first.cached_tokens) == (200, 20, None)
    assert (first.cost, first.calls_without_tokens, first.first_chunk_p50_s) == ({"EUR": 0.5, "USD": 0.5}, 1, 0.25)
    assert (second.model, second.provider, second.input_tokens, second.cost) == ("other", "unknown", 7, {})


def test_sessions_join_the_runs_of_a_conversation():
    made = MadeTraces()
    made.run(1, session_id="a", flow="shop", input_tokens=5, cost=0.25, currency="USD")
    made.run(2, session_id="b")
    last = made.run(3, session_id="a", flow="help", status="error", user_id="u")
    made.run(1)

    newest, other = sessions(made.connect())

    assert (newest.session_id, newest.flows, newest.runs, newest.errors) == ("a", ("help", "shop"), 2, 1)
    assert (newest.total_s, newest.input_tokens, newest.cost, newest.user_id) == (4, 5, {"USD": 0.25}, "u")
    assert (newest.trace_ids[-1], newest.last_ns - newest.first_ns) == (last.trace_id, 123_000_000_000)
    assert other.session_id == "b"


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection(), 4),
        (Selection(flow="shop"), 3),
        (Selection(flow="shop-id", version="v2"), 1),
        (Selection(since_ns=START_NS + 1, until_ns=START_NS + 120_000_000_000), 1),
        (Selection(trace_ids=()), 0),
        (Selection(trace_ids=[f"{1:032x}", "no such trace"]), 1),
        (Selection(flow="' OR 1=1 --"), 0),
        (Selection(newest=2), 2),
    ],
)
def test_selection_meets_every_condition(selection, count):
    made = MadeTraces()
    for flow, version in (("shop", "v1"), ("shop", "v2"), ("shop", "v1"), ("help", "v2")):
        made.run(1, flow=flow, flow_version=version)

    assert flame_graph(made.connect(), selection).count == count


def test_selections_do_not_disturb_one_another():
    made = MadeTraces()
    for flow in ("shop", "help"):
        made.run(2, flow=flow).add(f"component {flow}", 0, 1)
    connection = made.connect()
    found = [
        [each.flow for each in component_shares(connection, Selection(flow=flow))]
        for flow in ("shop", "help", "none", "shop")
    ]

    assert found == [["shop"], ["help"], [], ["shop"]]
    assert len(component_shares(connection)) == 2


def test_what_goes_on_after_a_run_is_its_own():
    made = MadeTraces()
    made.run(1).add("component Background", 1800, 3)

    assert [each.name for each in component_shares(made.connect())] == ["Background"]


@pytest.mark.parametrize("around", [True, False])
def test_langflows_own_span_of_a_run_takes_no_time(around):
    made = MadeTraces()
    run = made.run(4)
    native = run.add("flow.execute", 0, 4, what="other", scope="langflow.observability", status="error")
    (native if around else run).add("component A", 1, 2, status="error", error_type="KeyError")
    connection = made.connect()

    assert lines(flame_graph(connection)) == [
        "all x1 4 0",
        "  invoke_workflow shop x1 4 2",
        "    component A x1 2 2",
    ]
    assert [each.name for each in critical_paths(connection).shares] == ["invoke_workflow shop", "component A"]
    assert [each.component for each in error_groups(connection)] == ["A"]


def test_calls_without_a_model_are_counted_as_in_metrics():
    made = MadeTraces()
    run = made.run(3)
    run.add("component LLM", 0, 2).add("chat", 0, 1, what="model", provider="openai", status="error")

    (use,) = model_use(made.connect())

    assert (use.model, use.provider, use.calls, use.errors) == ("unknown", "openai", 1, 1)
