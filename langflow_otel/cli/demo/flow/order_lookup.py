"""A custom node with spans of its own."""

import asyncio
import re

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import set_attributes, span, traced

ROW_S = 0.012
"""Long enough that a busy machine's delays elsewhere are shorter than those of many rows."""


def rows_of(order_id: str) -> int:
    """One order in five is a business customer's, with many items."""
    return 300 if order_id.isdigit() and int(order_id) % 5 == 0 else 1


class OrderLookup(Component):  # type: ignore[misc]  # LangFlow is not type-checked here
    """A custom node whose author wants to see more than its total: two spans of its own."""

    display_name = "Order Lookup"
    name = "OrderLookup"
    inputs = [MessageTextInput(name="question", display_name="Question")]
    outputs = [Output(display_name="Order", name="order", method="find_order")]

    async def find_order(self) -> Message:
        order_id = self.parse_question()
        with span("query orders", table="orders") as query:
            rows = rows_of(order_id)
            await asyncio.sleep(0.03 + rows * ROW_S)
            query.set_attributes(rows=rows)
        return Message(text=f"{self.question} (order {order_id}: two lamps, paid, shipped)")

    @traced("parse question")
    def parse_question(self) -> str:
        found = re.search(r"\d+", self.question)
        set_attributes(characters=len(self.question))
        return found.group() if found else "unknown"
