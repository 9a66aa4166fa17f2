"""LangFlow's graphs, vertices and components become facts."""

from __future__ import annotations

import hashlib
import weakref
from contextvars import ContextVar
from typing import Any

from langflow_otel.hooks.versions import loops_run_as_subgraphs, served_entry_point
from langflow_otel.recording.facts import ComponentInfo, ComponentKind, FlowInfo, ModelUsage
from langflow_otel.recording.runs import ComponentRun, FlowRun, Run, current_run

UNNAMED = "unnamed"
TOOL_OUTPUT = "component_as_tool"

entry_point: ContextVar[str | None] = ContextVar("langflow_otel_entry_point", default=None)
"""The entry point, where the caller knows better than LangFlow: our own CLI, LangFlow before 1.12."""

# By the names of base classes, since a component's own class is made by exec from its source.
_KIND_BY_BASE: dict[str, ComponentKind] = {
    "AgentComponent": "agent",
    "LCAgentComponent": "agent",
    "LCToolsAgentComponent": "agent",
    "LCModelComponent": "llm",
    "LanguageModelComponent": "llm",
    "LCEmbeddingsModel": "embedding",
    "LCVectorStoreComponent": "vector_store",
    "LCToolComponent": "tool",
    "MCPToolsComponent": "tool",
    "ConditionalRouterComponent": "logic",
    "LoopComponent": "logic",
    "RunFlowBaseComponent": "logic",
    "SubFlowComponent": "logic",
    "PromptComponent": "prompt",
    "LCTextSplitterComponent": "data",
    "LCDocumentTransformerComponent": "data",
    "LCChatMemoryComponent": "data",
    "BaseFileComponent": "data",
}
_KIND_BY_TRACE_TYPE: dict[str, ComponentKind] = {
    "llm": "llm",
    "agent": "agent",
    "embedding": "embedding",
    "retriever": "retriever",
    "tool": "tool",
    "prompt": "prompt",
    "text_splitter": "data",
    "document_transformer": "data",
    "chat_memory": "data",
}
_KIND_BY_PACKAGE: dict[str, ComponentKind] = {
    "logic": "logic",
    "flow_controls": "logic",
    "data": "data",
    "data_source": "data",
    "files_and_knowledge": "data",
    "processing": "data",
    "tools": "tool",
    "prompts": "prompt",
}

_kinds: weakref.WeakKeyDictionary[type, ComponentKind] = weakref.WeakKeyDictionary()
_versions: dict[int, tuple[weakref.ref[Any], int, str]] = {}
_names: dict[int, tuple[weakref.ref[Any], str]] = {}


def remember_name(graph: Any, name: str) -> None:
    """The name of a flow that was loaded from a file, which LangFlow does not keep."""
    key = id(graph)
    _names[key] = (weakref.ref(graph, lambda _: _names.pop(key, None)), name)


def flow_info(graph: Any, within: Run | None, session_id: str | None = None) -> FlowInfo:
    """Identity of a run of this graph; LangFlow sets some of it only while it runs."""
    run_id = getattr(graph, "_run_id", None)
    flow_id = getattr(graph, "source_flow_id", None) or graph.flow_id
    user_id = getattr(graph, "user_id", None)
    return FlowInfo(
        name=flow_name(graph),
        entry_point=entry_point_of(within),
        flow_id=str(flow_id) if flow_id else None,
        run_id=str(run_id) if run_id else None,
        session_id=str(session_id or getattr(graph, "session_id", None) or "") or None,
        user_id=str(user_id) if user_id else None,
        component_count=len(graph.vertices),
        version=flow_version(graph),
    )


def flow_name(graph: Any) -> str:
    if graph.flow_name:
        return str(graph.flow_name)
    remembered = _names.get(id(graph))
    return remembered[1] if remembered is not None and remembered[0]() is graph else UNNAMED


def entry_point_of(within: Run | None) -> str:
    if within is not None and within.component is not None:
        return "flow"
    return entry_point.get() or served_entry_point() or "sdk"


def flow_version(graph: Any) -> str:
    """12 hex digits of SHA-256 over component types, code and edges; no values, no generated ids.

    The same over runs, processes and machines; computed once for each graph object.
    """
    key = id(graph)
    size = len(graph.vertices) + len(graph.edges)
    known = _versions.get(key)
    if known is not None and known[0]() is graph and known[1] == size:
        return known[2]
    types = {vertex.id: _type_of(vertex) for vertex in graph.vertices}
    lines = sorted(f"{_type_of(vertex)} {code_hash(vertex) or _source_hash(vertex)}" for vertex in graph.vertices)
    lines += sorted(
        f"{types.get(edge.source_id)}.{_handle_name(edge, 'source_handle', 'name')} > "
        f"{types.get(edge.target_id)}.{_handle_name(edge, 'target_handle', 'field_name')}"
        for edge in graph.edges
    )
    version = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
    _versions[key] = (weakref.ref(graph, lambda _: _versions.pop(key, None)), size, version)
    return version


def _handle_name(edge: Any, handle: str, attribute: str) -> str:
    return str(getattr(getattr(edge, handle, None), attribute, ""))


def _type_of(vertex: Any) -> str:
    return str(vertex.data.get("type") or vertex.vertex_type)


def _node_of(vertex: Any) -> dict[str, Any]:
    node = vertex.data.get("node")
    return node if isinstance(node, dict) else {}


def code_hash(vertex: Any) -> str | None:
    """LangFlow's own hash of the component's code; flows made in the UI carry it."""
    found = (_node_of(vertex).get("metadata") or {}).get("code_hash")
    return str(found) if found else None


def _source_hash(vertex: Any) -> str:
    code = (_node_of(vertex).get("template") or {}).get("code") or {}
    value = code.get("value") if isinstance(code, dict) else None
    return hashlib.sha256(value.encode()).hexdigest()[:12] if isinstance(value, str) else ""


def component_info(vertex: Any, loop_index: int | None = None) -> ComponentInfo:
    return ComponentInfo(
        component_id=vertex.id,
        component_type=_type_of(vertex),
        display_name=str(vertex.display_name),
        kind=component_kind(vertex, vertex.custom_component),
        code_hash=code_hash(vertex),
        loop_index=loop_index,
    )


def component_kind(vertex: Any, component: Any) -> ComponentKind:
    """What the component does. Without a component (not built yet) only LangFlow's own flags tell."""
    if vertex.is_input:
        return "input"
    if vertex.is_output:
        return "output"
    return "other" if component is None else _kind_of_class(type(component))


def _kind_of_class(cls: type) -> ComponentKind:
    known = _kinds.get(cls)
    if known is not None:
        return known
    kind = _kind_by_base(cls) or _KIND_BY_TRACE_TYPE.get(getattr(cls, "trace_type", "")) or _kind_by_package(cls)
    _kinds[cls] = kind
    return kind


def _kind_by_base(cls: type) -> ComponentKind | None:
    return next((_KIND_BY_BASE[base.__name__] for base in cls.__mro__ if base.__name__ in _KIND_BY_BASE), None)


def _kind_by_package(cls: type) -> ComponentKind:
    for base in cls.__mro__:
        parts = base.__module__.split(".")
        if parts[:2] == ["lfx", "components"] and len(parts) > 2 and parts[2] in _KIND_BY_PACKAGE:
            return _KIND_BY_PACKAGE[parts[2]]
    return "other"


def loop_index(graph: Any, vertex: Any, within: Run | None, flow: FlowRun | None) -> int | None:
    """Which iteration of a loop this build is. In a cycle it is the number of builds before."""
    if within is not None and within.loop_index is not None:
        return within.loop_index
    if flow is None or not graph.is_cyclic or vertex.id not in graph.cycle_vertices:
        return None
    if getattr(vertex, "is_loop", False) and loops_run_as_subgraphs(graph):
        return None
    return flow.builds.get(vertex.id, 0)


def output_names(vertex: Any) -> tuple[str, ...]:
    """The outputs that ran, without the one that LangFlow adds for use as a tool."""
    results = vertex.results or {}
    return tuple(name for name in results if name != TOOL_OUTPUT)


def model_usage(component: Any) -> ModelUsage:
    """Model, provider and tokens of a component's own model call, as far as LangFlow knows them.

    Tokens come from the component itself and never from its message: a message carries the sum of
    everything upstream. LangFlow counts them since 1.9 (lfx 0.4).
    """
    selected = _selected_model(component)
    usage = getattr(component, "_token_usage", None)
    return ModelUsage(
        model=_text(component, "model_name") or selected.get("name") or _text(component, "model"),
        provider=_text(component, "provider") or selected.get("provider"),
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
    )


def _selected_model(component: Any) -> dict[str, str]:
    """LangFlow's model picker (since 1.8): a list with one dictionary."""
    chosen = getattr(component, "model", None)
    first = chosen[0] if isinstance(chosen, list) and chosen else None
    if not isinstance(first, dict):
        return {}
    return {key: value for key, value in first.items() if isinstance(value, str) and value}


def _text(component: Any, name: str) -> str | None:
    value = getattr(component, name, None)
    return value if isinstance(value, str) and value else None


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None


def own_run(component: Any) -> ComponentRun | None:
    """The current component run if it is this component's own; a component may call another one."""
    run = current_run()
    own = run.component if run is not None else None
    return own if own is not None and own.info.component_id == component._id else None
