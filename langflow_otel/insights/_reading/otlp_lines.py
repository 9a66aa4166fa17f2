"""One line of OTLP JSON in any form that its specification allows, and what is wrong with one that is in none.

Slow, and therefore only for lines that pyarrow does not read: numbers where others write strings and the reverse,
values within values, ids in base64, names of older versions of OTLP.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

NOT_JSON: Final = "not JSON"
NOT_OTLP: Final = "not OTLP JSON"
CUT_OFF: Final = "cut off at the end of the file, or still being written"
TOO_LONG: Final = "longer than 256 MiB"
MAX_SLOW_BYTES: Final = 32 * 1024 * 1024
"""A longer line is not read here: its Python objects would need more than 15 times its size."""
TOO_LONG_FOR_ITS_FORM: Final = "longer than 32 MiB, and not in the form in which the collector writes it"
OTHER_SIGNALS: Final = "metrics or log records"
NO_IDS: Final = "without a valid trace and span id"
NO_TIMES: Final = "without a valid start and end"

_ID = {"traceId": re.compile("[0-9a-f]{32}"), "spanId": re.compile("[0-9a-f]{16}")}
_BYTES = {"traceId": 16, "spanId": 8}
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES = ("UNSET", "OK", "ERROR")
_MAX_TIME = 2**63 - 1
_MAX_INT = 2**63


@dataclass
class Problems:
    """What could not be read.

    Attributes:
        lines: Number of lines of which nothing could be read, by reason.
        spans: Number of spans that were left out of lines that could be read, by reason.
    """

    lines: Counter[str] = field(default_factory=Counter)
    spans: Counter[str] = field(default_factory=Counter)

    def add(self, other: Problems) -> None:
        self.lines.update(other.lines)
        self.spans.update(other.spans)


class _NotOtlpError(ValueError):
    pass


def parsed_line(line: bytes, problems: Problems) -> list[dict[str, Any]] | None:
    """The ResourceSpans of a line, with ids in lower-case hexadecimal, times and integers as text, enums as numbers.

    Args:
        problems: What cannot be read is counted there.

    Returns:
        None for a line of which nothing can be read.
    """
    if len(line) > MAX_SLOW_BYTES:
        problems.lines[TOO_LONG_FOR_ITS_FORM] += 1
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        problems.lines[NOT_JSON] += 1
        return None
    if not isinstance(data, dict) or not isinstance(data.get("resourceSpans", []), list):
        problems.lines[NOT_OTLP] += 1
        return None
    if "resourceSpans" not in data:
        is_other_signal = "resourceMetrics" in data or "resourceLogs" in data or "resourceProfiles" in data
        problems.lines[OTHER_SIGNALS if is_other_signal else NOT_OTLP] += 1
        return None
    try:
        left_out: Counter[str] = Counter()
        found = [_resource_spans(each, left_out) for each in data["resourceSpans"]]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        problems.lines[NOT_OTLP] += 1
        return None
    problems.spans.update(left_out)
    return found


def is_cut(rest: bytes) -> bool:
    """True if what follows the last end of a line cannot be a whole one, without parsing it."""
    return rest.lstrip().startswith(b"{") and not rest.rstrip().endswith(b"}")


def parsed_rest(rest: bytes, problems: Problems) -> list[dict[str, Any]] | None:
    """The same of what follows the last end of a line, which may still be written."""
    found: list[dict[str, Any]] | None = None
    of_rest = Problems()
    if not is_cut(rest):
        found = parsed_line(rest, of_rest)
    if is_cut(rest) or (NOT_JSON in of_rest.lines and rest.lstrip().startswith(b"{")):
        problems.lines[CUT_OFF] += 1
    else:
        problems.add(of_rest)
    return found


def _resource_spans(data: dict[str, Any], left_out: Counter[str]) -> dict[str, Any]:
    scopes = _list(data, "scopeSpans") or _list(data, "instrumentationLibrarySpans")
    return {
        "resource": {"attributes": _attributes(_dict(data, "resource"))},
        "scopeSpans": [_scope_spans(each, left_out) for each in scopes],
    }


def _scope_spans(data: dict[str, Any], left_out: Counter[str]) -> dict[str, Any]:
    scope = _dict(data, "scope") or _dict(data, "instrumentationLibrary")
    spans = (_span(each, left_out) for each in _list(data, "spans"))
    return {"scope": {"name": _text(scope, "name")}, "spans": [span for span in spans if span is not None]}


def _span(data: dict[str, Any], left_out: Counter[str]) -> dict[str, Any] | None:
    ids = {"traceId": _id(data, "traceId", "traceId"), "spanId": _id(data, "spanId", "spanId")}
    if None in ids.values():
        left_out[NO_IDS] += 1
        return None
    times = {name: _time(data, name) for name in ("startTimeUnixNano", "endTimeUnixNano")}
    if None in times.values():
        left_out[NO_TIMES] += 1
        return None
    status = _dict(data, "status")
    return {
        **ids,
        **times,
        "parentSpanId": _id(data, "parentSpanId", "spanId"),
        "name": _text(data, "name"),
        "kind": _enum(data, "kind", _KINDS, "SPAN_KIND_"),
        "attributes": _attributes(data),
        "events": [_event(each) for each in _list(data, "events")],
        "links": [link for link in map(_link, _list(data, "links")) if link is not None],
        "status": {"code": _enum(status, "code", _CODES, "STATUS_CODE_"), "message": _text(status, "message")},
    }


def _event(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _text(data, "name"),
        "timeUnixNano": _time(data, "timeUnixNano") or "0",
        "attributes": _attributes(data),
    }


def _link(data: dict[str, Any]) -> dict[str, Any] | None:
    ids = {"traceId": _id(data, "traceId", "traceId"), "spanId": _id(data, "spanId", "spanId")}
    return None if None in ids.values() else ids


def _list(data: dict[str, Any], name: str) -> list[Any]:
    return _of_type(data, name, list) or []


def _dict(data: dict[str, Any], name: str) -> dict[str, Any]:
    return _of_type(data, name, dict) or {}


def _of_type(data: dict[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise _NotOtlpError(name)
    return value


def _text(data: dict[str, Any], name: str) -> str:
    return _encodable(_of_type(data, name, str) or "")


def _encodable(text: str) -> str:
    """A half of a surrogate pair has no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _id(data: dict[str, Any], name: str, kind: str) -> str | None:
    """In lower-case hexadecimal; None if it has another form, or is absent or all zeros."""
    value = data.get(name)
    if not isinstance(value, str):
        return None
    text = value.lower()
    if not _ID[kind].fullmatch(text):
        # As protobuf's own JSON has it.
        text = _from_base64(value, _BYTES[kind])
    return text if text.strip("0") else None


def _from_base64(value: str, length: int) -> str:
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return decoded.hex() if len(decoded) == length else ""


def _time(data: dict[str, Any], name: str) -> str | None:
    number = _int(data.get(name))
    return str(number) if number is not None and 0 <= number <= _MAX_TIME else None


def _int(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _enum(data: dict[str, Any], name: str, names: Iterable[str], prefix: str) -> int:
    value = data.get(name, 0)
    if isinstance(value, str):
        return next((number for number, each in enumerate(names) if value == prefix + each), 0)
    return _int(value) or 0


def _attributes(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Of several values under one name, the last."""
    found: dict[str, dict[str, Any]] = {}
    for each in _list(data, "attributes"):
        found[_text(each, "key")] = _canonical(_dict(each, "value"))
    return [{"key": key, "value": value} for key, value in found.items()]


def _canonical(value: dict[str, Any]) -> dict[str, Any]:
    """An ``AnyValue`` with ``json`` and ``type`` in place of arrays and key-values."""
    name, plain = _plain(value)
    if name in ("arrayValue", "kvlistValue"):
        return {"json": json.dumps(plain, ensure_ascii=False, separators=(",", ":")), "type": name[0]}
    if name == "intValue":
        return {name: str(plain)}
    return {} if name is None else {name: plain}


def _plain(value: dict[str, Any]) -> tuple[str | None, Any]:
    """Which of the forms of a value it has, and the value as Python has it; a null has none."""
    for name, read in _READERS.items():
        if value.get(name) is not None:
            return name, read(value[name])
    return None, None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _NotOtlpError("stringValue")
    return _encodable(value)


def _integer(value: Any) -> int:
    number = _int(value)
    if number is None or not -_MAX_INT <= number < _MAX_INT:
        raise _NotOtlpError("intValue")
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _NotOtlpError("boolValue")
    return value


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _NotOtlpError("doubleValue")
    return float(value)


def _array(value: dict[str, Any]) -> list[Any]:
    return [_for_json(_plain(each)[1]) for each in _list(value, "values")]


def _key_values(value: dict[str, Any]) -> dict[str, Any]:
    return {_text(each, "key"): _for_json(_plain(_dict(each, "value"))[1]) for each in _list(value, "values")}


def _for_json(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_READERS: dict[str, Callable[[Any], Any]] = {
    "stringValue": _string,
    "intValue": _integer,
    "boolValue": _boolean,
    "doubleValue": _double,
    "bytesValue": _string,
    "arrayValue": _array,
    "kvlistValue": _key_values,
}
