"""Errors, tokens and content are the same however fine the trace is, and wherever content goes.

pip install langchain-openai
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import pytest
from flows import context_unchanged
from lfx.graph import Graph
from nodes import asking, models
from openai_server import FakeOpenAI
from test_openai_calls import openai  # noqa: F401 - a fixture
from test_provider_errors import agent_flow as langflows_agent_flow
from test_provider_errors import model_flow
from test_tools import agent_flow

from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

CANARY = "ships-7f3a"
DETAILS = ["flow", "component", "model", "output"]
FLOW, CALL = "invoke_workflow demo", "chat gpt-4o-mini"
NAMES = {
    "flow": [FLOW],
    "component": ["component Chat Input", "execute_tool add", "invoke_agent OpenAI Agent"],
    "model": [CALL, CALL],
    "output": ["output message", "output response"],  # and others, as the version has them
}
"""Spans of an agent's run, beside those of the coarser detail, without those of requests."""
FAULTS: dict[str, tuple[list[str | int], str, str]] = {
    "401": ([401], "AuthenticationError", "authentication"),
    "500 three times": ([500, 500, 500], "InternalServerError", "provider"),
}
COUNTERS = (
    "gen_ai_client_inference_usage_input_tokens_total",
    "gen_ai_client_inference_usage_output_tokens_total",
    "gen_ai_client_inference_usage_cache_read_input_tokens_total",
    "gen_ai_client_inference_usage_reasoning_output_tokens_total",
)


async def agents_flow() -> Graph:
    return await agent_flow(asking.OpenAIAgent)


async def recorded(graph: Graph, **settings: Any) -> Telemetry:
    with capture_telemetry(settings=Settings(**settings)) as telemetry, suppress(Exception), context_unchanged():
        await graph.arun([{"input_value": CANARY}], session_id="s1")
    return telemetry


def sent_tokens(fake: FakeOpenAI) -> list[int]:
    """By the models' server, in the order of COUNTERS."""
    found = [(each["prompt_tokens_details"], each["completion_tokens_details"], each) for each in fake.sent_usage]
    return [
        sum(usage["prompt_tokens"] for _, _, usage in found),
        sum(usage["completion_tokens"] for _, _, usage in found),
        sum(details["cached_tokens"] for details, _, _ in found),
        sum(details["reasoning_tokens"] for _, details, _ in found),
    ]


@pytest.mark.parametrize("detail", DETAILS)
async def test_spans_are_those_of_the_detail_and_tokens_those_sent(openai: FakeOpenAI, detail: str):  # noqa: F811
    openai.replies = ["tool", "answer"]
    telemetry = await recorded(await agents_flow(), detail=detail)

    ours = [span for span in telemetry.spans if span.scope == "langflow_otel"]
    names = [span.name for span in ours if not span.name.startswith("output ")]
    coarser = DETAILS[: DETAILS.index(detail) + 1]
    assert sorted(names) == sorted(itertools.chain.from_iterable(NAMES[each] for each in coarser if each != "output"))
    outputs = {span.name for span in ours} - set(names)
    assert outputs >= set(NAMES["output"]) if detail == "output" else not outputs
    assert {span.status for span in ours} == {"ok"}
    sent = sent_tokens(openai)
    assert len(openai.sent_usage) == 2
    assert [sum(telemetry.metrics(name).values()) for name in COUNTERS] == sent
    for kind, total in (("input", sent[0]), ("output", sent[1])):
        assert telemetry.only_span(FLOW).attributes[f"langflow.usage.{kind}_tokens"] == total
        counted = [span.attributes.get(f"gen_ai.usage.{kind}_tokens", 0) for span in telemetry.spans]
        assert sum(counted) == (0 if detail == "flow" else total)  # each token on one span


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("make", [model_flow, agents_flow])
async def test_errors_are_the_providers_at_each_detail(openai: FakeOpenAI, make: Any, fault: str, detail: str):  # noqa: F811
    openai.replies, error, category = list(FAULTS[fault][0]), *FAULTS[fault][1:]
    telemetry = await recorded(await make(), detail=detail)

    assert len(openai.asked) == len(FAULTS[fault][0])
    failed = [span for span in telemetry.spans if span.status == "error" and span.scope == "langflow_otel"]
    assert {(span.attributes["error.type"], span.attributes["langflow.error.category"]) for span in failed} == {
        (error, category)
    }
    assert len(failed) == {"flow": 1, "component": 2, "model": 3, "output": 4}[detail]
    (durations,) = [
        name for name in telemetry.metrics("gen_ai_client_inference_duration_seconds_count") if "error_type" in name
    ]
    (errors,) = telemetry.metrics("langflow_component_errors_total")
    assert f'error_type="{error}"' in durations
    assert f'error_type="{error}"' in errors


NOT_SAMPLED = {"sampling": (("*", 0.0),), "keep_errors": False}


@pytest.mark.parametrize("settings", [*({"detail": each} for each in DETAILS), NOT_SAMPLED], ids=str)
async def test_retries_are_counted_with_a_span_of_the_call_or_without(openai: FakeOpenAI, settings: Any):  # noqa: F811
    openai.replies = [429]
    telemetry = await recorded(await model_flow(), **settings)

    assert [each.status for each in openai.asked] == [429, 200]
    assert list(telemetry.metrics("langflow_model_retries_total").values()) == [1]
    requests = [span.name for span in telemetry.spans if span.name.endswith("POST")]
    assert len(requests) == (2 if settings.get("detail", "flow") != "flow" else 0)


async def test_what_a_failed_tool_was_given_is_an_event(openai: FakeOpenAI):  # noqa: F811
    openai.replies, openai.tools = ["tool"], {"shout": {"text": CANARY}}
    tools = await models.ShoutBroken(_id="Shout-s").to_toolkit()
    telemetry = await recorded(await langflows_agent_flow(*tools), content_in_events=True)

    tool = telemetry.only_span("execute_tool shout")
    assert tool.status == "error"
    (event,) = [each for each in telemetry.logs() if each.span_id == tool.span_id]
    assert CANARY in event.attributes["gen_ai.tool.call.arguments"]


@pytest.mark.parametrize("detail", DETAILS)
async def test_content_goes_where_it_was_asked_for(openai: FakeOpenAI, detail: str):  # noqa: F811
    """The same spans have it, on them or as log records."""
    places = {}
    for on_spans, in_events in itertools.product([False, True], repeat=2):
        openai.replies = ["tool", "answer"]
        telemetry = await recorded(
            await agents_flow(), detail=detail, content_on_spans=on_spans, content_in_events=in_events
        )
        names = {span.span_id: span.name for span in telemetry.spans}
        with_it = sorted(span.name for span in telemetry.spans if CANARY in repr(span.attributes))
        events = [names[each.span_id] for each in telemetry.logs() if CANARY in repr(dict(each.attributes))]
        places[on_spans, in_events] = with_it, sorted(events)
        assert CANARY not in repr([(span.name, span.events) for span in telemetry.spans])

    everywhere, _ = places[True, False]
    with_content = {"flow": {FLOW}, "component": {"component Chat Input", "invoke_agent OpenAI Agent"}}
    assert with_content.get(detail, {CALL}) | {FLOW} <= set(everywhere)
    assert places == {
        (False, False): ([], []),
        (False, True): ([], everywhere),
        (True, False): (everywhere, []),
        (True, True): (everywhere, everywhere),
    }
