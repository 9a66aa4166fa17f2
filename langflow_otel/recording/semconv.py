"""Every span name and attribute name that this library writes, once.

``gen_ai.*``, ``error.*``, ``exception.*``, ``http.*``, ``url.*`` and ``session.*`` are OpenTelemetry semantic
conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/ and .../general/). The Python package
``opentelemetry-semantic-conventions`` deprecates its ``gen_ai`` constants without a successor, so
they are spelled out here. ``langflow.*`` names are ours.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
SCOPE: Final = "langflow_otel"
LANGFLOW_SCOPE: Final = "langflow.observability"
"""Instrumentation scope of LangFlow's own ``flow.execute`` span (LangFlow 1.12 and later)."""

# Operations, which are also the first word of a span's name.
INVOKE_WORKFLOW: Final = "invoke_workflow"
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
COMPONENT: Final = "component"
STREAM: Final = "stream"
OUTPUT: Final = "output"

# GenAI conventions.
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_WORKFLOW_NAME: Final = "gen_ai.workflow.name"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_AGENT_ID: Final = "gen_ai.agent.id"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
CONTENT_EVENT: Final = "gen_ai.client.inference.operation.details"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

# General conventions.
SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"

# OpenInference, for Phoenix and Arize.
OPENINFERENCE_SPAN_KIND: Final = "openinference.span.kind"
INPUT_VALUE: Final = "input.value"
OUTPUT_VALUE: Final = "output.value"

# LangFlow.
STATUS: Final = "langflow.status"
CANCELLATION_REASON: Final = "langflow.cancellation.reason"
FLOW_ID: Final = "langflow.flow.id"
FLOW_NAME: Final = "langflow.flow.name"
FLOW_VERSION: Final = "langflow.flow.version"
FLOW_COMPONENT_COUNT: Final = "langflow.flow.component_count"
FLOW_MEMORY_PEAK: Final = "langflow.flow.process.memory.peak"
RUN_ID: Final = "langflow.run.id"
KEPT: Final = "langflow.kept"
ENTRY_POINT: Final = "langflow.entry_point"
COMPONENT_ID: Final = "langflow.component.id"
COMPONENT_TYPE: Final = "langflow.component.type"
COMPONENT_CODE_HASH: Final = "langflow.component.code_hash"
COMPONENT_DISPLAY_NAME: Final = "langflow.component.display_name"
COMPONENT_KIND: Final = "langflow.component.kind"
COMPONENT_INPUT: Final = "langflow.component.input."
"""Before the name of an input."""
COMPONENT_OUTPUT: Final = "langflow.component.output."
"""Before the name of an output."""
COMPONENT_OUTPUT_NAMES: Final = "langflow.component.output.names"
COMPONENT_SKIPPED: Final = "component.skipped"
COMPONENT_RETRY: Final = "component.retry"
RETRY_ATTEMPT: Final = "langflow.retry.attempt"
RETRY_DELAY: Final = "langflow.retry.delay"
OUTPUT_NAME: Final = "langflow.output.name"
LOOP_INDEX: Final = "langflow.loop.index"
AGENT_STOP_REASON: Final = "langflow.agent.stop_reason"
STREAM_CHUNK_COUNT: Final = "langflow.stream.chunk_count"
STREAM_TIME_TO_FIRST_CHUNK: Final = "langflow.stream.time_to_first_chunk"
STREAM_OUTCOME: Final = "langflow.stream.outcome"
