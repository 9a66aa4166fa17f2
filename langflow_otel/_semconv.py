"""Every span name and attribute name that this library writes, once, with its meaning.

``gen_ai.*`` are those of the OpenTelemetry GenAI semantic conventions v0.1.0
(https://github.com/open-telemetry/semantic-conventions-genai), ``error.*``, ``exception.*``, ``http.*``, ``server.*``,
``session.*`` and ``url.*`` of the general ones (https://opentelemetry.io/docs/specs/semconv/). The Python package
``opentelemetry-semantic-conventions`` deprecates its ``gen_ai`` constants without a successor, so
they are spelled out here. ``langflow.*`` names are ours.

The text below a name is its row in docs/reference/spans.md, which docs/generate.py writes: the spans that have the
attribute, then what it is; of an operation the kind of span, the span's name, then when it is made. The headings are
the page's.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""Of the general conventions; the GenAI ones have published none yet that a receiver could look up."""
SCOPE: Final = "langflow_otel"
LANGFLOW_SCOPE: Final = "langflow.observability"
"""Instrumentation scope of LangFlow's own ``flow.execute`` span (LangFlow 1.12 and later)."""
EXCEPTION: Final = "exception"
COMPONENT_SKIPPED: Final = "component.skipped"
COMPONENT_RETRY: Final = "component.retry"
CONTENT_EVENT: Final = "gen_ai.client.inference.operation.details"

# Operations, which are also the first word of a span's name.

INVOKE_WORKFLOW: Final = "invoke_workflow"
"""flow run, `invoke_workflow {flow name}`: every run, however it is started; the trace's root unless a parent came
in"""
COMPONENT: Final = "component"
"""component, `component {display name}`: each execution; current while the component's code runs, in its thread too"""
INVOKE_AGENT: Final = "invoke_agent"
"""agent component, `invoke_agent {display name}`: instead of `component`"""
EXECUTE_TOOL: Final = "execute_tool"
"""tool call, `execute_tool {tool name}`: each call, components used as tools and MCP tools included"""
CHAT: Final = "chat"
"""model call, `chat {model}`: each call of a LangChain model, streamed or not, a batch's each; kind `CLIENT`; not with
`LANGFLOW_OTEL_DETAIL=component`"""
TEXT_COMPLETION: Final = "text_completion"
"""model call, `text_completion {model}`: the same, of a model that is not a chat model"""
EMBEDDINGS: Final = "embeddings"
"""embeddings call, `embeddings {model}`: each call of an embedding model by a class of LangChain's `Embeddings`; kind
`CLIENT`; not with `LANGFLOW_OTEL_DETAIL=component`"""
RETRIEVAL: Final = "retrieval"
STREAM: Final = "stream"
"""stream, `stream {display name}`: a generator that a component returned, from the first pull to its end"""
OUTPUT: Final = "output"
"""output method, `output {output name}`: only with `LANGFLOW_OTEL_DETAIL=output`"""

# Outcome.

STATUS: Final = "langflow.status"
"""all: `ok`, `error`, `cancelled`; components also `cached`, flows and components also `paused`"""
ERROR_TYPE: Final = "error.type"
"""all: class of the error that your code or the provider's library raised, without LangFlow's wrappers; where a
`ValueError` or a similar error was raised from a provider's error, the class of the provider's"""
ERROR_CATEGORY: Final = "langflow.error.category"
"""all: of an error: `authentication`, `rate_limit`, `timeout`, `network`, `invalid_request`, `content_filter`,
`provider`, `tool`, or `code` for any other; `cancelled` of what was cancelled"""
CANCELLATION_REASON: Final = "langflow.cancellation.reason"
"""all: `shutdown` for what was going on when the server stopped"""
EXCEPTION_TYPE: Final = "exception.type"
"""event `exception`: class of the error"""
EXCEPTION_MESSAGE: Final = "exception.message"
"""event `exception`: only with `LANGFLOW_OTEL_ERROR_MESSAGES`"""
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
"""event `exception`: frames (file, line, function) without source lines, of its causes too"""

# Runs of flows.

GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
"""flow, agent component, tool, model call, embeddings call, component that searched: `invoke_workflow`, `invoke_agent`,
`execute_tool`, `chat`, `text_completion`, `embeddings`; `retrieval` of a `vector_store` or `retriever` that searched"""
FLOW_ID: Final = "langflow.flow.id"
"""all of a run: LangFlow's id of the flow"""
FLOW_NAME: Final = "langflow.flow.name"
"""all of a run: the flow's name; of a flow loaded from a file, the name inside the file"""
FLOW_VERSION: Final = "langflow.flow.version"
"""flow: 12 hex digits over component types, code and edges; no values, the same everywhere"""
FLOW_COMPONENT_COUNT: Final = "langflow.flow.component_count"
"""flow: number of components"""
FLOW_MEMORY_PEAK: Final = "langflow.flow.process.memory.peak"
"""flow: highest resident memory of the whole process that was seen while the run was active, bytes"""
FLOW_CPU_TIME: Final = "langflow.flow.process.cpu.time"
"""flow: CPU time that the whole process took while the run was active, seconds; other runs' is in it"""
FLOW_EVENT_LOOP_DELAY_PEAK: Final = "langflow.flow.event_loop.delay.peak"
"""flow: the longest that the run's event loop was late while the run was active, seconds; looked at every 50 ms; absent
where the run does not start in an event loop"""
FLOW_ACTIVE_PEAK: Final = "langflow.flow.active.peak"
"""flow: most runs that were seen going on at once in the process, this one included, flows run by flows not"""
FLOW_SYSTEM_CPU_PEAK: Final = "langflow.flow.system.cpu.utilization.peak"
"""flow: highest busy share of the machine's CPU cores in one second, 0 to 1, used by any process; of a shorter run,
of the second before"""
FLOW_GPU_PEAK: Final = "langflow.flow.hw.gpu.utilization.peak"
"""flow: highest busy share of the busiest GPU in one second, 0 to 1; with `langflow-otel[gpu]`"""
FLOW_GPU_MEMORY_PEAK: Final = "langflow.flow.hw.gpu.memory.utilization.peak"
"""flow: highest share of GPU memory in use, 0 to 1; with `langflow-otel[gpu]`"""
RUN_ID: Final = "langflow.run.id"
"""flow: LangFlow's id of the run"""
ENTRY_POINT: Final = "langflow.entry_point"
"""flow: `api`, `playground`, `webhook`, `mcp`, `job`, `serve`, `a2a`, `voice`, `cli`, `sdk`, or `flow` for a flow run
by a flow"""
KEPT: Final = "langflow.kept"
"""flow: `error` or `slow`: why a run was sent that is not sampled"""
SESSION_ID: Final = "session.id"
"""flow, model call: the conversation; also as `gen_ai.conversation.id`"""
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
"""flow, model call: the conversation; the same as `session.id`"""
USER_ID: Final = "user.id"
"""flow: only with `LANGFLOW_OTEL_USER_ID=true`"""

# Components, agents and tools.

COMPONENT_ID: Final = "langflow.component.id"
"""component, tool: LangFlow's vertex id"""
COMPONENT_TYPE: Final = "langflow.component.type"
"""component: LangFlow's registry type, such as `ChatInput`"""
COMPONENT_DISPLAY_NAME: Final = "langflow.component.display_name"
"""component: the name on the canvas"""
COMPONENT_KIND: Final = "langflow.component.kind"
"""component: `llm`, `agent`, `embedding`, `retriever`, `vector_store`, `tool`, `prompt`, `input`, `output`, `logic`,
`data`, `other`"""
COMPONENT_CODE_HASH: Final = "langflow.component.code_hash"
"""component: LangFlow's hash of the code, where it has one"""
COMPONENT_OUTPUT_NAMES: Final = "langflow.component.output.names"
"""component: the outputs that ran"""
COMPONENT_ONLY_OFFERED_TOOLS: Final = "langflow.component.only_offered_tools"
"""component: `true` if it did nothing but make a tool of itself for an agent; absent otherwise"""
AGENT_STOP_REASON: Final = "langflow.agent.stop_reason"
"""agent component: `iteration_limit` or `time_limit`: the agent was stopped before it had an answer, and its text says
so; absent otherwise"""
LOOP_INDEX: Final = "langflow.loop.index"
"""component: the iteration, from 0, inside a loop"""
OUTPUT_NAME: Final = "langflow.output.name"
"""output method: the output"""
RETRY_ATTEMPT: Final = "langflow.retry.attempt"
"""event `component.retry`: number of the attempt that failed"""
RETRY_DELAY: Final = "langflow.retry.delay"
"""event `component.retry`: seconds until the next one"""
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
"""flow, agent component: the flow's name; the agent's display name"""
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
"""tool: the tool's name"""
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
"""tool: `function`"""
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
"""tool: the model's id of the call, where LangChain passes it"""
GEN_AI_RETRIEVAL_TOP_K: Final = "gen_ai.retrieval.top_k"
"""component, tool: of a search in its code: how many documents it asked for; the sum, if it searched several times"""
RETRIEVAL_DOCUMENT_COUNT: Final = "langflow.retrieval.document_count"
"""component, tool: of a search in its code: how many documents it found; the sum, if it searched several times; absent
if the search failed"""

# Streams.

STREAM_CHUNK_COUNT: Final = "langflow.stream.chunk_count"
"""stream, model component: chunks that came out"""
STREAM_TIME_TO_FIRST_CHUNK: Final = "langflow.stream.time_to_first_chunk"
"""stream, model component: seconds from the first pull"""
STREAM_OUTCOME: Final = "langflow.stream.outcome"
"""stream: `exhausted`, `closed`, `failed`, `abandoned`, `unread`"""

# Model and embeddings calls.

GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
"""model call, embeddings call: the model that is asked for. Where the calls have no spans
(`LANGFLOW_OTEL_DETAIL=component`, or made without LangChain), it is on the component that makes them"""
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
"""model call, embeddings call: the provider, by the convention's values (`openai`, `aws.bedrock`), else LangChain's or
LangFlow's name of it in lower case. Where the calls have no spans, it is on the component, except on an agent"""
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
"""model call: as the model is called"""
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
"""model call: as the model is called"""
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
"""model call: as the model is called"""
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
"""model call: as the model is called"""
GEN_AI_REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
"""model call: as the model is called"""
GEN_AI_REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
"""model call: as the model is called"""
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
"""model call: as the model is called"""
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
"""model call: if it is more than one"""
GEN_AI_REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
"""model call: how much it is asked to reason, in the provider's word"""
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
"""model call: `true` for a streamed answer"""
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"
"""model call: `json` where a structured answer is asked for"""
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
"""model call, embeddings call: the model that answered; of an embeddings call where the `openai` library makes the
request"""
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
"""model call: the provider's id of the answer, where it has one"""
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
"""model call: such as `stop`, `tool_calls`"""
GEN_AI_RESPONSE_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
"""model call: seconds; of a streamed answer"""
EMBEDDINGS_TEXT_COUNT: Final = "langflow.embeddings.text_count"
"""embeddings call: number of texts"""
GEN_AI_EMBEDDINGS_DIMENSION: Final = "gen_ai.embeddings.dimension.count"
"""embeddings call: length of each vector"""
MODEL_RETRIES: Final = "langflow.model.retries"
"""model call, embeddings call: how often the provider's library sent the same request again; absent for none, and for
clients other than httpx, requests and aiohttp"""
SERVER_ADDRESS: Final = "server.address"
"""model call, embeddings call: host of the first request, by the same clients"""
SERVER_PORT: Final = "server.port"
"""model call, embeddings call: its port, by the same clients"""

# Tokens and cost.

GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
"""model call, embeddings call: tokens of the whole input, cached ones included; of an embeddings call where the
`openai` library makes the request (OpenAI, Azure) and the answer has them. Where the calls have no spans, the sum is on
the component"""
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
"""model call: tokens of the whole output, reasoning included. Where the calls have no spans, the sum is on the
component"""
GEN_AI_USAGE_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
"""model call: of the input, those read from the provider's cache"""
GEN_AI_USAGE_CACHE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
"""model call: of the input, those written to it"""
GEN_AI_USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
"""model call: of the output, those of reasoning"""
USAGE_INPUT_TOKENS: Final = "langflow.usage.input_tokens"
"""component, agent component, flow: sum over the model and embeddings calls below, those of flows that it runs
included; under a name of ours, since backends add up all spans with `gen_ai.usage.*`"""
USAGE_OUTPUT_TOKENS: Final = "langflow.usage.output_tokens"
"""component, agent component, flow: the same sum of output tokens"""
COST_AMOUNT: Final = "langflow.cost.amount"
"""model call, embeddings call, component, agent component, flow: by your own list of prices; of a component, agent or
flow the sum over the model and embeddings calls below, as far as they have a price; absent if that sum is of several
currencies"""
COST_CURRENCY: Final = "langflow.cost.currency"
"""model call, embeddings call, component, agent component, flow: ISO 4217 code, such as `USD`"""
COST_UNPRICED_CALLS: Final = "langflow.cost.unpriced_calls"
"""component, agent component, flow: of the model and embeddings calls below, those for which the list has no price;
absent for none"""

# Content.

GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
"""flow, model component, agent component, model call: JSON in the convention's form"""
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
"""flow, model component, agent component, model call: JSON in the convention's form"""
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
"""model component, agent component, model call: JSON in the convention's form"""
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
"""model call: JSON"""
GEN_AI_TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
"""model call: the tools that it may call: JSON; too long for one value, only their names"""
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
"""tool: JSON"""
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
"""tool: text, or JSON"""
GEN_AI_RETRIEVAL_QUERY: Final = "gen_ai.retrieval.query.text"
"""component, tool: of the first search that succeeded; a vector as a query is no text"""
GEN_AI_RETRIEVAL_DOCUMENTS: Final = "gen_ai.retrieval.documents"
"""component, tool: JSON: of each document that it found `id`, `score` where the store tells it, `content`; no
metadata"""
COMPONENT_INPUT: Final = "langflow.component.input."
"""component: text, or JSON"""
COMPONENT_OUTPUT: Final = "langflow.component.output."
"""component: text, or JSON"""

# Requests to the server.

HTTP_REQUEST_METHOD: Final = "http.request.method"
"""request: the method"""
HTTP_ROUTE: Final = "http.route"
"""request: the route's template, such as `/api/v1/run/{flow_id_or_name}`"""
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
"""request, event `exception`: of the response; of the call that failed"""
URL_PATH: Final = "url.path"
"""request: the path, without query; segments that are no known words are `REDACTED`"""
URL_SCHEME: Final = "url.scheme"
"""request: `http` or `https`"""

# OpenInference, for Phoenix and Arize.

OPENINFERENCE_SPAN_KIND: Final = "openinference.span.kind"
"""all: `LLM` on model calls alone"""
INPUT_VALUE: Final = "input.value"
"""all: where content may leave: of inputs the message, the query, the text or what is wired, and no flag or option; of
a flow its first input"""
INPUT_MIME_TYPE: Final = "input.mime_type"
"""all: `text/plain` or `application/json`, of `input.value`"""
OUTPUT_VALUE: Final = "output.value"
"""all: the same of outputs; of a flow its last output. Empty on a model or embeddings call that has none: Phoenix would
show the response's model there"""
OUTPUT_MIME_TYPE: Final = "output.mime_type"
"""all: `text/plain` or `application/json`, of `output.value`"""
RETRIEVAL_DOCUMENT: Final = "retrieval.documents."
"""component, tool: where content may leave, such as `0.document.content`, where a document has no score, since Phoenix
then converts none of `gen_ai.retrieval.documents`: `id`, `score`, `content` of the first 20"""
LLM_REASONING_TOKENS: Final = "llm.token_count.completion_details.reasoning"
"""model call: tokens of reasoning; Phoenix makes its other counts of the conventions' names"""
LLM_CACHE_WRITE_TOKENS: Final = "llm.token_count.prompt_details.cache_write"
"""model call: tokens written to the provider's cache"""

TOKENS_OF_OTHERS: Final = (GEN_AI_USAGE_INPUT_TOKENS, "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
"""Where spans of other instrumentors have tokens: the GenAI conventions, their older name, OpenInference."""

CONTENT_ATTRIBUTES: Final = (
    GEN_AI_INPUT_MESSAGES,
    GEN_AI_OUTPUT_MESSAGES,
    GEN_AI_SYSTEM_INSTRUCTIONS,
    GEN_AI_TOOL_DEFINITIONS,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    GEN_AI_TOOL_CALL_RESULT,
    GEN_AI_RETRIEVAL_QUERY,
    GEN_AI_RETRIEVAL_DOCUMENTS,
    COMPONENT_INPUT,
    COMPONENT_OUTPUT,
)
