"""Proxies that watch an iterator being read, without the reader noticing.

A ``wrapt.ObjectProxy`` looks like the object that it stands for (``isinstance``,
``inspect.isasyncgen``, attributes), so LangFlow and the user's code treat it the same.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import wrapt

from langflow_otel._guard import Guard
from langflow_otel._runs.facts import CANCELLED, OK, Outcome
from langflow_otel._runs.stream import ChunkCount

_PULL = Guard("stream.pull")
_CHUNK = Guard("stream.chunk")
_LEAVE = Guard("stream.leave")
_CLOSE = Guard("stream.close")


class Watcher(Protocol):
    """What is told about the reading. :class:`~langflow_otel._runs.stream.StreamRun` is one."""

    def pull(self) -> Any: ...
    def leave_step(self, tokens: Any) -> None: ...
    def chunk(self) -> None: ...
    def close(self, how: str, outcome: Outcome = OK) -> None: ...
    def give_up(self) -> None: ...


class DrainedHere:
    """Watcher of a stream that its own component drains: only counts, on the component's span."""

    def __init__(self, count: ChunkCount) -> None:
        self._count = count

    def pull(self) -> None:
        self._count.pull()

    def leave_step(self, tokens: Any) -> None: ...

    def chunk(self) -> None:
        self._count.chunk()

    def close(self, how: str, outcome: Outcome = OK) -> None: ...

    def give_up(self) -> None: ...


def watch(iterator: object, watcher: Watcher) -> Any:
    """A stand-in for the iterator that tells the watcher about each step; the very same object if it
    is no iterator, or is watched already."""
    if is_watched(iterator):
        return iterator
    if isinstance(iterator, AsyncIterator):
        return (_AsyncGenerator if hasattr(iterator, "athrow") else _AsyncIterator)(iterator, watcher)
    if isinstance(iterator, Iterator):
        return (_Generator if hasattr(iterator, "throw") else _Iterator)(iterator, watcher)
    return iterator


def is_watched(iterator: object) -> bool:
    return isinstance(iterator, _Proxy)


class _Proxy(wrapt.ObjectProxy):  # type: ignore[type-arg]  # not generic at run time
    def __init__(self, wrapped: object, watcher: Watcher) -> None:
        super().__init__(wrapped)
        self._self_watcher = watcher

    # As the iterator itself: most can be neither copied nor pickled, and say so by a TypeError that LangFlow expects.

    def __copy__(self) -> Any:
        return copy.copy(self.__wrapped__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.__wrapped__, memo)

    def __reduce__(self) -> Any:
        return self.__wrapped__.__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)

    def _close(self, how: str, outcome: Outcome = OK) -> None:
        with _CLOSE:
            self._self_watcher.close(how, outcome)

    def _failed(self, exc: BaseException) -> None:
        with _CLOSE:
            if not self._goes_on():
                outcome = Outcome.of(exc)
                self._self_watcher.close("failed" if outcome.status == "error" else "closed", outcome)

    def _goes_on(self) -> bool:
        """True if the generator can still be read: it refused a second reader while the first waits."""
        wrapped = self.__wrapped__
        return getattr(wrapped, "ag_frame", None) is not None or getattr(wrapped, "gi_frame", None) is not None

    def __del__(self) -> None:
        # Dropped half read: no close() and no exception tells of it.
        with _CLOSE:
            self._self_watcher.give_up()


# Functions, for an attribute of a proxy takes longer to find than they take.


def _pull(watcher: Watcher) -> Any:
    try:
        return watcher.pull()
    except Exception as exc:  # noqa: BLE001 - see contain()
        _PULL.contain(exc)
        return None


def _leave(watcher: Watcher, tokens: Any) -> None:
    try:
        watcher.leave_step(tokens)
    except Exception as exc:  # noqa: BLE001 - see contain()
        _LEAVE.contain(exc)


def _chunk(watcher: Watcher) -> None:
    try:
        watcher.chunk()
    except Exception as exc:  # noqa: BLE001 - see contain()
        _CHUNK.contain(exc)


async def _async_step(stream: _Proxy, step: Any, *args: Any) -> Any:
    watcher = stream._self_watcher
    tokens = _pull(watcher)
    try:
        chunk = await step(*args)
    except StopAsyncIteration:
        stream._close("exhausted")
        raise
    except BaseException as exc:
        stream._failed(exc)
        raise
    finally:
        _leave(watcher, tokens)
    _chunk(watcher)
    return chunk


def _step(stream: _Proxy, step: Any, *args: Any) -> Any:
    watcher = stream._self_watcher
    tokens = _pull(watcher)
    try:
        chunk = step(*args)
    except StopIteration:
        stream._close("exhausted")
        raise
    except BaseException as exc:
        stream._failed(exc)
        raise
    finally:
        _leave(watcher, tokens)
    _chunk(watcher)
    return chunk


class _AsyncIterator(_Proxy):
    def __aiter__(self) -> Any:
        return self

    def __anext__(self) -> Any:
        return _async_step(self, self.__wrapped__.__anext__)


class _AsyncGenerator(_AsyncIterator):
    def asend(self, value: Any) -> Any:
        return _async_step(self, self.__wrapped__.asend, value)

    def athrow(self, *exc: Any) -> Any:
        return _async_step(self, self.__wrapped__.athrow, *exc)

    async def aclose(self) -> None:
        tokens = _pull(self._self_watcher)
        try:
            await self.__wrapped__.aclose()
        finally:
            _leave(self._self_watcher, tokens)
            self._close("closed", CANCELLED)


class _Iterator(_Proxy):
    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return _step(self, self.__wrapped__.__next__)


class _Generator(_Iterator):
    def send(self, value: Any) -> Any:
        return _step(self, self.__wrapped__.send, value)

    def throw(self, *exc: Any) -> Any:
        return _step(self, self.__wrapped__.throw, *exc)

    def close(self) -> None:
        tokens = _pull(self._self_watcher)
        try:
            self.__wrapped__.close()
        finally:
            _leave(self._self_watcher, tokens)
            self._close("closed", CANCELLED)
