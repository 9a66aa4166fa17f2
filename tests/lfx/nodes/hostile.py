"""Components and values that do what they should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.tools import StructuredTool
from lfx.io import HandleInput, MessageTextInput, Output
from lfx.schema.data import Data
from lfx.schema.message import Message

from nodes.basic import Echo

seen: dict[str, Any] = {}


class Hostile:
    """Whatever it is asked, it fails."""

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __format__ = __bytes__ = __bool__ = __len__ = __iter__ = __next__ = __contains__ = _fail
    __eq__ = __ne__ = __lt__ = __hash__ = __getattr__ = __getitem__ = __call__ = __int__ = __float__ = _fail
    __aiter__ = __anext__ = __await__ = __enter__ = __fspath__ = __reduce_ex__ = __copy__ = __deepcopy__ = _fail


class LiesAboutItsClass:
    """``isinstance`` asks it, and it fails."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("hostile")


class Endless:
    """Has every attribute, and is as long as one likes."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Endless()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Endless()

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, _: Any) -> Any:
        return Endless()

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield Endless()


class Text(str):
    """A text that fails at what texts can do."""

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("hostile")

    __str__ = __repr__ = __len__ = __eq__ = __bool__ = startswith = lower = strip = encode = isascii = _fail
    __hash__ = str.__hash__


class SilentError(Exception):
    """Neither its message nor its attributes can be had."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __str__ = __repr__ = _fail
    response = status_code = status = property(_fail)


class HostileArgumentError(ValueError):
    """Has what cannot be compared, counted or printed as its argument."""


class Stop(BaseException):
    """No error, as a library's own signal."""


class Raises(Echo):
    """Raises what it finds, or gives it to the event loop as a sync method."""

    display_name = "Raises"
    name = "Raises"

    async def run_out(self) -> Message:
        raise seen["error"]()


class RaisesInThread(Raises):
    display_name = "Raises In Thread"
    name = "RaisesInThread"

    def run_out(self) -> Message:
        raise seen["error"]()


class Takes(Echo):
    """Has a value of any class as its input."""

    display_name = "Takes"
    name = "Takes"
    inputs = [
        MessageTextInput(name="value", display_name="Value"),
        HandleInput(name="thing", display_name="Thing", input_types=["Any"]),
    ]


class Gives(Echo):
    """Has a value of any class as its output."""

    display_name = "Gives"
    name = "Gives"
    outputs = [Output(display_name="Out", name="out", method="give")]

    async def give(self) -> Data:
        return seen["value"]()


class TakesData(Echo):
    display_name = "Takes Data"
    name = "TakesData"
    inputs = [HandleInput(name="value", display_name="Value", input_types=["Data", "JSON"])]

    async def run_out(self) -> Message:
        return Message(text=type(self.value).__name__)


class AsksTool(Echo):
    """Its tool takes and gives values of any class."""

    display_name = "Asks Tool"
    name = "AsksTool"

    async def run_out(self) -> Message:
        def give(thing: Any) -> Any:
            return seen["value"]()

        tool = StructuredTool.from_function(give, name="give", description="Gives.")
        return Message(text=type(await tool.arun({"thing": seen["value"]()})).__name__)


class Tells(Echo):
    """Tells LangFlow's log and the author's own API about its value."""

    display_name = "Tells"
    name = "Tells"

    async def run_out(self) -> Message:
        from langflow_otel import metrics, set_attributes, span

        value = seen["value"]()
        set_attributes(mine=value)
        with span("mine", value=value) as mine:
            mine.set_attributes(more=value)
        metrics.counter("hostile.things", "Things.", labels=["thing"]).add(1, thing=value)
        return Message(text="told")


class StreamsAndBreaks(Echo):
    """Its stream fails with what it finds."""

    display_name = "Streams And Breaks"
    name = "StreamsAndBreaks"

    def run_out(self) -> Message:
        return Message(text=self.chunks())

    async def chunks(self) -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        raise seen["error"]()


def circle() -> dict[str, Any]:
    data: dict[str, Any] = {"text": "round"}
    data["self"] = data
    data["list"] = [data, data]
    return data


def deep() -> list[Any]:
    inner: list[Any] = []
    for _ in range(5_000):
        inner = [inner]
    return inner


VALUES: dict[str, Callable[[], Any]] = {
    "hostile": Hostile,
    "lies about its class": LiesAboutItsClass,
    "endless": Endless,
    "hostile text": lambda: Text("text"),
    "lone surrogates": lambda: "lone \ud800 \udcff",
    "bytes that are no text": lambda: b"\xff\xfe\x00",
    "nan": lambda: [float("nan"), float("inf"), -float("inf"), {float("nan"): 1}],
    "big number": lambda: 10**5_000,
    "circle": circle,
    "deep": deep,
    "a million": lambda: list(range(1_000_000)),
    "none": lambda: None,
    "generator": lambda: (number for number in range(3)),
    "class": lambda: Hostile,
}
"""What components hand around."""
