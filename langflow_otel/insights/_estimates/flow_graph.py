"""The graph of a flow as LangFlow exports it: components, their models, and what waits for what. Needs no LangFlow."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_NO_COMPONENTS: Final = ("noteNode", "note", "undefined")
_HANDED_OVER: Final = frozenset({"LanguageModel", "Embeddings", "Retriever", "VectorStore", "Tool", "Toolset", "Agent"})
_MODELS: Final = frozenset({"LanguageModel", "Embeddings"})
_MODEL_FIELDS: Final = ("model_name", "model", "model_id", "deployment_name")
_TOOLS_FIELD: Final = "tools"
_MAX_DEPTH: Final = 20
_MAX_BYTES: Final = 100 * 1024 * 1024


class FlowFileError(ValueError):
    """A file is no flow; the message says what is wrong."""


@dataclass(frozen=True)
class FlowComponent:
    """A component of a flow.

    Attributes:
        component_type: As the spans have it in ``langflow.component.type``.
        model: Of its settings, or of the model that is connected to it; empty where there is none.
        hands_over: Others get an object from it, such as a model, and nothing that it has made with it.
        offers_tools: It is a tool of an agent: it runs within the agent, as often as that calls it.
    """

    component_id: str
    component_type: str
    name: str
    model: str = ""
    hands_over: bool = False
    offers_tools: bool = False


@dataclass(frozen=True)
class FlowGraph:
    """A flow.

    Attributes:
        name, flow_id: Empty where the file does not say.
        components: By their ids.
        edges: Ids of a component and one that waits for it.
    """

    name: str
    flow_id: str
    components: Mapping[str, FlowComponent]
    edges: frozenset[tuple[str, str]]

    def steps(self) -> list[tuple[str, ...]]:
        """The components in an order in which each comes after those it waits for; those of a loop are together.

        The strongly connected components of the graph, by the algorithm of Tarjan (1972), without recursion.
        """
        after: dict[str, list[str]] = {each: [] for each in self.components}
        for source, target in sorted(self.edges):
            after[source].append(target)
        return list(reversed(list(_connected(after))))

    def before(self, step: Iterable[str]) -> set[str]:
        """What these components wait for, without each other."""
        members = set(step)
        return {source for source, target in self.edges if target in members} - members

    def is_loop(self, step: Sequence[str]) -> bool:
        return len(step) > 1 or (step[0], step[0]) in self.edges


def _connected(after: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in after:
        if root in number:
            continue
        work: list[tuple[str, int]] = [(root, 0)]
        while work:
            node, place = work.pop()
            if place == 0:
                number[node] = low[node] = len(number)
                stack.append(node)
                on_stack.add(node)
            else:
                low[node] = min(low[node], low[after[node][place - 1]])
            for index in range(place, len(after[node])):
                target = after[node][index]
                if target not in number:
                    work += [(node, index + 1), (target, 0)]
                    break
                if target in on_stack:
                    low[node] = min(low[node], number[target])
            else:
                if low[node] == number[node]:
                    cut = stack.index(node)
                    members, stack[cut:] = tuple(stack[cut:]), []
                    on_stack.difference_update(members)
                    yield members


def read_flow(path: Path) -> FlowGraph:
    """The graph of a flow file: JSON as LangFlow exports it.

    Raises:
        OSError: The file cannot be read.
        FlowFileError: It is no flow.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise FlowFileError("it is larger than 100 MiB: no flow is")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise FlowFileError("it is no JSON; export the flow from LangFlow as a JSON file") from exc
    return flow_graph(document)


def flow_graph(document: Any) -> FlowGraph:
    """The same of a document that was read.

    Raises:
        FlowFileError: It is no flow.
    """
    if isinstance(document, list) or (isinstance(document, dict) and isinstance(document.get("flows"), list)):
        flows = document if isinstance(document, list) else document["flows"]
        if len(flows) != 1:
            raise FlowFileError(f"it holds {len(flows)} flows; export the one that is meant")
        document = flows[0]
    data = _of(document, "data") if isinstance(document, dict) and "data" in document else document
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise FlowFileError("it is no flow: it has no nodes")
    nodes, edges = _flat(data, 0)
    if not nodes:
        raise FlowFileError("the flow has no components")
    links = [link for edge in edges if (link := _link(edge)) is not None and {link.source, link.target} <= nodes.keys()]
    outgoing: dict[str, list[_Link]] = defaultdict(list)
    models: dict[str, list[str]] = defaultdict(list)
    for link in links:
        outgoing[link.source].append(link)
        if link.outputs & _MODELS:
            models[link.target].append(_model(nodes[link.source]))
    components = {each: _component(each, node, outgoing[each], models[each]) for each, node in nodes.items()}
    return FlowGraph(
        name=_text(document.get("name")),
        flow_id=_text(document.get("id")),
        components=components,
        edges=frozenset((link.source, link.target) for link in links),
    )


@dataclass(frozen=True)
class _Link:
    source: str
    target: str
    field: str
    outputs: frozenset[str]


def _flat(data: Mapping[str, Any], depth: int) -> tuple[dict[str, dict[str, Any]], list[Any]]:
    """Nodes by id, and edges; components that are grouped as if they were not."""
    nodes: dict[str, dict[str, Any]] = {}
    given = data.get("edges")
    edges = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    for node in data["nodes"]:
        inner = _of(node, "data")
        if not isinstance(inner, dict) or node.get("type") in _NO_COMPONENTS or inner.get("type") in _NO_COMPONENTS:
            continue
        component_id = _text(node.get("id")) or _text(inner.get("id"))
        grouped = _of(_of(_of(inner, "node"), "flow"), "data")
        if isinstance(grouped, dict) and isinstance(grouped.get("nodes"), list) and depth < _MAX_DEPTH:
            within, links = _flat(grouped, depth + 1)
            nodes |= within
            edges += links
        elif component_id:
            nodes[component_id] = inner
    return nodes, edges


def _link(edge: Mapping[str, Any]) -> _Link | None:
    source, target = (_of(_of(edge, "data"), each) for each in ("sourceHandle", "targetHandle"))
    # Of a group, the component within.
    ends = [
        _text(_of(_of(handle, "proxy"), "id")) or _text(_of(handle, "id")) or _text(edge.get(name))
        for handle, name in ((source, "source"), (target, "target"))
    ]
    outputs = _of(source, "output_types")
    if not all(ends):
        return None
    texts = frozenset(map(str, outputs)) if isinstance(outputs, list) else frozenset()
    return _Link(ends[0], ends[1], _text(_of(target, "fieldName")), texts)


def _component(
    component_id: str, node: Mapping[str, Any], outgoing: Sequence[_Link], given_models: Sequence[str]
) -> FlowComponent:
    return FlowComponent(
        component_id=component_id,
        component_type=_text(node.get("type")) or "unknown",
        name=_text(_of(node.get("node"), "display_name")) or _text(node.get("display_name")) or component_id,
        model=next(filter(None, given_models), "") or _model(node),
        hands_over=bool(outgoing) and all(link.outputs and link.outputs <= _HANDED_OVER for link in outgoing),
        offers_tools=bool(outgoing) and all(link.field == _TOOLS_FIELD for link in outgoing),
    )


def _model(node: Mapping[str, Any]) -> str:
    """The name of a model in the settings of a component."""
    template = _of(node.get("node"), "template")
    for field in _MODEL_FIELDS:
        value = _of(_of(template, field), "value")
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, str) and value:
            return value
    return ""


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
