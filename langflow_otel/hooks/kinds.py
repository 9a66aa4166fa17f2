"""What a component does, from its own module, its base classes and LangFlow's ``trace_type``."""

from __future__ import annotations

import functools
import weakref
from typing import Any, Final, NamedTuple

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
    "LCCompressorComponent": "retriever",
    "LCChainComponent": "llm",
    "BaseCrewComponent": "agent",
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
_OTHER_APIS: Final = (
    "agentql apify arxiv assemblyai bing cleanlab composio duckduckgo exa firecrawl glean google homeassistant "
    "icosacomputing jigsawstack langwatch mcp needle Notion olivya plivo scrapegraph searchapi serpapi spider tavily "
    "tools toolkits twelvelabs vlmrun wikipedia wolframalpha yahoosearch youtube"
)
_MODELS: Final = (
    "agentics aiml amazon anthropic azure baidu chains cloudflare cohere cometapi deepseek groq huggingface ibm "
    "litellm llm_operations lmstudio maritalk mistral models notdiamond novita nvidia ollama openai openrouter "
    "perplexity sambanova vertexai xai langchain_utilities models_and_agents"
)
_STORES: Final = (
    "FAISS cassandra chroma clickhouse couchbase datastax elastic milvus mongodb pgvector pinecone qdrant redis "
    "supabase upstash vectara vectorstores weaviate"
)
_DATA: Final = (
    "confluence data data_source docling documentloaders files_and_knowledge files_ingestion git knowledge_bases "
    "link_extractors mem0 output_parsers processing textsplitters unstructured zep"
)
KIND_BY_PACKAGE: Final[dict[str, ComponentKind]] = {
    **dict.fromkeys(_OTHER_APIS.split(), "tool"),
    **dict.fromkeys(_MODELS.split(), "llm"),
    **dict.fromkeys(_STORES.split(), "vector_store"),
    **dict.fromkeys(_DATA.split(), "data"),
    **dict.fromkeys(("flow_controls", "logic"), "logic"),
    **dict.fromkeys(("altk", "codeagents", "crewai", "cuga"), "agent"),
    "embeddings": "embedding",
    "prompts": "prompt",
    # Of these no two components do the same.
    **dict.fromkeys(
        ["custom_component", "deactivated", "helpers", "input_output", "prototypes", "triggers", "utilities"],
        "other",
    ),
}
"""By the package of LangFlow's own components, of all versions; what the names of a class and its bases do not say."""
_KIND_BY_CLASS: Final[dict[str, ComponentKind]] = {
    # Of any package: they moved from one to another over the versions.
    "A2AAgentComponent": "agent",
    "BatchRunComponent": "llm",
    "BigQueryExecutorComponent": "data",
    "CSVAgentComponent": "agent",
    "CalculatorComponent": "tool",
    "CohereRerankComponent": "retriever",
    "ConditionalRouterComponent": "logic",
    "DataConditionalRouterComponent": "logic",
    "Dotenv": "data",
    "EmbedComponent": "embedding",
    "EmbeddingSimilarityComponent": "data",
    "FileContentRetrieverComponent": "data",
    "FileDescriptionGeneratorComponent": "llm",
    "GetEnvVar": "data",
    "GmailLoaderComponent": "data",
    "GoogleDriveComponent": "data",
    "GoogleOAuthToken": "data",
    "GuardrailsComponent": "llm",
    "GuardrailsV2Component": "llm",
    "HierarchicalTaskComponent": "prompt",
    "HtmlLinkExtractorComponent": "data",
    "HumanInput": "logic",
    "KnowledgeBaseComponent": "retriever",
    "KnowledgeComponent": "retriever",
    "KnowledgeIngestionComponent": "data",
    "LLMSelectorComponent": "llm",
    "LambdaFilterComponent": "llm",
    "LangChainHubPromptComponent": "prompt",
    "ListenComponent": "logic",
    "LoopComponent": "logic",
    "MCPSse": "tool",
    "MCPStdio": "tool",
    "MCPToolsComponent": "tool",
    "MemoryBaseComponent": "retriever",
    "MemoryComponent": "data",
    "MergeDataComponent": "data",
    "MessageStoreComponent": "data",
    "NotDiamondComponent": "llm",
    "NotifyComponent": "logic",
    "NvidiaIngestComponent": "data",
    "NvidiaRerankComponent": "retriever",
    "PassMessageComponent": "logic",
    "PromptComponent": "prompt",
    "PythonREPLComponent": "tool",
    "RunFlowComponent": "logic",
    "S3BucketUploaderComponent": "data",
    "SQLDatabaseComponent": "data",
    "SequentialTaskComponent": "prompt",
    "SmartRouterComponent": "llm",
    "SpiderTool": "tool",
    "SplitTextComponent": "data",
    "SplitVideoComponent": "data",
    "StructuredOutputComponent": "llm",
    "SubFlowComponent": "logic",
    "VectaraRagComponent": "retriever",
    "VectorStoreInfoComponent": "vector_store",
    "VideoFileComponent": "data",
}
_KIND_BY_PART_OF_NAME: Final[dict[str, ComponentKind]] = {
    "Retriever": "retriever",
    "Retrieval": "retriever",
    "Retriver": "retriever",
    "ChatMemory": "data",
    "TextSplitter": "data",
    "Embedding": "embedding",
    "VectorStore": "vector_store",
    "AgentComponent": "agent",
}

_kinds: weakref.WeakKeyDictionary[type, ComponentKind | None] = weakref.WeakKeyDictionary()


def component_kind(vertex: Any, component: Any) -> ComponentKind:
    """What the component does. Without a component (not built yet) only LangFlow's own flags and its node tell."""
    if vertex.is_input:
        return "input"
    if vertex.is_output:
        return "output"
    by_node = kinds_by_module(_module_of(vertex))
    if by_node.certain is not None:
        return by_node.certain
    by_class = None if component is None else _kind_of_class(type(component))
    return by_class or by_node.likely or "other"


class ByModule(NamedTuple):
    """What the name of a component's module and class say.

    Attributes:
        certain: Whatever its base classes are; None if the name does not say.
        likely: Unless its base classes say something else; None for code that is not LangFlow's.
    """

    certain: ComponentKind | None
    likely: ComponentKind | None


@functools.lru_cache(maxsize=1024)
def kinds_by_module(module: str) -> ByModule:
    """By a module with the name of the class at its end, such as ``lfx.components.data_source.url.URLComponent``."""
    parts = module.split(".")
    # A bundle is a distribution of its own since LangFlow 1.10: lfx_openai.components.openai.
    root, *rest = parts
    if not (root in ("lfx", "langflow") or root.startswith("lfx_")) or len(rest) < 2 or rest[0] != "components":
        return ByModule(None, None)
    package, name = rest[1], parts[-1]
    by_part = next((kind for part, kind in _KIND_BY_PART_OF_NAME.items() if part in name), None)
    certain = _KIND_BY_CLASS.get(name) or (by_part if by_part == "embedding" else None)
    return ByModule(certain, by_part or KIND_BY_PACKAGE.get(package))


def _module_of(vertex: Any) -> str:
    """The module of the node's own class, which LangFlow creates anew from its source; empty where it has none."""
    node = vertex.data.get("node")
    metadata = node.get("metadata") if isinstance(node, dict) else None
    module = metadata.get("module") if isinstance(metadata, dict) else None
    return module if isinstance(module, str) else ""


def _kind_of_class(cls: type) -> ComponentKind | None:
    if cls in _kinds:
        return _kinds[cls]
    names = [kinds_by_module(f"{base.__module__}.{base.__name__}") for base in cls.__mro__]
    kind = (
        next((each.certain for each in names if each.certain), None)
        or _kind_by_base(cls)
        or _KIND_BY_TRACE_TYPE.get(getattr(cls, "trace_type", ""))
        or next((each.likely for each in names if each.likely), None)
    )
    _kinds[cls] = kind
    return kind


def _kind_by_base(cls: type) -> ComponentKind | None:
    return next((_KIND_BY_BASE[base.__name__] for base in cls.__mro__ if base.__name__ in _KIND_BY_BASE), None)
