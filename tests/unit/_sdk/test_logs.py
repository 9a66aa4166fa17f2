"""Log records: what of a line may leave, where it goes, and that what is lost is counted."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as sdk_export
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from otlp_receiver import otlp_receiver

from langflow_otel._content.log_lines import WITHHELD, LogLine, log_line, log_sink
from langflow_otel._sdk import logs
from langflow_otel._sdk.log_records import (
    CountingBatchLogRecordProcessor,
    CountingLogExporter,
    emit_function,
    in_memory_logger_provider,
)
from langflow_otel._sdk.logs import LogsPipeline, choose_logger_provider
from langflow_otel._settings.settings import Settings
from langflow_otel.insights.log_record import LogRecord, from_sdk
from langflow_otel.testing import Telemetry
from tests.support.recording import recording

WAIT_S = 30
SECRET = "canary-7f3a"
LINE = LogLine("a.logger", 9, "INFO", "said", {"lineno": 7})
SPAN = NonRecordingSpan(SpanContext(0x1F, 0x2F, is_remote=False, trace_flags=TraceFlags(1)))


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """The SDK may log what it loses."""
    with recording(strict=False) as captured:
        yield captured


def made(event: dict[str, Any], error: BaseException | None = None, **settings: Any) -> LogLine:
    return log_line("a.logger", "info", event, error, None, Settings(**settings))


# What may leave


def test_by_default_only_where_a_line_comes_from():
    event = {
        "event": SECRET,
        "level": "info",
        "user": SECRET,
        "version": SECRET,
        "logger": "a.logger",
        "module": "shop",
        "pathname": "/app/shop.py",
        "filename": "shop.py",
        "func_name": "sell",
        "lineno": 7,
    }
    place = {key: event[key] for key in ("logger", "module", "pathname", "filename", "func_name", "lineno")}

    assert made(event) == LogLine("a.logger", 9, "INFO", WITHHELD, place)


def test_a_place_that_is_no_plain_value_stays():
    assert made({"module": {"prompt": SECRET}, "lineno": [SECRET]}).attributes == {}


def test_with_bodies_the_text_and_plain_values_leave():
    line = made({"event": "sold 3", "size": 3, "ratio": 0.5, "ok": True, "who": "x"}, log_bodies=True)

    assert line.body == "sold 3"
    assert line.attributes == {"size": 3, "ratio": 0.5, "ok": True, "who": "x"}


def test_with_bodies_secrets_and_what_is_nested_stay():
    event = {
        "event": "x",
        "API_Key": SECRET,
        "authorization": SECRET,
        "nested": {"password": SECRET},
        "items": [SECRET],
        "nothing": None,
        "_record": SECRET,
        "stack": SECRET,
        "exception": SECRET,
        "exc_info": SECRET,
    }

    assert made(event, log_bodies=True).attributes == {"API_Key": "***", "authorization": "***"}


def test_langflows_own_mark_lets_a_text_leave():
    assert made({"event": "started", "_otel_export_body": True}).body == "started"
    assert made({"event": "started", "_otel_export_body": "yes"}).body == WITHHELD


def test_texts_pass_the_redaction_that_is_asked_for():
    key = "AK" + "IA" + "IOSFODNN7EXAMPLE"
    event = {"event": f"using {key}", "url": f"http://x/?k={key}"}

    assert made(event, log_bodies=True).body == f"using {key}"
    redacted = made(event, log_bodies=True, error_messages="redacted")
    assert redacted.body == "using [redacted:aws_key]"
    assert key not in str(redacted.attributes)
    assert made(event, log_bodies=True, redact_hook=lambda text: text.upper()).body == "USING [REDACTED:AWS_KEY]"


@pytest.mark.parametrize("policy", ["none", "full"])
def test_an_exception_is_its_class_and_frames(policy):
    try:
        raise ValueError(SECRET)
    except ValueError as exc:
        attributes = made({}, exc, error_messages=policy).attributes

    assert attributes.pop("exception.message", None) == (SECRET if policy == "full" else None)
    assert attributes == {
        "exception.type": "ValueError",
        "error.type": "ValueError",
        "exception.stacktrace": attributes["exception.stacktrace"],
    }
    assert attributes["exception.stacktrace"].endswith(
        "in test_an_exception_is_its_class_and_frames\nValueError" + (f": {SECRET}" if policy == "full" else "")
    )


def test_the_class_below_langflows_wrappers_wins():
    assert log_line("x", "error", {}, ValueError(), "KeyError", Settings()).attributes["error.type"] == "KeyError"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_value_that_cannot_be_encoded_does_not_cost_the_batch(protocol):
    odd = made({"event": "lone \ud800", "big": 2**70, "text": "lone \ud800", "least": -(2**63)}, log_bodies=True)
    with otlp_receiver(protocol) as receiver:
        pipeline = LogsPipeline(settings_for(receiver.address, protocol))
        pipeline.emit(LINE, sent_by_langflow=False)
        pipeline.emit(odd, sent_by_langflow=False)
        pipeline.shutdown()
        arrived = [record for _, record in receiver.logs()]

    assert [record.body.string_value for record in arrived] == ["said", "lone ?"]
    assert {each.key: each.value.string_value or each.value.int_value for each in arrived[1].attributes} == {
        "big": str(2**70),
        "text": "lone ?",
        "least": -(2**63),
    }


def settings_for(address: str, protocol: str) -> Settings:
    return Settings.from_env(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    )


# Where it goes


def test_a_record_has_the_ids_of_the_current_span_and_its_scope():
    provider, kept = in_memory_logger_provider()
    emit = emit_function(provider, "a.logger")
    emit(LINE)
    with use_span(SPAN):
        emit(LINE)

    alone, within = from_sdk(kept.get_finished_logs())
    assert (alone.trace_id, alone.span_id) == ("", "")
    assert within == LogRecord(
        "a.logger", "INFO", 9, "said", f"{0x1F:032x}", f"{0x2F:016x}", within.time_ns, {"lineno": 7}
    )


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (Settings(), "nowhere to go"),
        (Settings(logs_console=True, sdk_disabled=True), "switched off"),
        (Settings(logs_console=True, enabled="false"), "switched off"),
    ],
)
def test_without_a_destination_there_is_no_provider(settings, why):
    pipeline = LogsPipeline(settings)

    assert (pipeline.choice, pipeline.wanted, log_sink()) == (None, False, None), why
    assert not pipeline.takes(sent_by_langflow=False)
    pipeline.shutdown()


def test_a_provider_that_is_passed_in_wins_and_is_left_open():
    provider, kept = in_memory_logger_provider()
    pipeline = LogsPipeline(Settings(logs_console=True), provider)
    assert log_sink() is pipeline
    assert pipeline.choice is not None
    assert (pipeline.choice.provider, pipeline.choice.own) == (provider, None)
    pipeline.emit(LINE, sent_by_langflow=False)
    pipeline.shutdown()
    provider.get_logger("x")
    emit_function(provider, "x")(LINE)

    assert log_sink() is None
    assert len(kept.get_finished_logs()) == 2


def test_a_pipeline_that_was_replaced_does_not_take_the_other_ones_place():
    provider, _ = in_memory_logger_provider()
    old, new = LogsPipeline(Settings(), provider), LogsPipeline(Settings(), provider)
    old.shutdown()
    try:
        assert log_sink() is new
    finally:
        new.shutdown()


def test_the_console_prints(capsys):
    pipeline = LogsPipeline(Settings(logs_console=True, service_name="shop"))
    assert pipeline.takes(sent_by_langflow=True)
    pipeline.emit(LINE, sent_by_langflow=True)
    pipeline.shutdown()

    printed = json.loads(capsys.readouterr().out)
    assert (printed["body"], printed["severity_text"]) == ("said", "INFO")
    assert printed["resource"]["attributes"]["service.name"] == "shop"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_otlp_sends_what_waits_when_it_is_shut_down(protocol):
    with otlp_receiver(protocol) as receiver:
        pipeline = LogsPipeline(settings_for(receiver.address, protocol))
        assert pipeline.takes(sent_by_langflow=False)
        assert not pipeline.takes(sent_by_langflow=True)
        with use_span(SPAN):
            pipeline.emit(LINE, sent_by_langflow=False)
            pipeline.emit(LINE, sent_by_langflow=True)
        pipeline.shutdown()
        [(scope, record)] = receiver.logs()

    assert (scope, record.body.string_value, record.severity_number) == ("a.logger", "said", 9)
    assert (record.trace_id.hex(), record.span_id.hex(), record.flags) == (f"{0x1F:032x}", f"{0x2F:016x}", 1)
    assert record.time_unix_nano == record.observed_time_unix_nano > 0


def test_scopes_do_not_grow_without_end():
    provider, kept = in_memory_logger_provider()
    pipeline = LogsPipeline(Settings(), provider)
    for number in range(logs._MAX_SCOPES + 50):
        pipeline.emit(LogLine(f"made.up.{number}", 9, "INFO", "said", {}), sent_by_langflow=False)
    pipeline.shutdown()

    records = from_sdk(kept.get_finished_logs())
    assert len(records) == logs._MAX_SCOPES + 50
    assert len({record.scope for record in records}) == logs._MAX_SCOPES + 1
    assert {record.scope for record in records[logs._MAX_SCOPES :]} == {"lfx"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.slow
def test_a_forked_child_takes_no_lines_for_its_parent():
    provider, _ = in_memory_logger_provider()
    pipeline = LogsPipeline(Settings(), provider)
    assert pipeline.takes(sent_by_langflow=False)
    pid = os.fork()
    if pid == 0:
        os._exit(1 if pipeline.takes(sent_by_langflow=False) else 0)
    status = os.waitpid(pid, 0)[1]
    pipeline.shutdown()

    assert os.waitstatus_to_exitcode(status) == 0


def test_an_sdk_that_is_not_known_costs_the_logs_and_nothing_else(monkeypatch, caplog):
    monkeypatch.delattr("langflow_otel._sdk.log_records")
    monkeypatch.setitem(sys.modules, "langflow_otel._sdk.log_records", None)

    assert choose_logger_provider(Settings(logs_console=True), None) is None
    [warning] = caplog.messages
    assert warning.startswith("langflow-otel: log lines are not sent: this OpenTelemetry SDK is not one")


# What is lost


class Records:
    """An exporter that does with each batch what it is told to."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self.bodies: list[str] = []
        self.closed = 0
        self._then = then

    def export(self, batch: Sequence[Any]) -> Any:
        result = self._then()
        self.bodies += [each.log_record.body for each in batch]
        return result

    def shutdown(self) -> None:
        self.closed += 1


def result(name: str) -> Any:
    export: Any = sdk_export
    return getattr(getattr(export, "LogRecordExportResult", None) or export.LogExportResult, name)


def fail() -> Any:
    raise OSError("canary")


def lost(reason: str, items: int) -> dict[str, float]:
    return {f'langflow_otel_dropped_total{{signal="logs",reason="{reason}"}}': float(items)}


def dropped(telemetry: Telemetry) -> dict[str, float]:
    return telemetry.metrics("langflow_otel_dropped")


def test_records_that_go_out_are_not_counted(telemetry):
    assert CountingLogExporter(Records(lambda: result("SUCCESS"))).export([]) is result("SUCCESS")
    assert dropped(telemetry) == {}


def test_records_of_a_failed_export_are_counted(telemetry):
    inner = Records(lambda: result("FAILURE"))
    exporter = CountingLogExporter(inner)
    _, kept = in_memory_logger_provider()
    provider, kept = in_memory_logger_provider()
    for _ in range(3):
        emit_function(provider, "x")(LINE)

    assert exporter.export(kept.get_finished_logs()) is result("FAILURE")
    assert dropped(telemetry) == lost("export_failed", 3)
    exporter.shutdown()
    assert inner.closed == 1


def test_records_of_an_export_that_raises_are_counted_and_the_sdk_hears_of_it(telemetry):
    provider, kept = in_memory_logger_provider()
    emit_function(provider, "x")(LINE)

    with pytest.raises(OSError, match="canary"):
        CountingLogExporter(Records(fail)).export(kept.get_finished_logs())
    assert dropped(telemetry) == lost("export_failed", 1)


def test_an_endpoint_that_refuses_is_counted(telemetry):
    with otlp_receiver("http/protobuf") as receiver:
        receiver.status = 400
        pipeline = LogsPipeline(settings_for(receiver.address, "http/protobuf"))
        pipeline.emit(LINE, sent_by_langflow=False)
        pipeline.emit(LINE, sent_by_langflow=False)
        pipeline.shutdown()

    assert dropped(telemetry) == lost("export_failed", 2)


class Gate:
    """An export that lasts until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> Any:
        self.reached.set()
        assert self.opened.wait(WAIT_S)
        return result("SUCCESS")


@pytest.mark.parametrize("sent", [0, 4, 5, 9])
def test_records_that_a_full_queue_pushes_out_are_counted(telemetry, monkeypatch, sent):
    for name, value in (("MAX_QUEUE_SIZE", 4), ("MAX_EXPORT_BATCH_SIZE", 2), ("SCHEDULE_DELAY", 3_600_000)):
        monkeypatch.setenv(f"OTEL_BLRP_{name}", str(value))
    gate = Gate()
    records = Records(gate)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(CountingBatchLogRecordProcessor(CountingLogExporter(records)))
    emit = emit_function(provider, "x")
    for body in ("first", "second"):
        emit(LogLine("x", 9, "INFO", body, {}))
    assert gate.reached.wait(WAIT_S)
    for number in range(sent):
        emit(LogLine("x", 9, "INFO", str(number), {}))
    expected = max(0, sent - 4)
    counted = dropped(telemetry)
    gate.opened.set()
    provider.shutdown()

    assert counted == dropped(telemetry) == (lost("queue_full", expected) if expected else {})
    assert records.bodies == ["first", "second", *(str(number) for number in range(expected, sent))]
