"""Panes of a second, and the windows that slide over them."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from langflow_otel.insights._anomalies.windows import (
    NS,
    OTHER,
    Execution,
    Key,
    Pane,
    Panes,
    Second,
    Sketch,
    Window,
    merged_panes,
    sliding_windows,
)

KEY = Key("shop", "LLM")
START_S = 1_800_000_000


def execution(at_s: float, duration_s: float = 1.0, status: str = "ok", key: Key = KEY) -> Execution:
    return Execution(key, int((START_S + at_s) * NS), duration_s, status)


def made(count: int = 2000, seed: int = 1) -> list[Execution]:
    rand = random.Random(seed)
    keys = [Key("shop", name) for name in ("", "LLM", "Prompt")]
    return [
        execution(rand.random() * 300, rand.lognormvariate(0, 1), rand.choice(("ok", "ok", "error")), rand.choice(keys))
        for _ in range(count)
    ]


def seconds_of(executions: list[Execution]) -> list[Second]:
    panes = Panes()
    for each in executions:
        panes.add(each)
    return list(panes.rest())


def counted_by_hand(executions: list[Execution], length_s: int, step_s: int) -> dict[tuple[Key, int], tuple[int, int]]:
    """Count and failures by key and end, each execution looked at for each window."""
    found: dict[tuple[Key, int], tuple[int, int]] = {}
    for each in executions:
        second = each.end_ns // NS
        for end_s in range(second + 1, second + length_s + 1):
            if end_s % step_s == 0:
                count, failures = found.get((each.key, end_s), (0, 0))
                found[each.key, end_s] = (count + 1, failures + (each.status == "error"))
    return found


@pytest.mark.parametrize(("length_s", "step_s"), [(5, 1), (60, 10), (4, 2)])
def test_windows_hold_what_ended_in_them(length_s: int, step_s: int):
    executions = made()
    windows = list(sliding_windows(seconds_of(executions), length_s, step_s))

    assert {(each.key, each.end_s): (each.count, each.failures) for each in windows} == counted_by_hand(
        executions, length_s, step_s
    )
    assert {each.end_s - each.start_s for each in windows} == {length_s}
    assert [each.end_s for each in windows] == sorted(each.end_s for each in windows)


def test_gaps_are_passed_over():
    windows = list(sliding_windows(seconds_of([execution(0), execution(1e7), execution(1e7 + 1)])))

    assert [each.end_s - START_S for each in windows] == [1, 2, 3, 4, 5, *range(10_000_001, 10_000_007)]
    assert [each.count for each in windows][5:] == [1, 2, 2, 2, 2, 1]


def test_order_within_the_lateness_does_not_matter():
    ordered = sorted(made(), key=lambda each: each.end_ns)
    rand = random.Random(2)
    shuffled = sorted(ordered, key=lambda each: each.end_ns + rand.random() * 8 * NS)
    panes, seconds = Panes(lateness_s=10), []
    for each in shuffled:
        panes.add(each)
        seconds += panes.complete()
    seconds += panes.rest()

    assert panes.late == 0
    assert list(sliding_windows(seconds)) == list(sliding_windows(seconds_of(ordered)))


def test_what_is_late_is_counted_and_left_out():
    panes = Panes(lateness_s=10)
    panes.add(execution(0))
    panes.add(execution(20))
    assert [each.at_s - START_S for each in panes.complete()] == [0]
    panes.add(execution(5))
    panes.add(execution(12))

    assert panes.late == 1
    assert [each.at_s - START_S for each in panes.rest()] == [12, 20]


@pytest.mark.parametrize("duration_s", [float("nan"), float("inf"), -1.0])
def test_what_is_no_duration_is_left_out(duration_s: float):
    panes = Panes()
    panes.add(execution(0, duration_s))

    assert (panes.unusable, list(panes.rest())) == (1, [])


def test_keys_beyond_the_bound_are_one():
    panes = Panes(max_keys=2)
    for name in ("a", "b", "c", "d", "a"):
        panes.add(execution(0, key=Key("shop", name)))
    (second,) = panes.rest()

    assert {key.component_type: pane.count for key, pane in second.panes.items()} == {"a": 2, "b": 1, "other": 2}
    assert OTHER in second.panes


def test_merged_panes_are_the_panes_of_all():
    rand = random.Random(3)
    parts, whole = [Pane() for _ in range(4)], Pane()
    for _ in range(500):
        duration_s, status = rand.lognormvariate(0, 2), rand.choice(("ok", "error", "cancelled"))
        rand.choice(parts).add(duration_s, status)
        whole.add(duration_s, status)
    merged = merged_panes(parts)

    assert merged == whole
    merged.durations.take_away(parts[0].durations)
    assert merged.durations == merged_panes(parts[1:]).durations


def test_quantiles_are_off_by_one_percent_at_most():
    rand, sketch = random.Random(4), Sketch()
    values = sorted(rand.lognormvariate(0, 2) for _ in range(1001))
    for value in values:
        sketch.add(value)

    assert [sketch.quantile(share) for share in (0, 0.5, 0.95, 1)] == [
        pytest.approx(values[place], rel=0.0101) for place in (0, 500, 950, 1000)
    ]
    assert Sketch().quantile(0.5) is None


def test_window_says_what_was_in_it():
    executions = [execution(0.1 * each, 2.0) for each in range(8)]
    executions += [execution(0.9, 60.0, "error"), execution(0.95, 1.0, "cancelled")]
    first = next(iter(sliding_windows(seconds_of(executions))))

    p50_s = first.p50_s
    assert p50_s == pytest.approx(2, rel=0.01)
    assert first == Window(KEY, START_S - 4, START_S + 1, 10, 1, 2.0, pytest.approx(1 / 9), 2.0, p50_s, p50_s, p50_s)


def test_windows_follow_each_other_by_a_step():
    ends = [each.end_s for each in sliding_windows(seconds_of(made(50)), 60, 10) if each.key == KEY]

    assert {after - before for before, after in pairwise(ends)} == {10}
