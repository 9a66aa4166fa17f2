"""Every function of LangFlow and LangChain that is wrapped, once. ``tests/lfx`` checks each on the
installed version; ``versions.py`` says which versions they were read from."""

from __future__ import annotations

from typing import Final

from langflow_otel._hooks import (
    component,
    embeddings,
    flow,
    logs,
    mcp,
    model_call,
    native,
    queues,
    retrieval,
    server,
    tool,
)
from langflow_otel._hooks.patching import Hook, Patches

_GRAPH = "lfx.graph.graph.base"
_COMPONENT = "lfx.custom.custom_component.component"
_COMPONENT_TOOL = "lfx.base.tools.component_tool"
_TOOL = "langchain_core.tools.base"
_CALLBACKS = "langchain_core.callbacks.manager"
_RETRIEVERS = "langchain_core.retrievers"
_OPENAI = "openai.resources.embeddings"
_TRACING = "langflow.services.tracing"
_AGENT = ("langchain.agents.agent", "langchain_classic.agents.agent")  # before LangChain 1.0, and since
_LIMIT = "langchain.agents.middleware.model_call_limit"  # since LangChain 1.0
_BACKGROUND = "langflow.services.background_execution.executor"  # LangFlow 1.11 and later

HOOKS: Final = (
    Hook(_GRAPH, "Graph.arun", flow.arun, ("inputs", "session_id")),
    Hook(_GRAPH, "Graph.process", flow.arun),
    Hook(_GRAPH, "Graph.async_start", flow.async_start),
    Hook(_GRAPH, "Graph.start", flow.start),
    Hook(_GRAPH, "Graph.astep", flow.astep),
    Hook(_GRAPH, "Graph.build_vertex", component.build_vertex, ("vertex_id",)),
    Hook(_GRAPH, "Graph.mark_branch", component.mark_branch),
    Hook(_GRAPH, "Graph.exclude_branch_conditionally", component.mark_branch, optional=True),
    Hook(_GRAPH, "Graph.exclude_branches_conditionally", component.mark_branch, optional=True),
    Hook(_COMPONENT, "Component._get_output_result", component.get_output_result, ("output",)),
    Hook(_COMPONENT, "Component.send_error", component.send_error, ("exception",)),
    Hook("lfx.base.agents.events", "process_agent_events", component.process_agent_events, optional=True),
    Hook(_COMPONENT, "Component._stream_message", component.stream_message, ("iterator",)),
    Hook(_COMPONENT_TOOL, "_build_output_function", tool.build_output_function, ("component",)),
    Hook(_COMPONENT_TOOL, "_build_output_async_function", tool.build_output_async_function, ("component",)),
    Hook(_TOOL, "BaseTool.run", tool.run),
    Hook(_TOOL, "BaseTool.arun", tool.arun),
    Hook(_CALLBACKS, "CallbackManager.on_tool_start", tool.on_tool_start),
    Hook(_CALLBACKS, "AsyncCallbackManager.on_tool_start", tool.async_on_tool_start),
    *(
        Hook(module, "AgentExecutor._should_continue", component.should_continue, ("iterations",), True)
        for module in _AGENT
    ),
    Hook(_LIMIT, "ModelCallLimitMiddleware.before_model", component.before_model, optional=True),
    Hook(_CALLBACKS, "CallbackManager.on_chat_model_start", model_call.on_chat_model_start, ("messages",), True),
    Hook(_CALLBACKS, "CallbackManager.on_llm_start", model_call.on_llm_start, ("prompts",), True),
    Hook(
        _CALLBACKS,
        "AsyncCallbackManager.on_chat_model_start",
        model_call.async_on_chat_model_start,
        ("messages",),
        True,
    ),
    Hook(_CALLBACKS, "AsyncCallbackManager.on_llm_start", model_call.async_on_llm_start, ("prompts",), True),
    Hook(_RETRIEVERS, "BaseRetriever.invoke", retrieval.invoke, ("input",)),
    Hook(_RETRIEVERS, "BaseRetriever.ainvoke", retrieval.ainvoke, ("input",)),
    Hook(_OPENAI, "Embeddings.create", embeddings.create, optional=True),
    Hook(_OPENAI, "AsyncEmbeddings.create", embeddings.async_create, optional=True),
    Hook(_GRAPH, "Graph.__deepcopy__", flow.copied),
    Hook(_GRAPH, "Graph.copy_for_run", flow.copied, optional=True),
    Hook(_GRAPH, "Graph.from_payload", flow.from_payload),
    Hook(_BACKGROUND, "InProcessExecutor.submit", queues.submit, ("key", "coro_factory")),
    Hook("langflow.api.v1.mcp_utils", "handle_call_tool", mcp.handle_call_tool, ("server",)),
    Hook("mcp.shared.session", "BaseSession.send_request", mcp.send_request, ("request",)),
    Hook(_TRACING + ".service", "TracingService.start_tracers", native.start_tracers),
    Hook(_TRACING + ".http_instrumentation", "HTTPClientInstrumentationManager.disable", native.http_clients_disabled),
    Hook("fastapi.applications", "FastAPI.build_middleware_stack", server.build_middleware_stack),
    Hook("uvicorn.server", "Server.shutdown", server.shut_down),
    Hook("langflow.api.build", "generate_flow_events", flow.generate_flow_events, ("flow_id",)),
)

patches = Patches(HOOKS)
"""The one set of patches of this process."""

LOG_HOOKS: Final = (
    Hook(logs.MODULE, "emit_to_otel_logs", logs.processor, ("event_dict",)),  # LangFlow 1.12 and later
    Hook(logs.MODULE, "add_serialized", logs.processor, ("event_dict",)),
)
"""The first of them that there is; see ``logs.py``. Wrapped only while log lines need something of us."""

log_lines = logs.LogLines(LOG_HOOKS)
"""LangFlow's log lines in this process."""

NATIVE_SPAN_HOOKS: Final = (
    # LangFlow 1.12 and later
    Hook("lfx.observability", "ApplicationOnlySpanProcessor.on_end", native.span_ended, ("span",), optional=True),
)
"""Wrapped only where some of LangFlow's own spans are not to be sent."""

own_spans = native.NativeSpans(NATIVE_SPAN_HOOKS)
"""LangFlow's own spans in this process."""
