"""Flows of LangFlow are estimated from their JSON and what their runs have written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from flows import chat_input, chat_output, run
from lfx.graph import Graph
from test_loops import loop_flow

from langflow_otel._sdk.trace_file import otlp_json
from langflow_otel.cli.demo.flow.flow import build_flow
from langflow_otel.insights._estimates.estimate import Estimate, estimate
from langflow_otel.insights._estimates.execution_history import PastRun, past_runs
from langflow_otel.insights._estimates.flow_graph import flow_graph
from langflow_otel.insights.traces import open_traces

pytestmark = pytest.mark.slow

RUNS = 12


@pytest.fixture
def history(telemetry, tmp_path: Path) -> Callable[[], list[PastRun]]:
    def read() -> list[PastRun]:
        path = tmp_path / "spans.jsonl"
        path.write_text(f"{otlp_json(telemetry.sdk_spans)}\n")
        with open_traces([path], cache_dir=tmp_path / "cache") as traces:
            return past_runs(traces.connection)

    return read


def exported(graph: Graph, name: str) -> dict[str, Any]:
    """As the file that LangFlow exports."""
    return {**json.loads(json.dumps(graph.dump(), default=str)), "name": name, "id": ""}


def held(found: Estimate, later: list[PastRun]) -> float:
    figure = found.figure("seconds")
    assert figure is not None
    assert figure.high is not None
    print(f"{found.flow}: {figure}, {found.tried.get('seconds')}, later {sorted(each.seconds for each in later)}")
    return fmean(figure.low <= each.seconds <= figure.high for each in later)


async def test_demos_flow_is_estimated_from_its_runs(history):
    for _ in range(2 * RUNS):
        await build_flow().arun([{"input_value": "Where is my order?"}], session_id="s1")
    runs = history()
    found = estimate(flow_graph(exported(build_flow(), "support desk")), runs[:RUNS])

    tokens = found.figure("input_tokens")
    sources = {each.component_id: each.source for each in found.components}
    assert len(runs) == 2 * RUNS
    assert found.runs == RUNS
    assert len(sources) == 10
    assert set(sources.values()) == {"flow"}
    assert {each.component_id for each in found.components if not each.executions} == {"Escalate-demo"}
    assert held(found, runs[RUNS:]) >= 0.5
    assert tokens is not None
    assert tokens.median == runs[0].used()["input_tokens"]


async def test_new_flow_is_estimated_from_types_of_components(history):
    for _ in range(RUNS):
        await build_flow().arun([{"input_value": "Where is my order?"}], session_id="s1")
    start = chat_input()
    small = Graph(start, chat_output(start.message_response), flow_name="echo")
    found = estimate(flow_graph(exported(small, "echo")), history())

    assert {each.source for each in found.components} == {"type"}
    assert found.figure("seconds").median < 5


async def test_loop_is_estimated_by_its_rounds(history):
    for _ in range(RUNS):
        await run(loop_flow())
    graph = flow_graph(exported(loop_flow(), "demo"))
    found = estimate(graph, history())

    assert [set(each) for each in found.loops] == [{"Loop-l", "Body-b"}]
    assert found.unknown == ()
    assert found.rounds in (2, 3)
