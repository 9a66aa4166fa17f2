import asyncio

from lfx.custom.custom_component.component import Component
from lfx.io import MessageInput, MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import span

seen: dict = {}


class Streams(Component):
    """Returns a message that is still a generator."""

    display_name = "Streams"
    name = "Streams"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    def run_out(self) -> Message:
        return Message(text=self.chunks())

    async def chunks(self):
        for part in ("a", "b", "c"):
            with span(f"make {part}"):
                await asyncio.sleep(0.005)
            yield part


class StreamsBroken(Streams):
    display_name = "Streams Broken"
    name = "StreamsBroken"

    async def chunks(self):
        yield "a"
        raise RuntimeError("canary-7f3a")


class StreamsSync(Streams):
    display_name = "Streams Sync"
    name = "StreamsSync"

    def chunks(self):
        yield "a"
        yield "b"


def stream_of(message):
    stream = getattr(message, "text_stream", None)
    return stream if stream is not None else message.__dict__["text"]


class Reads(Component):
    """Reads the stream that it is given: all of it, one chunk, or nothing."""

    display_name = "Reads"
    name = "Reads"
    chunks_to_read = None
    inputs = [MessageInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        stream = stream_of(self.value)
        seen["stream"] = stream
        text = ""
        if hasattr(stream, "__anext__"):
            while self.chunks_to_read is None or len(text) < self.chunks_to_read:
                try:
                    text += await stream.__anext__()
                except StopAsyncIteration:
                    break
        else:
            text = "".join(stream)
        return Message(text=text)


class ReadsOne(Reads):
    display_name = "Reads One"
    name = "ReadsOne"
    chunks_to_read = 1


class ReadsOneAndCloses(Reads):
    display_name = "Closes"
    name = "Closes"

    async def run_out(self) -> Message:
        stream = stream_of(self.value)
        chunk = await stream.__anext__()
        await stream.aclose()
        return Message(text=chunk)


class Ignores(Reads):
    display_name = "Ignores"
    name = "Ignores"

    async def run_out(self) -> Message:
        return Message(text="ignored")
