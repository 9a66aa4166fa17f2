"""The ring of slots, against a list of all events and the slot rule written out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langflow_otel._metrics import window
from langflow_otel._metrics.catalogue import WINDOW_CELLS, Cells
from langflow_otel._metrics.window import FAILED, OK, OTHER, Counts, count, counts, merge

SLOTS_IN_A_WINDOW = 60

WINDOWS = st.integers(1, 86_400) | st.floats(1, 86_400)
STARTS = st.just(0.0) | st.floats(0, 1e7)
# In windows: mostly within a slot or a few, now and then a long time without anything.
GAPS = st.just(0.0) | st.floats(0, 0.05) | st.floats(0, 1.5) | st.floats(0, 1000)
FIELDS = st.sampled_from([OK, FAILED, OTHER])
HISTORIES = st.lists(st.tuples(GAPS, FIELDS | st.none()), max_size=60)

# A busy machine is no failure.
unhurried = settings(deadline=None)

Event = tuple[float, int]


def ring() -> Cells:
    return memoryview(bytearray(8 * WINDOW_CELLS)).cast("d")


def played(
    start_s: float, window_s: float, history: Sequence[tuple[float, int | None]]
) -> list[tuple[float, int | None]]:
    """The history with times instead of gaps."""
    now_s, events = start_s, []
    for gap, field in history:
        now_s += gap * window_s
        events.append((now_s, field))
    return events


def slot_of(time_s: float, window_s: float) -> int:
    return math.floor(time_s * SLOTS_IN_A_WINDOW / window_s)


def by_the_rule(events: Sequence[Event], now_s: float, window_s: float) -> Counts:
    """The running slot and the 59 before it count in full; the one before those by the share of it that is
    not yet older than the window."""
    running = slot_of(now_s, window_s)
    passed_of_running = now_s * SLOTS_IN_A_WINDOW / window_s - running
    found = {OK: 0.0, FAILED: 0.0, OTHER: 0.0}
    for time_s, field in events:
        age_in_slots = running - slot_of(time_s, window_s)
        if age_in_slots < SLOTS_IN_A_WINDOW:
            found[field] += 1.0
        elif age_in_slots == SLOTS_IN_A_WINDOW:
            found[field] += 1.0 - passed_of_running
    return Counts(found[OK], found[FAILED], found[OTHER])


@unhurried
@given(STARTS, WINDOWS, HISTORIES)
def test_the_ring_counts_as_a_list_of_all_events_would(start_s, window_s, history):
    cells, events = ring(), []
    for now_s, field in played(start_s, window_s, history):
        if field is not None:
            count(cells, field, now_s, window_s)
            events.append((now_s, field))

        assert counts(cells, now_s, window_s) == pytest.approx(by_the_rule(events, now_s, window_s), abs=1e-9)


@unhurried
@given(STARTS, WINDOWS, HISTORIES)
def test_it_is_never_more_than_a_slot_away_from_the_true_window(start_s, window_s, history):
    cells, times = ring(), []
    slot_s = window_s / SLOTS_IN_A_WINDOW
    for now_s, field in played(start_s, window_s, history):
        if field is not None:
            count(cells, field, now_s, window_s)
            times.append(now_s)
        rounding_s = 1e-12 * (now_s + window_s)
        shorter = sum(time_s > now_s - window_s + slot_s + rounding_s for time_s in times)
        longer = sum(time_s > now_s - window_s - slot_s - rounding_s for time_s in times)

        assert shorter - 1e-9 <= counts(cells, now_s, window_s).ended <= longer + 1e-9


@unhurried
@given(STARTS, WINDOWS, HISTORIES)
def test_it_is_empty_a_window_and_a_slot_after_the_last_event(start_s, window_s, history):
    cells, now_s = ring(), start_s
    for now_s, field in played(start_s, window_s, history):
        if field is not None:
            count(cells, field, now_s, window_s)
    later_s = (slot_of(now_s, window_s) + 1.001 + SLOTS_IN_A_WINDOW) * window_s / SLOTS_IN_A_WINDOW

    assert later_s <= now_s + window_s * (1 + 1.002 / SLOTS_IN_A_WINDOW)
    assert counts(cells, later_s, window_s) == Counts()


@pytest.mark.parametrize("window_s", [1.0, 60.0, 3600.0])
@pytest.mark.parametrize("events_in_a_slot", [1, 7])
def test_a_steady_rate_is_measured_exactly(window_s: float, events_in_a_slot: int):
    cells = ring()
    step_s = window_s / SLOTS_IN_A_WINDOW / events_in_a_slot
    expected = SLOTS_IN_A_WINDOW * events_in_a_slot
    for number in range(5 * expected):
        # In the middle of its share of the slot: no rounding moves it into the next one.
        count(cells, OK, (number + 0.5) * step_s, window_s)
        if number >= expected + events_in_a_slot:
            for moment in (0.55, 0.999):
                measured = counts(cells, (number + moment) * step_s, window_s).ok

                assert measured == pytest.approx(expected, abs=0.51)
            if number % events_in_a_slot == events_in_a_slot - 1:
                assert measured == pytest.approx(expected, abs=0.01)


def test_a_burst_is_forgotten_within_a_slot_of_the_window():
    cells = ring()
    for _ in range(100):
        count(cells, FAILED, 1000.0, 60.0)
    seen = {age_s: counts(cells, 1000.0 + age_s, 60.0).failed for age_s in (0, 30, 59, 60, 60.25, 60.5, 60.75, 61, 62)}

    assert seen == {0: 100, 30: 100, 59: 100, 60: 100, 60.25: 75, 60.5: 50, 60.75: 25, 61: 0, 62: 0}


def test_the_start_is_no_spike_and_no_dip():
    """Three events right after the start are three events in the window, not sixty times as many."""
    cells = ring()
    assert counts(cells, 0.0, 60.0) == counts(cells, 1e6, 60.0) == Counts()
    for now_s in (0.0, 0.1, 0.2):
        count(cells, OK, now_s, 60.0)

    assert counts(cells, 0.2, 60.0) == Counts(ok=3)


def test_the_fields_are_kept_apart():
    cells = ring()
    for field, times in ((OK, 1), (FAILED, 2), (OTHER, 4)):
        for _ in range(times):
            count(cells, field, 500.0, 60.0)

    assert counts(cells, 500.0, 60.0) == Counts(1, 2, 4)


def test_what_is_neither_ok_nor_failed_is_not_in_the_ratio():
    assert Counts(ok=3, failed=1, other=100).failure_ratio == 0.25
    assert Counts(other=5).failure_ratio == 0.0
    assert Counts().failure_ratio == 0.0
    assert Counts(ok=3, failed=1, other=100).ended == 104


def test_what_another_boot_of_the_machine_left_behind_does_not_count():
    """The monotonic clock starts again with the machine, files on a disk outlive it."""
    cells = ring()
    count(cells, OK, 1e6, 60.0)

    assert counts(cells, 100.0, 60.0) == Counts()
    for second in range(61):
        count(cells, FAILED, 100.0 + second, 60.0)
    assert counts(cells, 160.0, 60.0) == Counts(failed=61)


# Rings of several workers


@unhurried
@given(STARTS, WINDOWS, st.lists(st.tuples(GAPS, FIELDS, st.integers(0, 2)), max_size=60), st.permutations(range(3)))
def test_merged_rings_count_what_they_count_together(start_s, window_s, history, order):
    rings, now_s = [ring() for _ in range(3)], start_s
    for gap, field, worker in history:
        now_s += gap * window_s
        count(rings[worker], field, now_s, window_s)
    merged = ring()
    for worker in order:
        merge(merged, rings[worker])

    for later in (0.0, 0.4, 0.99, 1.01):
        moment_s = now_s + later * window_s
        together = Counts()
        for each in rings:
            together = together.plus(counts(each, moment_s, window_s))
        assert counts(merged, moment_s, window_s) == pytest.approx(together, abs=1e-9)


def test_merging_leaves_the_other_ring_as_it_was():
    into, other = ring(), ring()
    count(into, OK, 10.0, 60.0)
    count(other, FAILED, 10.0, 60.0)
    before = bytes(other)
    merge(into, other)

    assert bytes(other) == before
    assert counts(into, 10.0, 60.0) == Counts(ok=1, failed=1)


def test_in_a_place_that_two_rings_have_used_the_later_slot_stays():
    lap_s = float(window.WINDOW_SLOTS)  # one slot is a second here
    early, late = ring(), ring()
    count(early, FAILED, 10.0, 60.0)
    count(late, OK, 10.0 + lap_s, 60.0)
    one, two = ring(), ring()
    merge(one, early)
    merge(one, late)
    merge(two, late)
    merge(two, early)

    assert bytes(one) == bytes(two) == bytes(late)
