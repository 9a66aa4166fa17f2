"""Trace files read into the views that SQL asks."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from langflow_otel._sdk.trace_file import otlp_json
from langflow_otel.insights._reading import otlp_arrow, otlp_lines, trace_sources
from langflow_otel.insights._reading.otlp_lines import CUT_OFF, TOO_LONG, Problems
from langflow_otel.insights._reading.trace_search import last_trace_id, spans_of_trace
from langflow_otel.insights.trace import build_trees, from_sdk
from langflow_otel.insights.traces import NoSpansError, Traces, open_traces
from tests.support.recording import FLOW, component, spans_with

VALUES: dict[str, Any] = {
    "text": 'ü\u2028\n"\\',
    "empty": "",
    "flag": False,
    "count": 0,
    "big": 2**62,
    "ratio": 0.1,
    "whole": 2.0,
    "names": ('a"', "b\n"),
    "ints": (1, -2),
    "floats": (1.0, 0.5),
    "flags": (True, False),
    "nothing": (),
}


@pytest.fixture(scope="module")
def spans() -> list[Any]:
    """A request, a flow that is linked to it, a component that fails, a span of an author's."""
    return spans_with(VALUES)


def written(path: Path, *batches: list[Any]) -> Path:
    path.write_text("".join(otlp_json(batch) + "\n" for batch in batches))
    return path


def rows(traces: Traces, query: str) -> list[tuple[Any, ...]]:
    return traces.connection.execute(query).fetchall()


def test_a_trace_is_read_as_it_was_recorded(spans, tmp_path):
    with open_traces([written(tmp_path / "spans.jsonl", spans[:2], spans[2:])]) as traces:
        trace_ids = dict.fromkeys(each.trace_id for each in build_trees(from_sdk(spans)))
        read = [root for trace_id in trace_ids for root in traces.trace(trace_id)]
        reading = traces.reading

    assert read == build_trees(from_sdk(spans))
    (custom,) = (each for root in read for each in root.walk() if each.name == "custom")
    types = {name: type(value) for name, value in custom.attributes.items() if name in VALUES}
    assert types == {name: type(value) for name, value in VALUES.items()}
    assert (reading.lines, reading.spans, reading.duplicates, reading.bad_lines) == (2, 4, 0, {})


def test_each_span_has_its_columns(spans, tmp_path):
    with open_traces([written(tmp_path / "spans.jsonl", spans)]) as traces:
        found = rows(
            traces, "SELECT what, name, status, flow_name, component_id, error_type FROM spans ORDER BY start_ns"
        )
        (run,) = rows(traces, "SELECT flow_name, is_sub_run, concurrent FROM runs")

    flow_name = FLOW.name
    assert found == [
        ("other", "request", "ok", None, None, None),
        ("flow", f"invoke_workflow {flow_name}", "ok", flow_name, None, None),
        (
            "component",
            "component 日本 \u2028 \n",
            "error",
            flow_name,
            component("日本 \u2028 \n").component_id,
            "KeyError",
        ),
        ("other", "custom", "ok", flow_name, None, None),
    ]
    assert run == (flow_name, False, 1)


def test_spans_that_were_sent_twice_are_once(spans, tmp_path):
    path = written(tmp_path / "spans.jsonl", spans, spans[1:3])
    with open_traces([path, written(tmp_path / "copy.jsonl", spans)]) as traces:
        count = rows(traces, "SELECT count(*), count(DISTINCT span_id) FROM spans")

    assert count == [(4, 4)]
    assert (traces.reading.spans, traces.reading.duplicates) == (4, 6)


def test_compressed_and_rotated_files_are_read_with_theirs(spans, tmp_path):
    path = written(tmp_path / "spans.jsonl", spans[:1])
    written(tmp_path / "spans.jsonl.1", spans[1:2])
    (tmp_path / "spans.jsonl.2.gz").write_bytes(gzip.compress(otlp_json(spans[2:3]).encode()))
    written(tmp_path / "spans-2026-01-31T09-30-00.000.jsonl", spans[3:])
    written(tmp_path / "spans-2026-01-31T09-31-00.000-size.jsonl", spans[3:])
    written(tmp_path / "others.jsonl", spans)
    with open_traces([path]) as traces:
        assert (traces.reading.files, traces.reading.spans) == (5, 4)


def message(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("form", ["proto", "proto compressed", "json compressed"])
def test_the_collectors_other_forms_are_read(spans, tmp_path, form: str):
    """As its file exporter 0.158 writes ``format`` and ``compression``: the length before each message."""
    messages = []
    for batch in (spans[:3], spans[3:]):
        data = otlp_json(batch).encode() if "json" in form else encode_spans(batch).SerializeToString()
        messages.append(message(pa.compress(data, "zstd", asbytes=True) if "compressed" in form else data))
    path = tmp_path / "spans"
    path.write_bytes(b"".join(messages))
    with open_traces([path]) as traces:
        read = {
            each.span_id: each
            for row in rows(traces, "SELECT DISTINCT trace_id FROM spans")
            for root in traces.trace(*row)
            for each in root.walk()
        }

    assert {span_id: each.attributes for span_id, each in read.items()} == {
        each.span_id: each.attributes for each in from_sdk(spans)
    }
    wanted = from_sdk(spans)[1].trace_id
    found = spans_of_trace([path], wanted, Problems())
    assert {each.span_id for each in found} == {each.span_id for each in read.values() if each.trace_id == wanted}
    assert last_trace_id([path], Problems()) in {each.trace_id for each in read.values()}
    path.write_bytes(b"".join(messages)[:-5])
    with open_traces([path]) as traces:
        assert (traces.reading.spans, traces.reading.bad_lines) == (3, {path: {CUT_OFF: 1}})


def test_a_compressed_file_that_is_cut_off_is_read_so_far(spans, tmp_path):
    path = tmp_path / "spans.jsonl.gz"
    lines = (otlp_json([each]).encode() + b"\n" for each in spans for _ in range(50))
    path.write_bytes(gzip.compress(b"".join(lines))[:-200])
    with open_traces([path]) as traces:
        assert traces.reading.bad_lines == {path: {CUT_OFF: 1}}
        assert traces.reading.spans > 0


def test_a_line_that_is_too_long_is_left_out(spans, tmp_path, monkeypatch):
    monkeypatch.setattr(trace_sources, "MAX_LINE_BYTES", 20_000)
    monkeypatch.setattr(trace_sources, "BLOCK_BYTES", 5_000)
    path = written(tmp_path / "spans.jsonl", spans)
    path.write_bytes(path.read_bytes() + b'{"resourceSpans":"' + b"x" * 50_000 + b'"}\n' + otlp_json(spans).encode())
    with open_traces([path]) as traces:
        assert traces.reading.bad_lines == {path: {TOO_LONG: 1}}
        assert (traces.reading.lines, traces.reading.duplicates) == (3, 4)


def test_spans_of_other_services_are_kept_apart(spans, tmp_path):
    path = written(tmp_path / "spans.jsonl", spans)
    other = {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "name": "invoke_workflow theirs",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
        "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "invoke_workflow"}}],
    }
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    lines = {"resourceSpans": [{"resource": service, "scopeSpans": [{"scope": {"name": "theirs"}, "spans": [other]}]}]}
    path.write_text(path.read_text() + json.dumps(lines))
    with open_traces([path]) as traces:
        assert rows(traces, "SELECT what, scope FROM spans WHERE service = 'shop'") == [("other", "theirs")]
        assert len(rows(traces, "SELECT * FROM runs")) == 1


def test_a_quote_in_a_path_is_a_quote(spans, tmp_path):
    folder = tmp_path / "it's ; DROP"
    folder.mkdir()
    with open_traces([written(folder / "spans.jsonl", spans)], cache_dir=folder / "cache") as traces:
        assert traces.reading.spans == 4


BAD = {
    "{": "not JSON",
    "null": "not OTLP JSON",
    "[]": "not OTLP JSON",
    "{}": "not OTLP JSON",
    '{"resourceSpans": [3]}': "not OTLP JSON",
    '{"resourceLogs": []}': "metrics or log records",
    "\xff": "not JSON",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_counted_with_its_reason(spans, tmp_path, line: str):
    path = written(tmp_path / "spans.jsonl", spans)
    path.write_bytes(path.read_bytes() + line.encode("latin-1") + b"\n" + path.read_bytes())
    with open_traces([path]) as traces:
        assert traces.reading.bad_lines == {path: {BAD[line]: 1}}
        assert (traces.reading.lines, traces.reading.spans) == (3, 4)


def _line(number: int, padding: str = "", **other_form: Any) -> bytes:
    span_data = {
        "traceId": f"{number + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "name": padding,
        "startTimeUnixNano": "5",
        "endTimeUnixNano": "6",
        **other_form,
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span_data]}]}]}, separators=(",", ":")).encode()


def test_a_very_long_line_is_read_in_the_usual_form_only(tmp_path, monkeypatch):
    monkeypatch.setattr(otlp_lines, "MAX_SLOW_BYTES", 1000)
    long = "x" * 1000
    path = tmp_path / "spans.jsonl"
    other_form = _line(1, long, startTimeUnixNano=5), _line(2, startTimeUnixNano=5)
    path.write_bytes(b"\n".join([_line(0, long), *other_form, b"{" + long.encode(), b""]))
    with open_traces([path]) as traces:
        assert rows(traces, "SELECT span_id FROM spans ORDER BY ALL") == [(f"{1:016x}",), (f"{3:016x}",)]
        assert traces.reading.bad_lines == {path: {otlp_lines.TOO_LONG_FOR_ITS_FORM: 2}}


def test_a_bad_line_near_a_very_long_one_is_read_by_itself(monkeypatch):
    monkeypatch.setattr(otlp_arrow, "_LONG_BYTES", 10_000)
    parsed: list[bytes] = []

    def parse(data: bytes, lines: int) -> Any:
        parsed.append(data)
        return as_before(data, lines)

    as_before = otlp_arrow._parsed
    monkeypatch.setattr(otlp_arrow, "_parsed", parse)
    long, bad = _line(100, "x" * 10_000), _line(101, startTimeUnixNano=5)
    block = otlp_arrow.read_block(b"\n".join([*map(_line, range(30)), bad, long, *map(_line, range(30, 60)), b""]))

    assert sum(table.num_rows for table in block.tables) == 62
    assert [long in data for data in parsed].count(True) == 1
    assert long in parsed


def test_numbers_and_ids_may_have_their_other_forms(tmp_path):
    span_data = {
        "traceId": "ABCDEF0123456789ABCDEF0123456789",
        "spanId": "q83vASNFZ4k=",
        "kind": "SPAN_KIND_CLIENT",
        "startTimeUnixNano": 5,
        "endTimeUnixNano": 3,
        "attributes": [
            {"key": "n", "value": {"intValue": 7}},
            {"key": "deep", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"doubleValue": "NaN"}}]}}},
            {"key": "null", "value": {}},
        ],
    }
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span_data]}]}]}))
    with open_traces([path]) as traces:
        (root,) = traces.trace("abcdef0123456789abcdef0123456789")
        assert traces.reading.end_before_start == 1

    assert (root.span_id, root.start_ns, root.end_ns) == ("abcdef0123456789", 5, 5)
    assert root.attributes == {"n": 7, "deep": {"a": "nan"}, "null": None}


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\n\xff\xfe\n"
FOREIGN = {
    "empty": (b"", "the files are empty"),
    "blank": (b"\n \n", "the files are empty"),
    "text": (b"hello\nworld\n", "2 x not JSON"),
    "JSON": (b'{"a": 1}\n[]\n', "2 x not OTLP JSON"),
    "metrics": (b'{"resourceMetrics": []}\n', "1 x metrics or log records"),
    "no spans": (b'{"resourceSpans": []}\n', "their lines hold none"),
    "binary": (PNG, "not JSON"),
    "zeros": (bytes(1000), "1 x not JSON"),
    "text without an end of line": (b"hello", "1 x not JSON"),
    "UTF-16": ("\ufeff{}\n".encode("utf-16"), "not JSON"),
    "gzip of text": (gzip.compress(b"hello\n"), "1 x not JSON"),
    "gzip cut off": (gzip.compress(b"hello\n" * 100)[:20], CUT_OFF),
    "no gzip": (b"\x1f\x8b" + bytes(100), CUT_OFF),
    "zstd of text": (pa.compress(b"hello\n", "zstd", asbytes=True), "1 x not JSON"),
    "no zstd": (b"\x28\xb5\x2f\xfd" + b"x" * 100, CUT_OFF),
    "protobuf of something else": (message(b"\n\3abc\xff"), "1 x not JSON"),
    "one cut line": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"aa', CUT_OFF),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_without_any_span_says_what_it_holds(tmp_path, what: str):
    content, said = FOREIGN[what]
    path = tmp_path / "spans.jsonl"
    path.write_bytes(content)
    with pytest.raises(NoSpansError, match="no spans: ") as caught:
        open_traces([path])
    assert said in str(caught.value)
