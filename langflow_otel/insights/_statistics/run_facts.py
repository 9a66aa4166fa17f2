"""Facts of a run for comparison: attributes of its spans, counts, and the conditions during the run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langflow_otel import _semconv as semconv
from langflow_otel.insights._statistics.differences import Fact
from langflow_otel.insights.critical_path import components_around
from langflow_otel.insights.trace import TraceSpan

RUNNING = "runs going on at its start"
FIRST = "first run of its process"
EXECUTIONS, CACHED, FAILED_SPANS = "executions", "answers from the cache", "failed spans"
_CALLS = {"model": "model calls", "tool": "tool calls", "embeddings": "embeddings calls"}
_COUNTS = (EXECUTIONS, CACHED, FAILED_SPANS, semconv.COMPONENT_RETRY, semconv.MODEL_RETRIES, *_CALLS.values())

# What says nothing about a cause: content, ids of one run, and what is slowness or failure itself.
_LEFT_OUT = (
    semconv.STATUS,
    semconv.KEPT,
    semconv.RUN_ID,
    "error.",
    "exception.",
    "langflow.error.",
    "langflow.cost.",
    "langflow.cancellation.",
    semconv.GEN_AI_CONVERSATION_ID,  # the same as session.id
    semconv.GEN_AI_RESPONSE_ID,
    semconv.GEN_AI_RESPONSE_FIRST_CHUNK,
    semconv.STREAM_TIME_TO_FIRST_CHUNK,
    semconv.GEN_AI_TOOL_CALL_ID,
    *semconv.CONTENT_ATTRIBUTES,
    semconv.COMPONENT_ID,
    semconv.COMPONENT_DISPLAY_NAME,
    semconv.LOOP_INDEX,
    "input.",
    "output.",
    "llm.input_messages",
    "llm.output_messages",
    "code.",
    "thread.",
    "process.command",
    "telemetry.",
)
_LEFT_OUT_BELOW = (semconv.FLOW_ID, semconv.FLOW_NAME, semconv.SESSION_ID, semconv.USER_ID, "langflow.usage.")
"""Of spans below the run: what the run's own span has."""
_NO_NUMBERS = ("id", "version", "hash", "name", "model", "address", "port", "code", "status_code", "seed", "pid")
_ADDED_UP = ("tokens", "count", "retries")

CPU_RATE = "CPU time in a second of the run"
GROWING = (
    semconv.FLOW_MEMORY_PEAK,
    semconv.FLOW_EVENT_LOOP_DELAY_PEAK,
    semconv.FLOW_ACTIVE_PEAK,
    semconv.FLOW_SYSTEM_CPU_PEAK,
    semconv.FLOW_GPU_PEAK,
    semconv.FLOW_GPU_MEMORY_PEAK,
)
"""Peaks: a run that takes longer sees higher ones, whatever made it slow."""


def run_facts(run: Mapping[str, Any], root: TraceSpan, whats: Mapping[str, str]) -> dict[str, Fact]:
    """The facts of one run.

    Args:
        run: Its row of the view ``runs``.
        root: The tree of its spans; attributes are texts.
        whats: ``what`` of each span by its id.
    """
    texts: dict[str, set[str]] = defaultdict(set)
    numbers: dict[str, float] = {}
    _add_attributes(texts, numbers, "", run["resource"] or {}, ())
    _add_attributes(texts, numbers, "", root.attributes, ())
    around = components_around(root)
    for span in root.walk():
        if span is not root:
            _add_span(texts, numbers, span, whats[span.span_id], around[span.span_id])
    _add_conditions(numbers, run)
    return {**{name: frozenset(values) for name, values in texts.items()}, **numbers}


def own_facts(run: Mapping[str, Any]) -> dict[str, Fact]:
    """The attributes of the run's own span and of its resource, without the peaks of its process.

    Args:
        run: Its row of the view ``runs``.
    """
    texts: dict[str, set[str]] = defaultdict(set)
    numbers: dict[str, float] = {}
    for attributes in (run["resource"] or {}, run["attributes"] or {}):
        _add_attributes(texts, numbers, "", attributes, GROWING)
    return {**{name: frozenset(values) for name, values in texts.items()}, **numbers}


def with_zeros(runs: Sequence[dict[str, Fact]]) -> None:
    """Counts that a run lacks are 0, as soon as another one has them."""
    names = {name for run in runs for name in run if name.rpartition(": ")[2] in _COUNTS}
    for run in runs:
        for name in names:
            run.setdefault(name, 0.0)


def _add_span(
    texts: dict[str, set[str]], numbers: dict[str, float], span: TraceSpan, what: str, component: TraceSpan | None
) -> None:
    if component is None:
        return
    name = component.attributes.get(semconv.COMPONENT_DISPLAY_NAME, "")
    if what in _CALLS:
        _add_to(numbers, f"{name}: {_CALLS[what]}", 1)
    if span is component:
        _add_to(numbers, f"{name}: {EXECUTIONS}", 1)
    if span.attributes.get(semconv.STATUS) == "cached":
        _add_to(numbers, f"{name}: {CACHED}", 1)
    if span.is_error:
        _add_to(numbers, f"{name}: {FAILED_SPANS}", 1)
    for event in span.events:
        if event.name == semconv.COMPONENT_RETRY:
            _add_to(numbers, f"{name}: {semconv.COMPONENT_RETRY}", 1)
    _add_attributes(texts, numbers, f"{name}: ", span.attributes, _LEFT_OUT_BELOW)


def _add_to(numbers: dict[str, float], name: str, amount: float) -> None:
    numbers[name] = numbers.get(name, 0.0) + amount


def _add_attributes(
    texts: dict[str, set[str]],
    numbers: dict[str, float],
    prefix: str,
    attributes: Mapping[str, Any],
    left_out: Iterable[str],
) -> None:
    for name, value in attributes.items():
        if value is None or name.startswith((*_LEFT_OUT, *left_out)) or name == semconv.FLOW_CPU_TIME:
            continue
        number = None if _last_word(name) in _NO_NUMBERS else _number(str(value))
        if number is None:
            texts[prefix + name].add(str(value))
        elif name.endswith(_ADDED_UP):
            _add_to(numbers, prefix + name, number)
        else:
            numbers[prefix + name] = max(numbers.get(prefix + name, number), number)


def _last_word(name: str) -> str:
    return name.rpartition(".")[2]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _add_conditions(numbers: dict[str, float], run: Mapping[str, Any]) -> None:
    numbers[RUNNING] = float(run["concurrent"])
    cpu_s = _number(str((run["attributes"] or {}).get(semconv.FLOW_CPU_TIME)))
    if cpu_s is not None and run["duration_ns"] > 0:
        numbers[CPU_RATE] = cpu_s / (run["duration_ns"] / 1e9)
