"""How often each component ran, how long it took, and how often it failed, from finished traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from langflow_otel.insights.trace import TraceSpan
from langflow_otel.recording import semconv


@dataclass(frozen=True)
class ComponentStats:
    """One component of one flow over all of its runs. Times are seconds.

    Attributes:
        count: Executions, failed ones included; those that came from the cache or were skipped are not
            among them.
        p50_s, p95_s: Percentiles of the executions' durations; None if it never ran.
        total_s: Time in the component itself, without components that ran inside it (a loop's body).
        share: ``total_s`` as a part of the time of all components of all flows, 0 to 1.
    """

    flow: str
    component_id: str
    name: str
    kind: str
    count: int
    errors: int
    cached: int
    skipped: int
    p50_s: float | None
    p95_s: float | None
    total_s: float
    share: float


@dataclass
class _Tally:
    name: str
    kind: str = "other"
    durations_s: list[float] = field(default_factory=list)
    own_s: float = 0.0
    errors: int = 0
    cached: int = 0
    skipped: int = 0


def component_stats(roots: Iterable[TraceSpan]) -> list[ComponentStats]:
    """Statistics of every component in these trees, those with the largest share of time first."""
    tallies: dict[tuple[str, str], _Tally] = {}
    for root in roots:
        for flow, span in _with_flow(root, ""):
            _count(tallies, flow, span)
    all_s = sum(tally.own_s for tally in tallies.values())
    stats = [_stats(flow, component_id, tally, all_s) for (flow, component_id), tally in tallies.items()]
    return sorted(stats, key=lambda each: (-each.total_s, each.name))


def _with_flow(span: TraceSpan, flow: str) -> Iterator[tuple[str, TraceSpan]]:
    """Each span with the name of the flow that it is part of."""
    flow = str(span.attributes.get(semconv.FLOW_NAME, flow))
    yield flow, span
    for child in span.children:
        yield from _with_flow(child, flow)


def _count(tallies: dict[tuple[str, str], _Tally], flow: str, span: TraceSpan) -> None:
    for event in span.events:
        if event.name == semconv.COMPONENT_SKIPPED:
            skipped_id = str(event.attributes[semconv.COMPONENT_ID])
            skipped_name = str(event.attributes.get(semconv.COMPONENT_DISPLAY_NAME, skipped_id))
            tallies.setdefault((flow, skipped_id), _Tally(skipped_name)).skipped += 1
    if not is_component(span):
        return
    component_id = str(span.attributes[semconv.COMPONENT_ID])
    tally = tallies.setdefault((flow, component_id), _Tally(component_id))
    tally.name = str(span.attributes.get(semconv.COMPONENT_DISPLAY_NAME, component_id))
    tally.kind = str(span.attributes.get(semconv.COMPONENT_KIND, "other"))
    if span.status == "cached":
        tally.cached += 1
        return
    tally.durations_s.append(span.duration_s)
    tally.own_s += _own_s(span)
    tally.errors += span.status == "error"


def is_component(span: TraceSpan) -> bool:
    """True for an execution of a component; a tool call has a component's id but no kind."""
    return semconv.COMPONENT_ID in span.attributes and semconv.COMPONENT_KIND in span.attributes


def _own_s(span: TraceSpan) -> float:
    """Duration without the time in which components below it ran."""
    inside = sorted((each.start_ns, each.end_ns) for each in _nearest_components(span))
    covered_ns, reached_ns = 0, span.start_ns
    for start_ns, end_ns in inside:
        end_ns = min(end_ns, span.end_ns)
        covered_ns += max(0, end_ns - max(start_ns, reached_ns))
        reached_ns = max(reached_ns, end_ns)
    return span.duration_s - covered_ns / 1e9


def _nearest_components(span: TraceSpan) -> Iterator[TraceSpan]:
    for child in span.children:
        if is_component(child):
            yield child
        else:
            yield from _nearest_components(child)


def _stats(flow: str, component_id: str, tally: _Tally, all_s: float) -> ComponentStats:
    return ComponentStats(
        flow=flow,
        component_id=component_id,
        name=tally.name,
        kind=tally.kind,
        count=len(tally.durations_s),
        errors=tally.errors,
        cached=tally.cached,
        skipped=tally.skipped,
        p50_s=percentile(tally.durations_s, 0.50),
        p95_s=percentile(tally.durations_s, 0.95),
        total_s=tally.own_s,
        share=tally.own_s / all_s if all_s > 0 else 0.0,
    )


def percentile(values: Iterable[float], rank: float) -> float | None:
    """The value below which this part (0 to 1) of the values lies, interpolated; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    position = rank * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
