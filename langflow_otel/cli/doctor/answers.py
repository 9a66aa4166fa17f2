"""What came back first from a collector, caught where each version of the SDK has it: at the adapter of the HTTP
session, and at the gRPC stub."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from langflow_otel._sdk.versions import session_of
from langflow_otel._settings.masking import one_line

Outcome = Literal[
    "accepted",
    "partial",
    "redirected",
    "unauthorized",
    "forbidden",
    "not found",
    "too many",
    "unavailable",
    "rejected",
    "server error",
    "not otlp",
    "no connection",
    "untrusted",
    "tls",
    "proxy",
    "timeout",
    "settings",
]

_MAX_BODY: Final = 65_536


@dataclass(frozen=True)
class Answer:
    """What came back first.

    Attributes:
        told: What the collector or the system said about it, on one line; may hold what the collector likes.
        code: HTTP status or gRPC code; empty if nothing came back.
    """

    outcome: Outcome
    told: str = ""
    code: str = ""
    took_s: float = 0.0


class Answered(BaseException):
    """Carries the answer past all that would try again: no exporter stops a ``BaseException``."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.outcome)
        self.answer = answer


# What came back by HTTP


def watch_http(exporter: Any) -> None:
    """Let the first answer to this exporter's next request leave as :class:`Answered`."""
    session = session_of(exporter)
    if session is not None:
        for prefix, adapter in list(session.adapters.items()):
            session.mount(prefix, _WatchedAdapter(adapter))


class _WatchedAdapter:
    """What ``requests`` sends with; the first answer goes past all that would try again."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def send(self, request: Any, **kwargs: Any) -> Any:
        try:
            response = self._adapter.send(request, **{**kwargs, "stream": True})
            body = response.raw.read(_MAX_BODY, decode_content=True)
        except Exception as exc:  # noqa: BLE001 - of requests, or of what lies below it
            raise Answered(_http_failure(exc)) from None
        raise Answered(_http_answer(request, response, body))

    def close(self) -> None:
        self._adapter.close()


def _http_failure(exc: Exception) -> Answer:
    import requests
    import urllib3

    # A connection that takes too long is both a timeout and an error of the connection.
    if isinstance(exc, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return Answer("timeout")
    if isinstance(exc, requests.exceptions.SSLError):
        cause = _cause(exc, ssl.SSLError)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Answer("untrusted", cause.verify_message)
        return Answer("tls", one_line(getattr(cause, "reason", None) or "no handshake"))
    if isinstance(exc, requests.exceptions.ProxyError):
        return Answer("proxy")
    if isinstance(exc, (requests.ConnectionError, urllib3.exceptions.HTTPError, ConnectionError)):
        return Answer("no connection", one_line(exc))
    return Answer("settings", one_line(exc))


def _cause(exc: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """The error of this kind that lies below, however many libraries have put theirs around it."""
    while exc is not None and not isinstance(exc, kind):
        exc = exc.__cause__ or exc.__context__
    return exc


_HTTP_OUTCOMES: Final[dict[int, Outcome]] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    405: "not found",
    407: "proxy",
    429: "too many",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


def _http_answer(request: Any, response: Any, body: bytes) -> Answer:
    status: int = response.status_code
    code = f"{status} {response.reason or ''}".strip()
    if 300 <= status < 400:
        return Answer("redirected", str(response.headers.get("Location", "")), code)
    content_type = str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
    if status >= 400:
        outcome = _HTTP_OUTCOMES.get(status, "server error" if status >= 500 else "rejected")
        return Answer(outcome, _error_text(body, content_type), code)
    try:
        return replace(_taken(_message_in(body, content_type, request.url)), code=code)
    except (ValueError, KeyError, TypeError):
        return Answer("not otlp", content_type, code)


def _message_in(body: bytes, content_type: str, url: str) -> Any:
    """The response of OTLP. Raises ValueError if it is none; anything but a page may stay empty."""
    if content_type in ("text/html", "application/xhtml+xml"):
        raise ValueError(content_type)
    if not body.strip() or content_type not in ("application/x-protobuf", "application/json"):
        return None
    from google.protobuf.json_format import Parse
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    # Those of all signals are the same on the wire; in JSON only the name of the number is another.
    message = ExportTraceServiceResponse()
    try:
        if content_type == "application/json":
            text = body.decode().replace("rejectedDataPoints", "rejectedSpans")
            Parse(text.replace("rejectedLogRecords", "rejectedSpans"), message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (DecodeError, ValueError) as exc:  # The JSON parser's error is a ValueError only in newer releases.
        raise ValueError(url) from exc
    return message


def _error_text(body: bytes, content_type: str) -> str:
    """What the collector says about it: a ``google.rpc.Status``, or a few words of text."""
    if content_type == "application/x-protobuf":
        from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

        try:
            return one_line(Status.FromString(body).message)
        except Exception:  # noqa: BLE001 - then it says nothing
            return ""
    return "" if content_type == "text/html" else one_line(body.decode("utf-8", "replace"))


# What came back by gRPC


def watch_grpc(exporter: Any) -> None:
    """The same for gRPC."""
    stub = getattr(exporter, "_client", None)
    if stub is not None:
        exporter._client = _WatchedStub(stub)


class _WatchedStub:
    """What the exporter calls; the same as :class:`_WatchedAdapter`."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def Export(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - gRPC's name
        import grpc  # type: ignore[import-untyped]

        try:
            response = self._stub.Export(*args, **kwargs)
        except grpc.RpcError as exc:
            raise Answered(_grpc_failure(exc)) from None
        raise Answered(replace(_taken(response), code="OK"))


_GRPC_OUTCOMES: Final[dict[str, Outcome]] = {
    "UNAUTHENTICATED": "unauthorized",
    "PERMISSION_DENIED": "forbidden",
    "UNIMPLEMENTED": "not found",
    "RESOURCE_EXHAUSTED": "too many",
    "DEADLINE_EXCEEDED": "timeout",
    # Of the collector, or of gRPC where it finds none.
    "UNAVAILABLE": "no connection",
    "INVALID_ARGUMENT": "rejected",
    "FAILED_PRECONDITION": "rejected",
    "OUT_OF_RANGE": "rejected",
}


def _grpc_failure(exc: Any) -> Answer:
    code = exc.code().name
    if "CERTIFICATE_VERIFY_FAILED" in (exc.details() or ""):
        return Answer("untrusted", "gRPC does not know who signed it", code)
    if exc.details() == "Invalid metadata":  # the headers, before anything is sent
        return Answer("settings", "invalid metadata")
    return Answer(_GRPC_OUTCOMES.get(code, "server error"), one_line(exc.details() or ""), code)


# Both


def _taken(response: Any) -> Answer:
    """What an answer says that looks like success."""
    partial: Any = getattr(response, "partial_success", None)
    if partial is None:
        return Answer("accepted")
    rejected = sum(value for _, value in partial.ListFields() if isinstance(value, int))
    return Answer("partial" if rejected else "accepted", one_line(partial.error_message))
