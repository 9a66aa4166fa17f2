"""Arguments and results of tools, and of which tools they stay here.

A component keeps what it is called with as a tool, too. In a conversation with a model a tool has only its name: which
names those are is found by the tools that the caller of the model has.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from typing import Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._content.gate import ContentGate, SpanContent
from langflow_otel._content.plain_values import MAX_ITEMS
from langflow_otel._hooks.component_content import may_leave_whole, open_object, opts_out, text_or_value
from langflow_otel._hooks.facts import component_info
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import ComponentInfo
from langflow_otel._runs.run import Run
from langflow_otel._runs.tool import ToolRun

OWNER: Final = "langflow_otel_owner"
"""On the function of a tool: the component that it runs."""

_FUNCTIONS: Final = ("coroutine", "func")


def tool_content(gate: ContentGate, within: Run, arguments: Any, withheld: Collection[str] = ()) -> SpanContent | None:
    """The arguments of a tool call that is not denied; None if they stay here all the same."""
    if not may_leave_whole(within):
        return None
    content = SpanContent(gate, open_object, withheld)
    content.add(semconv.GEN_AI_TOOL_CALL_ARGUMENTS, text_or_value(arguments))
    return content


def withheld_tools(within: Run) -> frozenset[str]:
    """Names of the tools at hand here whose arguments and results stay here."""
    holders = [each for each in (within.component, within.tool) if each is not None]
    return frozenset().union(*(each.denied_tools() for each in holders))


def take_tools(run: ComponentRun | ToolRun, gate: ContentGate, component: Any) -> None:
    """The component, whose run that is, may call its tools. Which it has shows only when it does: LangFlow renames
    those that have the same name."""
    run.denied_tools = functools.partial(_denied_tools, gate, component)


def is_denied_component(gate: ContentGate, info: ComponentInfo, component: Any) -> bool:
    """True where something of a component stays here by its name or by its author's word: its errors may quote it."""
    names = (info.component_id, info.component_type, info.display_name)
    return gate.denies(*names) or (component is not None and is_denied_as_tool(gate, component))


def is_denied_call(gate: ContentGate, tool: Any, within: Run) -> bool:
    """The same of a tool that is called there."""
    name = str(tool.name)
    owner = _owner_of(tool)
    if within.is_denied or gate.denies(name) or (owner is not None and is_denied_as_tool(gate, owner)):
        return True
    return name in withheld_tools(within)


def is_denied_as_tool(gate: ContentGate, component: Any) -> bool:
    """True where something of a component that is called as a tool stays here by its name: arguments and results name
    its fields, and are not separated by them."""
    names = (*(component.__dict__.get("_inputs") or ()), *(str(output.name) for output in component.outputs))
    kinds = (component.name, type(component).__name__, component.display_name)
    return gate.denies(str(component._id), *kinds, *names) or opts_out(component)


def _denied_tools(gate: ContentGate, component: Any) -> frozenset[str]:
    return frozenset(
        str(tool.name)
        for field, tool in _tools_of(component)
        if gate.denies(str(tool.name)) or _owner_is_denied(gate, component, field, tool)
    )


def _tools_of(component: Any) -> Iterator[tuple[str, Any]]:
    """Each tool that it has, by the field that it is in."""
    own = component.__dict__
    for field, value in (*(own.get("_attributes") or {}).items(), *tuple(own.items())):
        for each in value[:MAX_ITEMS] if type(value) in (list, tuple) else (value,):
            kind: Any = type(each)
            if _is_tool(kind):
                yield field, each


@functools.lru_cache(maxsize=256)
def _is_tool(kind: type) -> bool:
    return any(cls.__name__ == "BaseTool" for cls in kind.__mro__)


def _owner_is_denied(gate: ContentGate, component: Any, field: str, tool: Any) -> bool:
    owner = _owner_of(tool)
    if owner is not None:
        return is_denied_as_tool(gate, owner)
    # A tool of a component's own making: by the components that are wired to the field, and by any of them, since
    # the tools of several come in one list.
    return any(_is_denied_source(gate, source) for source in _sources(component, field))


def _owner_of(tool: Any) -> Any:
    """The component that a tool runs; None where the tool does not say."""
    own = getattr(tool, "__dict__", {})
    owners = (getattr(own.get(name), OWNER, None) for name in _FUNCTIONS)
    return next((owner for owner in owners if owner is not None), None)


def _sources(component: Any, field: str) -> Iterator[Any]:
    vertex = component.__dict__.get("_vertex")
    for edge in getattr(vertex, "incoming_edges", None) or ():
        if getattr(edge, "target_param", None) == field:
            yield vertex.graph.get_vertex(edge.source_id)


def _is_denied_source(gate: ContentGate, vertex: Any) -> bool:
    info = component_info(vertex.graph, vertex)
    if gate.denies(info.component_id, info.component_type, info.display_name):
        return True
    component = vertex.custom_component
    return component is not None and is_denied_as_tool(gate, component)
