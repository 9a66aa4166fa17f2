"""Loops: subgraphs since lfx 0.3, cycles in the main graph before."""

from __future__ import annotations

from typing import Any

from flows import run
from lfx.components.flow_controls.loop import LoopComponent
from lfx.graph import Graph
from nodes.asking_body import AskingBody
from nodes.loop_body import Body
from nodes.loop_end import End
from nodes.rows import Rows

LOOP = "component Loop"
SUBGRAPHS = hasattr(Graph, "create_subgraph")


def loop_flow(node: Any = Body) -> Graph:
    rows = Rows(_id="Rows-r")
    loop = LoopComponent(_id="Loop-l").set(data=rows.rows)
    body = node(_id="Body-b").set(item=loop.item_output)
    loop.set(item=getattr(body, body.outputs[0].method))
    end = End(_id="End-e").set(done=loop.done_output)
    # As a stored flow, the way users run loops.
    graph = Graph.from_payload(Graph(rows, end).dump()["data"], flow_name="demo")
    # LangFlow keeps edges in the order of a set of strings; before 1.8 it loses a loop's feedback, with or
    # without instrumentation, where that edge comes before the one that it answers.
    graph.edges.sort(key=lambda edge: edge.source_id != "Loop-l")
    return graph


async def test_each_iteration_is_numbered(telemetry):
    await run(loop_flow())

    index = "langflow.loop.index"
    if SUBGRAPHS:
        assert telemetry.tree(index) == [
            "invoke_workflow demo",
            "  component Rows",
            "  component Loop",
            f"    component Body {index}=0",
            f"    component Body {index}=1",
            "  component End",
        ]
    else:
        assert telemetry.tree(index) == [
            "invoke_workflow demo",
            "  component Rows",
            f"  component Loop {index}=0",
            f"  component Body {index}=0",
            f"  component Loop {index}=1",
            f"  component Body {index}=1",
            f"  component Loop {index}=2",
            "  component End",
        ]


async def test_a_loops_own_branches_are_not_reported_as_skipped(telemetry):
    await run(loop_flow())

    assert telemetry.only_span("invoke_workflow demo").events == []


async def test_a_loop_has_the_tokens_of_its_iterations(telemetry):
    await run(loop_flow(AskingBody))

    used = [span.attributes.get("langflow.usage.input_tokens") for span in telemetry.spans if span.name == LOOP]
    assert used == ([6] if SUBGRAPHS else [None] * 3)
    assert telemetry.only_span("invoke_workflow demo").attributes["langflow.usage.input_tokens"] == 6
