"""What is claimed to be worse or better, how often that is chance, and how often a true change is found."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from langflow_otel.insights._baselines.baselines import Baseline, Entry, baseline_of_prometheus
from langflow_otel.insights._baselines.comparison import Comparison, GraphChange, NothingToCompareError, compare
from langflow_otel.insights.figures import COMPONENT, FLOW, Measured, Value
from tests.support.made_baselines import made_baseline
from tests.support.recording import LONG


def claims(comparison: Comparison, verdict: str) -> set[tuple[str | None, str, str]]:
    return {(each.component_id, each.measured, each.statistic) for each in comparison.of(verdict)}


def two(seed: int = 1, runs: int = 300, **after: object) -> tuple[Baseline, Baseline]:
    rand = random.Random(seed)
    return made_baseline(rand, runs), made_baseline(rand, runs, **after)  # type: ignore[arg-type]


def test_slow_component_fails_with_its_flow_and_nothing_else():
    comparison = compare(*two(slow={"LLM-1": 1.5}))

    assert claims(comparison, "better") == set()
    assert {("LLM-1", "duration", "p50"), (None, "duration", "p50")} <= claims(comparison, "worse")
    assert {component for component, _, _ in claims(comparison, "worse")} == {"LLM-1", None}
    assert all(each.fails for each in comparison.of("worse"))
    (median,) = (
        each
        for each in comparison.changes
        if (each.component_id, each.measured, each.statistic) == ("LLM-1", "duration", "p50")
    )
    assert median.relative == pytest.approx(0.5, abs=0.15)


def test_faster_component_is_better_and_fails_nothing():
    comparison = compare(*two(slow={"LLM-1": 0.6}))

    assert ("LLM-1", "duration", "p50") in claims(comparison, "better")
    assert comparison.failed == ()


def test_limit_is_what_may_be_worse():
    before, after = two(slow={"LLM-1": 1.5})

    assert compare(before, after, fail_over=0.1).failed
    generous = compare(before, after, fail_over=0.9)
    assert generous.failed == ()
    assert ("LLM-1", "duration", "p50") in claims(generous, "worse")


def test_more_errors_and_more_tokens_are_worse():
    comparison = compare(*two(fails=0.2, tokens=1.6))

    assert {(None, "failed", "rate"), (None, "input_tokens", "p50"), (None, "output_tokens", "p50")} <= claims(
        comparison, "worse"
    )
    assert not any(measured == "duration" for _, measured, _ in claims(comparison, "worse"))


def test_first_errors_fail_whatever_the_limit():
    rand = random.Random(1)
    comparison = compare(made_baseline(rand, 300, fails=0), made_baseline(rand, 300, fails=0.1), fail_over=5.0)

    (rate,) = (each for each in comparison.failed if each.component_id is None)
    assert (rate.measured, rate.difference.before, rate.relative) == ("failed", 0, None)


def test_tiny_durations_do_not_fail():
    before, after = two()
    faster = [
        replace(
            baseline,
            entries=tuple(
                replace(each, columns={"duration": tuple(value * factor for value in each.columns["duration"])})
                for each in baseline.entries
            ),
        )
        for baseline, factor in ((before, 1e-4), (after, 2e-4))
    ]

    comparison = compare(*faster)

    assert claims(comparison, "worse")
    assert comparison.failed == ()


def test_few_runs_are_too_few_and_do_not_cost_the_others():
    rand = random.Random(1)
    few = made_baseline(rand, 4, flow="rare"), made_baseline(rand, 4, flow="rare", slow={"LLM-1": 9.0})
    many = two(slow={"LLM-1": 1.5})
    alone = compare(*many)

    together = compare(*(replace(a, entries=(*a.entries, *b.entries)) for a, b in zip(many, few, strict=True)))

    assert {each.verdict for each in together.changes if each.flow == "rare"} == {"too few"}
    assert [each for each in together.changes if each.flow == "shop"] == list(alone.changes)
    assert compare(*few).judged == 0


def test_flows_of_one_side_are_named():
    before, after = two()
    other = made_baseline(random.Random(2), 5, flow="new")

    comparison = compare(before, replace(after, entries=(*after.entries, *other.entries)))

    assert (comparison.flows_gone, comparison.flows_new) == ((), ("new",))
    with pytest.raises(NothingToCompareError, match="no flow in common: shop before, new now"):
        compare(before, other)


def test_baselines_of_two_sources_are_not_compared():
    before, after = two()

    with pytest.raises(NothingToCompareError, match="one is from prometheus, the other from traces"):
        compare(replace(before, source="prometheus"), after)


def test_graph_changes_are_named():
    def entry(component: str, code: str, *models: str) -> Entry:
        return Entry("shop", component, component, f"{component}Type", 3, code_hashes=(code,), models=models)

    flow = Entry("shop", None, "shop", None, 3, versions=("v1",))
    before = Baseline("traces", 0, 0, (flow, entry("a", "1"), entry("b", "2", "small"), entry("c", "3")))
    after = Baseline(
        "traces", 0, 0, (replace(flow, versions=("v2",)), entry("a", "9"), entry("b", "2", "large"), entry("d", "4"))
    )

    comparison = compare(before, after)

    assert comparison.graph == (
        GraphChange("shop", "a", "a", "aType", "code", ("1",), ("9",)),
        GraphChange("shop", "b", "b", "bType", "model", ("small",), ("large",)),
        GraphChange("shop", "c", "c", "cType", "removed"),
        GraphChange("shop", "d", "d", "dType", "added"),
    )
    assert comparison.versions == {"shop": (("v1",), ("v2",))}


def measured(slow: float = 1.0, failed: float = 3.0) -> Measured:
    bounds = (0.5, 1.0, 2.5, 5.0, float("inf"))
    rand = random.Random(1)
    durations = [slow * rand.lognormvariate(0, 0.4) for _ in range(800)]
    buckets = [(bound, float(sum(each <= bound for each in durations))) for bound in bounds]
    of_flow, of_type = {"flow": "shop"}, {"flow": "shop", "component_type": "LLM"}
    grown = {
        f"{FLOW}_bucket": [Value({**of_flow, "le": str(bound)}, count) for bound, count in buckets],
        f"{FLOW}_count": [
            Value({**of_flow, "status": "ok"}, 800 - failed),
            Value({**of_flow, "status": "error"}, failed),
        ],
        f"{COMPONENT}_bucket": [Value({**of_type, "le": str(bound)}, count) for bound, count in buckets],
        f"{COMPONENT}_count": [Value({**of_type, "status": "ok"}, 800.0)],
    }
    return Measured(3600.0, grown, {})


def test_histograms_are_compared_with_their_buckets():
    before = baseline_of_prometheus(measured(), end_s=1e9)
    after = baseline_of_prometheus(measured(slow=2.0, failed=90.0), end_s=2e9)

    comparison = compare(before, after)

    assert {(None, "duration", "p50"), ("LLM", "duration", "p50"), (None, "failed", "rate")} <= claims(
        comparison, "worse"
    )
    median = comparison.changes[0]
    assert (median.bucket, median.bucket_after) == ((0.5, 1.0), (1.0, 2.5))
    assert 0.9 < median.difference.before <= 1.0
    assert compare(before, replace(before, first_ns=1)).failed == ()


SCENARIOS = {
    "few runs": {"runs": 40},
    "many runs": {"runs": 400},
    "sessions that resemble each other": {"runs": 240, "session_runs": 6, "session_effect": 0.5},
    "loops that resemble each other": {"runs": 150, "loops": 4},
}


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("name", SCENARIOS)
def test_false_alarms_on_equal_data_stay_below_5_percent(name):
    """Of whole comparisons: any figure that is claimed to be worse or better."""
    rand, times = random.Random(name), 120 if LONG else 40
    alarms = failed = 0
    for _ in range(times):
        comparison = compare(made_baseline(rand, **SCENARIOS[name]), made_baseline(rand, **SCENARIOS[name]))
        alarms += bool(comparison.of("worse") or comparison.of("better"))
        failed += bool(comparison.failed)

    print(f"{name}: {alarms / times:.1%} claim a difference, {failed / times:.1%} fail")
    assert alarms / times < 0.05


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize(
    ("runs", "slow", "least"),
    [(100, 1.2, 0.25), (100, 1.5, 0.9), (300, 1.2, 0.9), (300, 1.5, 0.9)],
)
def test_slow_component_is_found_in_enough_runs(runs, slow, least):
    """The power: how often a component that takes so much longer fails the comparison."""
    rand, times = random.Random(runs), 30 if LONG else 15
    found = 0
    for _ in range(times):
        comparison = compare(made_baseline(rand, runs), made_baseline(rand, runs, slow={"LLM-1": slow}))
        found += any(each.component_id == "LLM-1" for each in comparison.failed)

    print(f"{runs} runs on each side, {slow - 1:.0%} slower: found in {found / times:.0%}")
    assert found / times >= least
