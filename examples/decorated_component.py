"""A custom component with spans of its own. Run it with:

    python examples/decorated_component.py

It prints the tree of one run. In LangFlow's code editor the same three lines work: the import, the
decorator, and `span` with attributes.
"""

from __future__ import annotations

import asyncio

from lfx.components.input_output import ChatInput, ChatOutput
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import set_attributes, span, traced
from langflow_otel.testing import capture_telemetry


class OrderLookup(Component):
    display_name = "Order Lookup"
    inputs = [MessageTextInput(name="question", display_name="Question")]
    outputs = [Output(display_name="Answer", name="answer", method="answer")]

    async def answer(self) -> Message:
        words = self.parse(str(self.question))
        with span("lookup", table="orders") as lookup:
            await asyncio.sleep(0.02)
            lookup.set_attributes(rows=2)
        return Message(text=f"{len(words)} words, 2 orders")

    @traced
    def parse(self, text: str) -> list[str]:
        words = text.split()
        set_attributes(input_size=len(words))
        return words


def build_flow() -> Graph:
    question = ChatInput().set(should_store_message=False)
    lookup = OrderLookup().set(question=question.message_response)
    return Graph(question, ChatOutput().set(input_value=lookup.answer, should_store_message=False), flow_name="orders")


async def main() -> None:
    # In a program of your own this line is `langflow_otel.instrument()`; here the spans stay in memory.
    with capture_telemetry() as telemetry:
        await build_flow().arun([{"input_value": "where is my order"}], session_id="s-1")
    print("\n".join(telemetry.tree("input_size", "table", "rows")))


if __name__ == "__main__":
    asyncio.run(main())
