"""OTLP's nested spans as one flat Arrow table, a row a span, by pyarrow's functions over whole columns.

The table's columns are those of the view ``spans`` of :mod:`langflow_otel.insights.traces`, and three that keep the
types of the attributes' values, whose texts are in the maps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, reduce

import pyarrow as pa
import pyarrow.compute as pc

from langflow_otel import _semconv as semconv
from langflow_otel.insights._reading.span_columns import COLUMNS, FLOAT_COLUMNS, INTEGER_COLUMNS, TEXT_COLUMNS

_TEXTS = pa.map_(pa.string(), pa.string())
_EVENTS = pa.list_(pa.struct([("name", pa.string()), ("time_ns", pa.int64()), ("attributes", _TEXTS)]))
_LINKS = pa.list_(pa.struct([("trace_id", pa.string()), ("span_id", pa.string())]))

_OTHER_NAMES = (
    "service.name",
    "service.instance.id",
    semconv.STATUS,
    semconv.GEN_AI_OPERATION_NAME,
    semconv.OPENINFERENCE_SPAN_KIND,
    semconv.STREAM_OUTCOME,
    semconv.OUTPUT_NAME,
    semconv.HTTP_REQUEST_METHOD,
    "http.method",
)
_NAMES = tuple(
    dict.fromkeys(
        name
        for names in (*TEXT_COLUMNS.values(), *INTEGER_COLUMNS.values(), *FLOAT_COLUMNS.values(), _OTHER_NAMES)
        for name in names
    )
)
_NUMBERS = {name: number for number, name in enumerate(_NAMES)}

_TYPES = {
    "text": pa.string(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "map of text": _TEXTS,
    "events": _EVENTS,
    "links": _LINKS,
    "list of text": pa.list_(pa.string()),
}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in COLUMNS.items()])
"""Of the flat table."""

_ERROR_CODE = 2
_SERVER_KIND = 2
# No Arrow array: making one imports pandas where that is installed, and what is in the cache needs none.
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


@dataclass(frozen=True)
class Spans:
    """Attributes:
    table: As :data:`SCHEMA`.
    doubtful_lines: Numbers of the lines, from 0, that are to be read in another way.
    end_before_start: Number of spans whose end lay before their start; it is their start now.
    """

    table: pa.Table
    doubtful_lines: list[int]
    end_before_start: int


def flat_spans(lines: pa.ListArray, *, trusted: bool = False) -> Spans:
    """Flatten lists of OTLP's ResourceSpans.

    Args:
        lines: One list a line.
        trusted: Each line was looked at before; none is doubtful.

    Raises:
        ArrowInvalid: A number is none.
    """
    nested = _Nested(lines)
    attributes = _Attributes(_field(nested.spans, "attributes"))
    resources = _Attributes(_field(_field(nested.resources, "resource"), "attributes"))
    events = _Attributes(_field(pc.list_flatten(_field(nested.spans, "events")), "attributes"))
    doubtful = [] if trusted else _doubtful_lines(nested, attributes, resources, events)
    columns, end_before_start = _columns(nested, attributes, resources, events)
    return Spans(pa.table(columns, SCHEMA), doubtful, end_before_start)


class _Nested:
    """The three levels of a line, each flattened, with where each entry comes from."""

    def __init__(self, lines: pa.ListArray) -> None:
        self.resources = pc.list_flatten(lines)
        scope_lists = _field(self.resources, "scopeSpans")
        scopes = pc.list_flatten(scope_lists)
        span_lists = _field(scopes, "spans")
        self.spans = pc.list_flatten(span_lists)
        self.scope_of_span = pc.list_parent_indices(span_lists)
        self.resource_of_span = pc.list_parent_indices(scope_lists).take(self.scope_of_span)
        self.line_of_resource = pc.list_parent_indices(lines)
        self.line_of_span = self.line_of_resource.take(self.resource_of_span)
        self.scope_names = _field(_field(scopes, "scope"), "name")
        self.resources_without_scopes = pc.is_null(scope_lists)


class _Attributes:
    """Lists of OTLP's KeyValue, one list an owner: a span, a resource or an event."""

    def __init__(self, lists: pa.ListArray) -> None:
        self.owners = len(lists)
        entries = pc.list_flatten(lists)
        self.owner = pc.list_parent_indices(lists)
        self._offsets = _offsets(lists)
        self.keys = _field(entries, "key")
        values = _field(entries, "value")
        self._integers = _field(values, "intValue").cast(pa.int64())
        self._doubles = _field(values, "doubleValue")
        self.texts, self._types = _texts_and_types(values, self._doubles)
        self._every_owner = _range(self.owners)
        # The entries in the order of their names, so that those of each name follow one another.
        numbers = pc.index_in(self.keys, value_set=pa.array(_NAMES))
        self._entries = pc.array_sort_indices(numbers)
        self._owners = self.owner.take(self._entries)
        counts = pc.value_counts(numbers.take(self._entries))
        self._slices: dict[str, tuple[int, int]] = {}
        start = 0
        for number, count in zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True):
            if number is not None:
                self._slices[_NAMES[number]] = (start, count)
            start += count

    def maps(self) -> pa.MapArray:
        """Texts by key, one map an owner."""
        return pa.MapArray.from_arrays(self._offsets, pc.fill_null(self.keys, ""), self.texts)

    def type_letters(self) -> pa.StringArray:
        """The letters of an owner's values as one text."""
        letters = self._types.buffers()[1] or pa.py_buffer(b"")
        return pa.StringArray.from_buffers(self.owners, self._offsets.buffers()[1], letters)

    def text(self, *names: str) -> pa.StringArray:
        """Of each owner the value of the first of these that it has; null if it has none."""
        return self._first(names, self.texts)

    def integer(self, *names: str) -> pa.Int64Array:
        """The same of whole numbers; a text is none."""
        return self._first(names, self._whole_numbers)

    def number(self, *names: str) -> pa.DoubleArray:
        """The same of numbers."""
        return self._first(names, self._numbers)

    @cached_property
    def _whole_numbers(self) -> pa.Int64Array:
        whole = pc.if_else(pc.is_finite(self._doubles), self._doubles, None)
        return pc.coalesce(self._integers, pc.cast(whole, pa.int64(), safe=False))

    @cached_property
    def _numbers(self) -> pa.DoubleArray:
        return pc.coalesce(self._doubles, pc.cast(self._integers, pa.float64(), safe=False))

    def _first(self, names: tuple[str, ...], values: pa.Array) -> pa.Array:
        found = [values.take(self._place(name)) for name in names if name in self._slices]
        if not found:
            return pa.nulls(self.owners, values.type)
        return found[0] if len(found) == 1 else pc.coalesce(*found)

    def _place(self, name: str) -> pa.Array:
        """Of each owner the place of its entry of this name, null where it has none."""
        entries, owners = (each.slice(*self._slices[name]) for each in (self._entries, self._owners))
        if owners.equals(self._every_owner):
            return entries
        return entries.take(pc.index_in(self._every_owner, value_set=owners))


def _field(values: pa.Array, name: str) -> pa.Array:
    return pc.struct_field(values, name)


def _range(length: int) -> pa.Array:
    # An array of a Python range takes longer than all the rest of a column.
    return pc.subtract(pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), length)), 1)


def _offsets(lists: pa.ListArray) -> pa.Array:
    """Where each list begins in the flattened values; a null list is empty."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int32())
    return pa.concat_arrays([pa.repeat(pa.scalar(0, pa.int32()), 1), pc.cumulative_sum(lengths)])


def _texts_and_types(values: pa.Array, doubles: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The values' texts, and the letters of their types as numbers."""
    strings, integers, booleans = (_field(values, name) for name in ("stringValue", "intValue", "boolValue"))
    texts: list[tuple[str, pa.Array]] = [
        ("s", strings),
        ("i", integers),
        ("b", booleans.cast(pa.string())),
        ("d", _double_texts(doubles)),
        ("y", _field(values, "bytesValue")),
    ]
    rest = pa.scalar(ord("n"), pa.int8())
    if values.type.get_field_index("json") >= 0:
        types = _field(values, "type")
        rest = pc.if_else(pc.equal(types, "k"), _letter("k"), pc.if_else(pc.is_valid(types), _letter("a"), rest))
        texts.append(("", _field(values, "json")))
    else:
        texts.append(("a", _array_texts(_field(values, "arrayValue"))))
    there = [(letter, each) for letter, each in texts if each.null_count < len(each)] or texts[:1]
    types = reduce(
        lambda found, pair: pc.if_else(pc.is_valid(pair[1]), _letter(pair[0]), found),
        reversed([pair for pair in there if pair[0]]),
        rest,
    )
    return pc.coalesce(*(each for _, each in there)), types


def _letter(letter: str) -> pa.Scalar:
    return pa.scalar(ord(letter), pa.int8())


def _double_texts(doubles: pa.Array) -> pa.Array:
    """As Python writes them: the type is seen."""
    if doubles.null_count == len(doubles):
        return pa.nulls(len(doubles), pa.string())
    texts = doubles.drop_null().cast(pa.string())
    texts = pc.if_else(pc.match_substring_regex(texts, "[.en]"), texts, pc.binary_join_element_wise(texts, ".0", ""))
    return pc.replace_with_mask(pa.nulls(len(doubles), pa.string()), pc.is_valid(doubles), texts)


def _array_texts(arrays: pa.Array) -> pa.Array:
    """As JSON; null for one that holds anything but texts, numbers and booleans."""
    if arrays.null_count == len(arrays):
        return pa.nulls(len(arrays), pa.string())
    lists = _field(arrays, "values")
    items = pc.list_flatten(lists)
    doubles = _field(items, "doubleValue")
    finite = pc.if_else(pc.is_finite(doubles), doubles, None)
    item_texts = pc.coalesce(
        _quoted(_field(items, "stringValue")),
        _field(items, "intValue"),
        _field(items, "boolValue").cast(pa.string()),
        _double_texts(finite),
    )
    joined = pc.binary_join(pa.ListArray.from_arrays(_offsets(lists), item_texts), ",")
    texts = pc.binary_join_element_wise("[", joined, "]", "")
    return pc.if_else(pc.is_valid(arrays), texts, None)


def _quoted(texts: pa.Array) -> pa.Array:
    """As JSON has a string."""
    if texts.null_count == len(texts):
        return texts
    special = pc.match_substring_regex(texts, r'["\\\x00-\x1f]')
    if pc.any(special).as_py():
        escaped = [json.dumps(each, ensure_ascii=False)[1:-1] for each in pc.filter(texts, special).to_pylist()]
        texts = pc.replace_with_mask(texts, pc.fill_null(special, False), pa.array(escaped, pa.string()))
    return pc.binary_join_element_wise('"', texts, '"', "")


def _doubtful_lines(nested: _Nested, attributes: _Attributes, resources: _Attributes, events: _Attributes) -> list[int]:
    """Lines with a span that lacks something, or with a value of a form that was not looked for."""
    spans = nested.spans
    bad_span = _any(
        _is_no_id(_field(spans, "traceId"), 32),
        _is_no_id(_field(spans, "spanId"), 16),
        pc.and_(
            pc.fill_null(pc.not_equal(_field(spans, "parentSpanId"), ""), False),
            _is_no_id(_field(spans, "parentSpanId"), 16),
        ),
        _is_no_time(_field(spans, "startTimeUnixNano")),
        _is_no_time(_field(spans, "endTimeUnixNano")),
    )
    event_lists = _field(spans, "events")
    span_of_event = pc.list_parent_indices(event_lists)
    lines = [
        nested.line_of_span.filter(bad_span),
        nested.line_of_resource.filter(nested.resources_without_scopes),
        nested.line_of_span.take(attributes.owner.filter(_unread(attributes))),
        nested.line_of_resource.take(resources.owner.filter(_unread(resources))),
        nested.line_of_span.take(span_of_event.take(events.owner.filter(_unread(events)))),
    ]
    return sorted({line for found in lines for line in pc.unique(found).to_pylist()})


def _unread(attributes: _Attributes) -> pa.Array:
    return pc.or_(pc.is_null(attributes.texts), pc.is_null(attributes.keys))


def _is_no_id(ids: pa.Array, digits: int) -> pa.Array:
    is_id = _all_of(
        pc.equal(pc.binary_length(ids), digits),
        pc.equal(pc.ascii_ltrim(ids, "0123456789abcdef"), ""),
        pc.not_equal(pc.ascii_ltrim(ids, "0"), ""),
    )
    return pc.invert(pc.fill_null(is_id, False))


def _is_no_time(times: pa.Array) -> pa.Array:
    return pc.fill_null(pc.starts_with(times, "-"), True)


def _all_of(*masks: pa.Array) -> pa.Array:
    return reduce(pc.and_, masks)


def _any(*masks: pa.Array) -> pa.Array:
    return reduce(pc.or_, masks)


def _columns(
    nested: _Nested, attributes: _Attributes, resources: _Attributes, events: _Attributes
) -> tuple[dict[str, pa.Array], int]:
    spans = nested.spans
    start = _field(spans, "startTimeUnixNano").cast(pa.int64())
    told_end = _field(spans, "endTimeUnixNano").cast(pa.int64())
    end = pc.max_element_wise(start, told_end)
    scope = pc.fill_null(nested.scope_names.take(nested.scope_of_span), "")
    status = _field(spans, "status")
    kind = _field(spans, "kind")
    failed = pc.fill_null(pc.equal(_field(status, "code"), _ERROR_CODE), False)
    parent = _field(spans, "parentSpanId")
    event_lists = _field(spans, "events")
    columns = {
        "trace_id": _field(spans, "traceId"),
        "span_id": _field(spans, "spanId"),
        "parent_id": pc.if_else(pc.is_in(parent, pa.array(["", "0" * 16])), None, parent),
        "service": resources.text("service.name").take(nested.resource_of_span),
        "instance": resources.text("service.instance.id").take(nested.resource_of_span),
        "scope": scope,
        "name": pc.fill_null(_field(spans, "name"), ""),
        "span_kind": pa.array(_KINDS).take(_kind_numbers(kind)),
        "start_ns": start,
        "end_ns": end,
        "duration_ns": pc.subtract(end, start),
        "what": _what(attributes, scope, kind),
        "status": pc.coalesce(attributes.text(semconv.STATUS), pc.if_else(failed, "error", "ok")),
        "status_message": _field(status, "message"),
        "attributes": attributes.maps(),
        "resource": resources.maps().take(nested.resource_of_span),
        "events": _events(event_lists, events),
        "links": _links(_field(spans, "links")),
        "attribute_types": attributes.type_letters(),
        "event_attribute_types": pa.ListArray.from_arrays(_offsets(event_lists), events.type_letters()),
    }
    for name, sources in TEXT_COLUMNS.items():
        columns[name] = attributes.text(*sources)
    for name, sources in INTEGER_COLUMNS.items():
        columns[name] = attributes.integer(*sources)
    for name, sources in FLOAT_COLUMNS.items():
        columns[name] = attributes.number(*sources)
    columns["retries"] = pc.coalesce(columns["retries"], _component_retries(event_lists, len(spans)))
    end_before_start = pc.sum(pc.less(told_end, start)).as_py() or 0
    return {name: columns[name] for name in SCHEMA.names}, end_before_start


def _kind_numbers(kinds: pa.Array) -> pa.Array:
    is_known = pc.and_(pc.greater_equal(kinds, 0), pc.less(kinds, len(_KINDS)))
    return pc.if_else(pc.fill_null(is_known, False), kinds, 0)


def _component_retries(event_lists: pa.Array, spans: int) -> pa.Array:
    """Of each span the number of its events that tell about a retry; null for none."""
    is_retry = pc.equal(_field(pc.list_flatten(event_lists), "name"), semconv.COMPONENT_RETRY)
    counted = pc.value_counts(pc.list_parent_indices(event_lists).filter(is_retry))
    place = pc.index_in(_range(spans), value_set=counted.field("values").cast(pa.int64()))
    return counted.field("counts").take(place)


def _events(lists: pa.Array, attributes: _Attributes) -> pa.Array:
    entries = pc.list_flatten(lists)
    times = pc.fill_null(_field(entries, "timeUnixNano"), "0").cast(pa.int64())
    names = pc.fill_null(_field(entries, "name"), "")
    structs = pa.StructArray.from_arrays([names, times, attributes.maps()], fields=list(_EVENTS.value_type))
    return pa.ListArray.from_arrays(_offsets(lists), structs)


def _links(lists: pa.Array) -> pa.Array:
    entries = pc.list_flatten(lists)
    ids = [_field(entries, "traceId"), _field(entries, "spanId")]
    return pa.ListArray.from_arrays(_offsets(lists), pa.StructArray.from_arrays(ids, fields=list(_LINKS.value_type)))


def _what(attributes: _Attributes, scope: pa.Array, kind: pa.Array) -> pa.Array:
    """Which kind of thing a span is about."""
    operation = attributes.text(semconv.GEN_AI_OPERATION_NAME)
    has_kind = pc.is_valid(attributes.text(semconv.COMPONENT_KIND))
    method = attributes.text(semconv.HTTP_REQUEST_METHOD, "http.method")
    is_request = pc.and_(pc.is_valid(method), pc.fill_null(pc.equal(kind, _SERVER_KIND), False))
    ours = pc.coalesce(
        _named(
            operation, {semconv.INVOKE_WORKFLOW: "flow", semconv.INVOKE_AGENT: "agent", semconv.EXECUTE_TOOL: "tool"}
        ),
        _if(has_kind, "component"),
        _named(operation, _MODEL_CALLS),
        _if(pc.is_valid(attributes.text(semconv.STREAM_OUTCOME)), "stream"),
        _if(pc.is_valid(attributes.text(semconv.OUTPUT_NAME)), "output"),
        _if(is_request, "request"),
        pa.scalar("other"),
    )
    others = pc.coalesce(
        _named(operation, _MODEL_CALLS),
        _named(attributes.text(semconv.OPENINFERENCE_SPAN_KIND), {"LLM": "model", "EMBEDDING": "embeddings"}),
        pa.scalar("other"),
    )
    return pc.if_else(pc.equal(scope, semconv.SCOPE), ours, others)


_MODEL_CALLS = {
    semconv.CHAT: "model",
    semconv.TEXT_COMPLETION: "model",
    "generate_content": "model",
    semconv.EMBEDDINGS: "embeddings",
}


def _named(values: pa.Array, names: dict[str, str]) -> pa.Array:
    return pa.array(list(names.values())).take(pc.index_in(values, value_set=pa.array(list(names))))


def _if(condition: pa.Array, value: str) -> pa.Array:
    return pc.if_else(condition, value, None)
