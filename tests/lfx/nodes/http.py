import httpx
from lfx.schema.message import Message

from nodes.basic import Echo

seen: dict = {}


class Calls(Echo):
    display_name = "Calls"
    name = "Calls"

    async def run_out(self) -> Message:
        async with httpx.AsyncClient() as client:
            response = await client.get(seen["url"])
        return Message(text=str(response.status_code))


class CallsInThread(Echo):
    display_name = "Calls In Thread"
    name = "CallsInThread"

    def run_out(self) -> Message:
        return Message(text=str(httpx.get(seen["url"]).status_code))
