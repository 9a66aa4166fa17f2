import asyncio
import os

import httpx
from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class Calls(Component):
    """Calls another service, from the event loop and from a thread."""

    display_name = "Calls"
    name = "Calls"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        url = os.environ["TEST_SERVICE_URL"]
        async with httpx.AsyncClient() as client:
            await client.get(url)
        await asyncio.to_thread(httpx.get, url)
        return Message(text=str(self.value))
