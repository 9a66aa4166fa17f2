"""Where telemetry goes by OTLP: a test item is really sent to each destination."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from langflow_otel._sdk.otlp import Signal, otlp_exporter
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.masking import Secrets, one_line
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.console import in_words
from langflow_otel.cli.doctor.answers import Answer, Answered, watch_grpc, watch_http
from langflow_otel.cli.doctor.diagnosis import Destination, Verdict, listener_behind, not_sendable, verdict
from langflow_otel.cli.doctor.listener import Listener
from langflow_otel.cli.doctor.report import Finding, Section

_DETAIL: Final = "a test span, metric and log record, sent as the library sends"
_DEFAULT_TIMEOUT_S: Final = 10.0
_LOOK_S: Final = 10.0
_LONGEST_S: Final = 60.0
_QUOTES_HEADERS = re.compile("header|metadata", re.IGNORECASE)
NAME: Final = "langflow-otel doctor"
"""Of the test span; the log record says the same."""
METRIC: Final = "langflow_otel.doctor"
_SLACK_S: Final = 2.0


@dataclass
class _Sent:
    destination: Destination
    answer: Answer | None = None
    """None if nothing could be sent."""
    listener: Listener | None = None
    verdict: Verdict | None = None

    @property
    def arrived(self) -> bool:
        return self.answer is not None and self.answer.outcome == "accepted"


def destinations_section(settings: Settings, env: Mapping[str, str]) -> Section:
    """Send to all of them at once, and say what came back."""
    off = _switched_off(settings)
    if off is not None:
        return Section("Destinations", "nothing was sent", [off])
    all_sent = [_Sent(Destination(*each, env)) for each in _targets(settings)]
    threads = [threading.Thread(target=_send, args=(sent, settings), daemon=True) for sent in all_sent]
    for thread in threads:
        thread.start()
    # Each sender gives up by itself; looking at the port may then have to wait for a name server.
    give_up_s = time.monotonic() + max((_timeout_s(sent.destination) for sent in all_sent), default=0.0) + _LOOK_S
    for thread in threads:
        thread.join(max(0.0, give_up_s - time.monotonic()))
    secrets = Secrets(env)
    found = {sent.destination.signal: _finding(sent, all_sent, secrets) for sent in all_sent}
    others = {signal: _not_pushed(signal, settings) for signal in ("traces", "metrics", "logs") if signal not in found}
    return Section("Destinations", _DETAIL if found else "nothing goes by OTLP", [*found.values(), *others.values()])


def _switched_off(settings: Settings) -> Finding | None:
    if settings.sdk_disabled:
        return Finding("all", "warning", "switched off by OTEL_SDK_DISABLED=true", "OTEL_SDK_DISABLED: leave it out")
    if settings.enabled == "false":
        text = "switched off by LANGFLOW_OTEL_ENABLED=false"
        return Finding("all", "warning", text, "LANGFLOW_OTEL_ENABLED: leave it out, or set it to auto")
    return None


def _targets(settings: Settings) -> list[tuple[Signal, Any]]:
    targets: list[tuple[Signal, Any]] = [
        ("traces", settings.otlp),
        ("metrics", settings.metrics_otlp),
        ("logs", settings.logs_otlp),
    ]
    return [(signal, target) for signal, target in targets if target is not None]


def _send(sent: _Sent, settings: Settings) -> None:
    destination = sent.destination
    sent.verdict = not_sendable(destination)
    if sent.verdict is None:
        sent.answer = probe(destination.signal, destination.target, settings, _timeout_s(destination))
        sent.listener = listener_behind(sent.answer, destination)


def _timeout_s(destination: Destination) -> float:
    """The exporter's own, as far as anybody wants to wait for it here."""
    try:
        given_s = float(destination.value("TIMEOUT"))
    except ValueError:
        return _DEFAULT_TIMEOUT_S
    # Neither nothing nor what is no number.
    return min(given_s, _LONGEST_S) if given_s > 0 else _DEFAULT_TIMEOUT_S


def _finding(sent: _Sent, all_sent: list[_Sent], secrets: Secrets) -> Finding:
    to, answer = sent.destination, sent.answer
    facts: dict[str, Any] = {"endpoint": to.shown, "protocol": to.target.protocol, "outcome": "not sent"}
    took = ""
    told = sent.verdict
    if answer is not None:
        others_arrive = any(
            each.arrived and each.destination.place == to.place for each in all_sent if each is not sent
        )
        told = verdict(_without_headers(answer), sent.listener, to, others_arrive=others_arrive)
        took = f"{in_words(answer.took_s)}; "
        facts |= {"outcome": answer.outcome, "code": answer.code or None, "took_ms": round(answer.took_s * 1000, 1)}
    told = told or Verdict("no answer in time", f"{to.variable('ENDPOINT')}: is the address right?")
    text = secrets.hide(f"{told.text} ({took}{to.target.protocol} {to.shown})")
    return Finding(to.signal, "problem" if told.advice else "ok", text, secrets.hide(told.advice), facts)


def _without_headers(answer: Answer) -> Answer:
    """What refuses a header quotes it, in whatever form."""
    if answer.outcome == "settings" and _QUOTES_HEADERS.search(answer.told):
        return Answer("settings", "a header cannot be sent as it is", answer.code, answer.took_s)
    return answer


def _not_pushed(signal: Signal, settings: Settings) -> Finding:
    elsewhere = {
        "traces": [("the console", settings.console), ("the trace file", settings.trace_file is not None)],
        "metrics": [("the console", settings.metrics_console), ("the scrape endpoint", settings.scrape is not None)],
        "logs": [("the console", settings.logs_console)],
    }[signal]
    places = " and ".join(name for name, used in elsewhere if used)
    return Finding(signal, "info", f"to {places} only" if places else "not by OTLP", facts={"outcome": "not sent"})


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
