"""Spans on disk: OTLP JSON lines that others can read, rotated, and never a flow's problem."""

from __future__ import annotations

import base64
import copy
import json
import logging
import logging.config
import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.sdk.trace.export import SpanExportResult

from langflow_otel import span
from langflow_otel._runs.recorder import Recorder
from langflow_otel._sdk import trace_file
from langflow_otel._sdk.providers import build_tracer_provider
from langflow_otel._sdk.trace_file import TraceFileExporter, otlp_json
from langflow_otel._settings.settings import Settings
from langflow_otel.insights.trace import build_trees, from_file, from_sdk
from tests.support.recording import FLOW, recording, spans_with

VALUES: dict[str, Any] = {
    "text": "ü\u2028\n",
    "flag": False,
    "count": 0,
    "big": 2**62,
    "ratio": 0.1,
    "whole": 2.0,
    "names": ("a", "b"),
    "nothing": (),
}


@pytest.fixture
def spans() -> list[Any]:
    """A flow with all kinds of attribute values, an error and a link."""
    return spans_with(VALUES)


def write(path: Path, batches: list[list[Any]], **kwargs: Any) -> list[SpanExportResult]:
    exporter = TraceFileExporter(path, **kwargs)
    results = [exporter.export(batch) for batch in batches]
    exporter.shutdown()
    return results


def test_what_is_read_back_is_what_was_recorded(spans, tmp_path):
    path = tmp_path / "spans.jsonl"
    assert write(path, [spans[:2], spans[2:]]) == [SpanExportResult.SUCCESS] * 2

    assert from_file(path) == from_sdk(spans)
    (request, flow) = build_trees(from_file(path))
    assert [each.name for each in flow.walk()] == ["invoke_workflow demo", "component 日本 \u2028 \n", "custom"]
    assert request.children == []


def test_one_object_a_line(spans, tmp_path):
    path = tmp_path / "spans.jsonl"
    write(path, [spans, spans])

    text = path.read_text("utf-8")
    assert text.endswith("\n")
    assert text.count("\n") == 2
    assert [list(json.loads(line)) for line in text.split("\n")[:-1]] == [["resourceSpans"]] * 2
    assert "日本" in text


def test_ids_are_hexadecimal_and_enums_are_numbers(spans):
    (resource_spans,) = json.loads(otlp_json(spans))["resourceSpans"]
    written = {each["name"]: each for scope in resource_spans["scopeSpans"] for each in scope["spans"]}
    flow, failed = spans[-1], written["component 日本 \u2028 \n"]

    assert written["invoke_workflow demo"]["traceId"] == f"{flow.context.trace_id:032x}"
    assert written["invoke_workflow demo"]["spanId"] == f"{flow.context.span_id:016x}"
    assert failed["parentSpanId"] == f"{flow.context.span_id:016x}"
    assert "parentSpanId" not in written["invoke_workflow demo"]
    (link,) = written["invoke_workflow demo"]["links"]
    assert link["traceId"] == f"{spans[0].context.trace_id:032x}"
    assert link["spanId"] == f"{spans[0].context.span_id:016x}"
    assert failed["kind"] == 1
    assert failed["status"] == {"code": 2}
    assert failed["startTimeUnixNano"] == str(spans[2].start_time)


def test_a_line_parses_as_otlp(spans):
    """By protobuf's own JSON parser, once the ids are in base64 as that one wants them."""
    data = json.loads(otlp_json(spans))
    for entry in list(_entries_with_ids(data)):
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in entry:
                entry[name] = base64.b64encode(bytes.fromhex(entry[name])).decode()
    parsed = ParseDict(data, TracesData())

    scopes = [scope for resource in parsed.resource_spans for scope in resource.scope_spans]
    by_id = {each.span_id: each for scope in scopes for each in scope.spans}
    assert len(by_id) == 4
    for each in spans:
        found = by_id[each.context.span_id.to_bytes(8, "big")]
        assert found.name == each.name
        assert found.trace_id == each.context.trace_id.to_bytes(16, "big")
        assert (found.start_time_unix_nano, found.end_time_unix_nano) == (each.start_time, each.end_time)
    assert {scope.scope.name for scope in scopes} == {"app", "langflow_otel"}


def _entries_with_ids(data: Any) -> Any:
    if isinstance(data, dict):
        if "spanId" in data:
            yield data
        data = list(data.values())
    if isinstance(data, list):
        for entry in data:
            yield from _entries_with_ids(entry)


def test_numbers_that_json_does_not_have_are_written_all_the_same(telemetry):
    with span("odd", nothing=math.nan, much=math.inf):
        pass

    written = json.loads(otlp_json(telemetry.sdk_spans), parse_constant=pytest.fail)
    attributes = written["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    assert {each["key"]: each["value"] for each in attributes} == {
        "nothing": {"doubleValue": "NaN"},
        "much": {"doubleValue": "Infinity"},
        "langflow.status": {"stringValue": "ok"},
    }


# The file


def test_a_second_process_appends(spans, tmp_path):
    path = tmp_path / "spans.jsonl"
    write(path, [spans])
    write(path, [spans])

    assert len(from_file(path)) == 8


def test_the_folder_is_made_and_nothing_before_the_first_span(spans, tmp_path):
    path = tmp_path / "new" / "folder" / "spans.jsonl"
    exporter = TraceFileExporter(path)
    assert list(tmp_path.iterdir()) == []
    exporter.export(spans)
    exporter.shutdown()

    assert len(from_file(path)) == 4


def test_a_full_file_is_rotated_and_three_old_ones_are_kept(spans, tmp_path):
    path = tmp_path / "spans.jsonl"
    line = len(otlp_json(spans).encode()) + 1
    results = write(path, [spans] * 12, max_bytes=2 * line + 10)

    assert set(results) == {SpanExportResult.SUCCESS}
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "spans.jsonl",
        "spans.jsonl.1",
        "spans.jsonl.2",
        "spans.jsonl.3",
    ]
    for each in tmp_path.iterdir():
        assert len(from_file(each)) in (4, 8)
        assert each.stat().st_size <= 2 * line + 10


def test_a_batch_larger_than_a_file_is_still_written_whole(spans, tmp_path):
    path = tmp_path / "spans.jsonl"
    write(path, [spans, spans], max_bytes=10)

    assert len(from_file(path)) == 4
    assert len(from_file(tmp_path / "spans.jsonl.1")) == 4


def test_the_limits_are_as_documented():
    assert (trace_file.MAX_BYTES, trace_file.KEPT_FILES) == (64 * 1024 * 1024, 3)


def test_writing_goes_on_after_the_hosts_logging_was_configured_anew(spans, tmp_path):
    """``logging.config.dictConfig`` closes every handler that it finds; LangFlow's server calls it."""
    path = tmp_path / "spans.jsonl"
    exporter = TraceFileExporter(path)
    exporter.export(spans)
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()

    assert len(from_file(path)) == 8


# A file that cannot be written


@pytest.fixture
def unwritable(tmp_path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "spans.jsonl"


def test_an_unwritable_file_is_one_warning(spans, unwritable, caplog):
    with caplog.at_level(logging.DEBUG):
        assert write(unwritable, [spans] * 3) == [SpanExportResult.FAILURE] * 3

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("langflow_otel", "WARNING")
    assert record.getMessage() == (
        "LANGFLOW_OTEL_TRACE_FILE: name a file that can be written; until then spans are lost "
        f"({unwritable}: {unwritable.parent} is no folder)"
    )


def test_a_file_that_cannot_be_written_later_is_one_warning(spans, tmp_path, caplog):
    path = tmp_path / "folder" / "spans.jsonl"
    exporter = TraceFileExporter(path)
    path.parent.write_text("")
    assert [exporter.export(spans) for _ in range(3)] == [SpanExportResult.FAILURE] * 3

    (record,) = caplog.records
    assert record.getMessage().startswith(f"LANGFLOW_OTEL_TRACE_FILE: cannot write {path}: ")


@pytest.mark.skipif(os.name == "nt", reason="a folder cannot be opened as a file anywhere, with other errors")
def test_a_folder_in_place_of_the_file(spans, tmp_path, caplog):
    assert write(tmp_path, [spans]) == [SpanExportResult.FAILURE]
    assert len(caplog.records) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_pipe_that_nobody_reads_is_refused_at_once(tmp_path, caplog):
    """Opening it would last until somebody reads, and the end of the process as long."""
    path = tmp_path / "spans.jsonl"
    os.mkfifo(path)
    with recording(strict=False) as telemetry:
        provider = build_tracer_provider(Settings(trace_file=path))
        provider.get_tracer("x").start_span("lost").end()
        closing = threading.Thread(target=provider.shutdown, daemon=True)
        closing.start()
        closing.join(60)
        lost = telemetry.metrics("langflow_otel_dropped")

    assert not closing.is_alive()
    assert lost == {'langflow_otel_dropped_total{signal="traces",reason="export_failed"}': 1.0}
    assert [record.getMessage() for record in caplog.records if record.name == "langflow_otel"] == [
        "LANGFLOW_OTEL_TRACE_FILE: name a file that can be written; until then spans are lost "
        f"({path}: it is a named pipe)"
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_the_file_is_for_its_owner_alone(spans, tmp_path):
    """It may hold prompts."""
    write(tmp_path / "spans.jsonl", [spans])

    assert (tmp_path / "spans.jsonl").stat().st_mode & 0o777 == 0o600


def test_once_the_file_can_be_written_it_is(spans, tmp_path):
    blocked = tmp_path / "folder"
    blocked.write_text("")
    exporter = TraceFileExporter(blocked / "spans.jsonl")
    assert exporter.export(spans) is SpanExportResult.FAILURE
    blocked.unlink()
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()

    assert len(from_file(blocked / "spans.jsonl")) == 4


def test_a_flow_does_not_notice(unwritable, caplog):
    settings = Settings(trace_file=unwritable)
    provider = build_tracer_provider(settings)
    flow = Recorder(provider, settings).start_flow(FLOW)
    assert flow is not None
    flow.finish()
    provider.shutdown()

    assert [record.name for record in caplog.records] == ["langflow_otel"]


def test_flush_is_always_done(tmp_path):
    assert TraceFileExporter(tmp_path / "spans.jsonl").force_flush() is True


# Reading


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "",
        "[]",
        "3",
        "null",
        "{}",
        '{"resourceSpans": [3]}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}',
    ],
)
def test_a_broken_line_is_named(spans, tmp_path, line: str):
    path = tmp_path / "spans.jsonl"
    write(path, [spans])
    with path.open("a") as file:
        file.write(f"{line}\n")

    with pytest.raises(ValueError) as caught:
        from_file(path)
    assert str(caught.value) == f"{path}:2 is not a line of OTLP JSON"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        from_file(tmp_path / "spans.jsonl")


def test_the_line_is_made_without_touching_the_spans(spans):
    before = copy.deepcopy([each.to_json() for each in spans])
    otlp_json(spans)

    assert [each.to_json() for each in spans] == before
