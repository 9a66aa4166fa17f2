"""What became worse or better from one baseline to another, as far as chance does not explain it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from langflow_otel.insights._baselines.baselines import (
    COST,
    DURATION,
    FAILED,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Baseline,
    Entry,
)
from langflow_otel.insights._statistics.significance import (
    ALPHA,
    Difference,
    Sample,
    holm,
    quantile_difference,
    share_difference,
)

WORSE: Final = "worse"
BETTER: Final = "better"
NO_DIFFERENCE: Final = "no difference"
TOO_FEW: Final = "too few"

ERROR_RATE: Final = "rate"
"""The statistic of ``failed``; those of the others are ``p50``, ``p95`` and ``p99``."""

LEAST_DIFFERENCE_S: Final = 0.001
"""A duration that is longer by less never fails: it is below what a machine repeats."""

_QUANTILES: Final = {
    DURATION: (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)),
    INPUT_TOKENS: (("p50", 0.5), ("p95", 0.95)),
    OUTPUT_TOKENS: (("p50", 0.5), ("p95", 0.95)),
    COST: (("p50", 0.5), ("p95", 0.95)),
}


class NothingToCompareError(ValueError):
    """The two have no flow in common, or come from different sources."""


@dataclass(frozen=True)
class Change:
    """One figure of a flow or component, before and after. Higher is worse for all of them.

    Attributes:
        component_id: None for the flow itself.
        measured: ``duration`` (seconds), ``failed`` (0 to 1), ``input_tokens``, ``output_tokens``, ``cost.USD``.
        statistic: ``p50``, ``p95``, ``p99``, or ``rate`` of ``failed``.
        executions, executions_after: How many there were; ``difference`` has as how many independent ones they count.
        difference: The two values, the interval of their difference, and the chance of it.
        adjusted_p: With all other comparisons counted; None where there are too few executions to tell.
        verdict: ``worse``, ``better``, ``no difference`` or ``too few``.
        fails: True if it is worse by more than the limit.
        bucket, bucket_after: From a Prometheus: between which bounds the two values lie; else None.
    """

    flow: str
    component_id: str | None
    name: str
    measured: str
    statistic: str
    executions: int
    executions_after: int
    difference: Difference
    adjusted_p: float | None = None
    verdict: str = TOO_FEW
    fails: bool = False
    bucket: tuple[float, float] | None = None
    bucket_after: tuple[float, float] | None = None

    @property
    def relative(self) -> float | None:
        """The difference as a part of the value before; None where that is 0, and the other is not."""
        change = self.difference.after - self.difference.before
        if self.difference.before == 0:
            return None if change else 0.0
        return change / self.difference.before


@dataclass(frozen=True)
class GraphChange:
    """A component that ran only before or only after, or whose code, type or model is another.

    Attributes:
        change: ``added``, ``removed``, ``code``, ``type`` or ``model``.
        before, after: Hashes of code, types or models; empty where there is no component.
    """

    flow: str
    component_id: str
    name: str
    component_type: str | None
    change: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        changes: Every figure that both have, in the order of flows and components.
        graph: What is different about the components of flows.
        flows_gone, flows_new: Flows that only one of the two has.
        versions: Of each flow in both, ``langflow.flow.version`` before and after.
        executions: Runs of each flow in both, before and after.
        fail_over: The limit, 0.1 for 10 %.
    """

    changes: tuple[Change, ...]
    graph: tuple[GraphChange, ...]
    flows_gone: tuple[str, ...]
    flows_new: tuple[str, ...]
    versions: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    executions: dict[str, tuple[int, int]]
    fail_over: float

    def of(self, verdict: str) -> tuple[Change, ...]:
        return tuple(each for each in self.changes if each.verdict == verdict)

    @property
    def failed(self) -> tuple[Change, ...]:
        return tuple(each for each in self.changes if each.fails)

    @property
    def judged(self) -> int:
        """How many figures have enough executions."""
        return len(self.changes) - len(self.of(TOO_FEW))


def compare(before: Baseline, after: Baseline, *, fail_over: float = 0.1) -> Comparison:
    """Compare every figure that both have.

    A figure is worse or better if its adjusted p-value is below 0.05, so that on equal data any difference at all is
    claimed in at most 5 % of the comparisons; it fails if it is worse by more than ``fail_over`` times its value
    before.

    Raises:
        NothingToCompareError: No flow is in both, or one is of traces and the other from a Prometheus.
    """
    if before.source != after.source:
        raise NothingToCompareError(
            f"one is from {before.source}, the other from {after.source}: percentiles of histograms are not comparable "
            "with those of traces"
        )
    common = sorted(before.flows.keys() & after.flows.keys())
    if not common:
        raise NothingToCompareError(f"they have no flow in common: {_named(before)} before, {_named(after)} now")
    pairs = list(_pairs(before, after))
    changes = [change for then, now in pairs for change in _changes(then, now)]
    adjusted = holm([(each.difference.p_value, each.difference.least_p_value) for each in changes])
    judged = [_judged(change, value, fail_over) for change, value in zip(changes, adjusted, strict=True)]
    return Comparison(
        changes=tuple(judged),
        graph=tuple(_graph(before, after)),
        flows_gone=tuple(sorted(before.flows.keys() - after.flows.keys())),
        flows_new=tuple(sorted(after.flows.keys() - before.flows.keys())),
        versions={flow: (before.flows[flow].versions, after.flows[flow].versions) for flow in common},
        executions={flow: (before.flows[flow].count, after.flows[flow].count) for flow in common},
        fail_over=fail_over,
    )


def _named(baseline: Baseline) -> str:
    names = sorted(baseline.flows)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"


def _pairs(before: Baseline, after: Baseline) -> Iterator[tuple[Entry, Entry]]:
    later = {(entry.flow, entry.component_id): entry for entry in after.entries}
    for entry in before.entries:
        found = later.get((entry.flow, entry.component_id))
        if found is not None:
            yield entry, found


def _changes(before: Entry, after: Entry) -> Iterator[Change]:
    for measured in before.measured:
        if measured not in after.measured:
            continue
        then, now = before.sample(measured), after.sample(measured)
        for statistic, difference in _differences(measured, then, now):
            has_buckets = measured == DURATION
            yield Change(
                flow=after.flow,
                component_id=after.component_id,
                name=after.name,
                measured=measured,
                statistic=statistic,
                executions=before.count,
                executions_after=after.count,
                difference=difference,
                bucket=before.bucket(difference.before) if has_buckets else None,
                bucket_after=after.bucket(difference.after) if has_buckets else None,
            )


def _differences(measured: str, then: Sample, now: Sample) -> Iterator[tuple[str, Difference]]:
    if measured == FAILED:
        yield ERROR_RATE, share_difference(then, now)
        return
    for statistic, share in _QUANTILES.get(COST if measured.startswith(COST) else measured, ()):
        yield statistic, quantile_difference(then, now, share)


def _judged(change: Change, adjusted: float | None, fail_over: float) -> Change:
    difference = change.difference
    if adjusted is None:
        return change
    if adjusted >= ALPHA or difference.after == difference.before:
        return replace(change, adjusted_p=adjusted, verdict=NO_DIFFERENCE)
    is_worse = difference.after > difference.before
    relative = math.inf if change.relative is None else change.relative
    is_small = change.measured == DURATION and difference.after - difference.before < LEAST_DIFFERENCE_S
    return replace(
        change,
        adjusted_p=adjusted,
        verdict=WORSE if is_worse else BETTER,
        fails=is_worse and relative > fail_over and not is_small,
    )


def _graph(before: Baseline, after: Baseline) -> Iterator[GraphChange]:
    # A flow that only other flows run has components, and no runs of its own.
    flows = {each.flow for each in before.entries} & {each.flow for each in after.entries}
    then, now = (
        {
            (each.flow, each.component_id): each
            for each in baseline.entries
            if each.component_id is not None and each.flow in flows
        }
        for baseline in (before, after)
    )
    for key in sorted(then.keys() | now.keys()):
        if key not in then:
            yield _graph_change(now[key], "added")
        elif key not in now:
            yield _graph_change(then[key], "removed")
        else:
            yield from _other(then[key], now[key])


def _other(then: Entry, now: Entry) -> Iterator[GraphChange]:
    if then.component_type != now.component_type:
        types = [(each.component_type,) if each.component_type else () for each in (then, now)]
        yield _graph_change(now, "type", types[0], types[1])
    if then.code_hashes and now.code_hashes and set(then.code_hashes) != set(now.code_hashes):
        yield _graph_change(now, "code", then.code_hashes, now.code_hashes)
    if set(then.models) != set(now.models):
        yield _graph_change(now, "model", then.models, now.models)


def _graph_change(entry: Entry, change: str, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> GraphChange:
    assert entry.component_id is not None  # noqa: S101 - for the type checker
    return GraphChange(entry.flow, entry.component_id, entry.name, entry.component_type, change, before, after)
