"""Whole trees of flow runs, on every way by which a run starts."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import threading
from pathlib import Path

import lfx.load
import pytest
from flows import INPUT, chat_input, chat_output, line, run, steps
from lfx.graph import Graph
from nodes import basic
from nodes.edited import Edited
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource

from langflow_otel import instrument, uninstrument
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import capture_telemetry

LINE = [
    "invoke_workflow demo",
    "  component Chat Input",
    "  component Echo",
    "  component Chat Output",
]

CONDITIONS = {
    "langflow.flow.process.memory.peak",
    "langflow.flow.process.cpu.time",
    "langflow.flow.system.cpu.utilization.peak",  # from the second second of a process on
    "langflow.flow.event_loop.delay.peak",
    "langflow.flow.active.peak",
}


async def test_arun(telemetry):
    await run(line(basic.Echo))

    assert telemetry.tree() == LINE


async def test_async_start(telemetry):
    await steps(line(basic.Echo))

    assert telemetry.tree() == LINE


async def step_by_step(graph: Graph) -> None:
    graph.prepare()
    while graph._run_queue:
        await graph.astep()


async def one_component(graph: Graph) -> None:
    await graph.build_vertex("ChatInput-in", inputs_dict={"input_value": "hi"})


@pytest.mark.parametrize("drive", [run, steps, step_by_step, one_component])
async def test_what_the_first_run_sends_with_is_made_off_the_loop(tmp_path, monkeypatch, drive):
    """Where a resource is detected, which may take seconds, other runs go on meanwhile."""
    loop, seen_threads = asyncio.get_running_loop(), []

    def detect(_):
        seen_threads.append(threading.current_thread())
        # Nobody would answer if this thread were the loop's.
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, Resource.get_empty()), loop).result(timeout=20)

    monkeypatch.setattr("langflow_otel._sdk.providers.langflow_resource", detect)
    path = tmp_path / "spans.jsonl"
    instrument(settings=Settings(trace_file=path, metrics_default=False), deferred=True)
    try:
        await drive(line(basic.Echo))
    finally:
        uninstrument()

    assert seen_threads
    assert threading.current_thread() not in seen_threads
    assert "component Chat Input" in path.read_text()


async def test_a_reader_that_stops_at_finish_is_a_success(telemetry):
    stream = line(basic.Echo).async_start(INPUT)
    async for item in stream:
        if type(item).__name__ == "Finish":
            break
    await stream.aclose()

    assert telemetry.tree() == LINE


async def test_a_reader_that_leaves_early_cancels_the_run(telemetry):
    stream = line(basic.Echo).async_start(INPUT)
    await stream.__anext__()
    await stream.aclose()

    assert telemetry.tree() == ["invoke_workflow demo [cancelled]", "  component Chat Input"]


async def test_start_in_a_thread_joins_the_callers_trace(telemetry):
    graph = line(basic.Echo)
    tracer = telemetry.provider.get_tracer("caller")

    def caller():
        with tracer.start_as_current_span("caller"):
            list(graph.start(INPUT))

    await asyncio.to_thread(caller)

    assert telemetry.tree() == ["caller", *("  " + each for each in LINE)]


async def test_process(telemetry):
    graph = line(basic.Echo)
    graph.prepare()
    await graph.process(fallback_to_env_vars=False)

    assert telemetry.tree() == LINE


async def test_steps_by_hand(telemetry):
    graph = line(basic.Echo)
    graph.prepare()
    while type(await graph.astep()).__name__ != "Finish":
        assert trace.get_current_span() is trace.INVALID_SPAN

    assert telemetry.tree() == LINE


async def test_steps_by_hand_that_are_given_up_are_cancelled(telemetry):
    graph = line(basic.Echo)
    graph.prepare()
    await graph.astep()
    del graph
    gc.collect()

    assert telemetry.tree() == ["invoke_workflow demo [cancelled]", "  component Chat Input"]


async def test_steps_by_hand_that_fail(telemetry):
    graph = line(basic.Broken)
    graph.prepare()
    await graph.astep()
    with pytest.raises(Exception, match="canary"):
        await graph.astep()

    assert telemetry.tree() == [
        "invoke_workflow demo [error]",
        "  component Chat Input",
        "  component Broken [error]",
    ]


async def test_the_same_graph_runs_twice(telemetry):
    graph = line(basic.Echo)
    await run(graph)
    await run(graph)

    assert telemetry.tree() == LINE + LINE


async def test_several_inputs_are_one_run(telemetry):
    await line(basic.Echo).arun([{"input_value": "a"}, {"input_value": "b"}], session_id="s1")

    assert telemetry.tree() == LINE[:1] + LINE[1:] * 2


async def test_two_flows_at_once_do_not_mix(telemetry):
    await asyncio.gather(*(run(line(basic.Echo, name=f"flow {n}")) for n in range(10)))

    assert sorted(telemetry.tree()) == sorted(
        each for n in range(10) for each in [f"invoke_workflow flow {n}", *LINE[1:]]
    )
    for root in telemetry.roots():
        assert [child.name for child in root.children] == [each.strip() for each in LINE[1:]]


async def test_parallel_branches(telemetry):
    start = chat_input()
    left = basic.Left(_id="Left-l").set(value=start.message_response)
    right = basic.Right(_id="Right-r").set(value=start.message_response)
    join = basic.Join(_id="Join-j").set(value=left.run_out, other=right.run_out)
    await run(Graph(start, chat_output(join.run_out), flow_name="demo"))

    assert telemetry.tree(by_name=True) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Chat Output",
        "  component Join",
        "  component Left",
        "  component Right",
    ]


async def test_the_flow_span_says_which_run_it_is(telemetry):
    graph = line(basic.Echo)
    graph.flow_id = "f-1"
    await run(graph)

    flow = telemetry.only_span("invoke_workflow demo")
    conditions = {name: value for name, value in flow.attributes.items() if name in CONDITIONS}
    assert conditions.keys() >= CONDITIONS - {"langflow.flow.system.cpu.utilization.peak"}
    assert flow.attributes == conditions | {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "demo",
        "langflow.flow.id": "f-1",
        "langflow.flow.name": "demo",
        "langflow.flow.version": flow.attributes["langflow.flow.version"],
        "langflow.flow.component_count": 3,
        "langflow.entry_point": "sdk",
        "langflow.run.id": graph.run_id,
        "session.id": "s1",
        "gen_ai.conversation.id": "s1",
        "langflow.status": "ok",
    }


async def test_the_version_depends_on_the_definition_and_not_on_values(telemetry):
    await run(line(basic.Echo))
    await line(basic.Echo, name="renamed").arun([{"input_value": "other"}], session_id="s2")
    await run(line(basic.Echo, basic.Echo))

    versions = [root.attributes["langflow.flow.version"] for root in telemetry.roots()]
    assert versions[0] == versions[1] != versions[2]
    assert len(versions[0]) == 12


async def test_flow_from_a_file_has_the_name_inside_it_read_once(telemetry, tmp_path, monkeypatch):
    path = tmp_path / "file-name.json"
    path.write_text(json.dumps({**line(Edited).dump(), "name": "inside"}), encoding="utf-8")
    read = []
    read_text = Path.read_text

    def noted(self, *args, **kwargs):
        read.append(self)
        return read_text(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", noted)
    graph = await lfx.load.aload_flow_from_json(path)
    await run(graph)

    assert telemetry.roots()[0].name == "invoke_workflow inside"
    assert path not in read  # LangFlow itself reads it in another way


@pytest.mark.parametrize("module", ["lfx.load", "lfx.load.load"])
@pytest.mark.parametrize("kind", ["file", "flow", "unnamed file"])
async def test_flow_loaded_by_a_function_imported_before_has_its_name(tmp_path, module, kind):
    load = importlib.import_module(module).aload_flow_from_json
    flow = {**line(Edited).dump(), "name": "orders"}
    path = tmp_path / "shop.json"
    path.write_text(json.dumps({**flow, "name": "orders" if kind == "file" else None}), encoding="utf-8")
    with capture_telemetry() as telemetry:
        for given in [flow] if kind == "flow" else [path, str(path)]:
            await run(await load(given, disable_logs=True))

        names = {root.name for root in telemetry.roots()}
    assert names == {"invoke_workflow shop" if kind == "unnamed file" else "invoke_workflow orders"}


async def test_a_flow_run_by_a_component_nests_below_it(telemetry):
    basic.seen["inner"] = lambda: line(basic.Echo, name="inner")
    await run(line(basic.RunsFlow))

    assert telemetry.tree("langflow.entry_point") == [
        "invoke_workflow demo langflow.entry_point=sdk",
        "  component Chat Input",
        "  component Runs Flow",
        "    invoke_workflow inner langflow.entry_point=flow",
        "      component Chat Input",
        "      component Echo",
        "      component Chat Output",
        "  component Chat Output",
    ]


async def test_a_component_that_recurses_into_its_own_graph(telemetry):
    graph = line(basic.Recurses)
    basic.seen.update(recurse=True, graph=graph)
    await run(graph)

    outer = telemetry.roots()
    assert len(outer) == 1
    inner = [span for span in outer[0].walk() if span.name == "invoke_workflow demo"]
    assert [span.attributes["langflow.entry_point"] for span in inner] == ["sdk", "flow"]


async def test_a_single_component_built_by_itself_has_its_span(telemetry):
    graph = line(basic.Echo)
    graph.prepare()
    await graph.build_vertex("ChatInput-in", inputs_dict={"input_value": "hi"})

    assert telemetry.tree() == ["component Chat Input"]


async def test_a_suppressed_run_has_no_spans(telemetry):
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with suppress_instrumentation():
        await run(line(basic.TracedOutput))

    assert telemetry.tree() == []
