"""What LangChain says about a call of a model, in the forms that providers' packages give it."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from langflow_otel._hooks import model_facts
from langflow_otel._hooks.model_facts import model_info, model_response, model_usage
from langflow_otel._runs.facts import ModelResponse

TEMPERATURE, MAX_TOKENS = "gen_ai.request.temperature", "gen_ai.request.max_tokens"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    model_facts._infos.clear()


def test_calls_that_ask_for_the_same_share_their_facts():
    asked = {"model": "gpt", "temperature": 0.5}

    first = model_info("chat", dict(asked), {"ls_provider": "openai"})

    assert model_info("chat", dict(asked), {"ls_provider": "openai"}) is first
    assert model_info("text_completion", dict(asked), {"ls_provider": "openai"}) is not first
    assert model_info("chat", {**asked, "temperature": 0.6}, {"ls_provider": "openai"}) is not first
    assert model_info("chat", dict(asked), {"ls_provider": "azure"}).provider == "azure.ai.openai"


@pytest.mark.parametrize("order", [(1, 1.0, True), (True, 1.0, 1)])
def test_equal_numbers_have_one_type_whatever_came_first(order):
    for number in order:
        found = model_info("chat", {"temperature": number, "max_tokens": number}, {}).parameters
        assert [(name, type(value)) for name, value in found.items()] == [(TEMPERATURE, float), (MAX_TOKENS, int)]


@pytest.mark.parametrize("value", [[1], {"a": 1}, "0.5", None, float("nan"), float("inf"), 1 << 64, object()])
def test_what_is_no_number_is_left_out(value):
    info = model_info(
        "chat", {"model": "gpt", "temperature": value, "max_tokens": value, "seed": value, "n": value}, {}
    )

    assert (info.model, dict(info.parameters)) == ("gpt", {})


def test_parameters_have_the_conventions_names():
    asked = {"model_id": "m", "top_p": 1, "top_k": 5.0, "num_predict": 7, "seed": 3, "n": 2, "streaming": True}

    assert dict(model_info("chat", asked, {"ls_temperature": 0.1}).parameters) == {
        TEMPERATURE: 0.1,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 5,
        MAX_TOKENS: 7,
        "gen_ai.request.seed": 3,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.stream": True,
    }


def test_few_calls_are_remembered_and_none_with_a_huge_name():
    for seed in range(1_000):
        model_info("chat", {"model": "gpt", "seed": seed}, {})
    assert len(model_facts._infos) <= 128
    model_facts._infos.clear()

    assert len(model_info("chat", {"model": "x" * 10_000}, {}).model or "") < 2_000
    assert model_facts._infos == {}


def answered(**about: Any) -> Any:
    return SimpleNamespace(generations=[[SimpleNamespace(message=SimpleNamespace(**about), generation_info=None)]])


def test_an_answer_has_what_langchain_says_about_it():
    response = answered(
        id="run-1",
        response_metadata={"model_name": "gpt-2024", "finish_reason": "stop", "id": "chatcmpl-1"},
        usage_metadata={
            "input_tokens": 7,
            "output_tokens": 5,
            "input_token_details": {"cache_read": 2, "cache_creation": 1},
            "output_token_details": {"reasoning": 3},
        },
    )

    assert model_response(response) == ModelResponse("gpt-2024", "chatcmpl-1", ("stop",), 7, 5, 2, 1, 3)


@pytest.mark.parametrize(
    "response",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(generations=[]),
        SimpleNamespace(generations=[[]], llm_output=None),
        answered(id="lc_run-1", response_metadata=None, usage_metadata="many"),
        answered(response_metadata={"finish_reason": 1, "model_name": ""}, usage_metadata={"input_tokens": True}),
    ],
)
def test_an_answer_of_which_nothing_is_known(response):
    assert model_response(response) == ModelResponse()


def test_tokens_of_an_llm_are_beside_its_generations():
    response = SimpleNamespace(
        generations=[[SimpleNamespace(text="a", generation_info={"finish_reason": "length"})]],
        llm_output={"token_usage": {"prompt_tokens": 4, "completion_tokens": 6}},
    )

    assert model_response(response) == ModelResponse(finish_reasons=("length",), input_tokens=4, output_tokens=6)


def test_names_in_an_answer_are_cut():
    found = model_response(answered(response_metadata=dict.fromkeys(("model", "id", "stop_reason"), "x" * 5_000)))

    assert all(1_000 < len(text or "") < 1_100 for text in (found.model, found.response_id, *found.finish_reasons))


@pytest.mark.parametrize("count", [-1, 2**62, 10**30, True, 1.0, "1", None])
def test_what_is_no_number_of_tokens_is_not_counted(count):
    details = {"input_token_details": {"cache_read": count}, "output_token_details": {"reasoning": count}}
    usage = {"input_tokens": count, "output_tokens": 5}

    assert model_response(answered(usage_metadata={**usage, **details})) == ModelResponse(output_tokens=5)
    assert model_response(answered(response_metadata={"token_usage": usage})) == ModelResponse(output_tokens=5)
    known = model_usage(SimpleNamespace(model="m"), SimpleNamespace(**usage))
    assert (known.input_tokens, known.output_tokens) == (None, 5)


def test_an_authors_object_is_not_kept():
    class Given:
        pass

    given = Given()
    kept = weakref.ref(given)
    model_info("chat", {"model": "gpt", "seed": given, "n": (given,)}, {"ls_provider": given})
    del given
    gc.collect()

    assert kept() is None


@pytest.mark.parametrize(
    "asked",
    [{"reasoning_effort": "low"}, {"thinking_level": "low"}, {"reasoning": {"effort": "low", "summary": "auto"}}],
)
def test_the_level_of_reasoning_is_the_providers_word(asked):
    first, second = (model_info("chat", dict(asked), {}) for _ in range(2))

    assert dict(first.parameters) == {"gen_ai.request.reasoning.level": "low"}
    assert first is second


@pytest.mark.parametrize("asked", [{"reasoning_effort": None}, {"reasoning": None}, {"reasoning": {"effort": 3}}, {}])
def test_a_level_of_reasoning_that_is_no_word_is_left_out(asked):
    assert dict(model_info("chat", asked, {}).parameters) == {}


@pytest.mark.parametrize(
    ("asked", "options", "as_json"),
    [
        ({}, {"ls_structured_output_format": {"schema": {}}}, True),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {}, True),
        ({"response_format": {"type": "json_object"}}, {}, True),
        ({"response_format": ModelResponse}, {}, True),
        ({"response_mime_type": "application/json"}, {}, True),
        ({"format": "json"}, {}, True),
        ({"format": {"type": "object"}}, {}, True),
        ({"response_format": {"type": "text"}}, {}, False),
        ({"response_mime_type": "text/plain", "format": ""}, {"stop": None}, False),
        ({}, {}, False),
    ],
)
def test_a_structured_answer_that_is_asked_for_is_json(asked, options, as_json):
    expected = {"gen_ai.output.type": "json"} if as_json else {}

    assert dict(model_info("chat", asked, {}, options).parameters) == expected
    # Not that of another call of the same model.
    assert dict(model_info("chat", {}, {}).parameters) == {}
