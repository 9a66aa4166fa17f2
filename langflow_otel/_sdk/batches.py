"""Export of batches: split when they are too large, encoded in small steps, counted when they are lost.

The SDK's exporters only report that an export failed, and those for gRPC first retry the same batch for up to a
minute. So a refusal for size is caught at the adapter of the HTTP session and at the gRPC stub, and raised past all
retries.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from langflow_otel._guard import Guard, WarnOnce
from langflow_otel._runs.recorder import count_dropped
from langflow_otel._sdk.versions import lift_request_size, queue_of, replace_grpc_client, session_of

if TYPE_CHECKING:
    from langflow_otel._sdk.store_metrics import StoreMetrics

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

_warn_once = WarnOnce()


class TooLargeError(BaseException):
    """The receiver refuses a request for its size. No exporter stops a ``BaseException``."""


def raise_too_large(exporter: Exporter) -> Exporter:
    """Let this OTLP exporter of the SDK raise :class:`TooLargeError` where its receiver refuses a request for its size.

    Returns:
        The same exporter; unchanged if it is none that sends by ``requests`` or gRPC.
    """
    session = session_of(exporter)
    if session is None:
        replace_grpc_client(exporter, _Client)
    else:
        for prefix, adapter in list(session.adapters.items()):
            session.mount(prefix, _Adapter(adapter))
    lift_request_size(exporter)
    return exporter


class _Adapter:
    """Adapter of a ``requests`` session that raises :class:`TooLargeError` for status 413."""

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
    """Client of the gRPC exporter that raises :class:`TooLargeError` when the server refuses a message for its size."""

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
    _warn_once(signal, _WARNING, signal, items)


# Encoding


EVERY: Final = 8
"""Spans between two pauses: about 0.3 ms of encoding."""


class PausingSequence(Sequence[Item]):
    """A sequence whose iteration lets other threads run after every eight items.

    The exporter's thread shares the interpreter with the event loop, and gives it up only when it has to: encoding a
    batch of 512 spans takes 20 ms, in which the event loop, each time it wakes up, waited 5 ms for its turn.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[Item]:
        for index, item in enumerate(self._items, 1):
            yield item
            if index % EVERY == 0:
                time.sleep(0)


# Losses


_COUNT = Guard("traces.count")


class CountingSpanExporter(SpanExporter):
    """Span exporter that counts spans that could not be exported, and splits a batch that is too large."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return export_in_parts(self._exporter.export, spans, "traces", SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class CountingBatchSpanProcessor(BatchSpanProcessor):
    """The SDK's batch processor, which also counts lost spans: those that a full queue drops, and those that remain
    when the SDK stops waiting for a collector that does not answer."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter)
        self._waiting = queue_of(self)

    def on_end(self, span: ReadableSpan) -> None:
        # The SDK would raise an error in the code that ends the span.
        with _COUNT:
            if span.context is not None and span.context.trace_flags.sampled and is_full(self._waiting):
                count_dropped("traces", "queue_full")
        super().on_end(span)

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call]
        count_left("traces", self._waiting)


def is_full(queue: Any) -> bool:
    """True if the next item pushes one out."""
    return bool(queue) and len(queue) == queue.maxlen


def count_left(signal: str, queue: Any) -> None:
    """Count what remains in the queue of a processor that was shut down; it is not exported any more."""
    left = len(queue)
    if left:
        queue.clear()
        count_dropped(signal, "export_failed", left)


class _Point(NamedTuple):
    """One data point, and what it is part of."""

    resource: Any
    scope: Any
    metric: Any
    point: Any


class CountingMetricExporter(MetricExporter):
    """Metric exporter that counts data points that could not be exported, and splits what is too large.

    Cumulative points are not lost: the next export has them again.

    Bound to its process: a forked child inherits its parent's reader, and must not send the parent's numbers.

    Args:
        exporter: Sends.
        of_store: Are sent too; None if the SDK has them all.
    """

    def __init__(self, exporter: MetricExporter, of_store: StoreMetrics | None = None) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self._exporter = exporter
        self._of_store = of_store
        self._pid = os.getpid()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        if os.getpid() != self._pid:
            return MetricExportResult.SUCCESS
        if self._of_store is not None:
            metrics_data = self._of_store.added_to(metrics_data)

        def export(points: Sequence[_Point]) -> MetricExportResult:
            return self._exporter.export(_with_points(metrics_data, points), timeout_millis, **kwargs)

        return export_in_parts(export, list(_points_of(metrics_data)), "metrics", MetricExportResult.SUCCESS)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        if os.getpid() == self._pid:
            self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _points_of(data: MetricsData) -> Iterator[_Point]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield _Point(resource, scope, metric, point)


def _with_points(data: MetricsData, points: Sequence[_Point]) -> MetricsData:
    """The metrics with these of their points, which are in the order of the metrics."""
    if len(points) == sum(1 for _ in _points_of(data)):
        return data
    resources = []
    for resource, of_resource in _grouped(points, "resource"):
        scopes = []
        for scope, of_scope in _grouped(of_resource, "scope"):
            metrics = [
                replace(metric, data=replace(metric.data, data_points=[each.point for each in of_metric]))
                for metric, of_metric in _grouped(of_scope, "metric")
            ]
            scopes.append(replace(scope, metrics=metrics))
        resources.append(replace(resource, scope_metrics=scopes))
    return MetricsData(resource_metrics=resources)


def _grouped(points: Sequence[_Point], field: str) -> Iterator[tuple[Any, list[_Point]]]:
    for _, group in groupby(points, key=lambda each: id(getattr(each, field))):
        found = list(group)
        yield getattr(found[0], field), found
