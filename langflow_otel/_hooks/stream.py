"""Streams: drained by the component itself, or left for someone else to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langflow_otel._guard import Guard
from langflow_otel._hooks.facts import own_run
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.stream import ChunkCount
from langflow_otel._runs.stream_proxies import DrainedHere, is_watched, watch

Call = Callable[..., Any]

_DRAIN = Guard("stream.drain")


async def stream_message(wrapped: Call, component: Any, args: Any, kwargs: Any) -> Any:
    """``Component._stream_message``: LangFlow's own models drain their stream here, inside the component.
    Chunk count and time to first chunk become attributes of the component's span."""
    with _DRAIN:
        run = own_run(component)
        if run is not None and run.observed and args and not is_watched(args[0]):
            if run.chunks is None:
                run.chunks = ChunkCount(run)
            args = (watch(args[0], DrainedHere(run.chunks)), *args[1:])
    return await wrapped(*args, **kwargs)


def hand_over(run: ComponentRun, result: Any) -> None:
    """If a component returns a message that is still a generator, watch whoever reads it later."""
    stream = _unread_stream_of(result)
    recorder = active_recorder()
    if recorder is None or stream is None or is_watched(stream):
        return
    watcher = recorder.open_stream(run)
    if watcher is not None:
        result.text = watch(stream, watcher)


def _unread_stream_of(result: Any) -> Any:
    """The iterator that a Message carries as its text; ``text_stream`` since LangFlow 1.11."""
    if type(result).__name__ != "Message":
        return None
    stream = getattr(result, "text_stream", None)
    if stream is None:
        stream = result.__dict__.get("text")
    return stream if hasattr(stream, "__anext__") or hasattr(stream, "__next__") else None
