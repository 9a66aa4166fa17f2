"""Components that hold, say, log and raise canaries in every place where LangFlow has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import lfx.inputs.inputs as lfx_inputs
from canaries import Canaries, Kind
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import StructuredTool
from lfx.io import DataFrameInput, DataInput, MessageTextInput, Output, StrInput
from lfx.log.logger import logger
from lfx.schema.data import Data
from lfx.schema.dataframe import DataFrame
from lfx.schema.message import Message

from langflow_otel import set_attributes, span, traced
from langflow_otel._sdk.instrumentor_spans import TracersBelowRuns
from nodes.basic import Echo
from nodes.models import CallsOneTool, FakeAgent, FakeModel, create_tool_calling_agent
from nodes.nested import USAGE, CountingChatModel

canaries = Canaries()
plant, text = canaries.plant, canaries.text

SESSION = plant("attribute", "session id")
USER = plant("secret", "user id")
PROMPT = text("content", "chat input")
REQUEST_VARIABLE = plant("secret", "request variable")
VARIABLE = plant("secret", "global variable")
VARIABLE_NAME = "A_GLOBAL_VARIABLE"

TEXTS = frozenset(
    [
        "DataFrameInput",
        "DataInput",
        "DropdownInput",
        "HandleInput",
        "JSONInput",
        "MessageInput",
        "MessageTextInput",
        "MultilineInput",
        "MultiselectInput",
        "MustachePromptInput",
        "PromptInput",
        "QueryInput",
        "StrInput",
        "TabInput",
    ]
)
"""Input classes whose values are content. Whatever else there is, and is no number, may hold a secret."""
NUMBERS = frozenset(["BoolInput", "DurationInput", "FloatInput", "IntInput", "SliderInput"])
ELSEWHERE = frozenset(
    ["DataFrameInput", "DataInput", "Input", "JSONInput", "LinkInput", "MultiselectInput", "ToolsInput"]
)
"""What comes over an edge, and what a graph that is made in Python does not take on each version."""

tracers = TracersBelowRuns()
seen: dict[str, Any] = {}
"""The provider of a user's own tracer."""


def shaped(input_class: str, canary: str) -> Any:
    """The canary in a value as an input of this class has it."""
    shapes: dict[str, Any] = {
        "AuthInput": {"auth": canary},
        "DataFrameInput": DataFrame([{"cell": canary}]),
        "DataInput": Data(data={"note": canary}),
        "DictInput": {"x-mine": canary},
        "FileInput": f"/tmp/{canary}.txt",
        "JSONInput": Data(data={"note": canary}),
        "McpInput": {"name": canary, "config": {"env": {"x": canary}, "headers": {"x-mine": canary}}},
        "MessageInput": Message(text=canary, files=[]),
        "ModelInput": [{"name": canary, "provider": canary, "metadata": {"x": canary}}],
        "MultiselectInput": [canary],
        "NestedDictInput": {"a": {"b": [canary]}},
        "SortableListInput": [{"name": canary}],
        "TableInput": [{"cell": canary, "x": "y"}],
        "ToolsInput": [{"name": canary, "description": canary}],
    }
    return shapes.get(input_class, canary)


def _one_of_each() -> Iterator[Any]:
    """An input of each class of this LangFlow, with a canary."""
    for name, cls in sorted(vars(lfx_inputs).items()):
        if not name.endswith("Input") or name in NUMBERS | ELSEWHERE:
            continue
        kind: Kind = "content" if name in TEXTS else "secret"
        value = shaped(name, text(kind, name))
        own = {"options": [value]} if name in ("DropdownInput", "TabInput") else {}
        snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("secret_", "hidden_")
        try:
            yield cls(name=f"in_{snake}", display_name=name, value=value, **own)
        except ValueError:
            del canaries.planted[len(canaries.planted)], canaries.planted[len(canaries.planted)]


class Inputs(Echo):
    display_name = "Inputs"
    name = "Inputs"
    inputs = [
        *Echo.inputs,
        *_one_of_each(),
        StrInput(name="api_key", display_name="By its name", value=plant("secret", "text by its name")),
        StrInput(name="variable", display_name="Variable", value=VARIABLE_NAME, load_from_db=True),
        MessageTextInput(name="told", display_name="By the flow", value=plant("secret", "password in the flow")),
    ]

    async def run_out(self) -> Message:
        assert self.variable == VARIABLE
        return Message(text=str(self.value))


class SaysMessage(Echo):
    display_name = "Says Message"
    name = "SaysMessage"
    message = {
        "text": text("content", "text of a message"),
        "sender_name": plant("secret", "sender of a message"),
        "files": [f"/tmp/{plant('secret', 'file of a message')}.txt"],
        "session_id": plant("secret", "session of a message"),
    }

    async def run_out(self) -> Message:
        return Message(**self.message)


class SaysData(Echo):
    display_name = "Says Data"
    name = "SaysData"
    outputs = [Output(display_name="Out", name="out", method="run_data")]
    found = {
        "note": text("content", "data"),
        "rows": [{"note": text("content", "data in data"), "api_key": plant("secret", "key in data")}],
        "headers": {"x-mine": plant("secret", "header in data")},
        "Authorization": plant("secret", "authorization in data"),
        "object": Exception(plant("secret", "object in data")),
        "bytes": plant("secret", "bytes in data").encode(),
        "body": f'{{"client_secret": "{plant("secret", "json in data")}"}}',
    }

    def run_data(self) -> Data:
        return Data(data=self.found)


class SaysFrame(Echo):
    display_name = "Says Frame"
    name = "SaysFrame"
    inputs = [DataInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_frame")]
    cells = [{"note": text("content", "cell"), "access_token": plant("secret", "cell by its column")}]

    def run_frame(self) -> DataFrame:
        return DataFrame(self.cells)


class TakesFrame(Echo):
    display_name = "Takes Frame"
    name = "TakesFrame"
    inputs = [
        DataFrameInput(name="value", display_name="Value"),
        MessageTextInput(name="beside", display_name="Beside", value=text("content", "beside a frame")),
    ]

    async def run_out(self) -> Message:
        return Message(text="done")


class Traces(Echo):
    """The author's own attributes leave, in any mode."""

    display_name = "Traces"
    name = "Traces"
    note, table = plant("attribute", "set_attributes"), plant("attribute", "span")

    @traced("scored", attributes={"author.note": plant("attribute", "traced")})
    async def run_out(self) -> Message:
        set_attributes(note=self.note)
        with span("looked up", table=self.table):
            return Message(text=str(self.value))


class Logs(Echo):
    display_name = "Logs"
    name = "Logs"
    said, user = plant("secret", "log line"), plant("secret", "log line's key")
    inner, outer = text("logged error", "cause of a logged error"), text("logged error", "logged error")

    async def run_out(self) -> Message:
        logger.info(f"said {self.said}", user=self.user)
        try:
            try:
                raise KeyError(self.inner)
            except KeyError as exc:
                raise LookupError(self.outer) from exc
        except LookupError:
            await logger.aexception("it failed")
        return Message(text=str(self.value))


class Nested(Echo):
    """Calls what another instrumentor traces, and a tracer of the author's own."""

    display_name = "Nested"
    name = "Nested"
    content = {
        "gen_ai.prompt.0.content": text("span content", "gen_ai.prompt"),
        "gen_ai.input.messages": text("span content", "gen_ai.input.messages"),
        "llm.input_messages.0.message.content": text("span content", "llm.input_messages"),
        "input.value": text("span content", "input.value"),
        "gen_ai.tool.call.arguments": f'{{"api_key": "{plant("secret", "arguments")}"}}',
        "llm.invocation_parameters": f'{{"client_secret": "{plant("secret", "parameters")}", "n": 1}}',
        "http.request.header.authorization": [plant("secret", "header of a library")],
        "http.request.header.x-mine": [plant("secret", "another header of a library")],
        "llm.headers": f'{{"x-mine": "{plant("secret", "llm.headers")}"}}',
        "url.query": f"key={plant('secret', 'url.query')}",
        "url.fragment": plant("secret", "url.fragment"),
        "url.full": f"https://me:{plant('secret', 'url')}@example.com/a?key={plant('secret', 'query')}",
    }
    said, fault = text("span content", "event of a library"), text("error", "nested error")

    async def run_out(self) -> Message:
        tracer = tracers.get_tracer("opentelemetry.instrumentation.some_model")
        with tracer.start_as_current_span("chat some-model", attributes=self.content) as current:
            current.add_event("gen_ai.user.message", {"content": self.said})
        with seen["provider"].get_tracer("my.app").start_as_current_span("mine", attributes=self.content):
            pass
        try:
            with tracer.start_as_current_span("chat broken"):
                raise ValueError(self.fault)
        except ValueError:
            return Message(text=str(self.value))


class Streams(FakeModel):
    display_name = "Streams"
    name = "CanaryStreams"
    answer = text("content", "answer of a model")

    def build_model(self) -> Any:
        return CountingChatModel(messages=iter([AIMessage(content=self.answer, usage_metadata=USAGE)]))


class Agent(FakeAgent):
    """Its tool gets and gives content and keys."""

    display_name = "Agent"
    name = "CanaryAgent"
    arguments = {
        "text": text("content", "argument of a tool"),
        "api_key": plant("secret", "argument by its name"),
        "headers": {"x-mine": plant("secret", "header as an argument")},
    }
    found = {"text": text("content", "result of a tool"), "token": plant("secret", "result by its name")}
    answer = text("content", "answer of an agent")

    def create_agent_runnable(self) -> Any:
        call = {"name": "look_up", "args": self.arguments, "id": "call-1", "type": "tool_call"}
        model = CallsOneTool(responses=[AIMessage(content="", tool_calls=[call]), AIMessage(content=self.answer)])
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(model, self.tools, prompt)

    def build_agent(self) -> Any:
        def look_up(text: str, api_key: str, headers: dict[str, str]) -> dict[str, str]:
            return self.found

        self.tools = [StructuredTool.from_function(look_up, name="look_up", description="Looks up.")]
        return super().build_agent()


class Breaks(Echo):
    display_name = "Breaks"
    name = "CanaryBreaks"
    inner, outer = text("error", "cause of an error"), text("error", "error")
    inputs = [
        *Echo.inputs,
        MessageTextInput(name="note", display_name="Note", value=text("content", "input of what fails")),
    ]

    async def run_out(self) -> Message:
        try:
            raise OSError(self.inner)
        except OSError as exc:
            raise LookupError(self.outer) from exc
