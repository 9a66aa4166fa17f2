import asyncio
import time

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class Misbehaves(Component):
    """Does what it is asked: ``fail``, ``wait 70`` as for a model that does not answer, ``block 30`` the event loop."""

    display_name = "Misbehaves"
    name = "Misbehaves"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        what, _, seconds = str(self.value).partition(" ")
        if what == "fail":
            raise ConnectionError("the model's server refuses the connection")
        if what == "wait":
            await asyncio.sleep(float(seconds))
        if what == "block":
            time.sleep(float(seconds))  # noqa: ASYNC251 - that is the fault
        return Message(text=str(self.value))
