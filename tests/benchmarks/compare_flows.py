"""The flows that :mod:`compare` times: real graphs of LangFlow, of components that do next to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from lfx.components.input_output import ChatInput, ChatOutput
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import MessageInput, MessageTextInput, Output
from lfx.schema.message import Message

WAIT_S = 0.010
CHUNKS = 500
BRANCHES = 5

around: Callable[[str], AbstractContextManager[object]] = nullcontext
"""Around each component's own code, with its name: where one would write a span by hand."""


class Nothing(Component):
    display_name = "Nothing"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        with around(self.display_name):
            return Message(text=self.value)


class Waits(Nothing):
    """For 10 ms, as a call to another service does."""

    display_name = "Waits"

    async def run_out(self) -> Message:
        with around(self.display_name):
            await asyncio.sleep(WAIT_S)
            return Message(text=self.value)


class Joins(Component):
    display_name = "Joins"
    inputs = [MessageTextInput(name=f"value_{index}", display_name=f"Value {index}") for index in range(BRANCHES)]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        with around(self.display_name):
            return Message(text=self.value_0)


class Streams(Nothing):
    display_name = "Streams"

    async def run_out(self) -> Message:
        with around(self.display_name):
            return Message(text=self.chunks())

    async def chunks(self) -> AsyncIterator[str]:
        for _ in range(CHUNKS):
            await asyncio.sleep(0)
            yield "chunk "


class Reads(Component):
    display_name = "Reads"
    inputs = [MessageInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        with around(self.display_name):
            stream = self.value.text_stream if hasattr(self.value, "text_stream") else self.value.__dict__["text"]
            return Message(text="".join([chunk async for chunk in stream]))


@dataclass(frozen=True)
class Flow:
    """One of the flows.

    Args:
        components: Of one run, chat input and chat output among them.
        times: Measured so often in each round.
        at_once: Runs of one measurement, at the same time.
        warm_up: Runs right before each measured one, for the processor's caches are full of the other arms; a long
            measurement warms itself up.
    """

    name: str
    make: Callable[[], Graph]
    components: int
    times: int
    at_once: int = 1
    warm_up: int = 2


def chat_input() -> ChatInput:
    return ChatInput(_id="ChatInput-in").set(should_store_message=False)


def graph(start: ChatInput, last: object) -> Graph:
    end = ChatOutput(_id="ChatOutput-out").set(input_value=last, should_store_message=False)
    return Graph(start, end, flow_name="benchmark")


def line(kind: type[Component], length: int) -> Graph:
    """chat input > so many of a kind > chat output"""
    start = chat_input()
    last = start.message_response
    for index in range(length):
        last = kind(_id=f"{kind.__name__}-{index}").set(value=last).run_out
    return graph(start, last)


def parallel() -> Graph:
    """chat input > five that wait at the same time > one that joins them > chat output"""
    start = chat_input()
    waiting = [Waits(_id=f"Waits-{index}").set(value=start.message_response) for index in range(BRANCHES)]
    joined = Joins(_id="Joins-0").set(**{f"value_{index}": each.run_out for index, each in enumerate(waiting)})
    return graph(start, joined.run_out)


def stream() -> Graph:
    """chat input > one that streams > one that reads the stream > chat output"""
    start = chat_input()
    made = Streams(_id="Streams-0").set(value=start.message_response)
    return graph(start, Reads(_id="Reads-0").set(value=made.run_out).run_out)


FLOWS = (
    Flow("5 that do nothing", lambda: line(Nothing, 5), 7, times=20),
    Flow("20 that do nothing", lambda: line(Nothing, 20), 22, times=10),
    Flow("5 x 10 ms", lambda: line(Waits, 5), 7, times=10),
    Flow("5 x 10 ms in parallel", parallel, 8, times=10),
    Flow("a stream of 500 chunks", stream, 4, times=10),
    Flow("1,000 in a line", lambda: line(Nothing, 1000), 1002, times=1, warm_up=0),
    Flow("50 runs of 5 x 10 ms at once", lambda: line(Waits, 5), 7, times=3, at_once=50, warm_up=0),
)
