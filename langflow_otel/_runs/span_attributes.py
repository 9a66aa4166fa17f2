"""Facts become span names, attributes and events."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Final

from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import error_type, frames_of, message_of, qualified_type
from langflow_otel._content.limits import bounded, bounded_value, chosen
from langflow_otel._errors import http_status_of, with_causes
from langflow_otel._runs.facts import (
    ComponentInfo,
    Costs,
    FlowInfo,
    ModelInfo,
    ModelResponse,
    ModelUsage,
    Outcome,
    ToolInfo,
)
from langflow_otel._settings.settings import Settings

Attributes = dict[str, AttributeValue]


class OwnEvent(str):
    """Name of an event that this library puts on a span: it has passed the gate. What others put there has not."""

    __slots__ = ()


RETRY_EVENT: Final = OwnEvent(semconv.COMPONENT_RETRY)
SKIPPED_EVENT: Final = OwnEvent(semconv.COMPONENT_SKIPPED)
_EXCEPTION_EVENT: Final = OwnEvent(semconv.EXCEPTION)

_ERROR = Status(StatusCode.ERROR)

_OPENINFERENCE_KINDS = {
    "llm": "LLM",
    "agent": "AGENT",
    "embedding": "EMBEDDING",
    "retriever": "RETRIEVER",
    "vector_store": "RETRIEVER",
    "tool": "TOOL",
    "prompt": "PROMPT",
}

_RESPONSE = (
    semconv.GEN_AI_RESPONSE_MODEL,
    semconv.GEN_AI_RESPONSE_ID,
    semconv.GEN_AI_RESPONSE_FINISH_REASONS,
    semconv.GEN_AI_USAGE_INPUT_TOKENS,
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
    semconv.GEN_AI_USAGE_CACHE_READ,
    semconv.GEN_AI_USAGE_CACHE_WRITE,
    semconv.GEN_AI_USAGE_REASONING,
)
"""Of the fields of :class:`ModelResponse`, in their order."""


def flow_name(info: FlowInfo) -> str:
    return f"{semconv.INVOKE_WORKFLOW} {info.name}"


def flow_attributes(info: FlowInfo, settings: Settings) -> Attributes:
    attributes: Attributes = {
        semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_WORKFLOW,
        semconv.GEN_AI_AGENT_NAME: info.name,
        semconv.ENTRY_POINT: info.entry_point,
        **flow_identity(info),
    }
    attributes.update(run_attributes(info.run_id, info.session_id))
    if info.user_id and settings.user_id:
        attributes[semconv.USER_ID] = info.user_id
    if info.component_count is not None:
        attributes[semconv.FLOW_COMPONENT_COUNT] = info.component_count
    if info.version:
        attributes[semconv.FLOW_VERSION] = info.version
    if settings.openinference:
        attributes[semconv.OPENINFERENCE_SPAN_KIND] = "CHAIN"
    return attributes


def flow_identity(info: FlowInfo) -> Attributes:
    """Name and id of the flow, for each span of its run: backends cannot join a span with its flow's."""
    return {semconv.FLOW_NAME: info.name, **({semconv.FLOW_ID: info.flow_id} if info.flow_id else {})}


def run_attributes(run_id: str | None, session_id: str | None) -> Attributes:
    attributes: Attributes = {}
    if run_id:
        attributes[semconv.RUN_ID] = chosen(run_id)
    if session_id:
        attributes[semconv.SESSION_ID] = attributes[semconv.GEN_AI_CONVERSATION_ID] = chosen(session_id)
    return attributes


def component_name(info: ComponentInfo) -> str:
    operation = semconv.INVOKE_AGENT if info.kind == "agent" else semconv.COMPONENT
    return f"{operation} {info.display_name}"


def component_attributes(info: ComponentInfo, settings: Settings) -> Attributes:
    attributes: Attributes = {
        semconv.COMPONENT_ID: info.component_id,
        semconv.COMPONENT_TYPE: info.component_type,
        semconv.COMPONENT_DISPLAY_NAME: info.display_name,
        semconv.COMPONENT_KIND: info.kind,
    }
    if info.code_hash:
        attributes[semconv.COMPONENT_CODE_HASH] = info.code_hash
    if info.loop_index is not None:
        attributes[semconv.LOOP_INDEX] = info.loop_index
    if info.kind == "agent":
        attributes[semconv.GEN_AI_OPERATION_NAME] = semconv.INVOKE_AGENT
        attributes[semconv.GEN_AI_AGENT_NAME] = info.display_name
    if settings.openinference:
        # Phoenix counts each span of kind LLM as a model call.
        is_above_calls = info.kind == "llm" and settings.shows_models
        kind = "CHAIN" if is_above_calls else _OPENINFERENCE_KINDS.get(info.kind, "CHAIN")
        attributes[semconv.OPENINFERENCE_SPAN_KIND] = kind
    return attributes


def offered_tools_attributes(settings: Settings) -> Attributes:
    attributes: Attributes = {semconv.COMPONENT_ONLY_OFFERED_TOOLS: True}
    if settings.openinference:
        attributes[semconv.OPENINFERENCE_SPAN_KIND] = "CHAIN"  # it has not retrieved anything
    return attributes


def skipped_attributes(info: ComponentInfo) -> Attributes:
    return {
        semconv.COMPONENT_ID: info.component_id,
        semconv.COMPONENT_TYPE: info.component_type,
        semconv.COMPONENT_DISPLAY_NAME: info.display_name,
    }


def retry_attributes(attempt: int, delay_s: float, error: BaseException | None) -> Attributes:
    attributes: Attributes = {
        semconv.RETRY_ATTEMPT: bounded_value(attempt),
        semconv.RETRY_DELAY: bounded_value(delay_s),
    }
    if error is not None:
        attributes[semconv.ERROR_TYPE] = error_type(error)
    return attributes


def tool_name(info: ToolInfo) -> str:
    return f"{semconv.EXECUTE_TOOL} {info.name}"


def tool_attributes(info: ToolInfo, settings: Settings) -> Attributes:
    attributes: Attributes = {
        semconv.GEN_AI_OPERATION_NAME: semconv.EXECUTE_TOOL,
        semconv.GEN_AI_TOOL_NAME: info.name,
        semconv.GEN_AI_TOOL_TYPE: "function",
    }
    if info.call_id:
        attributes[semconv.GEN_AI_TOOL_CALL_ID] = info.call_id
    if info.component_id:
        attributes[semconv.COMPONENT_ID] = info.component_id
    if settings.openinference:
        attributes[semconv.OPENINFERENCE_SPAN_KIND] = "TOOL"
    return attributes


def model_name(info: ModelInfo) -> str:
    return f"{info.operation} {info.model}" if info.model else info.operation


@functools.lru_cache(maxsize=128)
def model_attributes(info: ModelInfo, *, openinference: bool) -> Mapping[str, AttributeValue]:
    attributes: Attributes = {semconv.GEN_AI_OPERATION_NAME: info.operation, **info.parameters}
    if info.model:
        attributes[semconv.GEN_AI_REQUEST_MODEL] = info.model
    if info.provider:
        attributes[semconv.GEN_AI_PROVIDER_NAME] = info.provider
    if openinference:
        attributes[semconv.OPENINFERENCE_SPAN_KIND] = "EMBEDDING" if info.operation == semconv.EMBEDDINGS else "LLM"
    return attributes


def response_attributes(response: ModelResponse, settings: Settings) -> Attributes:
    attributes: Attributes = {}
    for name, value in zip(_RESPONSE, response, strict=True):
        if value or value == 0:
            attributes[name] = value
    if settings.openinference:
        if response.model or response.response_id:
            # Phoenix shows these two as the output where there is none. What may leave of the answer replaces it.
            attributes[semconv.OUTPUT_VALUE] = ""
        if response.cache_write_tokens is not None:
            attributes[semconv.LLM_CACHE_WRITE_TOKENS] = response.cache_write_tokens
        if response.reasoning_tokens is not None:
            attributes[semconv.LLM_REASONING_TOKENS] = response.reasoning_tokens
    return attributes


def sum_attributes(input_tokens: int | None, output_tokens: int | None) -> Attributes:
    """Tokens of what is below: under names of ours, for backends add up whatever has the conventions' names."""
    attributes: Attributes = {}
    if input_tokens is not None:
        attributes[semconv.USAGE_INPUT_TOKENS] = input_tokens
    if output_tokens is not None:
        attributes[semconv.USAGE_OUTPUT_TOKENS] = output_tokens
    return attributes


def cost_attributes(costs: Costs | None) -> Attributes:
    """Amounts of several currencies have no sum; the calls below have theirs."""
    attributes: Attributes = {}
    if costs is None:
        return attributes
    if len(costs.amounts) == 1:
        attributes[semconv.COST_CURRENCY], attributes[semconv.COST_AMOUNT] = next(iter(costs.amounts.items()))
    if costs.unpriced_calls:
        attributes[semconv.COST_UNPRICED_CALLS] = costs.unpriced_calls
    return attributes


def custom_attributes(
    given: Mapping[str, AttributeValue] | None, settings: Settings
) -> Mapping[str, AttributeValue] | None:
    """The author's own, cut, who may also say another OpenInference kind."""
    kept = bounded(given) if given else given
    return {semconv.OPENINFERENCE_SPAN_KIND: "CHAIN", **(kept or {})} if settings.openinference else kept


def usage_attributes(usage: ModelUsage, info: ComponentInfo) -> Attributes:
    """Of a component whose calls have no spans. An agent has no provider in the conventions: its calls have."""
    attributes: Attributes = {}
    if usage.model:
        attributes[semconv.GEN_AI_REQUEST_MODEL] = usage.model
    if usage.provider and info.kind != "agent":
        attributes[semconv.GEN_AI_PROVIDER_NAME] = usage.provider
    if usage.input_tokens is not None:
        attributes[semconv.GEN_AI_USAGE_INPUT_TOKENS] = usage.input_tokens
    if usage.output_tokens is not None:
        attributes[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] = usage.output_tokens
    return attributes


def mark_error(span: Span, outcome: Outcome, settings: Settings, withheld: Collection[str] = ()) -> None:
    """Put the error on the span: status, and one exception event with type and frames.

    The SDK's ``record_exception`` is not used: it always sends message and source text.
    """
    span.set_status(_ERROR)
    error = outcome.error
    if error is None:
        return
    event: Attributes = {
        semconv.EXCEPTION_TYPE: qualified_type(error),
        semconv.EXCEPTION_STACKTRACE: frames_of(error, settings, withheld),
    }
    statuses = map(http_status_of, with_causes(error, contexts=True))
    status = next((each for each in statuses if each is not None), None)
    if status is not None:
        event[semconv.HTTP_RESPONSE_STATUS_CODE] = status
    message = message_of(error, settings, withheld)
    if message is not None:
        event[semconv.EXCEPTION_MESSAGE] = message
    span.add_event(_EXCEPTION_EVENT, event, timestamp=outcome.ended_ns)


def error_type_of(outcome: Outcome) -> str:
    """``error.type``; ``_OTHER`` is the convention's word for an error whose class is not known."""
    return "_OTHER" if outcome.error is None else error_type(outcome.error)
