"""Figures of flows, components, models and processes, from counters and histograms over some time.

The same for what is scraped from LangFlow itself and for what a Prometheus has kept. Percentiles are interpolated
within the buckets of histograms, as ``histogram_quantile`` does it: they are off by a bucket's width at most, and one
in the last bucket is given as its lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from langflow_otel._metrics import catalogue

__all__ = [
    "COMPONENT",
    "DETAILS",
    "EMBEDDINGS",
    "FLOW",
    "GROWN",
    "LOOP",
    "MODEL",
    "NOW",
    "ComponentFigures",
    "CostFigures",
    "ErrorFigures",
    "Figures",
    "FlowFigures",
    "Measured",
    "ModelFigures",
    "Percentiles",
    "Value",
    "WorkerFigures",
    "figures_of",
    "of_flow",
    "percentiles",
    "quantile",
]

FLOW: Final = catalogue.FLOW_DURATION.prometheus_name
COMPONENT: Final = catalogue.COMPONENT_DURATION.prometheus_name
MODEL: Final = catalogue.MODEL_DURATION.prometheus_name
LOOP: Final = catalogue.EVENT_LOOP_DELAY.prometheus_name
EMBEDDINGS: Final = catalogue.EMBEDDINGS_DURATION.prometheus_name
_MODEL_LABELS: Final = ("gen_ai_provider_name", "gen_ai_request_model")
_FLOW_AND_MODEL: Final = ("flow", *_MODEL_LABELS)
_EMBEDDINGS_TOKENS: Final = f"{catalogue.EMBEDDINGS_INPUT_TOKENS.prometheus_name}_sum"

GROWN: Final[Mapping[str, tuple[str, ...]]] = {
    f"{FLOW}_count": ("flow", "status"),
    f"{FLOW}_bucket": ("flow", "le"),
    f"{COMPONENT}_count": ("flow", "component_type", "status"),
    f"{COMPONENT}_sum": ("flow", "component_type"),
    f"{COMPONENT}_bucket": ("flow", "component_type", "le"),
    f"{MODEL}_count": (*_FLOW_AND_MODEL, "error_type"),
    f"{MODEL}_bucket": (*_FLOW_AND_MODEL, "le"),
    catalogue.MODEL_INPUT_TOKENS.prometheus_name: _FLOW_AND_MODEL,
    catalogue.MODEL_OUTPUT_TOKENS.prometheus_name: _FLOW_AND_MODEL,
    catalogue.COST.prometheus_name: ("flow", "model", "provider", "currency"),
    f"{LOOP}_bucket": ("le",),
}
"""Counters that figures are made of, and the labels of them that count."""

DETAILS: Final[Mapping[str, tuple[str, ...]]] = {
    catalogue.COMPONENT_ERRORS.prometheus_name: ("flow", "component_type", "error_type"),
    catalogue.COMPONENT_BYPASSED.prometheus_name: ("flow", "component_type", "reason"),
    f"{EMBEDDINGS}_count": (*_FLOW_AND_MODEL, "error_type"),
    f"{EMBEDDINGS}_bucket": (*_FLOW_AND_MODEL, "le"),
    _EMBEDDINGS_TOKENS: _FLOW_AND_MODEL,
    f"{catalogue.MODEL_FIRST_CHUNK.prometheus_name}_bucket": (*_FLOW_AND_MODEL, "le"),
    catalogue.MODEL_CACHE_READ_TOKENS.prometheus_name: _FLOW_AND_MODEL,
    catalogue.MODEL_REASONING_TOKENS.prometheus_name: _FLOW_AND_MODEL,
    catalogue.MODEL_RETRIES.prometheus_name: _FLOW_AND_MODEL,
}
"""Further ones, for a report. Without them there are no errors by type, no embedding models, and 0 of what they count.
"""

NOW: Final[Mapping[str, tuple[str, ...]]] = {
    catalogue.FLOW_ACTIVE.prometheus_name: ("flow",),
    catalogue.QUEUE_DEPTH.prometheus_name: ("queue",),
    catalogue.QUEUE_RUNNING.prometheus_name: ("queue",),
    catalogue.PROCESS_CPU_UTILIZATION.prometheus_name: ("instance", "worker"),
    catalogue.PROCESS_MEMORY_USAGE.prometheus_name: ("instance", "worker"),
    catalogue.SYSTEM_CPU_UTILIZATION.prometheus_name: ("instance",),
    catalogue.SYSTEM_MEMORY_UTILIZATION.prometheus_name: ("instance",),
    catalogue.GPU_UTILIZATION.prometheus_name: ("instance", "hw_id"),
    catalogue.GPU_MEMORY_UTILIZATION.prometheus_name: ("instance", "hw_id"),
}
"""Gauges, the same."""


@dataclass(frozen=True)
class Value:
    """One series: its labels, and its value or by how much it has grown."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Measured:
    """What was measured in some time.

    Attributes:
        seconds: The time.
        grown: By how much counters have grown in it, by name: those of :data:`GROWN`, and of :data:`DETAILS` if they
            were asked for.
        now: Gauges at its end: those of :data:`NOW`.
    """

    seconds: float
    grown: Mapping[str, Sequence[Value]]
    now: Mapping[str, Sequence[Value]]


@dataclass(frozen=True)
class Percentiles:
    """In seconds; None without any observation."""

    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


@dataclass(frozen=True)
class FlowFigures:
    """One flow.

    Attributes:
        runs: Runs that ended.
        failed: Of these, those that failed.
        cancelled: Of these, those that were cancelled.
        error_percent: Those that failed, of those that ended ok or failed; 0 without any.
        active: Runs that go on at the end of the time.
    """

    flow: str
    runs: float
    failed: float
    cancelled: float
    error_percent: float
    durations: Percentiles
    active: float


@dataclass(frozen=True)
class ComponentFigures:
    """One type of component in one flow; ``share`` is its part of all components' time, 0 to 1.

    ``total_s`` includes the time of components that ran inside it. ``cached`` and ``skipped`` are no executions.
    """

    flow: str
    component_type: str
    executions: float
    failed: float
    cached: float
    skipped: float
    total_s: float
    share: float
    durations: Percentiles


@dataclass(frozen=True)
class ErrorFigures:
    """How often components of one type failed with one error, in one flow."""

    flow: str
    component_type: str
    error_type: str
    count: float


@dataclass(frozen=True)
class ModelFigures:
    """One model, of all flows. Cached tokens are among the input, those of reasoning among the output."""

    provider: str
    model: str
    calls: float
    failed: float
    retries: float
    input_tokens: float
    output_tokens: float
    cached_tokens: float
    reasoning_tokens: float
    durations: Percentiles
    first_chunk: Percentiles


@dataclass(frozen=True)
class CostFigures:
    """What the calls of one model in one flow cost, in units of the currency."""

    flow: str
    provider: str
    model: str
    currency: str
    amount: float


@dataclass(frozen=True)
class WorkerFigures:
    """One process; None for what is not known."""

    instance: str
    worker: str
    cpu_utilization: float | None
    memory_bytes: float | None


@dataclass(frozen=True)
class Figures:
    """All of it.

    Attributes:
        seconds: The time that it is over.
        runs: Runs that ended, of all flows.
        throughput: Runs a second.
        waiting: Background jobs that wait; None where there is no queue.
        running: Background jobs that run.
        loop_delay: Of the event loops.
        system_cpu_utilization: Busy share of the machine's CPU cores; of several machines the highest.
        gpu_utilization: Of the busiest GPU; None without any.
    """

    seconds: float
    runs: float
    failed: float
    cancelled: float
    error_percent: float
    throughput: float
    durations: Percentiles
    active: float
    waiting: float | None
    running: float | None
    loop_delay: Percentiles
    system_cpu_utilization: float | None
    system_memory_utilization: float | None
    gpu_utilization: float | None
    gpu_memory_utilization: float | None
    flows: list[FlowFigures]
    components: list[ComponentFigures]
    errors: list[ErrorFigures]
    models: list[ModelFigures]
    costs: list[CostFigures]
    workers: list[WorkerFigures]


def figures_of(measured: Measured) -> Figures:
    """Flows by their number of runs, components by their share of the time, each the largest first."""
    counts = measured.grown.get(f"{FLOW}_count", ())
    runs, failed, cancelled, percent = _outcomes(counts)
    return Figures(
        seconds=measured.seconds,
        runs=runs,
        failed=failed,
        cancelled=cancelled,
        error_percent=percent,
        throughput=runs / measured.seconds if measured.seconds > 0 else 0.0,
        durations=percentiles(measured.grown.get(f"{FLOW}_bucket", ())),
        active=_total(measured.now.get(catalogue.FLOW_ACTIVE.prometheus_name, ())) or 0.0,
        waiting=_total(measured.now.get(catalogue.QUEUE_DEPTH.prometheus_name, ())),
        running=_total(measured.now.get(catalogue.QUEUE_RUNNING.prometheus_name, ())),
        loop_delay=percentiles(measured.grown.get(f"{LOOP}_bucket", ())),
        system_cpu_utilization=_highest(measured, catalogue.SYSTEM_CPU_UTILIZATION),
        system_memory_utilization=_highest(measured, catalogue.SYSTEM_MEMORY_UTILIZATION),
        gpu_utilization=_highest(measured, catalogue.GPU_UTILIZATION),
        gpu_memory_utilization=_highest(measured, catalogue.GPU_MEMORY_UTILIZATION),
        flows=_flows(measured),
        components=_components(measured),
        errors=_errors(measured),
        models=_models(measured),
        costs=_costs(measured),
        workers=_workers(measured),
    )


def of_flow(measured: Measured, flow: str) -> Measured:
    """What was measured of one flow, without what is not of flows, such as gauges of processes."""
    grown = {
        name: [value for value in measured.grown.get(name, ()) if value.labels.get("flow", "") == flow]
        for name, labels in {**GROWN, **DETAILS}.items()
        if "flow" in labels
    }
    active = catalogue.FLOW_ACTIVE.prometheus_name
    now = {active: [value for value in measured.now.get(active, ()) if value.labels.get("flow", "") == flow]}
    return Measured(measured.seconds, grown, now)


def percentiles(buckets: Iterable[Value]) -> Percentiles:
    """P50, P95 and P99 of a histogram; its buckets may be those of several series, which are added up."""
    bounds = _added_up(buckets)
    return Percentiles(*(_quantile(bounds, share) for share in (0.5, 0.95, 0.99)))


def quantile(buckets: Iterable[Value], share: float) -> float | None:
    """The same for any share, 0 to 1; 1 is the upper bound of the highest observation."""
    return _quantile(_added_up(buckets), share)


def _added_up(buckets: Iterable[Value]) -> list[tuple[float, float]]:
    counts: dict[float, float] = {}
    for bucket in buckets:
        bound = float(bucket.labels.get("le") or "inf")
        counts[bound] = counts.get(bound, 0.0) + bucket.value
    return sorted(counts.items())


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """By linear interpolation, from cumulative counts."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for upper, count in buckets:
        if count >= wanted:
            if math.isinf(upper):
                return lower
            return lower + (upper - lower) * (wanted - below) / (count - below) if count > below else upper
        lower, below = upper, count
    return lower


def _flows(measured: Measured) -> list[FlowFigures]:
    counts, buckets, active = (
        _by(("flow",), values)
        for values in (
            measured.grown.get(f"{FLOW}_count", ()),
            measured.grown.get(f"{FLOW}_bucket", ()),
            measured.now.get(catalogue.FLOW_ACTIVE.prometheus_name, ()),
        )
    )
    flows = []
    for key in {*counts, *active}:
        durations = percentiles(buckets.get(key, ()))
        flows.append(FlowFigures(key[0], *_outcomes(counts.get(key, ())), durations, _total(active.get(key)) or 0.0))
    return sorted(flows, key=lambda flow: (-flow.runs, -flow.active, flow.flow))


def _components(measured: Measured) -> list[ComponentFigures]:
    labels = ("flow", "component_type")
    counts = _by(labels, measured.grown.get(f"{COMPONENT}_count", ()))
    sums = _by(labels, measured.grown.get(f"{COMPONENT}_sum", ()))
    buckets = _by(labels, measured.grown.get(f"{COMPONENT}_bucket", ()))
    bypassed = _by((*labels, "reason"), measured.grown.get(catalogue.COMPONENT_BYPASSED.prometheus_name, ()))
    total_s = sum(_total(values) or 0.0 for values in sums.values())
    components = []
    for key in dict.fromkeys([*counts, *(key[:2] for key in bypassed)]):
        executions, failed, _, _ = _outcomes(counts.get(key, ()))
        cached, skipped = (_total(bypassed.get((*key, reason))) or 0.0 for reason in ("cached", "skipped"))
        if executions or cached or skipped:
            took_s = _total(sums.get(key)) or 0.0
            components.append(
                ComponentFigures(
                    flow=key[0],
                    component_type=key[1],
                    executions=executions,
                    failed=failed,
                    cached=cached,
                    skipped=skipped,
                    total_s=took_s,
                    share=took_s / total_s if total_s else 0.0,
                    durations=percentiles(buckets.get(key, ())),
                )
            )
    return sorted(components, key=lambda component: (-component.total_s, component.component_type))


def _errors(measured: Measured) -> list[ErrorFigures]:
    labels = ("flow", "component_type", "error_type")
    errors = _by(labels, measured.grown.get(catalogue.COMPONENT_ERRORS.prometheus_name, ()))
    found = [ErrorFigures(key[0], key[1], key[2], _total(values) or 0.0) for key, values in errors.items()]
    return sorted((each for each in found if each.count), key=lambda each: (-each.count, each.error_type))


def _models(measured: Measured) -> list[ModelFigures]:
    def grown(*names: str) -> dict[tuple[str, ...], list[Value]]:
        return _by(_MODEL_LABELS, [value for name in names for value in measured.grown.get(name, ())])

    counts = grown(f"{MODEL}_count", f"{EMBEDDINGS}_count")
    buckets = grown(f"{MODEL}_bucket", f"{EMBEDDINGS}_bucket")
    first_chunks = grown(f"{catalogue.MODEL_FIRST_CHUNK.prometheus_name}_bucket")
    sums = {
        "input_tokens": grown(catalogue.MODEL_INPUT_TOKENS.prometheus_name, _EMBEDDINGS_TOKENS),
        "output_tokens": grown(catalogue.MODEL_OUTPUT_TOKENS.prometheus_name),
        "cached_tokens": grown(catalogue.MODEL_CACHE_READ_TOKENS.prometheus_name),
        "reasoning_tokens": grown(catalogue.MODEL_REASONING_TOKENS.prometheus_name),
        "retries": grown(catalogue.MODEL_RETRIES.prometheus_name),
    }
    models = []
    for key in {*counts, *sums["input_tokens"], *sums["output_tokens"]}:
        calls = counts.get(key, ())
        models.append(
            ModelFigures(
                provider=key[0],
                model=key[1],
                calls=_total(calls) or 0.0,
                failed=sum(call.value for call in calls if call.labels.get("error_type")),
                durations=percentiles(buckets.get(key, ())),
                first_chunk=percentiles(first_chunks.get(key, ())),
                **{name: _total(found.get(key)) or 0.0 for name, found in sums.items()},
            )
        )
    return sorted(models, key=lambda model: (-model.calls, model.model))


def _costs(measured: Measured) -> list[CostFigures]:
    costs = _by(("flow", "provider", "model", "currency"), measured.grown.get(catalogue.COST.prometheus_name, ()))
    figures = [CostFigures(key[0], key[1], key[2], key[3], _total(values) or 0.0) for key, values in costs.items()]
    return sorted(figures, key=lambda cost: -cost.amount)


def _workers(measured: Measured) -> list[WorkerFigures]:
    cpu, memory = (
        _by(("instance", "worker"), measured.now.get(metric.prometheus_name, ()))
        for metric in (catalogue.PROCESS_CPU_UTILIZATION, catalogue.PROCESS_MEMORY_USAGE)
    )
    return [
        WorkerFigures(key[0], key[1], _total(cpu.get(key)), _total(memory.get(key))) for key in sorted({*cpu, *memory})
    ]


def _outcomes(counts: Iterable[Value]) -> tuple[float, float, float, float]:
    """All, those that failed, those that were cancelled, and the percentage that failed of those that ended ok or
    failed."""
    by_status = {key[0]: _total(values) or 0.0 for key, values in _by(("status",), counts).items()}
    failed, ok = by_status.get("error", 0.0), by_status.get("ok", 0.0)
    percent = 100 * failed / (ok + failed) if ok + failed else 0.0
    return sum(by_status.values()), failed, by_status.get("cancelled", 0.0), percent


def _by(labels: Sequence[str], values: Iterable[Value]) -> dict[tuple[str, ...], list[Value]]:
    found: dict[tuple[str, ...], list[Value]] = {}
    for value in values:
        found.setdefault(tuple(value.labels.get(label, "") for label in labels), []).append(value)
    return found


def _total(values: Iterable[Value] | None) -> float | None:
    """None for none at all."""
    found = [value.value for value in values or ()]
    return sum(found) if found else None


def _highest(measured: Measured, metric: catalogue.Metric) -> float | None:
    return max((value.value for value in measured.now.get(metric.prometheus_name, ())), default=None)
