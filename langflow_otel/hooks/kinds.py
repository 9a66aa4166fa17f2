"""What a component does, from its base classes, LangFlow's ``trace_type`` and its package."""

from __future__ import annotations

import weakref
from typing import Any

from langflow_otel.recording.facts import ComponentKind

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
