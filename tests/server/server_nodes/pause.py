import asyncio

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class Pause(Component):
    """Takes half a second, in which a client can go."""

    display_name = "Pause"
    name = "Pause"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        await asyncio.sleep(0.5)
        return Message(text=str(self.value))
