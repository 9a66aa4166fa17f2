"""Sends one span, metric or log record to a destination, and says what came back first.

By the library's own exporters, so that headers, certificates, compression and timeouts are those of every day. They
log and try again, each version of the SDK in its own way, and never hand out the answer: so that is taken one step
further down, see ``probe_answers.py``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from langflow_otel._sdk.otlp import Signal, otlp_exporter
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.masking import one_line
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.doctor.probe_answers import Answer, Answered, watch_grpc, watch_http

NAME: Final = "langflow-otel doctor"
"""Of the test span; the log record says the same."""
METRIC: Final = "langflow_otel.doctor"

_SLACK_S: Final = 2.0


def probe(signal: Signal, target: OtlpTarget, settings: Settings, timeout_s: float) -> Answer:
    """Send one item. Never raises.

    Args:
        timeout_s: How long to wait at most, plus two seconds: an exporter has a timeout of its own, and does not count
            a name server's in.
    """
    found: list[Answer] = []
    sending = threading.Thread(
        # A daemon: a name server that does not answer cannot be interrupted.
        target=lambda: found.append(_sent(signal, target, settings)),
        name=f"langflow-otel-probe-{signal}",
        daemon=True,
    )
    started_s = time.perf_counter()
    sending.start()
    sending.join(timeout_s + _SLACK_S)
    took_s = time.perf_counter() - started_s
    return found[0] if found else Answer("timeout", took_s=took_s)


def _sent(signal: Signal, target: OtlpTarget, settings: Settings) -> Answer:
    try:
        exporter = otlp_exporter(target, signal)
        item = _item(signal, settings, exporter)
        watch = watch_grpc if target.protocol == "grpc" else watch_http
        watch(exporter)
    except Exception as exc:  # noqa: BLE001 - the SDK raises anything for a variable that it does not accept
        return Answer("settings", one_line(exc))
    started_s = time.perf_counter()
    answer = _first_answer(exporter, item)
    took_s = time.perf_counter() - started_s
    with suppress(Exception):
        exporter.shutdown()
    return replace(answer, took_s=took_s)


def _first_answer(exporter: Any, item: Any) -> Answer:
    with _kept_log_lines() as lines:
        try:
            result = exporter.export(item)
        except Answered as answered:
            return answered.answer
        except Exception as exc:  # noqa: BLE001 - before anything was sent, such as a certificate that is no file
            return Answer("settings", one_line(exc))
    # It gave up before it sent anything; or it is one that takes no heed of what was put in its way.
    if getattr(result, "name", "") == "SUCCESS":
        return Answer("accepted")
    return Answer("settings", lines[0] if lines else "it does not say why")


@contextmanager
def _kept_log_lines() -> Iterator[list[str]]:
    """Of this thread: the other signals are on their way at the same time."""
    lines: list[str] = []
    own = threading.get_ident()
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: record.thread == own)
    handler.emit = lambda record: lines.append(one_line(record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


# What is sent


def _item(signal: Signal, settings: Settings, exporter: Any) -> Any:
    makers: dict[Signal, Callable[[Settings, Any], Any]] = {"traces": _span, "metrics": _metric, "logs": _record}
    return makers[signal](settings, exporter)


def _span(settings: Settings, _: Any) -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    kept = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_ON, langflow_resource(settings), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.get_tracer("langflow_otel").start_span(NAME, context={}).end()  # type: ignore[arg-type]
    return kept.get_finished_spans()


def _metric(settings: Settings, exporter: Any) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader(exporter._preferred_temporality, exporter._preferred_aggregation)
    provider = MeterProvider([reader], langflow_resource(settings), shutdown_on_exit=False)
    provider.get_meter("langflow_otel").create_counter(METRIC, "{probe}", "Test of the way to a collector.").add(1)
    return reader.get_metrics_data()


def _record(settings: Settings, _: Any) -> Any:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

    from langflow_otel._content.log_lines import LogLine
    from langflow_otel._sdk.log_records import emit_function, in_memory_logger_provider

    _, kept = in_memory_logger_provider()
    provider = LoggerProvider(langflow_resource(settings), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    emit_function(provider, "langflow_otel")(LogLine("langflow_otel", 9, "INFO", NAME, {}))
    return kept.get_finished_logs()
