"""The process stops in the middle of a run, whose code goes on: its spans end as cancelled, and none comes after."""

from __future__ import annotations

from typing import Any

import pytest
from flows import INPUT, chat_input, line, run
from lfx.graph import Graph
from nodes import basic, stopping
from observations import by_arun, by_async_start

from langflow_otel import metrics
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import capture_telemetry

STOPPED = [
    "invoke_workflow demo [cancelled]",
    "  component Chat Input",
    "  component Stops [cancelled]",
    "    before [cancelled]",
]


@pytest.fixture(autouse=True)
def _sub_flow() -> None:
    stopping.seen["sub_flow"] = lambda: line(basic.Echo, name="sub")


@pytest.mark.parametrize("drive", [by_arun, by_async_start])
async def test_nothing_comes_after_its_flow_has_ended(telemetry, drive: Any):
    await drive(line(stopping.Stops, basic.Echo))

    assert telemetry.tree() == STOPPED
    for found in telemetry.spans:
        stopped = found.attributes["langflow.status"] == "cancelled"
        assert (found.attributes.get("langflow.cancellation.reason") == "shutdown") == stopped


async def test_nothing_comes_below_langflows_own_span(telemetry):
    """From 1.12 on it is current where components run, and its provider may go on."""
    with telemetry.provider.get_tracer("langflow.observability").start_as_current_span("flow.execute"):
        await line(stopping.Stops, basic.Echo).arun(INPUT)

    assert [name.partition(" [")[0].strip() for name in telemetry.tree()] == [
        "flow.execute",
        "invoke_workflow demo",
        "component Chat Input",
        "component Stops",
        "before",
    ]


async def test_a_buffered_run_gets_nothing_more_either():
    settings = Settings(sampling=(("*", 0.0),), keep_errors=True, keep_slow_s=0.0)
    with capture_telemetry(settings=settings) as telemetry:
        await line(stopping.Stops, basic.Echo).arun(INPUT)

    assert telemetry.tree() == STOPPED


async def test_the_next_run_is_recorded_as_ever(telemetry):
    await run(line(stopping.Stops))
    await run(line(basic.Echo, name="next"))

    assert telemetry.tree()[-4:] == [
        "invoke_workflow next",
        "  component Chat Input",
        "  component Echo",
        "  component Chat Output",
    ]


async def test_an_authors_metrics_count_on(telemetry):
    """The stop of a server leaves 10 s to what it is answering, and its metrics leave last."""
    counter = metrics.counter("stopped_runs_served")

    def sub_flow() -> Graph:
        counter.add()
        return line(basic.Echo, name="sub")

    stopping.seen["sub_flow"] = sub_flow
    await run(line(stopping.Stops))

    assert telemetry.metrics("stopped_runs_served_total") == {"stopped_runs_served_total": 1.0}


@pytest.mark.parametrize(("node", "has_tokens"), [(stopping.StopsInModel, True), (stopping.StopsBeforeModel, False)])
async def test_a_model_has_its_name_and_the_tokens_that_are_known(telemetry, node: Any, has_tokens: bool):
    start = chat_input()
    model = node(_id="FakeModel-m").set(input_value=start.message_response)
    await run(Graph(start, model, flow_name="demo"))
    (found,) = [each for each in telemetry.spans if each.attributes.get("langflow.component.kind") == "llm"]
    counted = {key: value for key, value in found.attributes.items() if key.startswith("gen_ai")}

    assert found.attributes["langflow.status"] == "cancelled"
    if not has_tokens:
        assert counted == {"gen_ai.request.model": "fake-1", "gen_ai.provider.name": "fake"}
        return
    # On the call's span, and here its sum.
    assert counted == {}
    assert found.attributes["langflow.usage.input_tokens"] == 3
    assert telemetry.only_span("chat fake-1").attributes["gen_ai.usage.input_tokens"] == 3
