"""When figures of flows and components changed for good, over days, versions or baselines that were kept.

A figure has one value a step; how far values differ from step to step without a change is seen in the steps
themselves (:mod:`~langflow_otel.insights._statistics.level_shifts`). With all figures together, a change is claimed in
at most 5 % of histories without any (Holm's correction, of those figures that are known for long enough).

Needs ``pip install 'langflow-otel[forecast]'``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from langflow_otel.insights._baselines.baselines import DURATION, FAILED, INPUT_TOKENS, OUTPUT_TOKENS, Baseline, Entry
from langflow_otel.insights._baselines.comparison import ERROR_RATE, LEAST_DIFFERENCE_S
from langflow_otel.insights._statistics.level_shifts import Shift, chance_of_shift, least_p_value, level_shifts
from langflow_otel.insights._statistics.significance import ALPHA, holm
from langflow_otel.insights.components import percentile

MEAN: Final = "mean"
"""The statistic of tokens."""

LEAST_EXECUTIONS: Final = {"p50": 5, "p95": 20, "p99": 100, ERROR_RATE: 10, MEAN: 5}
"""A step with fewer has no value of such a figure."""

_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_FIGURES: Final = (
    *((DURATION, statistic, f"{DURATION}.{statistic}") for statistic in _QUANTILES),
    (FAILED, ERROR_RATE, "error_rate"),
    (INPUT_TOKENS, MEAN, INPUT_TOKENS),
    (OUTPUT_TOKENS, MEAN, OUTPUT_TOKENS),
)


@dataclass(frozen=True)
class Step:
    """A day, a version or a baseline.

    Attributes:
        name: ``2026-01-31``, the version, or the file and the day of its last run.
        baseline: How flows and components behaved then.
    """

    name: str
    baseline: Baseline


@dataclass(frozen=True)
class Began:
    """What a flow or a component had for the first time when a figure changed.

    Attributes:
        step: The first one with it.
        what: ``version``, ``component``, ``code`` or ``model``.
        name: The component's, or the flow's.
        value: Version, hash of the code, or model; empty for a component.
    """

    step: str
    what: str
    name: str
    value: str = ""


@dataclass(frozen=True)
class Changed:
    """A change for good of a figure.

    Attributes:
        since: The first step that is different; ``earliest`` to ``latest`` hold it with 95 % confidence.
        until: The first step of the next change; None if it lasts.
        since_ns: When the first run of ``since`` started, nanoseconds since the epoch.
        before, after: The medians of the steps, seconds or a share of 0 to 1 or tokens.
        relative: The shift as a part of ``before``; None where that is 0.
        low, high: 95 % interval of the shift, in the figure's unit; None for no bound.
        shift: In the figure's unit.
        steps_before, steps_after: How many it rests on.
        adjusted_p: With all figures counted.
        began: What was new from ``earliest`` to ``latest``; it need not be the cause.
    """

    since: str
    since_ns: int
    earliest: str
    latest: str
    until: str | None
    before: float
    after: float
    shift: float
    low: float | None
    high: float | None
    steps_before: int
    steps_after: int
    adjusted_p: float
    began: tuple[Began, ...] = ()

    @property
    def relative(self) -> float | None:
        return self.shift / self.before if self.before else None


@dataclass(frozen=True)
class FigureHistory:
    """One figure of a flow or component over the steps.

    Attributes:
        component_id: None for the flow itself.
        measured, statistic: As in :class:`~langflow_otel.insights._baselines.comparison.Change`; for tokens
            the ``mean``.
        steps, values: Of the steps with enough executions.
        changes: Those that are at least as large as asked for.
        is_too_short: There are too few steps to tell anything.
    """

    flow: str
    component_id: str | None
    name: str
    measured: str
    statistic: str
    steps: tuple[str, ...]
    values: tuple[float, ...]
    changes: tuple[Changed, ...] = ()
    is_too_short: bool = False


@dataclass(frozen=True)
class History:
    """What was found.

    Attributes:
        figures: Of all flows and components, in their order.
        steps: All steps.
        needed: So many steps are needed with so many figures.
    """

    figures: tuple[FigureHistory, ...]
    steps: tuple[str, ...]
    needed: int

    @property
    def judged(self) -> int:
        return sum(not each.is_too_short for each in self.figures)


@dataclass(frozen=True)
class _Curve:
    entry: Entry
    measured: str
    statistic: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def history(
    steps: Sequence[Step],
    *,
    over: float = 0.05,
    on_progress: Callable[[int, int], object] | None = None,
) -> History:
    """Find what changed for good.

    Args:
        steps: In the order of time.
        over: Changes by a smaller part of the value before are left out, and of durations those below 1 ms.
        on_progress: Called with the figures that are done, and all.
    """
    curves = [curve for key in _keys(steps) for curve in _curves(steps, key)]
    chances = []
    for done, curve in enumerate(curves):
        chances.append((chance_of_shift(curve.values), least_p_value(len(curve.values))))
        if on_progress is not None:
            on_progress(done + 1, len(curves))
    adjusted = _adjusted(curves, chances)
    judged = sum(each is not None for each in adjusted)
    figures = [
        _figure(steps, curve, value, _changes(steps, curve, value, judged, over))
        for curve, value in zip(curves, adjusted, strict=True)
    ]
    return History(tuple(figures), tuple(each.name for each in steps), needed_steps(len(curves)))


def _adjusted(curves: Sequence[_Curve], chances: Sequence[tuple[float, float]]) -> list[float | None]:
    """What never differs cannot have changed, and costs the other figures nothing."""
    varying = [place for place, curve in enumerate(curves) if min(curve.values) < max(curve.values)]
    judged = dict(zip(varying, holm([chances[place] for place in varying]), strict=True))
    level = ALPHA / max(1, len(varying))
    return [judged.get(place, 1.0 if least <= level else None) for place, (_, least) in enumerate(chances)]


def needed_steps(figures: int) -> int:
    """With fewer, no change of any of so many figures is more than chance."""
    count = 1
    while least_p_value(count) > ALPHA / max(1, figures):
        count += 1
    return count


_Key = tuple[str, "str | None"]


def _key(entry: Entry) -> _Key:
    return entry.flow, entry.component_id


def _keys(steps: Sequence[Step]) -> list[_Key]:
    found = {_key(entry) for step in steps for entry in step.baseline.entries}
    return sorted(found, key=lambda key: (key[0], key[1] or ""))


def _curves(steps: Sequence[Step], key: _Key) -> Iterator[_Curve]:
    entries = {
        place: entry for place, step in enumerate(steps) for entry in step.baseline.entries if _key(entry) == key
    }
    newest = entries[max(entries)]
    for measured, statistic, figure in _FIGURES:
        least = LEAST_EXECUTIONS[statistic]
        points = [
            (place, value)
            for place, entry in entries.items()
            if entry.count >= least and (value := _value(entry, statistic, figure)) is not None
        ]
        if points:
            places, values = zip(*points, strict=True)
            yield _Curve(newest, measured, statistic, places, values)


def _value(entry: Entry, statistic: str, figure: str) -> float | None:
    if statistic in _QUANTILES and figure not in entry.figures and entry.histogram:
        return percentile(entry.sample(DURATION).values, _QUANTILES[statistic])
    return entry.figures.get(figure)


def _figure(
    steps: Sequence[Step], curve: _Curve, adjusted: float | None, changes: tuple[Changed, ...]
) -> FigureHistory:
    entry = curve.entry
    return FigureHistory(
        flow=entry.flow,
        component_id=entry.component_id,
        name=entry.name,
        measured=curve.measured,
        statistic=curve.statistic,
        steps=tuple(steps[place].name for place in curve.steps),
        values=curve.values,
        changes=changes,
        is_too_short=adjusted is None,
    )


def _changes(
    steps: Sequence[Step], curve: _Curve, adjusted: float | None, judged: int, over: float
) -> tuple[Changed, ...]:
    if adjusted is None or adjusted >= ALPHA:
        return ()
    # Holm's correction lets the clearest figures leave more to the others; the first change of each is what it judged.
    own = chance_of_shift(curve.values)
    factor = min(float(judged), adjusted / own) if own else float(judged)
    found = level_shifts(curve.values, ALPHA / max(1.0, factor))
    return tuple(_changed(steps, curve, shift, factor) for shift in found if _matters(curve, shift, over))


def _matters(curve: _Curve, shift: Shift, over: float) -> bool:
    if curve.measured == DURATION and abs(shift.change) < LEAST_DIFFERENCE_S:
        return False
    relative = abs(shift.change) / shift.before if shift.before else math.inf
    return relative >= over and shift.change != 0


def _changed(steps: Sequence[Step], curve: _Curve, shift: Shift, factor: float) -> Changed:
    def step(place: int) -> Step:
        return steps[curve.steps[place]]

    first, last = curve.steps[shift.first], curve.steps[shift.last]
    return Changed(
        since=step(shift.place).name,
        since_ns=step(shift.place).baseline.first_ns,
        earliest=step(shift.first).name,
        latest=step(shift.last).name,
        until=step(shift.end).name if shift.end < len(curve.steps) else None,
        before=shift.before,
        after=shift.after,
        shift=shift.change,
        low=shift.low,
        high=shift.high,
        steps_before=shift.place - shift.start,
        steps_after=shift.end - shift.place,
        adjusted_p=min(1.0, shift.p_value * max(1.0, factor)),
        began=tuple(_began(steps, curve.entry.flow, first, last)),
    )


def _began(steps: Sequence[Step], flow: str, first: int, last: int) -> Iterator[Began]:
    """What was not in any step before ``first``; nothing if there is none before it."""
    known = {fact for step in steps[:first] for fact in _facts(step, flow)}
    new_components: set[str | None] = set()
    for step in steps[first : last + 1]:
        for fact in _facts(step, flow):
            what, component_id, name, value = fact
            if what == "component" and fact not in known:
                new_components.add(component_id)
            if fact not in known and (what == "component" or component_id not in new_components):
                yield Began(step.name, what, name, value)
            known.add(fact)


def _facts(step: Step, flow: str) -> Iterator[tuple[str, str | None, str, str]]:
    for entry in step.baseline.entries:
        if entry.flow != flow:
            continue
        of_component = entry.component_id
        if of_component is not None:
            yield "component", of_component, entry.name, ""
        for what, values in (("version", entry.versions), ("code", entry.code_hashes), ("model", entry.models)):
            yield from ((what, of_component, entry.name, value) for value in values)
