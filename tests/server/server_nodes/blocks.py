import time

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class Blocks(Component):
    """Blocks the event loop for as many seconds as it is told, as a synchronous call in asynchronous code does."""

    display_name = "Blocks"
    name = "Blocks"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        time.sleep(float(str(self.value)))  # noqa: ASYNC251
        return Message(text=str(self.value))
