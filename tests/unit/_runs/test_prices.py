"""Costs by the user's list of prices: which entry holds, what is computed, what a wrong list says, when it is read."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel._metrics import catalogue
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.workers import WorkerGroup
from langflow_otel._process.price_file import PriceFile, read_prices
from langflow_otel._runs import prices
from langflow_otel._runs.facts import CANCELLED, OK, Costs, FlowInfo, ModelInfo, ModelResponse, ModelUsage, Outcome
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.model_totals import CallsBelow
from langflow_otel._runs.prices import PriceTable, Pricing, price_table
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._runs.run import Run
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.console import in_money
from langflow_otel.testing import Telemetry, capture_telemetry
from tests.support.recording import component, recorder, recording

unhurried = hypothesis_settings(deadline=None)

AMOUNT, CURRENCY = "langflow.cost.amount", "langflow.cost.currency"
UNPRICED = "langflow.cost.unpriced_calls"
EXAMPLE = Path(__file__).parents[3] / "examples" / "prices.yaml"


def table(*entries: dict[str, Any], currency: str | None = "USD") -> PriceTable:
    return price_table({"prices": list(entries), **({} if currency is None else {"currency": currency})})


def entry(model: str, price: float = 1, **more: Any) -> dict[str, Any]:
    return {"model": model, "input": price, "output": price, **more}


def input_price(found: PriceTable, answered: str | None, asked: str | None = None, provider: str | None = None) -> Any:
    rates = found.rates(answered, asked, provider, 0)
    return None if rates is None else rates.input


# Which entry holds


def test_a_dated_model_is_found_by_the_pattern_of_its_name():
    assert input_price(table(entry("gpt-4o-mini*")), "gpt-4o-mini-2024-07-18", "gpt-4o-mini") == 1
    assert input_price(table(entry("gpt-4o-mini*")), "gpt-4o-2024-08-06", "gpt-4o") is None


def test_a_name_holds_before_any_pattern():
    found = table(entry("*", 1), entry("gpt-4o-mini", 2), entry("gpt-4o-mini-2024*", 3), entry("gpt-4o-2024", 4))

    assert input_price(found, "gpt-4o-mini-2024-07-18", "gpt-4o-mini") == 2
    assert input_price(found, "gpt-4o-2024", "gpt-4o-mini") == 4
    assert input_price(found, "gpt-4o-mini-2024-07-18", "another") == 3
    assert input_price(found, "another") == 1


def test_of_two_patterns_the_one_with_more_letters_holds():
    found = table(entry("*", 1), entry("gpt-4o-mini*", 3), entry("gpt-4*", 2), entry("prod-*", 4))

    assert input_price(found, "gpt-4o-mini-2024") == 3
    assert input_price(found, "gpt-4.1") == 2
    # A deployment's name, which the answer does not repeat.
    assert input_price(found, "another", "prod-chat") == 4


def test_a_provider_is_preferred_and_where_it_is_given_needed():
    found = table(entry("m", 1), entry("m", 2, provider="openai"), entry("n", 3, provider="groq"))

    assert input_price(found, "m", None, "openai") == 2
    assert input_price(found, "m", None, "azure.ai.openai") == 1
    assert input_price(found, "m") == 1
    assert input_price(found, "n", None, "openai") is None
    assert input_price(found, "n") is None


def test_capital_letters_make_no_difference():
    found = table(entry("GPT-4o*", 1, provider="OpenAI"))

    assert input_price(found, "gpt-4O-mini", None, "openai") == 1


def test_brackets_and_dots_in_names_are_no_patterns():
    assert input_price(table(entry("llama3.1:8b")), "llama3x1:8b") is None
    assert input_price(table(entry("gpt-4?")), "gpt-4o") == 1


@pytest.mark.parametrize(
    ("since", "day"),
    [("2026-03-01", "2026-03-01"), ("2026-03-01T02:00:00+02:00", "2026-03-01"), ("2026-03-01T00:00:00Z", "2026-03-01")],
)
def test_a_later_price_holds_from_its_time_on(since, day):
    found = table(entry("m", 3), entry("m", 2, valid_from=since), entry("m", 1, valid_from="2026-01-01"))
    start_s = datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp()
    clock = [start_s - 0.001]
    pricing = Pricing(found, clock=lambda: clock[0])
    used = ModelResponse(model="m", input_tokens=1_000_000, output_tokens=0)

    assert pricing.costs(used, "m", None) == Costs({"USD": 1})
    clock[0] = start_s
    assert pricing.costs(used, "m", None) == Costs({"USD": 2})
    clock[0] = 0
    assert pricing.costs(used, "m", None) == Costs({"USD": 3})


def test_an_entry_that_is_not_yet_valid_is_passed_over():
    found = table(entry("gpt*", 1), entry("gpt", 2, valid_from="2100-01-01"))

    assert input_price(found, "gpt") == 1
    assert input_price(table(entry("gpt", 2, valid_from="2100-01-01")), "gpt") is None


def test_names_that_are_remembered_do_not_grow_without_end():
    found = table(entry("m-*", 1))
    for number in range(5_000):
        assert input_price(found, f"m-{number}") == 1

    assert len(found._found) <= 1_000


# What is computed


def cost(rates: dict[str, Any], **tokens: int) -> Any:
    found = Pricing(table({"model": "*", **rates})).costs(ModelResponse(model="m", **tokens), "m", None)
    return None if found is None else found.amounts.get("USD")


WHOLE = {"input": 2.0, "output": 8.0}
PARTS = {**WHOLE, "cache_read": 0.5, "cache_write": 2.5, "reasoning": 10.0}


def test_parts_have_their_own_price_and_are_not_counted_twice():
    used = {"input_tokens": 1000, "cache_read_tokens": 600, "cache_write_tokens": 100}
    used |= {"output_tokens": 500, "reasoning_tokens": 200}

    assert cost(PARTS, **used) == pytest.approx((300 * 2 + 600 * 0.5 + 100 * 2.5 + 300 * 8 + 200 * 10) / 1e6)
    assert cost(WHOLE, **used) == pytest.approx((1000 * 2 + 500 * 8) / 1e6)
    assert cost({**WHOLE, "cache_read": 0.5}, **used) == pytest.approx((400 * 2 + 600 * 0.5 + 500 * 8) / 1e6)


def test_a_part_reported_larger_than_the_whole_is_the_whole():
    assert cost(PARTS, input_tokens=10, cache_read_tokens=30, cache_write_tokens=30) == pytest.approx(10 * 0.5 / 1e6)
    assert cost(PARTS, output_tokens=10, reasoning_tokens=30) == pytest.approx(100 / 1e6)
    assert cost(PARTS, input_tokens=-5, output_tokens=-5, cache_read_tokens=-1) == 0


def test_one_kind_of_tokens_is_enough_and_none_is_no_cost():
    assert cost(WHOLE, input_tokens=1_000_000) == 2
    assert cost(WHOLE, output_tokens=1_000_000) == 8
    assert cost(WHOLE) is None
    assert cost({"input": 0, "output": 0}, input_tokens=3) == 0


PRICE = st.one_of(st.floats(0, 1e12), st.integers(0, 10_000), st.decimals(0, 100, places=3).map(float))
COUNT = st.integers(-10, 2**63 - 1)
RATES = st.fixed_dictionaries(
    {"input": PRICE, "output": PRICE}, optional={"cache_read": PRICE, "cache_write": PRICE, "reasoning": PRICE}
)
TOKENS = st.fixed_dictionaries(
    {"input_tokens": COUNT, "output_tokens": COUNT},
    optional={"cache_read_tokens": COUNT, "cache_write_tokens": COUNT, "reasoning_tokens": COUNT},
)


@unhurried
@given(RATES, TOKENS)
def test_a_cost_is_a_finite_number_that_is_not_negative(rates, tokens):
    found = cost(rates, **tokens)

    assert math.isfinite(found)
    assert found >= 0


@unhurried
@given(RATES, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_tokens_never_cost_less(rates, used_input, more_input, used_output, more_output):
    less = cost(rates, input_tokens=used_input, output_tokens=used_output)

    assert cost(rates, input_tokens=used_input + more_input, output_tokens=used_output + more_output) >= less


@unhurried
@given(RATES, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_parts_at_the_price_of_the_whole_change_nothing(rates, used, read, reasoning):
    same = {"input": rates["input"], "output": rates["output"]}
    whole = cost(same, input_tokens=used, output_tokens=used)
    parts = cost(same, input_tokens=used, cache_read_tokens=read, output_tokens=used, reasoning_tokens=reasoning)

    assert parts == pytest.approx(whole, rel=1e-12)


@unhurried
@given(RATES, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=50))
def test_calls_cost_together_what_all_their_tokens_cost(rates, calls):
    below = CallsBelow()
    pricing = Pricing(table({"model": "*", "input": rates["input"], "output": rates["output"]}))
    for used_input, used_output in calls:
        used = ModelResponse(input_tokens=used_input, output_tokens=used_output)
        below.count(ModelUsage("m", None, used_input, used_output, pricing.costs(used, "m", None)))

    whole = cost(rates, input_tokens=sum(each for each, _ in calls), output_tokens=sum(each for _, each in calls))
    assert below.costs is not None
    assert below.costs.amounts["USD"] == pytest.approx(whole, rel=1e-12)


def test_the_sum_over_100000_small_calls_is_exact():
    pricing, below = Pricing(table({"model": "*", "input": 0.15, "output": 0.6})), CallsBelow()
    for number in range(100):
        used = ModelResponse(input_tokens=1 + number % 7, output_tokens=number % 3)
        usage = ModelUsage("m", None, used.input_tokens, used.output_tokens, pricing.costs(used, "m", None))
        for _ in range(1_000):
            below.count(usage)

    assert below.costs is not None
    exact = Fraction("0.15") * below.input_tokens + Fraction("0.6") * below.output_tokens
    assert abs(Fraction(below.costs.amounts["USD"]) * 1_000_000 / exact - 1) < Fraction("1e-9")


# What a wrong list says

BAD: list[tuple[Any, str]] = [
    (None, "it is no mapping; use the names prices and currency"),
    ([], "it is no mapping; use the names prices and currency"),
    ({"price": []}, "'price' is not accepted; use prices and currency"),
    ({"currency": "USD"}, "prices is not there, or no list; use a list of entries, each with a model"),
    ({"prices": []}, "prices is not there, or no list; use a list of entries, each with a model"),
    ({"prices": ["gpt"]}, "prices[0] is no mapping; use model, provider, currency, valid_from, input,"),
    ({"prices": [{}]}, "prices[0].model is missing; use a name, or a pattern such as gpt-4o-mini*"),
    ({"prices": [entry("m")]}, "prices[0].currency is missing; use a code such as USD, here or for the whole list"),
    (
        {"currency": "dollars", "prices": [entry("m")]},
        "currency: 'dollars' is not accepted; use a code of three capital letters, such as USD",
    ),
    (
        {"currency": "USD", "prices": [entry("m"), entry("n", ouput=3)]},
        "prices[1]: 'ouput' is not accepted; use model, provider,",
    ),
    (
        {"currency": "USD", "prices": [{"model": "m", "input": 1}]},
        "prices[0].output is missing; use input and output, 0",
    ),
    ({"currency": "USD", "prices": [{"model": "m"}]}, "prices[0].input is missing; use input and output, 0"),
    ({"currency": "USD", "prices": [entry(7)]}, "prices[0].model: 7 is not accepted; use a text"),
    (
        {"currency": "USD", "prices": [entry("m", valid_from="soon")]},
        "prices[0].valid_from: 'soon' is not accepted; use a day such as 2026-01-31, or a time",
    ),
    ({"currency": "USD", "prices": [entry("m", valid_from=2026)]}, "prices[0].valid_from: 2026 is not accepted;"),
    (
        {"currency": "USD", "prices": [entry("m"), entry("n"), entry("M")]},
        "prices[2] is for the same model, provider and time as prices[0]; use one of them",
    ),
    *(
        (
            {"currency": "USD", "prices": [entry("m", value)]},
            f"prices[0].input: {value!r} is not accepted; use a price of",
        )
        for value in (-1, "0.15", True, math.nan, math.inf, 1e13, [])
    ),
]


@pytest.mark.parametrize(("document", "said"), BAD, ids=[said for _, said in BAD])
def test_a_wrong_list_says_the_place_and_what_is_accepted(document, said):
    with pytest.raises(ValueError) as found:
        price_table(document)

    assert str(found.value).startswith(said)
    assert "\n" not in str(found.value)


TEXTS = [
    ("prices.json", '{"prices": [}', "line 1, column 13: Expecting value; use JSON"),
    ("prices.json", "[" * 100_000, "it is nested too deeply; use a list of entries under prices"),
    ("prices.yaml", "prices:\n  - model: m\n   input: 1\n", "line 3, column 4: expected <block end>"),
    ("prices.yaml", "prices:\n\t- model: m\n", "line 2, column 1: found character"),
    ("prices.yaml", "", "it is no mapping; use the names prices and currency"),
    (
        "prices.yaml",
        "currency: USD\nprices:\n  - {model: m, input: 1, input: 2, output: 1}",
        "line 3, column 26: 'input' is",
    ),
    (
        "prices.json",
        '{"prices": [], "currency": "USD", "prices": []}',
        "'prices' is there twice in one mapping; use it",
    ),
    *(
        (
            "prices.yaml",
            f"currency: USD\nprices:\n  - {{model: m, output: 1, {given}}}",
            "a value does not fit its type",
        )
        for given in ("input: !!int ''", "input: !!bool x", "valid_from: !!timestamp x", f"input: 1{':1' * 900}.5")
    ),
    (
        "prices.yaml",
        f"prices: [{{model: m, input: 0x{'f' * 9_000}}}]\ncurrency: USD",
        "prices[0].input: a very large nu",
    ),
    ("prices.yaml", "prices:\0", "unacceptable character #x0000"),
    ("prices.yaml", "prices: !!python/object:os.system {}", "line 1, column 9: could not determine a constructor"),
]


@pytest.mark.parametrize(("name", "text", "said"), TEXTS, ids=[f"{name} {said[:30]}" for name, _, said in TEXTS])
def test_a_file_that_is_no_list_says_the_line(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError) as found:
        read_prices(path)

    assert str(found.value).startswith(said)
    assert "\n" not in str(found.value)


@pytest.mark.timeout(60)
def test_a_few_lines_that_stand_for_many_are_not_written_out(tmp_path):
    """Each line is ten times the one before: 10^20 texts."""
    lines = "".join(f"      - &x{level} [{', '.join([f'*x{level - 1}'] * 10)}]\n" for level in range(1, 20))
    path = tmp_path / "prices.yaml"
    path.write_text(f"currency: USD\nprices:\n  - model: m\n    input:\n      - &x0 [{'x, ' * 10}]\n{lines}")

    with pytest.raises(ValueError, match=r"^prices\[0\]\.input: .{,80} is not accepted"):
        read_prices(path)


def test_an_entry_may_take_over_what_another_says(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(
        "currency: USD\nprices:\n  - &a {model: a, input: 1, output: 2}\n  - &b {<<: *a, model: b}\n"
        "  - {<<: *b, model: c, output: 3}\n"
    )
    found = read_prices(path)

    assert [found.rates(name, None, None, 0)[1:3] for name in "abc"] == [(1, 2), (1, 2), (1, 3)]


def test_json_and_yaml_say_the_same(tmp_path):
    listed = {"currency": "USD", "prices": [entry("m", 0.15, valid_from="2026-01-01"), entry("e")]}
    (tmp_path / "p.json").write_text(json.dumps(listed))
    (tmp_path / "p.yaml").write_text(
        "currency: USD\nprices:\n- {model: m, input: 0.15, output: 0.15, valid_from: 2026-01-01}\n"
        "- {model: e, input: 1, output: 1}\n"
    )
    from_json, from_yaml = read_prices(tmp_path / "p.json"), read_prices(tmp_path / "p.yaml")

    for at_s in (0.0, 4e9):
        assert from_json.rates("m", None, None, at_s) == from_yaml.rates("m", None, None, at_s)
        assert from_json.rates("e", None, None, at_s) == from_yaml.rates("e", None, None, at_s) is not None


def test_without_pyyaml_json_works_and_yaml_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "p.json").write_text(json.dumps({"currency": "USD", "prices": [entry("m")]}))
    (tmp_path / "p.yaml").write_text("prices: []")

    assert read_prices(tmp_path / "p.json").entries == 1
    with pytest.raises(ValueError, match=r"PyYAML is not installed; use a \.json file, or pip install pyyaml"):
        read_prices(tmp_path / "p.yaml")


def test_the_example_is_a_list_of_prices():
    found = read_prices(EXAMPLE)

    assert found.currencies == ("USD", "EUR")
    assert input_price(found, "example-small-2026-01-01") == 0.1
    assert input_price(found, None, "example-embedding-small") == 0.02
    assert input_price(found, "anything", None, "ollama") == 0


def test_list_in_the_documentation_is_one(tmp_path):
    page = (EXAMPLE.parents[1] / "docs" / "costs.md").read_text(encoding="utf-8")
    path = tmp_path / "prices.yaml"
    path.write_text(page.partition("```yaml\ncurrency: USD")[2].partition("```")[0].join(("currency: USD", "")))

    found = read_prices(path)
    assert found.entries == 3
    assert input_price(found, None, "text-embedding-3-small", "openai") == 0.1


# When it is read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "prices.json", entry("gpt", 1))


def written(path: Path, *entries: dict[str, Any]) -> Path:
    """In one step, as the documentation advises."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"currency": "USD", "prices": list(entries)}))
    os.replace(new, path)
    return path


@pytest.fixture
def file(path):
    found = PriceFile(path)
    found.check()
    yield found
    found.close()
    assert prices.in_force is None


def price_now() -> Any:
    found = prices.costs_of(ModelResponse(model="gpt", input_tokens=1_000_000), "gpt", None)
    return None if found is None else found.amounts.get("USD")


def test_a_file_that_changes_is_read_again(file, path):
    assert price_now() == 1
    written(path, entry("gpt", 2))
    assert price_now() == 1  # Nothing is read by a call.
    file.check()
    assert price_now() == 2


@pytest.mark.parametrize("harm", ["truncated", "emptied", "gone", "a folder", "wrong"])
def test_of_a_later_version_that_is_no_good_the_last_prices_stay(file, path, caplog, harm):
    if harm == "truncated":
        path.write_text(path.read_text()[:-9])
    elif harm == "wrong":
        written(path, entry("gpt", -1))
    elif harm == "emptied":
        path.write_text("")
    else:
        path.unlink()
        if harm == "a folder":
            path.mkdir()
    for _ in range(3):
        file.check()
        assert price_now() == 1

    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"LANGFLOW_OTEL_PRICES: {path} cannot be used for costs: ")
    assert said.endswith(". The last prices stay in force.")
    if harm == "a folder":
        path.rmdir()
    written(path, entry("gpt", 3))
    file.check()
    assert price_now() == 3
    assert len(caplog.records) == 1


def test_a_first_version_that_is_no_good_is_one_log_line(path, caplog):
    written(path, entry("gpt", "cheap"))
    file = PriceFile(path)
    file.check()
    file.check()

    assert price_now() is None
    assert [record.getMessage() for record in caplog.records] == [
        f"LANGFLOW_OTEL_PRICES: {path} cannot be used for costs: prices[0].input: 'cheap' is not accepted; use a price "
        "of a million tokens, 0 or more. There are no costs until it can."
    ]
    written(path, entry("gpt", 4))
    file.check()
    assert price_now() == 4
    file.close()


def test_a_wrong_ending_of_the_name_is_a_wrong_value():
    found = Settings.from_env({"LANGFLOW_OTEL_PRICES": "/etc/prices.txt"})

    assert found.prices is None
    assert found.problems == (
        "LANGFLOW_OTEL_PRICES='/etc/prices.txt' is not accepted; use a path of a .yaml, .yml or .json file, none. "
        "Using 'none' instead.",
    )
    assert Settings.from_env({"LANGFLOW_OTEL_PRICES": "/etc/Prices.YML"}).prices == Path("/etc/Prices.YML")
    assert Settings.from_env({}).prices is None


# What runs say


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> Pricing:
    """gpt costs 1 USD a token, opus 2 EUR."""
    pricing = Pricing(table(entry("gpt", 1e6), entry("opus", 2e6, currency="EUR")))
    monkeypatch.setattr(prices, "in_force", pricing)
    return pricing


def flow(name: str = "shop") -> FlowRun:
    run = recorder().start_flow(FlowInfo(name))
    assert run is not None
    return run


def call(within: Run, model: str = "gpt", outcome: Outcome = OK, **tokens: int) -> None:
    run = recorder().start_model(ModelInfo("chat", model, "openai"), within)
    assert run is not None
    if tokens:
        run.answered(ModelResponse(model=f"{model}-2026", **tokens))
    run.end(outcome)


def embed(within: Run, model: str, tokens: int | None) -> None:
    run = recorder().start_model(ModelInfo("embeddings", model, "openai"), within)
    assert run is not None
    run.answered(ModelResponse(input_tokens=tokens))
    run.end()


def costs(telemetry: Telemetry, name: str) -> dict[str, Any]:
    found = telemetry.only_span(name).attributes
    return {key.removeprefix("langflow.cost."): found[key] for key in (AMOUNT, CURRENCY, UNPRICED) if key in found}


def counted(telemetry: Telemetry, name: str = "langflow_cost") -> dict[str, float]:
    return {key.partition("{")[2][:-1]: value for key, value in telemetry.metrics(f"{name}_total").items()}


def test_calls_components_and_flows_have_their_cost(telemetry, priced):
    outer = flow()
    agent = recorder().start_component(component("Agent"), outer)
    call(agent, input_tokens=3, output_tokens=2)
    agent.finish()
    call(outer, input_tokens=4)
    outer.finish()

    assert [dict(span.attributes)[AMOUNT] for span in telemetry.spans if span.name == "chat gpt"] == [5, 4]
    assert costs(telemetry, "component Agent") == {"amount": 5, "currency": "USD"}
    assert costs(telemetry, "invoke_workflow shop") == {"amount": 9, "currency": "USD"}
    assert counted(telemetry) == {'flow="shop",model="gpt",provider="openai",currency="USD"': 9}


def test_without_a_list_nothing_says_a_cost(telemetry):
    run = flow()
    call(run, input_tokens=3)
    run.finish()

    assert counted(telemetry) == counted(telemetry, "langflow_cost_unpriced_calls") == {}
    assert not [name for span in telemetry.spans for name in span.attributes if name.startswith("langflow.cost")]


@pytest.mark.parametrize("outcome", [Outcome("error", ValueError()), CANCELLED], ids=lambda outcome: outcome.status)
def test_a_call_without_success_costs_what_its_tokens_say(telemetry, priced, outcome):
    run = flow()
    call(run, outcome=outcome, input_tokens=3)
    call(run, outcome=outcome)
    run.finish(outcome)

    assert [AMOUNT in span.attributes for span in telemetry.spans if span.name == "chat gpt"] == [True, False]
    assert costs(telemetry, "invoke_workflow shop") == {"amount": 3, "currency": "USD"}
    assert list(counted(telemetry).values()) == [3]


def test_amounts_of_several_currencies_are_not_added_up(telemetry, priced):
    run = flow()
    agent = recorder().start_component(component("Agent"), run)
    call(agent, "opus", output_tokens=1)
    agent.finish()
    call(run, "gpt", input_tokens=3)
    run.finish()

    assert costs(telemetry, "component Agent") == {"amount": 2, "currency": "EUR"}
    assert costs(telemetry, "invoke_workflow shop") == {}
    assert sorted(counted(telemetry).values()) == [2, 3]


def test_a_model_without_a_price_is_counted_and_named_once(priced):
    with recording(strict=False) as telemetry:
        run = flow()
        for _ in range(3):
            call(run, "llama", input_tokens=3)
        call(run, "gpt", input_tokens=3)
        run.finish()

        assert costs(telemetry, "invoke_workflow shop") == {"amount": 3, "currency": "USD", "unpriced_calls": 3}
        assert [costs(telemetry, "chat gpt")] == [{"amount": 3, "currency": "USD"}]
        assert counted(telemetry, "langflow_cost_unpriced_calls") == {'flow="shop",model="llama",provider="openai"': 3}
        assert telemetry.warnings == [
            "langflow_otel: LANGFLOW_OTEL_PRICES has no price for the model 'llama' of the provider 'openai': its "
            "calls are in no cost, and are counted in langflow_cost_unpriced_calls_total."
        ]


def test_embeddings_are_priced_and_counted_as_model_calls_are(priced):
    with recording(strict=False) as telemetry:
        outer = flow()
        store = recorder().start_component(component("Store"), outer)
        embed(store, "gpt", 4)
        embed(store, "gpt", None)
        embed(store, "llama", 7)
        store.finish()
        call(outer, input_tokens=5)
        outer.finish()

        found = [dict(span.attributes).get(AMOUNT) for span in telemetry.spans if span.name.startswith("embeddings")]
        assert found == [4, None, None]
        assert costs(telemetry, "component Store") == {"amount": 4, "currency": "USD", "unpriced_calls": 1}
        assert costs(telemetry, "invoke_workflow shop") == {"amount": 9, "currency": "USD", "unpriced_calls": 1}
        assert counted(telemetry) == {'flow="shop",model="gpt",provider="openai",currency="USD"': 9}
        assert counted(telemetry, "langflow_cost_unpriced_calls") == {'flow="shop",model="llama",provider="openai"': 1}
        assert len(telemetry.warnings) == 1


def test_names_in_the_log_and_in_labels_are_bounded(priced):
    with recording(strict=False) as telemetry:
        run = flow()
        for number in range(300):
            call(run, f"model-{number}", input_tokens=1)
        run.finish()

        assert len(counted(telemetry, "langflow_cost_unpriced_calls")) == 100
        assert sum("no price" in line for line in telemetry.warnings) == 100


def test_a_flow_in_a_flow_is_once_in_the_outer_one(telemetry, priced):
    outer = flow()
    runs_it = recorder().start_component(component("Agent"), outer)
    inner = flow("inner")
    call(inner, input_tokens=3)
    inner.finish()
    runs_it.finish()
    call(outer, input_tokens=1)
    outer.finish()

    assert costs(telemetry, "invoke_workflow inner") == {"amount": 3, "currency": "USD"}
    assert costs(telemetry, "component Agent") == {"amount": 3, "currency": "USD"}
    assert costs(telemetry, "invoke_workflow shop") == {"amount": 4, "currency": "USD"}
    assert {key.split('"')[1]: value for key, value in counted(telemetry).items()} == {"inner": 3, "shop": 1}


def test_what_only_langflow_counts_is_priced_as_a_whole(telemetry, priced):
    run = flow()
    agent = recorder().start_component(component("Agent"), run)
    agent.usage = lambda: ModelUsage("gpt", "OpenAI", 10, 20)
    agent.finish()
    run.finish()

    assert costs(telemetry, "component Agent") == {"amount": 30, "currency": "USD"}
    assert costs(telemetry, "invoke_workflow shop") == {"amount": 30, "currency": "USD"}
    assert counted(telemetry) == {'flow="shop",model="gpt",provider="OpenAI",currency="USD"': 30}


def test_runs_that_are_not_sampled_are_counted(priced):
    with recording(sampler=ALWAYS_OFF) as telemetry:
        run = flow()
        call(run, input_tokens=3)
        run.finish()

        assert telemetry.spans == []
        assert list(counted(telemetry).values()) == [3]


def test_a_kept_run_says_what_it_cost(priced):
    with capture_telemetry(settings=Settings(sampling=(("*", 0.0),), keep_slow_s=0.0)) as telemetry:
        run = flow()
        call(run, input_tokens=3)
        run.finish()

        assert costs(telemetry, "invoke_workflow shop") == {"amount": 3, "currency": "USD"}
        assert costs(telemetry, "chat gpt") == {"amount": 3, "currency": "USD"}
        assert telemetry.only_span("invoke_workflow shop").attributes["langflow.kept"] == "slow"


@pytest.mark.parametrize("detail", ["flow", "component"])
def test_with_less_detail_the_sums_stay(priced, detail):
    with recording(settings=Settings(detail=detail)) as telemetry:
        run = flow()
        call(run, input_tokens=3)
        run.finish()

        assert costs(telemetry, "invoke_workflow shop") == {"amount": 3, "currency": "USD"}
        assert list(counted(telemetry).values()) == [3]


@pytest.mark.skipif(os.name == "nt", reason="workers are forked on POSIX only")
def test_costs_of_workers_that_come_and_go_are_added_up(tmp_path, priced):
    group = WorkerGroup(os.getpid(), tmp_path / "root")
    used, usage = ModelResponse(input_tokens=1, output_tokens=2), ModelUsage("gpt", "openai", 1, 2)
    priced.table = table(entry("gpt", 0.15))
    usage = replace(usage, costs=priced.costs(used, "gpt", "openai"))
    for _ in range(3):
        store = group.join()
        measured = RunMetrics(Instruments(store, None), Settings()).flow(FlowInfo("shop"))
        for _ in range(1_000):
            measured.add_cost(usage)
        store.close()
    group.lead()
    group.fold()

    found = [series for worker in group.gather() for series in worker.series if series.metric == catalogue.COST]
    assert {series.labels for series in found} == {("shop", "gpt", "openai", "USD")}
    assert sum(series.cells[0] for series in found) == pytest.approx(3_000 * 3 * 0.15 / 1_000_000, rel=1e-12)
    group.leave()


def test_costs_are_recorded_with_one_signal_alone(priced):
    for traces, measures in ((True, False), (False, True)):
        with recording() as telemetry:
            found = Recorder(
                telemetry.provider if traces else None, Settings(), recorder().metrics if measures else None
            )
            set_active_recorder(found)
            run = flow()
            call(run, input_tokens=3)
            run.finish()

            assert [span.attributes.get(AMOUNT) for span in telemetry.spans] == [3, 3] * traces
            assert list(counted(telemetry).values()) == [3] * measures


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0.00"),
        (12.3, "12.30"),
        (1234.5, "1,234.50"),
        (0.045, "0.0450"),
        (1.234e-6, "0.00000123"),
        (9e-9, "<0.00000001"),
    ],
)
def test_money_is_shown_with_the_digits_that_say_something(amount, shown):
    assert in_money(amount) == shown
