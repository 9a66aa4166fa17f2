"""The tools that a model may call, as providers' packages give them, in the GenAI conventions' form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langflow_otel._content.gate import ContentGate
from langflow_otel._hooks.model_content import model_content
from langflow_otel._settings.settings import Settings

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
WHOLE = {"type": "function", "name": "look_up", "description": "Looks it up.", "parameters": SCHEMA}
OPENAI = {"type": "function", "function": {"name": "look_up", "description": "Looks it up.", "parameters": SCHEMA}}


def said(tools: Any, **settings: Any) -> Any:
    gate = ContentGate(Settings(content_on_spans=True, **settings))
    found = model_content(gate, [], {"tools": tools}).attributes.get("gen_ai.tool.definitions")
    return None if found is None else json.loads(found)


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (OPENAI, WHOLE),
        (WHOLE, WHOLE),
        ({"name": "look_up", "description": "Looks it up.", "input_schema": SCHEMA}, WHOLE),
        ({"toolSpec": {"name": "look_up", "description": "Looks it up.", "inputSchema": SCHEMA}}, WHOLE),
        ({"type": "web_search"}, {"type": "web_search"}),
        ({"type": "web_search_2025", "name": "web_search"}, {"type": "web_search_2025", "name": "web_search"}),
        ({}, {"type": "other"}),
        (object(), {"type": "other"}),
    ],
)
def test_a_tool_has_the_conventions_form(tool: Any, expected: dict[str, Any]):
    assert said([tool]) == [expected]


@pytest.mark.parametrize("tools", [None, [], "look_up", 3])
def test_without_tools_there_is_nothing(tools: Any):
    assert said(tools) is None


def test_of_a_tool_on_the_deny_list_only_the_name_leaves():
    assert said([OPENAI], content_deny=("look_up",)) == [{"type": "function", "name": "look_up"}]


def test_tools_that_are_too_long_are_their_names():
    long = {"type": "function", "function": {"name": "long", "description": "word " * 100}, "strict": True}

    assert said([OPENAI, long], content_length=300) == [
        {"type": "function", "name": "look_up"},
        {"type": "function", "name": "long"},
    ]


def test_secrets_in_a_description_stay_here():
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    tool = {"type": "function", "function": {"name": "look_up", "description": f"with {key}"}}

    assert key not in json.dumps(said([tool]))
