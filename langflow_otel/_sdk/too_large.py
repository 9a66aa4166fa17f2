"""A batch that its receiver refuses as too large is sent in parts.

The SDK's exporters only say that an export failed; before that, those for gRPC try the same batch for up to a
minute. So the refusal is caught where it comes in, at the adapter of the HTTP session and at the gRPC stub, and is
carried past all that would try again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from langflow_otel._runs.recorder import count_dropped

logger = logging.getLogger("langflow_otel")

MAX_REFUSED: Final = 32
"""Items in a row that are refused one by one; a receiver that takes none of them is not asked about the rest."""

REASON: Final = "too_large"
"""Of what is dropped, in ``langflow_otel.dropped``."""

_HTTP_TOO_LARGE: Final = 413
# What gRPC says in C++ and Python, Go, Java and .NET. Without these words the receiver is only busy.
_GRPC_TOO_LARGE: Final = ("larger than max", "exceeds maximum size", "exceeds the maximum")

_WARNING: Final = (
    "An OTLP receiver refuses %s as too large for one request: %s dropped. Let it accept larger requests, or send less "
    "in each (OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE, LANGFLOW_OTEL_CONTENT_LENGTH)."
)

Exporter = TypeVar("Exporter")
Item = TypeVar("Item")
Result = TypeVar("Result")

_warned: set[str] = set()


class TooLargeError(BaseException):
    """The receiver refuses a request for its size. No exporter stops a ``BaseException``."""


def raise_too_large(exporter: Exporter) -> Exporter:
    """Let this OTLP exporter of the SDK raise :class:`TooLargeError` where its receiver refuses a request for its size.

    Returns:
        The same exporter; unchanged if it is none that sends by ``requests`` or gRPC.
    """
    inner: Any = exporter
    session = session_of(inner)
    if session is not None:
        for prefix, adapter in list(session.adapters.items()):
            session.mount(prefix, _Adapter(adapter))
    elif getattr(inner, "_stub", None) is not None and getattr(inner, "_client", None) is not None:
        inner._client = _Client(inner._client)
        # From 1.36 on the exporter makes another client after it lost its connection.
        stub = inner._stub
        inner._stub = lambda channel: _Client(stub(channel))
    if hasattr(inner, "_max_request_size"):
        # From 1.44 on the exporter drops by itself what is over 64 MiB, as a whole.
        inner._max_request_size = 0
    return exporter


def session_of(exporter: Any) -> Any:
    """What an exporter of the SDK sends HTTP with; None if it sends by anything but ``requests``."""
    # In 1.45 it is two levels further down; in 1.41 it was not.
    transport = getattr(getattr(exporter, "_client", None), "_transport", None)
    return getattr(exporter, "_session", None) or getattr(transport, "_session", None)


class _Adapter:
    """What ``requests`` sends with."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def send(self, request: Any, **kwargs: Any) -> Any:
        response = self._adapter.send(request, **kwargs)
        if response.status_code == _HTTP_TOO_LARGE:
            response.close()
            raise TooLargeError
        return response

    def close(self) -> None:
        self._adapter.close()


class _Client:
    """What the gRPC exporter sends with."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def Export(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - gRPC's name
        import grpc  # type: ignore[import-untyped]

        try:
            return self._client.Export(*args, **kwargs)
        except grpc.RpcError as exc:
            if exc.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _is_about_size(exc.details()):
                raise TooLargeError from None
            raise


def _is_about_size(details: str | None) -> bool:
    return any(words in (details or "").lower() for words in _GRPC_TOO_LARGE)


def export_in_parts(
    export: Callable[[Sequence[Item]], Result], items: Sequence[Item], signal: str, success: Result
) -> Result:
    """Export a batch, in halves and their halves where it is refused as too large. What is lost is counted.

    Args:
        export: Exports one part; may raise :class:`TooLargeError`.
        items: The batch.
        signal: traces, metrics or logs.
        success: The result of an export that succeeded.

    Returns:
        ``success`` if nothing remains to be sent, though single items may have been dropped; else the first other
        result. The parts after that one are not tried: the receiver would not take them either.

    Raises:
        Exception: What ``export`` raises.
    """
    parts = deque([items])
    left, refused = len(items), 0
    result = success
    try:
        while parts and _succeeded(result):
            part = parts.popleft()
            try:
                result = export(part)
                refused = 0
            except TooLargeError:
                middle = len(part) // 2
                if middle and refused < MAX_REFUSED:
                    parts.extendleft((part[middle:], part[:middle]))
                    continue
                refused += 1
                _drop_as_too_large(signal, len(part))
            if _succeeded(result):
                left -= len(part)
    finally:
        if left:
            count_dropped(signal, "export_failed", left)
    return result


def _succeeded(result: object) -> bool:
    # By name: the class of the result of logs has had more than one.
    return getattr(result, "name", None) == "SUCCESS"


def _drop_as_too_large(signal: str, items: int) -> None:
    count_dropped(signal, REASON, items)
    if signal not in _warned:
        _warned.add(signal)
        logger.warning(_WARNING, signal, items)
