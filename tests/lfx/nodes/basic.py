import asyncio
import contextlib
import time

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message
from opentelemetry import baggage, trace

from langflow_otel import set_attributes, span, traced

seen: dict = {}


class Echo(Component):
    display_name = "Echo"
    name = "Echo"
    inputs = [
        MessageTextInput(name="value", display_name="Value"),
        MessageTextInput(name="other", display_name="Other"),
    ]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        return Message(text=str(self.value))


class Left(Echo):
    display_name = "Left"
    name = "Left"


class Right(Echo):
    display_name = "Right"
    name = "Right"


class Join(Echo):
    display_name = "Join"
    name = "Join"


class Blocking(Echo):
    """Blocks a worker thread for 200 ms and opens a span there."""

    display_name = "Blocking"
    name = "Blocking"
    seconds = 0.2

    def run_out(self) -> Message:
        with span("in thread"):
            time.sleep(self.seconds)
        return Message(text=str(self.value))


class Broken(Echo):
    display_name = "Broken"
    name = "Broken"
    error = KeyError("canary-7f3a: the user's prompt")

    async def run_out(self) -> Message:
        seen["failed_at"] = time.time_ns()
        raise self.error


class BrokenInThread(Broken):
    display_name = "Broken In Thread"
    name = "BrokenInThread"

    def run_out(self) -> Message:
        seen["failed_at"] = time.time_ns()
        raise self.error


class BrokenSetUp(Broken):
    """Fails before any output method."""

    display_name = "Broken Set Up"
    name = "BrokenSetUp"

    def _pre_run_setup(self) -> None:
        seen["failed_at"] = time.time_ns()
        raise self.error


class Chained(Echo):
    """Raises its own error from another one: its own is the error."""

    display_name = "Chained"
    name = "Chained"

    async def run_out(self) -> Message:
        try:
            raise OSError("canary-7f3a")
        except OSError as exc:
            raise LookupError("canary-7f3a") from exc


class WrongType(Echo):
    """LangFlow re-raises a TypeError with a message of its own."""

    display_name = "Wrong Type"
    name = "WrongType"

    async def run_out(self) -> Message:
        return len(3)  # type: ignore[arg-type]


class Waits(Echo):
    """Waits until it is cancelled."""

    display_name = "Waits"
    name = "Waits"

    async def run_out(self) -> Message:
        seen["waiting"].set()
        await asyncio.sleep(60)
        return Message(text="late")


class TracedOutput(Echo):
    display_name = "Traced"
    name = "TracedOutput"

    @traced("score", attributes={"index": "orders"})
    async def run_out(self) -> Message:
        with span("lookup", table="orders"):
            set_attributes(input_size=3)
            await self.refine()
        set_attributes(rows=2)
        return Message(text=str(self.value))

    @traced
    async def refine(self) -> None:
        await asyncio.to_thread(self.weigh)

    @traced("weigh")
    def weigh(self) -> None:
        return None


class ReadsContext(Echo):
    display_name = "Reads Context"
    name = "ReadsContext"

    async def run_out(self) -> Message:
        seen["span"] = trace.get_current_span().get_span_context()
        seen["baggage"] = dict(baggage.get_all())
        return Message(text=str(self.value))


class RunsFlow(Echo):
    """Runs another graph inside its output method."""

    display_name = "Runs Flow"
    name = "RunsFlow"

    async def run_out(self) -> Message:
        inner = seen["inner"]()
        await inner.arun([{"input_value": str(self.value)}], session_id="inner")
        return Message(text="done")


class Recurses(Echo):
    """Runs the very graph that it is part of, once."""

    display_name = "Recurses"
    name = "Recurses"

    async def run_out(self) -> Message:
        if seen.pop("recurse", None):
            with contextlib.suppress(Exception):
                await seen["graph"].arun([{"input_value": "again"}], session_id="again")
        return Message(text="done")


class Manager(Echo):
    """Has two outputs, one of which nobody reads."""

    display_name = "Two Outputs"
    name = "TwoOutputs"
    outputs = [
        Output(display_name="A", name="first", method="run_first"),
        Output(display_name="B", name="second", method="run_second"),
    ]

    async def run_first(self) -> Message:
        return Message(text="first")

    async def run_second(self) -> Message:
        return Message(text="second")
