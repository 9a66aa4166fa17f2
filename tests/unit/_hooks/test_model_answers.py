"""What a model answered, as messages of the GenAI conventions."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from langflow_otel._content.gate import ContentGate, SpanContent
from langflow_otel._hooks.component_content import open_object
from langflow_otel._hooks.model_content import add_answer
from langflow_otel._settings.settings import Settings


def answered(*generations: Any, failed: bool = False) -> list[dict[str, Any]]:
    content = SpanContent(ContentGate(Settings(content_on_spans=True)), open_object)
    add_answer(content, SimpleNamespace(generations=[list(generations)]), failed=failed)
    found: list[dict[str, Any]] = json.loads(content.attributes["gen_ai.output.messages"])
    return found


def chat(text: str, **about: Any) -> Any:
    message = SimpleNamespace(type="ai", content=text, tool_calls=[], response_metadata=about)
    return SimpleNamespace(text=text, message=message, generation_info=None)


@pytest.mark.parametrize(
    ("about", "failed", "reason"),
    [
        ({"finish_reason": "stop"}, False, "stop"),
        ({"finish_reason": "tool_calls"}, False, "tool_call"),
        ({"stop_reason": "end_turn"}, False, "stop"),
        ({"stop_reason": "max_tokens"}, False, "length"),
        ({"finish_reason": "SAFETY"}, False, "content_filter"),
        ({"finish_reason": "length"}, True, "length"),
        ({"finish_reason": "of its own"}, False, "of its own"),
        ({}, False, "stop"),
        ({}, True, "error"),
    ],
)
def test_each_answer_says_why_it_ended(about: dict[str, str], failed: bool, reason: str):
    assert answered(chat("it is", **about), failed=failed) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "it is"}], "finish_reason": reason}
    ]


def test_text_without_a_message_is_an_answer():
    generation = SimpleNamespace(text="it is", generation_info={"finish_reason": "length"})

    assert answered(generation) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "it is"}], "finish_reason": "length"}
    ]
