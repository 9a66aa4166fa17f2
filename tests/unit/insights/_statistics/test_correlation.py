"""Curves that go together, and those that only seem to."""

from __future__ import annotations

import random

import pytest

from langflow_otel.insights._statistics.correlation import correlations


def wandering(rand: random.Random, count: int, memory: float) -> list[float]:
    values = [rand.gauss(0, 1)]
    while len(values) < count:
        values.append(memory * values[-1] + rand.gauss(0, 1))
    return values


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_the_curve_that_is_ahead_is_named(lag: int):
    rand = random.Random(1)
    cause = wandering(rand, 80, 0.5)
    curve = {step: cause[step - lag] + rand.gauss(0, 0.3) for step in range(5, 70)}

    (found,) = correlations(curve, {"memory": dict(enumerate(cause)), "cpu": dict(enumerate(wandering(rand, 80, 0.5)))})
    assert (found.name, found.lag) == ("memory", lag)
    assert found.size > 0.7
    assert found.chance < 1e-4


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_curves_without_a_relation_are_seldom_claimed(memory: float):
    rand = random.Random(2)
    claimed = 0
    for _ in range(60):
        curves = [dict(enumerate(wandering(rand, 70, memory))) for _ in range(4)]
        claimed += bool(correlations(curves[0], dict(zip("abc", curves[1:], strict=True))))

    assert claimed <= 4


def test_few_points_and_flat_curves_say_nothing():
    flat, line = dict.fromkeys(range(60), 1.0), {step: float(step) for step in range(60)}

    assert correlations(line, {"memory": flat}) == []
    assert correlations({1: 1.0, 2: 2.0}, {"memory": line}) == []
    assert correlations(line, {}) == []
