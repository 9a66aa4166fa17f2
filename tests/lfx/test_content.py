"""Content: off by default; on, what LangFlow and the gate let pass, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flows import chat_input, chat_output, line, run
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import BoolInput, DataInput, HandleInput, IntInput, MessageTextInput, Output, StrInput
from lfx.schema.data import Data
from lfx.schema.dataframe import DataFrame
from lfx.schema.message import Message
from nodes import basic, content, models
from test_tools import agent_flow

from langflow_otel._content.log_lines import log_line
from langflow_otel._hooks.component_content import open_object
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

ON = Settings(content_on_spans=True)
KEY = "AK" + "IA" + "IOSFODNN7EXAMPLE"


async def recorded(graph: Graph, settings: Settings) -> Telemetry:
    with capture_telemetry(settings=settings) as telemetry:
        await run(graph)
    return telemetry


def attributes(telemetry: Telemetry, name: str, *prefixes: str) -> dict[str, Any]:
    found = telemetry.only_span(name).attributes
    return {key: value for key, value in found.items() if key.startswith(prefixes)}


def messages(text: Any) -> list[tuple[str, str]]:
    return [(each["role"], each["parts"][0]["content"]) for each in json.loads(text)]


async def test_inputs_and_outputs_are_on_the_spans():
    telemetry = await recorded(line(basic.Echo), ON)

    found = attributes(telemetry, "component Echo", "langflow.component.input.", "langflow.component.output.o")
    assert found == {
        "langflow.component.input.value": "hi",
        "langflow.component.output.out": "hi",
        "langflow.component.output.names": ("out",),
    } or found == {
        "langflow.component.input.value": "hi",
        "langflow.component.output.out": "hi",
    }


async def test_a_flows_own_are_those_of_its_chat_components():
    telemetry = await recorded(line(basic.Echo), ON)

    flow = telemetry.only_span("invoke_workflow demo").attributes
    assert messages(flow["gen_ai.input.messages"]) == [("user", "hi")]
    assert messages(flow["gen_ai.output.messages"]) == [("assistant", "hi")]


async def test_by_default_there_is_none():
    telemetry = await recorded(line(basic.Echo), Settings())

    assert not [key for span in telemetry.spans for key in span.attributes if "put." in key and "names" not in key]


async def test_models_have_messages():
    start = chat_input()
    model = models.FakeModel(_id="FakeModel-1").set(input_value=start.message_response, system_message="Be brief.")
    telemetry = await recorded(Graph(start, chat_output(model.text_response), flow_name="demo"), ON)

    found = telemetry.only_span(f"component {models.FakeModel.display_name}").attributes
    assert messages(found["gen_ai.input.messages"]) == [("user", "hi")]
    assert json.loads(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert messages(found["gen_ai.output.messages"])[0][0] == "assistant"


async def test_tools_have_arguments_and_results():
    start = chat_input()
    agent = models.FakeAgent(_id="FakeAgent-1").set(input_value=start.message_response)
    telemetry = await recorded(Graph(start, chat_output(agent.message_response), flow_name="demo"), ON)

    found = telemetry.only_span("execute_tool add").attributes
    assert json.loads(found["gen_ai.tool.call.arguments"]) == {"a": 2, "b": 3}
    assert found["gen_ai.tool.call.result"] == "5"


@pytest.mark.parametrize("denied", ["Shout", "Shout-s", "text", "out", ""])
async def test_a_denied_component_that_is_a_tool_stays(denied: str):
    settings = Settings(content_on_spans=True, content_deny=(denied,) if denied else ())
    with capture_telemetry(settings=settings) as telemetry:
        await run(await agent_flow(models.ShoutAgent, models.Shout))

    found = attributes(telemetry, "execute_tool shout", "gen_ai.tool.call.")
    assert sorted(found) == ([] if denied else ["gen_ai.tool.call.arguments", "gen_ai.tool.call.result"])


async def test_a_component_that_is_a_tool_may_opt_out():
    class Keeps(models.Shout):
        langflow_otel_content = False

    with capture_telemetry(settings=ON) as telemetry:
        await run(await agent_flow(models.ShoutAgent, Keeps))

    assert attributes(telemetry, "execute_tool shout", "gen_ai.tool.call.") == {}


async def test_secret_inputs_never_leave():
    telemetry = await recorded(line(content.Secrets), ON)

    found = attributes(telemetry, "component Secrets", "langflow.component.input.")
    assert sorted(found) == ["langflow.component.input.note", "langflow.component.input.value"]
    assert found["langflow.component.input.note"] == "key [redacted:aws_key] of [redacted:email]"
    assert all("canary" not in str(span.attributes) for span in telemetry.spans)


@pytest.mark.parametrize("denied", ["Echo", "Echo-0", "value"])
async def test_what_is_denied_stays(denied: str):
    telemetry = await recorded(line(basic.Echo), Settings(content_on_spans=True, content_deny=(denied,)))

    assert "langflow.component.input.value" not in telemetry.only_span("component Echo").attributes
    assert "langflow.component.output.message" in telemetry.only_span("component Chat Input").attributes


@pytest.mark.parametrize("component", [content.OptsOut, content.MethodOptsOut])
async def test_an_author_may_opt_out(component: Any):
    telemetry = await recorded(line(component), ON)

    assert attributes(telemetry, f"component {component.display_name}", "langflow.component.input.") == {}


async def test_in_events_it_is_a_log_record_with_the_spans_ids():
    telemetry = await recorded(line(basic.Echo), Settings(content_in_events=True))

    span = telemetry.only_span("component Echo")
    assert "langflow.component.input.value" not in span.attributes
    (event,) = [record for record in telemetry.logs() if record.attributes.get("langflow.component.id") == "Echo-0"]
    assert event.attributes["event.name"] == "gen_ai.client.inference.operation.details"
    assert event.attributes["langflow.component.input.value"] == "hi"
    assert (event.trace_id, event.span_id) == (span.trace_id, span.span_id)


async def test_the_hook_decides_last_and_what_it_fails_over_stays():
    def hook(text: str) -> str:
        if "hi" in text:
            raise ValueError(text)
        return text.upper()

    with capture_telemetry(settings=Settings(content_on_spans=True, redact_hook=hook), strict=False) as telemetry:
        await run(line(content.Secrets))

    found = attributes(telemetry, "component Secrets", "langflow.component.input.")
    assert found == {"langflow.component.input.note": "KEY [REDACTED:AWS_KEY] OF [REDACTED:EMAIL]"}


async def test_openinference_names_for_phoenix():
    telemetry = await recorded(line(basic.Echo), Settings(content_on_spans=True, openinference=True))

    found = telemetry.only_span("component Echo").attributes
    assert (found["input.value"], found["output.value"]) == ("hi", "hi")


SHOWN = Settings(content_on_spans=True, openinference=True)


async def test_openinference_shows_the_message_and_not_a_flag():
    telemetry = await recorded(line(basic.Echo), SHOWN)

    for name in ("component Chat Input", "component Chat Output", "invoke_workflow demo"):
        found = attributes(telemetry, name, "input.", "output.")
        assert found == {
            "input.value": "hi",
            "input.mime_type": "text/plain",
            "output.value": "hi",
            "output.mime_type": "text/plain",
        }


class Many(Component):
    """Its options come first."""

    display_name = "Many"
    inputs = [
        BoolInput(name="flag", display_name="Flag", value=True),
        IntInput(name="number", display_name="Number", value=3),
        StrInput(name="mode", display_name="Mode", value="fast", advanced=True),
        MessageTextInput(name="note", display_name="Note", value="a note"),
        MessageTextInput(name="value", display_name="Value"),
    ]
    outputs = [
        Output(display_name="Out", name="out", method="run_out"),
    ]

    def run_out(self) -> Data:
        return Data(data={"found": [self.value]})


async def test_openinference_shows_what_is_wired_and_data_as_json():
    telemetry = await recorded(line(Many), SHOWN)

    assert attributes(telemetry, "component Many", "input.", "output.") == {
        "input.value": "hi",
        "input.mime_type": "text/plain",
        "output.value": '{"found": ["hi"]}',
        "output.mime_type": "application/json",
    }


class OnlyOptions(Component):
    """It gets nothing from others, and no text."""

    display_name = "Only Options"
    inputs = [
        BoolInput(name="flag", display_name="Flag", value=True),
        IntInput(name="number", display_name="Number", value=3),
        MessageTextInput(name="mode", display_name="Mode", value="fast", advanced=True),
        MessageTextInput(name="urls", display_name="URLs", value=[], is_list=True),
        HandleInput(name="store", display_name="Store", input_types=["Store"], value=object()),
    ]
    outputs = [Output(display_name="Out", name="out", method="run_out", types=["Message"])]

    def run_out(self) -> Message:
        return Message(text="made")


async def test_openinference_shows_no_option_as_input():
    component = OnlyOptions(_id="OnlyOptions-1")
    telemetry = await recorded(Graph(component, chat_output(component.run_out), flow_name="demo"), SHOWN)

    found = attributes(telemetry, "component Only Options", "input.", "output.", "langflow.component.input.number")
    assert found == {
        "langflow.component.input.number": "3",
        "output.value": "made",
        "output.mime_type": "text/plain",
    }


async def test_openinference_shows_a_query_before_what_is_searched():
    class Store(Component):
        display_name = "Store"
        inputs = [
            HandleInput(name="embedding", display_name="Embedding", input_types=["Embeddings"]),
            DataInput(name="ingest_data", display_name="Data", is_list=True, value=[Data(data={"text": "a page"})]),
            MessageTextInput(name="value", display_name="Value"),
            StrInput(name="search_query", display_name="Query", value="where?"),
        ]
        outputs = [Output(display_name="Out", name="out", method="run_out", types=["Data"])]

        def run_out(self) -> Data:
            return Data(data={"text": "here"})

    telemetry = await recorded(line(Store), SHOWN)

    assert telemetry.only_span("component Store").attributes["input.value"] == "where?"


async def test_openinference_shows_a_models_texts_and_a_tools_json():
    start = chat_input()
    agent = models.FakeAgent(_id="FakeAgent-1").set(input_value=start.message_response)
    telemetry = await recorded(Graph(start, chat_output(agent.message_response), flow_name="demo"), SHOWN)

    (called,) = [span for span in telemetry.spans if span.name.startswith("invoke_agent")]
    assert (called.attributes["input.value"], called.attributes["input.mime_type"]) == ("hi", "text/plain")
    tool = telemetry.only_span("execute_tool add").attributes
    assert (json.loads(tool["input.value"]), tool["input.mime_type"]) == ({"a": 2, "b": 3}, "application/json")
    assert (tool["output.value"], tool["output.mime_type"]) == ("5", "text/plain")


async def test_openinference_shows_nothing_where_content_stays_here():
    telemetry = await recorded(line(Many), Settings(openinference=True))

    assert not [key for span in telemetry.spans for key in span.attributes if key.startswith(("input.", "output."))]


def test_tools_are_shown_by_their_names():
    assert open_object(models.plain_tool()) == "add"


async def test_a_secret_that_a_component_hands_on_is_known_by_its_value():
    telemetry = await recorded(line(content.HandsOn, basic.Echo), ON)

    assert "canary-secret" not in str([span.attributes for span in telemetry.spans])
    handed_on = telemetry.only_span("component Echo").attributes["langflow.component.input.value"]
    # LangFlow 1.11 hides it itself in what a component hands on.
    assert handed_on in ("the key is [redacted:secret]", "the key is **********")


@pytest.mark.parametrize("messages", ["redacted", "full"])
async def test_a_secret_in_an_error_is_known_by_its_value(messages: Any):
    settings = Settings(error_messages=messages)
    with capture_telemetry(settings=settings) as telemetry, pytest.raises(Exception, match="canary-secret"):
        await run(line(content.Complains))

    (event,) = telemetry.only_span("component Complains").events
    assert event.attributes["exception.message"] == "no access with [redacted:secret]"
    assert "canary-secret" not in event.attributes["exception.stacktrace"]


@pytest.mark.parametrize("sampling", [(), (("*", 0.0),)], ids=["sampled", "not sampled"])
async def test_a_secret_in_what_a_server_logs_when_the_run_is_over_is_known_by_its_value(sampling: Any):
    settings = Settings(error_messages="redacted", log_bodies=True, sampling=sampling)
    with capture_telemetry(settings=settings), pytest.raises(Exception, match="canary-secret") as failed:
        await run(line(content.Complains))

    said = log_line("server", "error", {"event": f"failed: {failed.value}"}, failed.value, None, settings)
    assert "no access with [redacted:secret]" in said.body
    assert "canary-secret" not in str(said)


async def test_secrets_are_known_where_content_stays_here():
    settings = Settings(log_bodies=True)
    with capture_telemetry(settings=settings), pytest.raises(Exception, match="canary-secret") as failed:
        await run(line(content.Complains))

    said = log_line("server", "error", {"event": f"failed: {failed.value}"}, None, None, settings)
    assert "no access with [redacted:secret]" in said.body


async def test_a_value_that_cannot_be_compared_is_content_as_any_other():
    graph = line(content.Uncomparable)
    graph.get_vertex("Uncomparable-0").custom_component.set(thing=content.NoComparison())
    telemetry = await recorded(graph, ON)

    found = attributes(telemetry, "component Uncomparable", "langflow.component.input.")
    assert found == {"langflow.component.input.thing": '"<NoComparison>"', "langflow.component.input.value": "hi"}


SECRET_COLUMNS = {"cookie": "CANARYa", "pin": 482913, "auth": "CANARYc", "note": "it stays"}


@pytest.mark.parametrize(
    "value",
    [
        Data(data=SECRET_COLUMNS),
        Data(data={"rows": [{"id": 1, **SECRET_COLUMNS}]}),
        Data(data={"text": json.dumps(SECRET_COLUMNS), "note": "it stays"}),
        DataFrame([SECRET_COLUMNS, SECRET_COLUMNS]),
        DataFrame([{"field": name, "value": value} for name, value in SECRET_COLUMNS.items()]),
    ],
    ids=["data", "rows", "JSON in data", "table", "names and values"],
)
async def test_rendered_data_has_no_values_of_secret_names(value: Any):
    class Rows(Component):
        inputs = [MessageTextInput(name="value", display_name="Value")]
        outputs = [Output(display_name="Out", name="out", method="run_out", types=["Data", "DataFrame"])]

        def run_out(self) -> Any:
            return value

    telemetry = await recorded(line(Rows), ON)

    said = messages(telemetry.only_span("invoke_workflow demo").attributes["gen_ai.output.messages"])[0][1]
    assert "it stays" in said
    assert "cookie" in said
    sent = json.dumps([dict(span.attributes) for span in telemetry.spans], default=str)
    assert "CANARY" not in sent
    assert "482913" not in sent
