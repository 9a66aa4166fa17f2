import asyncio

import aiohttp
import httpx
import requests
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


class CallsByRequests(Echo):
    display_name = "Calls By Requests"
    name = "CallsByRequests"

    def run_out(self) -> Message:
        return Message(text=str(requests.get(seen["url"], timeout=5).status_code))


class CallsByAiohttp(Echo):
    display_name = "Calls By Aiohttp"
    name = "CallsByAiohttp"

    async def run_out(self) -> Message:
        async with aiohttp.ClientSession() as session, session.get(seen["url"]) as response:
            return Message(text=str(response.status))


class CallsBySharedSession(Echo):
    display_name = "Calls By Shared Session"
    name = "CallsBySharedSession"

    async def run_out(self) -> Message:
        async with seen["session"].get(seen["url"]) as response:
            return Message(text=str(response.status))


class CallsAndIsRefused(Echo):
    display_name = "Calls And Is Refused"
    name = "CallsAndIsRefused"

    async def run_out(self) -> Message:
        async with httpx.AsyncClient() as client:
            await client.get(seen["url"])


class LeavesATask(Echo):
    """Starts a task that outlives the flow, and calls then."""

    display_name = "Leaves A Task"
    name = "LeavesATask"

    async def run_out(self) -> Message:
        async def later() -> None:
            await seen["flow_is_over"].wait()
            async with httpx.AsyncClient() as client:
                await client.get(seen["url"])

        seen["task"] = asyncio.create_task(later())
        return Message(text="ok")


class CallsWithOthers(Calls):
    """Below a span that the author makes with OpenTelemetry's own interface."""

    display_name = "Calls With Others"
    name = "CallsWithOthers"

    async def run_out(self) -> Message:
        with seen["tracer"].start_as_current_span("by others"):
            return await super().run_out()
