"""Tails of distributions, against exact arithmetic and simulation."""

from __future__ import annotations

import random
from fractions import Fraction
from math import comb, exp, factorial
from statistics import NormalDist

import pytest

from langflow_otel.insights._statistics.tails import chance_of, count_z, failures_z, less_certain, ranks_z, z_of


def beyond(z: float) -> float:
    return NormalDist().cdf(-z)


@pytest.mark.parametrize("chance", [0.4, 0.01, 1e-7, 1e-12])
def test_z_and_chance_are_inverse(chance: float):
    assert beyond(z_of(chance)) == pytest.approx(chance)
    assert chance_of(z_of(chance / 2)) == pytest.approx(chance)


def test_students_t_is_as_unlikely():
    """Table values of t at 97.5 %, and at 99.95 %."""
    for degrees, t, tail in ((5, 2.571, 0.025), (10, 2.228, 0.025), (30, 2.042, 0.025), (10, 4.587, 0.0005)):
        assert beyond(less_certain(t, degrees)) == pytest.approx(tail, rel=0.06)
    assert less_certain(-2.228, 10) == -less_certain(2.228, 10)


def test_counts_have_the_tails_of_poisson():
    above = sum(exp(-5) * 5**each / factorial(each) for each in range(20, 80))
    assert beyond(count_z(20, 5, 1e9)) == pytest.approx(above, rel=1e-3)
    assert beyond(-count_z(0, 20, 1e9)) == pytest.approx(exp(-20), rel=1e-3)
    assert abs(count_z(5, 5, 1e9)) < 0.1
    assert count_z(20, 5, 2) < count_z(20, 5, 100)


def test_failures_have_the_tail_of_the_beta_binomial():
    """The chance that 3 of 4 fail after 1 of 20 failed, integrated exactly over the share."""

    def rising(start: Fraction, count: int) -> Fraction:
        product = Fraction(1)
        for each in range(count):
            product *= start + each
        return product

    a, b = Fraction(3, 2), Fraction(39, 2)
    exact = sum(comb(4, each) * rising(a, each) * rising(b, 4 - each) / rising(a + b, 4) for each in (3, 4))
    assert beyond(failures_z(3, 4, 1, 20)) == pytest.approx(float(exact), rel=1e-6)
    assert failures_z(0, 4, 1, 20) == 0


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
def test_sums_of_ranks_are_as_unlikely_as_simulated(count: int):
    rand = random.Random(count)
    sums = [sum(rand.random() for _ in range(count)) for _ in range(20_000)]
    far = sorted(sums)[int(0.995 * len(sums))]

    assert 0.004 < beyond(ranks_z(far, count, 10**9)) < 0.007
    assert ranks_z(count - far, count, 10**9) == pytest.approx(-ranks_z(far, count, 10**9))


def test_few_ranks_are_no_more_certain_than_what_is_known():
    """One value above all of 99 known ones is no rarer than 1 in 100, or two of them."""
    assert beyond(ranks_z(99.5 / 100, 1, 99)) >= 0.005
    assert beyond(ranks_z(5 * 99.5 / 100, 5, 99)) < 1e-8
