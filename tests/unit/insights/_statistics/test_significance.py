"""Intervals and tests, against published examples, plain resampling, and simulations in which the truth is known."""

from __future__ import annotations

import random
import statistics

import pytest

from langflow_otel.insights._statistics.differences import chance
from langflow_otel.insights._statistics.significance import (
    ALPHA,
    Sample,
    design_effect,
    holm,
    least_count,
    quantile_difference,
    share_difference,
)
from langflow_otel.insights.components import percentile


def lognormal(seed: int, count: int, factor: float = 1.0) -> list[float]:
    rand = random.Random(seed)
    return [factor * rand.lognormvariate(0, 0.4) for _ in range(count)]


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_interval_is_that_of_plain_resampling(share):
    before, after = lognormal(1, 400), lognormal(2, 300, 1.3)
    rand = random.Random(3)
    resampled = sorted(
        percentile(rand.choices(after, k=300), share) - percentile(rand.choices(before, k=400), share)
        for _ in range(1000)
    )

    found = quantile_difference(Sample(before), Sample(after), share)

    spread = statistics.stdev(resampled)
    assert found.low == pytest.approx(resampled[25], abs=0.3 * spread)
    assert found.high == pytest.approx(resampled[975], abs=0.3 * spread)
    assert (found.counted, found.counted_after) == (400, 300)


def test_interval_has_the_truth_in_about_95_percent():
    """Two sets of 60, whose medians differ by 20 %."""
    hits = 0
    for seed in range(100):
        found = quantile_difference(Sample(lognormal(2 * seed, 60)), Sample(lognormal(2 * seed + 1, 60, 1.2)), 0.5)
        hits += found.low <= 0.2 <= found.high

    assert 0.92 <= hits / 100 <= 1


def test_p_value_is_small_for_what_differs_and_symmetric():
    before, after = Sample(lognormal(1, 300)), Sample(lognormal(2, 300, 1.5))

    worse = quantile_difference(before, after, 0.5)
    better = quantile_difference(after, before, 0.5)

    assert worse.p_value < 1e-6
    assert better.p_value == pytest.approx(worse.p_value)
    assert (worse.low > 0, better.high < 0) == (True, True)


def test_equal_values_never_differ():
    found = quantile_difference(Sample([3.0] * 500), Sample([3.0] * 500), 0.5)

    assert (found.p_value, found.low, found.high) == (1, 0, 0)


def test_quantile_beyond_a_small_sample_has_no_bound():
    found = quantile_difference(Sample([1.0] * 20), Sample([50.0] * 20), 0.99)

    assert found.low is None
    assert found.high is None
    assert found.p_value > ALPHA
    assert found.p_value == pytest.approx(found.least_p_value)


def test_least_p_value_is_that_of_samples_apart():
    found = quantile_difference(Sample([1.0, 2.0] * 10), Sample([5.0, 6.0] * 10), 0.5)

    assert found.p_value == pytest.approx(found.least_p_value)
    assert found.least_p_value == pytest.approx(4 * 0.5**20, rel=0.01)


def test_least_count_is_where_a_difference_can_be_significant():
    for share in (0.5, 0.95):
        count = least_count(share, 10)
        below = quantile_difference(Sample([1.0] * (count - 1)), Sample([2.0] * (count - 1)), share)
        enough = quantile_difference(Sample([1.0] * count), Sample([2.0] * count), share)
        assert below.least_p_value > ALPHA / 10 >= enough.least_p_value


def test_interval_of_shares_is_newcombes():
    """His first example: 56 of 70 and 48 of 80."""
    found = share_difference(Sample([1.0] * 48 + [0.0] * 32), Sample([1.0] * 56 + [0.0] * 14))

    assert (found.before, found.after) == (0.6, 0.8)
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)


def test_p_value_of_shares_is_fishers():
    found = share_difference(Sample([1.0] * 3 + [0.0] * 97), Sample([1.0] * 12 + [0.0] * 88))

    assert found.p_value == pytest.approx(2 * chance(12, 100, 15, 200))
    assert found.least_p_value == pytest.approx(2 * chance(15, 100, 15, 200))


def test_holm_adjusts_as_published():
    assert holm([(0.01, 0), (0.04, 0), (0.03, 0), (0.005, 0)]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_cannot_be_significant():
    found = holm([(0.004, 1e-9), *[(0.9, 0.5)] * 50, (0.02, 0.001)])

    assert (found[0], found[-1]) == pytest.approx((0.008, 0.02))
    assert set(found[1:-1]) == {None}
    assert holm([]) == []


def test_groups_of_equal_values_count_once():
    values = [float(group % 2) for group in range(200) for _ in range(5)]
    groups = [group for group in range(200) for _ in range(5)]

    assert design_effect(Sample(values, groups)) == pytest.approx(5, rel=0.1)
    assert design_effect(Sample(values, None)) == 1
    assert design_effect(Sample(values, list(range(1000)))) == 1


def test_one_long_session_is_divided():
    rand = random.Random(1)
    alike = [float(part % 2) for part in range(40) for _ in range(10)]
    unlike = [float(rand.random() < 0.5) for _ in range(400)]

    assert design_effect(Sample(alike, ["one"] * 400)) == pytest.approx(10, rel=0.4)
    assert design_effect(Sample(unlike, ["one"] * 400)) < 2.5
    assert design_effect(Sample([0.0, 1.0] * 4, ["one"] * 8)) == 8


def test_dependent_shares_count_as_fewer():
    before = Sample([0.0] * 300, list(range(300)))
    after = Sample([1.0] * 15 + [0.0] * 285, [each // 15 for each in range(300)])

    dependent = share_difference(before, after)
    independent = share_difference(before, Sample(after.values, list(range(300))))

    assert dependent.counted_after < 60 < independent.counted_after
    assert independent.p_value < 0.001 < ALPHA < dependent.p_value
