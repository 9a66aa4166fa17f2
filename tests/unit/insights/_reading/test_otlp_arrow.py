"""Values of every type, in every form that OTLP JSON has for them, are read as they were written."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langflow_otel.insights._reading import otlp_arrow
from langflow_otel.insights._reading.otlp_lines import Problems
from langflow_otel.insights._reading.trace_search import _spans_of
from langflow_otel.insights.traces import _typed

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(TEXTS, INTEGERS, st.booleans(), st.floats(allow_nan=False))
FINITE = st.one_of(TEXTS, INTEGERS, st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
ARRAYS = st.lists(FINITE, max_size=4).map(tuple)
DEEP = st.dictionaries(TEXTS, st.one_of(FINITE, st.lists(FINITE, max_size=2)), max_size=3)
VALUES = st.dictionaries(TEXTS, st.one_of(SCALARS, ARRAYS, DEEP, st.none()), max_size=6)
PLAIN_VALUES = st.dictionaries(TEXTS, st.one_of(TEXTS, INTEGERS, st.booleans(), ARRAYS), max_size=6)


def any_value(value: Any) -> dict[str, Any]:
    """As protobuf's JSON has it."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}[value]}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": key_values(value)}}
    return {"arrayValue": {"values": [any_value(each) for each in value]} if value else {}}


def key_values(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def line(values: dict[str, Any], events: list[dict[str, Any]], **changes: Any) -> bytes:
    span = {
        "traceId": "1" * 32,
        "spanId": "2" * 16,
        "name": "n",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
        "attributes": key_values(values),
        "events": [{"name": "e", "timeUnixNano": "1", "attributes": key_values(each)} for each in events],
        **changes,
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}, separators=(",", ":")).encode()


def read(*lines: bytes) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Attributes and those of the events of each span."""
    block = otlp_arrow.read_block(b"\n".join(lines))
    assert not block.problems.lines
    return [
        (
            _typed(*zip(*row["attributes"], strict=True), row["attribute_types"]) if row["attributes"] else {},
            [
                _typed(*zip(*event["attributes"], strict=True), types) if event["attributes"] else {}
                for event, types in zip(row["events"], row["event_attribute_types"], strict=True)
            ],
        )
        for row in pa.concat_tables(block.tables).to_pylist()
    ]


def same(first: Any, second: Any) -> bool:
    """Equal, and of the same types."""
    return repr(first) == repr(second)


@given(VALUES, st.lists(VALUES, max_size=2))
def test_what_is_read_is_what_was_written(attributes, events):
    (found,) = read(line(attributes, events))

    assert same(found, (attributes, events))


@given(VALUES)
def test_both_ways_of_reading_agree(attributes):
    (searched,) = _spans_of(line(attributes, []), Problems())

    assert same(searched.attributes, attributes)


@given(PLAIN_VALUES)
def test_common_values_need_no_reading_line_by_line(attributes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(otlp_arrow, "_read_each", None)
        (found,) = read(line(attributes, [attributes]))

    assert same(found, (attributes, [attributes]))


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_lines_that_are_read_singly_do_not_disturb_others(spans):
    lines = [line(attributes, [], spanId=f"{number + 1:016x}") for number, attributes in enumerate(spans)]
    found = [attributes for attributes, _ in read(*lines)]

    assert sorted(map(repr, found)) == sorted(map(repr, spans))


@given(st.binary(max_size=40))
def test_no_bytes_are_an_error(data):
    block = otlp_arrow.read_block(b'{"resourceSpans":' + data)

    assert sum(block.problems.lines.values()) + len(block.tables) <= block.lines + 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"traceId": "x"}, {"without a valid trace and span id": 1}),
        ({"spanId": "0" * 16}, {"without a valid trace and span id": 1}),
        ({"startTimeUnixNano": None}, {"without a valid start and end": 1}),
        ({"endTimeUnixNano": "-1"}, {"without a valid start and end": 1}),
        ({"startTimeUnixNano": str(2**64)}, {"without a valid start and end": 1}),
        ({"parentSpanId": "zzz"}, {}),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, {}),
        ({"links": [{}]}, {}),
        ({"attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"stringValue": "many"}}]}, {}),
        ({"attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"doubleValue": 1e300}}]}, {}),
    ],
)
def test_a_span_that_lacks_something_is_counted(changes, expected):
    good = line({}, [])
    block = otlp_arrow.read_block(good + b"\n" + line({}, [], **changes))

    assert block.problems.spans == expected
    assert sum(table.num_rows for table in block.tables) == (1 if expected else 2)


def test_ids_in_base64_are_the_same_ids():
    data = line({}, [], traceId=base64.b64encode(b"\x11" * 16).decode(), spanId=base64.b64encode(b"\x22" * 8).decode())
    (table,) = otlp_arrow.read_block(data).tables

    assert (table["trace_id"].to_pylist(), table["span_id"].to_pylist()) == (["1" * 32], ["2" * 16])


def test_names_of_older_versions_are_read():
    old = line({"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 3}, []).replace(
        b"scopeSpans", b"instrumentationLibrarySpans"
    )
    (table,) = otlp_arrow.read_block(old).tables

    assert (table["provider"].to_pylist(), table["input_tokens"].to_pylist()) == (["openai"], [3])
