"""Changes for good: found where they are, and seldom where none is."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("ruptures", reason="pip install 'langflow-otel[forecast]'")

from langflow_otel.insights._statistics.level_shifts import LEAST_STEPS, chance_of_shift, least_p_value, level_shifts


def series(rand: random.Random, steps: int, *shifts: tuple[int, float], linked: float = 0.0) -> list[float]:
    """Around 100 with a deviation of 5; from a step on higher by so many deviations."""
    found, rest = [], rand.gauss(0, 1)
    for step in range(steps):
        rest = linked * rest + (1 - linked**2) ** 0.5 * rand.gauss(0, 1)
        found.append(100 + 5 * (rest + sum(size for start, size in shifts if step >= start)))
    return found


def test_shift_is_found_with_size_and_place():
    (shift,) = level_shifts(series(random.Random(1), 40, (28, 4.0)), 0.001)

    assert (shift.start, shift.place, shift.end) == (0, 28, 40)
    assert shift.first <= 28 <= shift.last <= shift.first + 3
    assert shift.low < 20 < shift.high
    assert shift.change == pytest.approx(shift.after - shift.before, abs=3)
    assert shift.p_value < 0.001


def test_second_shift_is_found_beside_the_first():
    shifts = level_shifts(series(random.Random(2), 60, (20, 5.0), (40, -4.0)), 0.001)

    assert [each.place for each in shifts] == pytest.approx([20, 40], abs=1)
    assert [(each.start, each.end) for each in shifts] == [(0, shifts[1].place), (shifts[0].place, 60)]
    assert shifts[0].change > 0 > shifts[1].change


def test_wild_days_are_no_change():
    values = series(random.Random(3), 40)
    values[20] = values[33] = 5000.0

    assert level_shifts(values, 0.01) == []


def test_last_days_that_are_wild_are_too_few_to_tell():
    assert level_shifts([*series(random.Random(4), 30), 5000.0, 5000.0], 0.05) == []


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 30, [1.0, 2.0] * 2])
def test_nothing_is_claimed_of_nothing(values):
    assert chance_of_shift(values) == 1.0
    assert level_shifts(values, 0.05) == []


@pytest.mark.parametrize(("steps", "apart"), [(6, range(3, 6)), (9, range(3, 6)), (14, range(7, 14))])
def test_least_p_value_is_that_of_parts_that_are_apart(steps, apart):
    values = [step % 2 + 0.01 * step + 1000 * (step in apart) for step in range(steps)]

    assert chance_of_shift(values) == pytest.approx(least_p_value(steps))


def test_too_few_steps_have_no_p_value():
    assert least_p_value(2 * LEAST_STEPS - 1) == 1.0


def test_long_series_take_the_normal_distribution():
    (shift,) = level_shifts(series(random.Random(5), 120, (60, 2.0)), 1e-6)

    assert shift.place == pytest.approx(60, abs=2)


UNCHANGED = {"independent": 0.0, "a little like the day before": 0.3}


@pytest.mark.parametrize("name", UNCHANGED)
def test_chance_is_not_taken_for_a_change(name):
    """Of 40 histories of 30 days, at a level of 5 %: the bound is what 5 % with its own chance can be."""
    rand = random.Random(name)
    alarms = sum(chance_of_shift(series(rand, 30, linked=UNCHANGED[name])) < 0.05 for _ in range(40))

    assert alarms <= 7
