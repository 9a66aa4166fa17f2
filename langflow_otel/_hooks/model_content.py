"""Messages of model calls in the GenAI conventions' form, as far as the gate lets them leave."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._content.gate import ContentGate, SpanContent
from langflow_otel._hooks.component_content import open_object
from langflow_otel._hooks.model_facts import finish_reason_of, generations_of

_ROLES: Final = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
_SYSTEM: Final = ("system", "developer")
_RESULTS: Final = ("tool", "function")
_TOOLS: Final = ("tools", "functions")
HIDDEN: Final = "[redacted:tool]"
"""What stands in place of a denied tool's arguments and results: the convention's schema asks for them."""
_FINISH_REASONS: Final = {
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "STOP": "stop",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
}
"""What providers call those that the convention has a word for."""
_SCHEMAS: Final = ("parameters", "input_schema", "inputSchema")
_TEXTS: Final = ("text", "reasoning", "thinking")


def model_content(
    gate: ContentGate,
    given: Any,
    parameters: Mapping[str, Any],
    withheld: Collection[str] = (),
    withheld_tools: Collection[str] = frozenset(),
) -> SpanContent | None:
    """What a model is about to be asked; None if that stays here.

    Args:
        gate: Decides.
        given: A list of messages, or a prompt.
        parameters: Of the call.
        withheld: Values of secret inputs of this run.
        withheld_tools: Names of tools whose arguments and results stay here. A model that gets no tools, from code
            that has such tools, may call them in its text, where nothing tells them from the rest.
    """
    if withheld_tools and not _has_tools(given, parameters):
        return None
    content = SpanContent(gate, open_object, withheld)
    content.withheld_tools = lambda: withheld_tools
    if isinstance(given, str):
        content.add_input_message(given)
        return content
    messages = list(given)
    system = [part for each in messages if _role(each) in _SYSTEM for part in _parts(each, content, {})]
    if system:
        content.add(semconv.GEN_AI_SYSTEM_INSTRUCTIONS, system)
    tools = {str(call.get("id")): str(call.get("name")) for each in messages for call in _tool_calls(each)}
    asked = [_as_convention(each, content, tools) for each in messages if _role(each) not in _SYSTEM]
    content.add(semconv.GEN_AI_INPUT_MESSAGES, asked or None)
    stop = parameters.get("stop")
    content.add(semconv.GEN_AI_REQUEST_STOP_SEQUENCES, [stop] if isinstance(stop, str) else stop or None)
    content.add(semconv.GEN_AI_TOOL_DEFINITIONS, _tool_definitions(parameters.get("tools"), content))
    return content


def _has_tools(given: Any, parameters: Mapping[str, Any]) -> bool:
    """True where calls of tools, and their results, stand apart from the texts."""
    if any(parameters.get(name) for name in _TOOLS):
        return True
    return not isinstance(given, str) and any(_role(each) in _RESULTS or _tool_calls(each) for each in given)


def _is_withheld(content: SpanContent, *names: str | None) -> bool:
    """True if arguments and results of the tool with these names stay here; of one without a name, if any tool's do."""
    if content.gate.denies(*names):
        return True
    withheld = content.withheld_tools()
    return any(name in withheld for name in names) if any(names) else bool(withheld)


def _tool_definitions(tools: Any, content: SpanContent) -> list[dict[str, Any]] | None:
    """The tools that the model may call; of many, or long ones, only the names: cut JSON would be none."""
    if not isinstance(tools, (list, tuple)) or not tools:
        return None
    whole = [_tool_definition(each, content) for each in tools]
    if len(json.dumps(whole, default=str)) <= content.gate.longest:
        return whole
    return [{name: each[name] for name in ("type", "name") if name in each} for each in whole]


def _tool_definition(tool: Any, content: SpanContent) -> dict[str, Any]:
    if not isinstance(tool, dict):
        return {"type": "other"}
    # Inside of OpenAI's and Bedrock's; Anthropic's has it at the top.
    about = next((tool[name] for name in ("function", "toolSpec") if isinstance(tool.get(name), dict)), tool)
    name = about.get("name")
    if about is tool and not any(key in tool for key in _SCHEMAS):
        # The provider's own, such as a search.
        return {"type": str(tool.get("type", "other")), **({"name": name} if isinstance(name, str) else {})}
    found: dict[str, Any] = {"type": "function", "name": name}
    if not _is_withheld(content, name if isinstance(name, str) else None):
        found["description"] = about.get("description")
        found["parameters"] = next((about[key] for key in _SCHEMAS if key in about), None)
    return {key: value for key, value in found.items() if value is not None}


def add_answer(content: SpanContent, response: Any, *, failed: bool = False) -> None:
    """What a model has answered.

    Args:
        content: Of the call.
        response: An ``LLMResult``, or None.
        failed: True if that is only what there is of an answer.
    """
    answers = []
    for generation in generations_of(response):
        message = getattr(generation, "message", None)
        if message is None:
            answer = {"role": "assistant", "parts": [{"type": "text", "content": generation.text}]}
        else:
            answer = _as_convention(message, content, {})
        reason = finish_reason_of(generation)
        # The convention's schema asks for one: without it Phoenix takes none of the messages.
        answer["finish_reason"] = _FINISH_REASONS.get(reason, reason) if reason else "error" if failed else "stop"
        answers.append(answer)
    content.add(semconv.GEN_AI_OUTPUT_MESSAGES, answers or None)


def _as_convention(message: Any, content: SpanContent, tools: Mapping[str, str]) -> dict[str, Any]:
    return {"role": _role(message), "parts": list(_parts(message, content, tools))}


def _role(message: Any) -> str:
    kind = str(getattr(message, "type", "user"))
    return _ROLES.get(kind) or str(getattr(message, "role", None) or kind)


def _parts(message: Any, content: SpanContent, tools: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if _role(message) in _RESULTS:
        call_id = str(getattr(message, "tool_call_id", "") or "")
        is_withheld = _is_withheld(content, getattr(message, "name", None), tools.get(call_id))
        yield {"type": "tool_call_response", "id": call_id, "response": HIDDEN if is_withheld else message.content}
        return
    said = message.content
    for each in [said] if isinstance(said, str) else said:
        yield from _part(each)
    for call in _tool_calls(message):
        arguments = HIDDEN if _is_withheld(content, call.get("name")) else call.get("args")
        yield {"type": "tool_call", "id": call.get("id"), "name": call.get("name"), "arguments": arguments}


def _part(each: Any) -> Iterator[dict[str, Any]]:
    """A text, or only the kind of anything else: pictures and files are large, and their URLs may be signed."""
    if isinstance(each, str):
        if each:
            yield {"type": "text", "content": each}
        return
    kind = str(each.get("type", "other"))
    if kind in ("tool_use", "tool_call", "function_call", "input_json_delta"):
        return  # Among the message's tool calls.
    text = next((each[name] for name in _TEXTS if isinstance(each.get(name), str)), None)
    if text is None:
        yield {"type": kind}
    else:
        yield {"type": "text" if kind == "text" else "reasoning", "content": text}


def _tool_calls(message: Any) -> list[Any]:
    calls = getattr(message, "tool_calls", None)
    return calls if isinstance(calls, list) else []
