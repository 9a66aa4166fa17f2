"""The simulated autoscaler does what Kubernetes documents, and the README's tables are what the simulation gives."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlays import KUBERNETES
from scripts import load

pytest.importorskip("yaml", reason="pip install 'langflow-otel[configs]'")

SIMULATION = KUBERNETES / "simulation"
autoscaler = load(SIMULATION / "autoscaler.py")
manifests = load(SIMULATION / "manifests.py")
day = load(SIMULATION / "day.py")
simulate = load(SIMULATION / "simulate.py")

Policy, Rules, Reading = autoscaler.Policy, autoscaler.Rules, autoscaler.Reading


def scaler(up: Any = autoscaler.DEFAULT_UP, down: Any = autoscaler.DEFAULT_DOWN, most: int = 1000) -> Any:
    return autoscaler.Autoscaler(1, most, up, down)


def total(value: float) -> list[Any]:
    """A metric of which one replica shall have 1."""
    return [Reading(value, target=1)]


def rounds(of: Any, replicas: int, value: float, every_s: int, count: int) -> list[int]:
    sizes = []
    for number in range(count):
        replicas = of.next(number * every_s, replicas, replicas, total(value))
        sizes.append(replicas)
    return sizes


@pytest.mark.parametrize(
    ("replicas", "value", "target", "wanted"),
    [
        (3, 200, 100, 6),  # "the number of replicas will be doubled"
        (4, 50, 100, 2),  # "you'll halve the number of replicas"
        (50, 90, 75, 60),  # the example of the release notes of 1.33
        (10, 109, 100, 10),  # "sufficiently close to 1.0 (... 0.1 by default)"
        (10, 91, 100, 10),
        (10, 111, 100, 12),
        (3, 0, 100, 0),
    ],
)
def test_the_formula_gives_the_documentations_examples(replicas: int, value: float, target: float, wanted: int) -> None:
    assert Reading(value, target, averaged=True).wants(replicas, replicas) == wanted


def test_a_total_is_shared_among_the_replicas() -> None:
    assert Reading(90, target=8).wants(4, 4) == 12
    assert Reading(33, target=8).wants(4, 4) == 4


def test_the_metric_that_wants_most_wins() -> None:
    assert scaler().next(0, 4, 4, [Reading(0.2, 0.7, averaged=True), Reading(48, 8), Reading(0, 5)]) == 6


def test_scale_down_follows_the_documentations_example_of_two_policies() -> None:
    down = Rules(0, (Policy("Pods", 4, 60), Policy("Percent", 10, 60)))

    # 8 of 80, then 7.2 rounded up to 8, ..., and 4 at a time below 40.
    assert rounds(scaler(down=down), 80, 10, 60, 12) == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16]


def test_the_policy_of_least_change_can_be_chosen() -> None:
    down = Rules(0, (Policy("Percent", 10, 60), Policy("Pods", 5, 60)), "Min")

    assert rounds(scaler(down=down), 100, 10, 60, 3) == [95, 90, 85]


def test_a_disabled_direction_does_not_move() -> None:
    down = Rules(0, (Policy("Percent", 100, 15),), "Disabled")

    assert rounds(scaler(down=down), 10, 1, 60, 3) == [10, 10, 10]


def test_by_default_it_doubles_or_adds_four_every_15_seconds() -> None:
    assert rounds(scaler(), 1, 100, 15, 6) == [5, 10, 20, 40, 80, 100]


def test_a_policy_counts_what_changed_within_its_period() -> None:
    up = Rules(0, (Policy("Pods", 3, 60),))

    assert rounds(scaler(up=up), 1, 100, 15, 6) == [4, 4, 4, 4, 7, 7]


def test_scale_down_waits_for_the_highest_of_its_window() -> None:
    waiting = scaler()
    assert waiting.next(0, 10, 10, total(10)) == 10
    assert [waiting.next(at, 10, 10, total(2)) for at in range(15, 300, 15)] == [10] * 19
    assert waiting.next(300, 10, 10, total(2)) == 2


loads = st.lists(st.floats(0, 400), min_size=1, max_size=300)


@pytest.mark.parametrize("overlay", ["hpa", "production"])
@given(values=loads)
@settings(max_examples=30, deadline=None)
def test_whatever_the_load_the_committed_settings_hold_their_promises(overlay: str, values: list[float]) -> None:
    committed = manifests.horizontal_pod_autoscaler() if overlay == "hpa" else manifests.scaled_object(overlay)
    sizes, wanted, replicas = [], [], 1
    for number, value in enumerate(values):
        reading = Reading(value, target=8)
        wanted.append(reading.wants(replicas, replicas))
        replicas = committed.autoscaler.next(number * 15, replicas, replicas, [reading])
        sizes.append(replicas)

    assert all(1 <= size <= 10 for size in sizes)
    for before, after in zip(sizes, sizes[4:], strict=False):
        assert after >= before - math.ceil(before / 10), "more than 10 % down within a minute"
    for at in range(1, len(sizes)):
        if sizes[at] < sizes[at - 1]:
            assert sizes[at] >= min(max(wanted[max(at - 39, 0) : at + 1]), 10), "down against the last 10 minutes"


def test_the_simulation_reads_the_committed_triggers() -> None:
    production = manifests.scaled_object("production")
    names = [trigger.name for trigger in production.triggers]

    assert names == ["runs-in-flight", "queue-depth", "throughput", "cpu", "memory", "rush-hour"]
    assert production.triggers[-1].hours == (8.75, 11)
    assert [trigger.target for trigger in manifests.horizontal_pod_autoscaler().triggers] == [0.7, 0.8]
    assert manifests.scaled_object("idle").minimum == 0


def steady(second: int) -> float:
    return 1.0 if second < 3600 else 0.0


def test_each_run_is_served_and_waits_only_where_there_is_no_place() -> None:
    workload = day.Workload(run_s=6, runs_at_once=12)
    enough, too_few = day.replay(steady, 1, workload), day.replay(lambda second: 3 * steady(second), 1, workload)

    assert sum(runs for _, runs in enough.waits) == pytest.approx(3600)
    assert enough.longest_wait_s() == 0
    assert enough.replica_hours == 24
    # 3 a second come, 2 a second can begin: the last of 10,800 begins after 5,400 s, having waited 1,800.
    assert sum(runs for _, runs in too_few.waits) == pytest.approx(10_800)
    assert too_few.longest_wait_s() == pytest.approx(1800, abs=6)
    assert too_few.mean_wait_s() == pytest.approx(900, abs=6)


staging_day = cache(simulate.staging_day)


@pytest.mark.slow
def test_an_idle_environment_is_at_zero_at_night_and_wakes() -> None:
    replay = staging_day()["overlay `idle`: KEDA, to zero"]

    assert replay.replicas[3 * 3600] == 0
    assert replay.replicas[12 * 3600] == 1
    assert replay.replicas[20 * 3600] == 0
    assert replay.replicas[21 * 3600 + 300] >= 1
    assert replay.replicas[23 * 3600 + 1800] == 0


@pytest.mark.slow
def test_the_readmes_tables_are_what_the_simulation_gives() -> None:
    text = simulate.tables(simulate.production_day(), staging_day())

    assert f"{simulate.BEGIN}{text}{simulate.END}" in simulate.README.read_text(), "run simulate.py --write"
    assert simulate.PLOT.stat().st_size < 200_000
