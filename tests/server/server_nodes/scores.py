import asyncio

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import set_attributes, span, traced


class Scores(Component):
    """As an author writes it in the playground's code editor."""

    display_name = "Scores"
    name = "Scores"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    @traced("score", attributes={"index": "orders"})
    async def run_out(self) -> Message:
        with span("lookup", table="orders"):
            set_attributes(input_size=3)
            await asyncio.to_thread(self.weigh)
        return Message(text=str(self.value))

    @traced("weigh")
    def weigh(self) -> None:
        return None
