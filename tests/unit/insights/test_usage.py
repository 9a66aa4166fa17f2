"""What was used and what it cost, from the spans and from lists of prices."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from langflow_otel._runs.prices import price_table
from langflow_otel.insights._usage.usage import Use, first_run_ns, idle_flows, usage
from langflow_otel.insights.selection import Selection
from tests.support.made_spans import START_NS, MadeSpan, MadeTraces

DAY_S = 86_400


def call(run: MadeSpan, model: str, tokens: tuple[int, int], **columns: object) -> MadeSpan:
    used = {"input_tokens": tokens[0], "output_tokens": tokens[1], "provider": "openai"}
    return run.add(f"chat {model}", 0, 0.5, what="model", model=model, **{**used, **columns})


@pytest.fixture
def made() -> MadeTraces:
    """Two runs of alice, one of bob that fails, and one of nobody, in which a flow runs another."""
    made = MadeTraces()
    usd = {"currency": "USD"}
    for number in (1, 2):
        run = made.run(10, user_id="alice", session_id=f"s{number}", attributes={"team": "red"}, cost=0.5, **usd)
        call(run, "large", (1000, 100), cost=0.5, cached_tokens=400, reasoning_tokens=30, **usd)
    failed = made.run(4, user_id="bob", status="error", resource={"team": "blue"})
    call(failed, "small", (200, 0), status="error")
    whole = made.run(7, flow="outer")
    call(whole.add("invoke_workflow shop", 0, 6, what="flow"), "large", (500, 50), cost=0.25, **usd)
    return made


def by_key(made: MadeTraces, by: str, **options: object) -> dict[str, Use]:
    return {use.key: use for use in usage(made.connect(), by, **options).uses}  # type: ignore[arg-type]


def test_flows_have_what_is_below_them(made):
    found = usage(made.connect(), "flow")

    assert found.uses[0] == Use(
        key="shop",
        runs=3,
        failed=1,
        seconds=24,
        last_ns=START_NS + 120 * 10**9,
        calls=3,
        input_tokens=2200,
        output_tokens=200,
        cached_tokens=800,
        reasoning_tokens=60,
        cost={"USD": 1.0},
        unpriced_calls=1,
    )
    assert (found.uses[1].key, found.uses[1].calls, found.uses[1].cost) == ("outer", 1, {"USD": 0.25})
    assert (found.cost, found.unpriced_models) == ({"USD": 1.25}, {"small": 1})


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("user", {"alice": 2, "bob": 1, "": 1}),
        ("session", {"s1": 1, "s2": 1, "": 2}),
        ("tag:team", {"red": 2, "blue": 1, "": 1}),
        ("model", {"large": 3, "small": 1}),
        ("provider", {"openai": 4}),
    ],
)
def test_runs_are_counted_by(made, by, keys):
    assert {key: use.runs for key, use in by_key(made, by).items()} == keys


def test_models_have_their_own_time_and_failures(made):
    small = by_key(made, "model")["small"]

    assert (small.failed, small.seconds, small.calls) == (1, 0.5, 1)


def test_selection_limits_it(made):
    assert set(by_key(made, "user", selection=Selection(flow="outer"))) == {""}
    assert usage(made.connect(), "user", Selection(flow="none")).uses == ()


def test_unknown_key_says_what_is_accepted(made):
    for by in ("colour", "tag:"):
        with pytest.raises(ValueError, match="accepted are flow, user, session, model, provider and tag:NAME"):
            usage(made.connect(), by)


def test_price_file_prices_every_call(made):
    prices = price_table(
        {
            "currency": "EUR",
            "prices": [{"model": "large", "input": 10, "cache_read": 1, "output": 20, "reasoning": 40}],
        }
    )

    found = usage(made.connect(), "user", prices=prices)

    alice = {use.key: use for use in found.uses}["alice"]
    assert alice.cost == {"EUR": pytest.approx(2 * (600 * 10 + 400 * 1 + 70 * 20 + 30 * 40) / 1e6)}
    assert found.unpriced_models == {"small": 1}
    assert {use.key: use.unpriced_calls for use in found.uses} == {"alice": 0, "bob": 1, "": 0}


def test_price_holds_at_the_time_of_the_call():
    made = MadeTraces()
    for day in range(4):
        call(made.run(1, at_s=day * DAY_S), "m", (1_000_000, 0))
    changes = datetime.fromtimestamp(START_NS / 1e9 + 2 * DAY_S, timezone.utc).isoformat()
    entry = {"model": "m", "output": 0}
    prices = price_table(
        {"currency": "USD", "prices": [{**entry, "input": 3}, {**entry, "input": 5, "valid_from": changes}]}
    )

    assert usage(made.connect(), "flow", prices=prices).cost == {"USD": pytest.approx(2 * 3 + 2 * 5)}


def test_prices_by_the_model_that_answered_and_currency():
    made = MadeTraces()
    run = made.run(1)
    call(run, "alias", (1_000_000, 0), attributes={"gen_ai.response.model": "exact-1"})
    call(run, "other", (1_000_000, 0))
    prices = price_table(
        {
            "prices": [
                {"model": "exact-1", "input": 2, "output": 0, "currency": "USD"},
                {"model": "*", "input": 7, "output": 0, "currency": "EUR"},
            ]
        }
    )

    assert usage(made.connect(), "flow", prices=prices).cost == {"EUR": 7, "USD": 2}


def test_calls_without_tokens_are_counted_apart():
    made = MadeTraces()
    call(made.run(1), "m", (None, None))  # type: ignore[arg-type]
    prices = price_table({"currency": "USD", "prices": [{"model": "m", "input": 1, "output": 1}]})

    (use,) = usage(made.connect(), "flow", prices=prices).uses

    assert (use.calls, use.calls_without_tokens, use.unpriced_calls, use.cost) == (1, 1, 0, {})


def test_call_with_two_spans_counts_once():
    """The component has the model and the tokens, and another instrumentor's two spans of the call are below it."""
    made = MadeTraces()
    used = {"model": "m", "input_tokens": 100, "output_tokens": 10}
    component = made.run(1).add("component LLM", 0, 1, **used, cost=1.0, currency="USD")
    outer = component.add("ChatModel", 0, 1, what="model", scope="openinference", **used)
    outer.add("POST", 0, 1, what="model", scope="other", **used)

    (use,) = usage(made.connect(), "model").uses

    assert (use.calls, use.input_tokens, use.cost, use.unpriced_calls) == (1, 100, {"USD": 1.0}, 0)


def test_idle_flows_are_those_without_a_new_run():
    made = MadeTraces()
    made.run(1, flow="old", at_s=0)
    made.run(1, flow="old", at_s=DAY_S)
    whole = made.run(1, flow="new", at_s=40 * DAY_S)
    whole.add("invoke_workflow inner", 0, 1, what="flow")
    connection = made.connect()

    found = idle_flows(connection, START_NS + 30 * DAY_S * 10**9)

    assert [(each.flow, each.flow_id, each.runs) for each in found] == [("old", "old-id", 2)]
    assert found[0].last_ns == START_NS + DAY_S * 10**9
    assert first_run_ns(connection) == START_NS
