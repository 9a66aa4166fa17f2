"""Components in which another tracer makes its span the current one, as a LangChain callback of Langfuse does."""

import asyncio
import contextlib

import httpx
import requests
from langchain_core.tools import StructuredTool
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph
from lfx.schema.message import Message

from langflow_otel import set_attributes, span, traced
from nodes import http, models
from nodes.basic import Echo

seen: dict = {}


def current():
    """The other tracer's span, as the current one."""
    return seen["foreign"]() if "foreign" in seen else contextlib.nullcontext()


async def look_up(text: str) -> str:
    with current(), span("mine"):
        set_attributes(rows=2)
        return text


def weigh(text: str) -> str:
    with current(), span("in thread"):
        httpx.get(seen["url"])
        requests.get(seen["url"], timeout=30)
    return text


def tool(function, **kwargs):
    return StructuredTool.from_function(name=function.__name__, description="Looks up.", **kwargs)


class Works(Echo):
    display_name = "Works"
    name = "Works"

    async def run_out(self) -> Message:
        with current():
            set_attributes(size=3)
            await tool(look_up, coroutine=look_up).ainvoke({"text": "x"})
            await tool(weigh, func=weigh).ainvoke({"text": "x"})
            async with httpx.AsyncClient() as client:
                await client.get(seen["url"])
        return Message(text=str(self.value))


class WorksInThread(Echo):
    display_name = "Works In Thread"
    name = "WorksInThread"

    def run_out(self) -> Message:
        with current():
            tool(weigh, func=weigh).invoke({"text": "x"})
        return Message(text=str(self.value))


class RunsInner(Echo):
    display_name = "Runs Inner"
    name = "RunsInner"

    async def run_out(self) -> Message:
        start = ChatInput(_id="ChatInput-i").set(should_store_message=False)
        end = ChatOutput(_id="ChatOutput-i").set(input_value=start.message_response, should_store_message=False)
        with current():
            await Graph(start, end, flow_name="inner").arun([{"input_value": "x"}], session_id="inner")
        return Message(text=str(self.value))


class ReadsSteps(Echo):
    """Reads a traced generator, each step below another span of the other tracer."""

    display_name = "Reads Steps"
    name = "ReadsSteps"

    @staticmethod
    @traced("steps")
    async def steps():
        for number in range(2):
            with current(), span(f"step {number}"):
                yield str(number)

    async def run_out(self) -> Message:
        with current():
            texts = [text async for text in self.steps()]
        return Message(text="".join(texts))


class StreamsOn(Echo):
    """Hands on a generator that calls while it is read."""

    display_name = "Streams On"
    name = "StreamsOn"

    async def run_out(self) -> Message:
        async def chunks():
            with current(), span("chunk"):
                yield "one"

        with current():
            return Message(text=chunks())


class Meets(Echo):
    """Several of them are at work at the same time."""

    display_name = "Meets"
    name = "Meets"

    async def run_out(self) -> Message:
        with current():
            await seen["barrier"].wait()
            await tool(look_up, coroutine=look_up).ainvoke({"text": "x"})
            await asyncio.to_thread(weigh, "x")
        return Message(text=str(self.value))


class CallsByAiohttp(http.CallsByAiohttp):
    async def run_out(self) -> Message:
        with current():
            return await super().run_out()


class Agent(models.FakeAgent):
    display_name = "Agent"
    name = "Agent"

    async def message_response(self) -> Message:
        with current():
            return await super().message_response()
