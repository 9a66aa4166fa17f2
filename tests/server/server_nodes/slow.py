import asyncio
import os
from pathlib import Path

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class Slow(Component):
    """Waits for a minute, and says by a file that it waits."""

    display_name = "Slow"
    name = "Slow"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        self.say_that_it_waits()
        await asyncio.sleep(60)
        return Message(text="late")

    def say_that_it_waits(self) -> None:
        Path(os.environ["TEST_FOLDER"], f"waits-{self.value}").touch()
