"""LangFlow's graphs, vertices and components become facts."""

from __future__ import annotations

import functools
import hashlib
import weakref
from contextvars import ContextVar
from typing import Any

from opentelemetry.trace import SpanContext

from langflow_otel._content.limits import chosen
from langflow_otel._content.plain_values import sendable
from langflow_otel._hooks.kinds import component_kind
from langflow_otel._hooks.versions import command_entry_point, loops_run_as_subgraphs, served_entry_point
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import UNNAMED, ComponentInfo, FlowInfo
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.run import Run, current_run

TOOL_OUTPUT = "component_as_tool"

entry_point: ContextVar[str | None] = ContextVar("langflow_otel_entry_point", default=None)
"""The entry point, where the caller knows better than LangFlow: our own CLI."""
request_entry_point: ContextVar[str | None] = ContextVar("langflow_otel_request_entry_point", default=None)
"""The entry point that the path of the current request says; LangFlow knows better, from 1.12 on."""
queued_by: ContextVar[SpanContext | None] = ContextVar("langflow_otel_queued_by", default=None)
"""The span that submitted the background job that this code belongs to."""

_names: dict[int, tuple[weakref.ref[Any], str]] = {}


def remember_name(graph: Any, name: str) -> None:
    """The name of a flow that was loaded from a file, which LangFlow does not keep."""
    key = id(graph)
    _names[key] = (weakref.ref(graph, lambda _: _names.pop(key, None)), name)


def copy_name(graph: Any, copy: Any) -> None:
    """A server copies the graph of its flow for each request."""
    remembered = _names.get(id(graph))
    if remembered is not None and remembered[0]() is graph:
        remember_name(copy, remembered[1])


def flow_info(graph: Any, within: Run | None, session_id: str | None = None) -> FlowInfo:
    """Identity of a run of this graph; LangFlow sets some of it only while it runs."""
    run_id = getattr(graph, "_run_id", None)
    flow_id = getattr(graph, "source_flow_id", None) or graph.flow_id
    user_id = getattr(graph, "user_id", None)
    return FlowInfo(
        name=flow_name(graph),
        entry_point=entry_point_of(within),
        flow_id=sendable(str(flow_id)) if flow_id else None,
        run_id=str(run_id) if run_id else None,
        session_id=sendable(str(session_id or getattr(graph, "session_id", None) or "")) or None,
        user_id=sendable(str(user_id)) if user_id else None,
        component_count=len(graph.vertices),
        version=flow_version(graph),
    )


def flow_name(graph: Any) -> str:
    if graph.flow_name:
        return sendable(str(graph.flow_name))
    remembered = _names.get(id(graph))
    return sendable(remembered[1]) if remembered is not None and remembered[0]() is graph else UNNAMED


def entry_point_of(within: Run | None) -> str:
    if within is not None and within.component is not None:
        return "flow"
    return entry_point.get() or served_entry_point() or request_entry_point.get() or command_entry_point() or "sdk"


class _GraphFacts:
    """What is the same for every run of one graph object, computed once."""

    __slots__ = ("components", "graph", "size", "version")

    def __init__(self, graph: Any, size: int) -> None:
        self.graph = weakref.ref(graph, functools.partial(_forget, id(graph)))
        self.size = size
        self.version = _definition_hash(graph)
        self.components: dict[str, ComponentInfo] = {}


_graph_facts: dict[int, _GraphFacts] = {}  # by id(): a Graph's own hash is slow, and changes


def _forget(key: int, _: object) -> None:
    _graph_facts.pop(key, None)


def _facts_of(graph: Any) -> _GraphFacts:
    size = len(graph.vertices) + len(graph.edges)
    known = _graph_facts.get(id(graph))
    if known is None or known.size != size or known.graph() is not graph:
        known = _graph_facts[id(graph)] = _GraphFacts(graph, size)
    return known


def flow_version(graph: Any) -> str:
    """12 hex digits of SHA-256 over component types, code and edges; no values, no generated ids.

    The same over runs, processes and machines.
    """
    return _facts_of(graph).version


def _definition_hash(graph: Any) -> str:
    types = {vertex.id: _type_of(vertex) for vertex in graph.vertices}
    lines = sorted(f"{types[vertex.id]} {code_hash(vertex) or _source_hash(vertex)}" for vertex in graph.vertices)
    lines += sorted(
        f"{types.get(edge.source_id)}.{_handle_name(edge, 'source_handle', 'name')} > "
        f"{types.get(edge.target_id)}.{_handle_name(edge, 'target_handle', 'field_name')}"
        for edge in graph.edges
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:12]


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
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:12] if isinstance(value, str) else ""


def component_info(graph: Any, vertex: Any) -> ComponentInfo:
    """Identity of a vertex; kept for the graph's next run once the component's class is known."""
    known = _facts_of(graph).components
    info = known.get(vertex.id)
    if info is None or info.display_name != vertex.display_name:
        info = ComponentInfo(
            component_id=vertex.id,
            component_type=sendable(_type_of(vertex)),
            display_name=sendable(str(vertex.display_name)),
            kind=component_kind(vertex, vertex.custom_component),
            code_hash=code_hash(vertex),
        )
        if vertex.custom_component is not None:
            known[vertex.id] = info
    return info


def loop_index(graph: Any, vertex: Any, within: Run | None, flow: FlowRun | None) -> int | None:
    """Which iteration of a loop this build is. In a cycle it is the number of builds before."""
    if within is not None and within.loop_index is not None:
        return within.loop_index
    if flow is None or not graph.is_cyclic or vertex.id not in graph.cycle_vertices:
        return None
    if getattr(vertex, "is_loop", False) and loops_run_as_subgraphs(graph):
        return None
    return flow.builds.get(chosen(vertex.id), 0)


def output_names(vertex: Any) -> tuple[str, ...]:
    """The outputs that ran, without the one that LangFlow adds for use as a tool."""
    results = vertex.results or {}
    return tuple(name for name in results if name != TOOL_OUTPUT)


def only_offered_tools(vertex: Any) -> bool:
    """True if nothing of the component ran but what makes a tool of it for an agent."""
    return bool(vertex.results) and all(name == TOOL_OUTPUT for name in vertex.results)


def own_run(component: Any) -> ComponentRun | None:
    """The current component run if it is this component's own; a component may call another one."""
    run = current_run()
    own = run.component if run is not None else None
    return own if own is not None and own.info.component_id == chosen(str(component._id)) else None
