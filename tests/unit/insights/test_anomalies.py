"""Anomalies: those that are there are found, and chance is not taken for one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from made_series import KEY, START_S, Day

from langflow_otel.insights._anomalies.detection import Detector, Rules
from langflow_otel.insights._anomalies.episodes import Anomaly
from langflow_otel.insights._anomalies.search import find_anomalies, watch_of
from langflow_otel.insights._anomalies.windows import NS, Execution, Key, Panes
from tests.support.made_spans import START_NS, MadeTraces

AT_S = 6000
DAY = Day(hours=2, rate=1.0)


def anomalies(executions: Iterable[Execution], method: str = "calibrated") -> list[Anomaly]:
    watch, panes = watch_of(method), Panes(lateness_s=0)
    found: dict[int, Anomaly] = {}
    for execution in executions:
        panes.add(execution)
        for second in panes.complete():
            found.update((id(each), each) for each in watch.advance(second))
    for second in panes.rest():
        found.update((id(each), each) for each in watch.advance(second))
    found.update((id(each), each) for each in watch.finish())
    return list(found.values())


@pytest.mark.parametrize(
    ("figure", "sign", "changes"),
    [
        ("duration", 1, {"slower": 5, "to_s": AT_S + 30}),
        ("duration", 1, {"slower": 3, "drift": True}),
        ("duration", -1, {"slower": 0.1}),
        ("errors", 1, {"failing": 0.5}),
        ("throughput", -1, {"busier": 0.0}),
        ("throughput", -1, {"busier": 0.2}),
        ("throughput", 1, {"busier": 5}),
    ],
)
def test_gross_faults_are_found_once_each(figure: str, sign: int, changes: dict[str, float]):
    day = replace(DAY, **{"from_s": AT_S, "to_s": AT_S + 600, **changes})
    (found,) = anomalies(day.executions(1))

    assert (found.key, found.figure, found.sigmas * sign > 5) == (KEY, figure, True)
    assert abs(found.since_s - START_S - day.from_s) < 300
    assert abs((found.until_s or 0) - START_S - day.to_s) < 240
    assert found.since_s < found.raised_s <= START_S + day.to_s + 60
    assert found.chance < 1e-7


def test_how_far_it_is_off_is_said():
    (found,) = anomalies(replace(DAY, from_s=AT_S, to_s=AT_S + 600, slower=4).executions(2))

    assert found.usual == pytest.approx(1, rel=0.1)
    assert found.ratio == pytest.approx(4, rel=0.5)
    assert found.minutes[0][0] <= found.since_s - 3500
    assert found.minutes[-1][0] >= found.since_s + 540


@pytest.mark.parametrize(
    "day",
    [
        DAY,
        replace(DAY, rate=0.1, hours=3),
        replace(DAY, slowness=1.2, heavy=True),
        replace(DAY, linked=(0.9, 0.2)),
        replace(DAY, bursts=8),
        replace(DAY, errors=0.1),
        replace(DAY, season=0.8, rate=0.3, hours=4),
    ],
    ids=["noise", "seldom", "long tail", "wandering level", "bursts", "many errors", "season"],
)
def test_noise_is_no_anomaly(day: Day):
    assert anomalies(day.executions(3)) == []


def test_plain_three_sigma_takes_noise_for_anomalies():
    """What the calibrated form is for: the same hour of noise."""
    executions = list(replace(DAY, hours=1).executions(4))

    counts = {method: len(anomalies(executions, method)) for method in ("calibrated", "sigma", "mad")}
    assert counts["calibrated"] == 0
    assert counts["sigma"] >= 5
    assert counts["mad"] >= 5


def test_one_outlier_does_not_hide_the_next():
    day = replace(DAY, from_s=4800, to_s=4860, slower=50)
    second = replace(DAY, from_s=AT_S, to_s=AT_S + 60, slower=4)
    executions = [each for each in day.executions(5) if each.end_ns < (START_S + 5400) * NS]
    executions += [each for each in second.executions(5) if each.end_ns >= (START_S + 5400) * NS]

    first, other = anomalies(executions)
    assert (first.ratio or 0) > 20
    assert 2 < (other.ratio or 0) < 8


def test_what_stays_becomes_usual():
    day = replace(DAY, rate=0.5, hours=3, from_s=AT_S, to_s=3 * 3600, slower=3)
    (found,) = anomalies(day.executions(6))

    assert (found.is_lasting, found.until_s, found.is_open) == (True, None, False)


def test_what_goes_on_at_the_end_is_open():
    (found,) = anomalies(replace(DAY, from_s=AT_S, to_s=7200, slower=3).executions(7))

    assert found.is_open


def test_nothing_is_raised_while_it_learns():
    day = replace(DAY, from_s=300, to_s=600, slower=20)

    assert anomalies(day.executions(8)) == []
    watch = Detector()
    panes = Panes(lateness_s=0)
    for execution in replace(DAY, hours=0.2).executions(8):
        panes.add(execution)
    for each in panes.rest():
        watch.advance(each)
    assert watch.learning == {KEY}


def test_gap_in_the_data_is_no_anomaly_after_it():
    """Two days without anything, and then the usual again."""
    day = replace(DAY, rate=0.3)
    slower = replace(day, from_s=0, to_s=7200, slower=3)
    executions = list(day.executions(9))
    later = [each._replace(end_ns=each.end_ns + 48 * 3600 * NS) for each in slower.executions(10)]

    found = anomalies([*executions, *later])
    assert [each for each in found if each.figure != "throughput"] == []


def test_many_keys_raise_no_more_than_one():
    """False alarms are bounded for all keys together; a true one is found among them."""
    keys = [Key("shop", f"type {number}") for number in range(6)]
    day = replace(DAY, hours=1.5, rate=0.2)
    executions = [each for number, key in enumerate(keys) for each in day.executions(number, key)]
    slow = replace(day, from_s=4800, to_s=5300, slower=6)
    executions += slow.executions(99)
    executions.sort(key=lambda each: each.end_ns)

    (found,) = anomalies(executions)
    assert found.key == KEY


def test_level_is_set_by_the_false_alarms_that_are_accepted():
    strict, lax = Detector(Rules(false_a_day=0.001)), Detector(Rules(false_a_day=10))
    for each in (strict, lax):
        panes = Panes(lateness_s=0)
        panes.add(Execution(KEY, START_S * NS, 1.0, "ok"))
        for second in panes.rest():
            each.advance(second)

    assert strict._alarm_level() > lax._alarm_level() + 1


def test_equal_durations_are_no_anomaly():
    executions = [Execution(KEY, (START_S + each) * NS, 1.0, "ok") for each in range(7200)]

    assert [each.figure for each in anomalies(executions)] == []


def made() -> MadeTraces:
    """Two hours of runs; for ten minutes they are slow, with more memory."""
    traces = MadeTraces()
    for number, execution in enumerate(replace(DAY, rate=0.2).executions(11)):
        at_s = execution.end_ns / NS - START_S
        is_slow = 5000 < at_s < 5600
        attributes = {
            "langflow.flow.process.memory.peak": 3 * 2**30 if is_slow else 2**30 + 1000 * (number % 7),
            "langflow.flow.process.cpu.time": 0.1,
        }
        duration_s = execution.duration_s * (5 if is_slow else 1)
        run = traces.run(duration_s, at_s=at_s, attributes=attributes)
        run.add("component LLM", 0.0, duration_s / 2, component_type="LanguageModel")
        run.add("component Cached", 0.0, 100.0 if is_slow else 0.001, component_type="Cached", status="cached")
    return traces


@pytest.fixture(scope="module")
def connection() -> Any:
    return made().connect()


def test_spans_have_their_anomalies_and_resources(connection: Any):
    found = find_anomalies(connection)

    assert {(each.key, each.figure) for each, _ in found.found} == {
        (Key("shop", ""), "duration"),
        (Key("shop", "LanguageModel"), "duration"),
    }
    for anomaly, around in found.found:
        assert abs(anomaly.since_s - START_NS // NS - 5000) < 120
        assert around.before["memory"] == pytest.approx(2**30, rel=0.01)
        assert around.during["memory"] == 3 * 2**30
        assert "memory" in {each.name for each in around.together}
    assert (found.keys, found.learning, found.unusable) == (2, 0, 0)


def test_selection_by_flow_and_time(connection: Any):
    assert find_anomalies(connection, flow="other").executions == 0
    after = find_anomalies(connection, flow="shop-id", since_ns=START_NS + 6500 * NS)
    assert (after.found, after.executions > 1000) == ([], True)
