"""Names of attributes of other instrumentors: those that hold content, and those that are safe to export.

Sources: OpenTelemetry semantic conventions 1.37 (https://opentelemetry.io/docs/specs/semconv/; gen-ai, http, url,
db, rpc, messaging, error, code), OpenInference (https://github.com/Arize-ai/openinference/blob/main/spec/),
OpenLLMetry (the package opentelemetry-semantic-conventions-ai).
"""

from __future__ import annotations

from typing import Final


def _names(*texts: str) -> frozenset[str]:
    return frozenset(" ".join(texts).split())


LIBRARIES: Final = (
    "openinference.",
    "opentelemetry.",
    "traceloop",
    "openlit",
    "langfuse",
    "langsmith",
    "logfire",
    "pydantic-ai",
    "pydantic_ai",
    "agent_framework",
    "autogen",
    "crewai",
    "fastmcp",
    "gcp.vertex.agent",
    "haystack",
    "litellm",
    "llama_index",
    "mcp",
    "semantic_kernel",
    "smolagents",
    "strands",
)
"""Prefixes of instrumentation scopes that belong to a library."""

_OTEL_GEN_AI: Final = (
    "gen_ai.agent.id gen_ai.agent.name gen_ai.agent.version gen_ai.conversation.id gen_ai.data_source.id "
    "gen_ai.embeddings.dimension.count gen_ai.operation.name gen_ai.output.type gen_ai.provider.name "
    "gen_ai.request.encoding_formats gen_ai.request.model gen_ai.request.reasoning.level "
    "gen_ai.request.reasoning_effort gen_ai.response.finish_reasons gen_ai.response.id gen_ai.response.model "
    "gen_ai.system gen_ai.token.modality gen_ai.token.type "
    "gen_ai.tool.call.id gen_ai.tool.name gen_ai.tool.type gen_ai.workflow.name mcp.method.name mcp.protocol.version "
    "mcp.session.id openai.api.type openai.request.service_tier openai.response.service_tier "
    "openai.response.system_fingerprint gen_ai.openai.request.service_tier gen_ai.openai.response.service_tier "
    "gen_ai.openai.response.system_fingerprint aws.bedrock.guardrail.id"
)
_OPENINFERENCE: Final = (
    "agent.name embedding.model_name graph.node.id graph.node.name graph.node.parent_id input.mime_type "
    "llm.finish_reason llm.model_name llm.provider llm.system openinference.span.kind output.mime_type "
    "reranker.model_name session.id tool.id tool.name tool_call.function.name tool_call.id"
)
_OPENLLMETRY: Final = (
    "gen_ai.openai.api_type gen_ai.openai.api_version gen_ai.openai.system_fingerprint gen_ai.response.finish_reason "
    "gen_ai.response.stop_reason llm.request.type traceloop.association.properties.ls_model_name "
    "traceloop.association.properties.ls_model_type traceloop.association.properties.ls_provider "
    "traceloop.association.properties.session_id traceloop.entity.name traceloop.entity.path "
    "traceloop.entity.version traceloop.span.kind traceloop.workflow.name"
)
_HTTP_AND_NETWORK: Final = (
    "http.flavor http.host http.method http.request.method http.request.method_original http.scheme "
    "http.server_name net.host.name net.peer.ip net.peer.name net.transport network.local.address "
    "network.peer.address network.protocol.name network.protocol.version network.transport network.type "
    "server.address url.domain url.scheme user_agent.name user_agent.original "
    "user_agent.synthetic.type"
)
_OTHER_CALLS: Final = (
    "aws.region aws.request_id cloud.region db.collection.name db.name db.namespace db.operation db.operation.name "
    "db.response.status_code db.sql.table db.system db.system.name faas.name messaging.destination.name "
    "messaging.operation messaging.operation.name messaging.operation.type messaging.system peer.service rpc.method "
    "rpc.service rpc.system rpc.system.name"
)
_CODE_AND_ERRORS: Final = (
    "code.file.path code.filepath code.function code.function.name code.namespace error.type exception.escaped "
    "exception.type otel.status_code service.name thread.name"
)

_OURS: Final = "langflow.flow.id langflow.flow.name"
"""What this library puts on each span of a run."""

SAFE: Final = _names(
    _OURS, _OTEL_GEN_AI, _OPENINFERENCE, _OPENLLMETRY, _HTTP_AND_NETWORK, _OTHER_CALLS, _CODE_AND_ERRORS
)
"""Texts, and lists of texts, that pass on a library's spans. Single numbers pass under any name."""

SAFE_EVENTS: Final = frozenset({"exception", "message", "First Token Stream Event", "gen_ai.first_token"})
"""Events that a library's spans keep; ``message`` is a message of an RPC, counted and not quoted."""

ROUTES: Final = frozenset({"http.route", "url.template"})
"""Templates of paths, such as ``/orders/{id}``; some instrumentors put the path itself there."""

URLS: Final = ROUTES | {"url.full", "http.url", "http.target", "url.original", "url.path"}
"""They lose query, fragment, user, password and the values in their path, on every span."""

NEVER: Final = frozenset({"url.query", "url.fragment"})
"""Never exported, even when content is enabled."""

USERS: Final = ("user.id", "user_id", "enduser.id")
"""Ends of names that identify a user; exported according to LANGFLOW_OTEL_USER_ID."""

MESSAGES: Final = frozenset({"exception.message", "exception.stacktrace", "error.message", "otel.status_description"})
"""They often quote the prompt; exported according to LANGFLOW_OTEL_ERROR_MESSAGES, on every span."""

CONTENT: Final = _names(
    "db.query.text db.statement embedding.text embedding.vector gen_ai.agent.description "
    "gen_ai.evaluation.explanation gen_ai.request.stop_sequences gen_ai.request.structured_output_schema "
    "gen_ai.system_instructions http.request.body http.response.body input.value llm.chat.stop_sequences "
    "llm.function_call llm.headers llm.invocation_parameters llm.request.functions llm.tools message.content "
    "output.value reranker.query tool.json_schema tool.parameters tool_call.function.arguments "
    "traceloop.entity.input traceloop.entity.output url.fragment url.query"
)
"""Not exported from spans of a user's own tracer."""

CONTENT_PREFIXES: Final = (
    "db.operation.parameter.",
    "db.query.parameter.",
    "document.",
    "embedding.embeddings.",
    "gen_ai.completion",
    "gen_ai.content.",
    "gen_ai.headers",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.prompt",
    "gen_ai.retrieval.documents",
    "gen_ai.retrieval.query",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.tool.definitions",
    "gen_ai.tool.description",
    "http.request.header.",
    "http.response.header.",
    "llm.choices",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompt_template",
    "llm.prompts",
    "message.contents",
    "reranker.input_documents",
    "reranker.output_documents",
    "retrieval.documents",
    "traceloop.prompt.template",
)

CONTENT_EVENTS: Final = _names(
    "gen_ai.assistant.message gen_ai.choice gen_ai.client.inference.operation.details gen_ai.content.completion "
    "gen_ai.content.prompt gen_ai.evaluation.result gen_ai.system.message gen_ai.tool.message gen_ai.user.message"
)
