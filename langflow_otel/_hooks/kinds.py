"""What a component does, from its own module, its base classes and LangFlow's ``trace_type``."""

from __future__ import annotations

import functools
import weakref
from typing import Any, Final, NamedTuple

from langflow_otel._runs.facts import ComponentKind

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
    "BaseTriggerComponent": "input",
    "ComposioBaseComponent": "tool",
    "MCPPresetComponent": "tool",
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
    "agentql apify arxiv assemblyai bing cleanlab composio duckduckgo exa figranium firecrawl funasr github glean "
    "google homeassistant icosacomputing jigsawstack langwatch mcp microsoft mrscraper needle notion olivya plivo "
    "scrapegraph searchapi serpapi serper slack spider tavily tools toolkits twelvelabs vlmrun wikipedia wolframalpha "
    "yahoosearch youtube"
)
_MODELS: Final = (
    "agentics aiml amazon anthropic azure baidu chains cloudflare cohere cometapi deepseek groq huggingface ibm "
    "litellm llm_operations lmstudio maritalk mistral models notdiamond novita nvidia ollama openai openrouter "
    "perplexity sambanova vertexai vllm xai langchain_utilities models_and_agents"
)
_STORES: Final = (
    "cassandra chroma clickhouse couchbase datastax elastic faiss milvus mongodb pgvector pinecone qdrant redis "
    "supabase upstash vectara vectorstores weaviate"
)
_DATA: Final = (
    "confluence confluent data data_source deactivated docling documentloaders files_and_knowledge files_ingestion git "
    "helpers knowledge_bases link_extractors mem0 oracle output_parsers processing prototypes textsplitters "
    "unstructured utilities zep"
)
KIND_BY_PACKAGE: Final[dict[str, ComponentKind]] = {
    **dict.fromkeys(_OTHER_APIS.split(), "tool"),
    **dict.fromkeys(_MODELS.split(), "llm"),
    **dict.fromkeys(_STORES.split(), "vector_store"),
    **dict.fromkeys(_DATA.split(), "data"),
    **dict.fromkeys(("flow_controls", "logic"), "logic"),
    **dict.fromkeys(("agents", "altk", "astra_assistants", "codeagents", "crewai", "cuga"), "agent"),
    **dict.fromkeys(("input_output", "inputs", "triggers"), "input"),
    "outputs": "output",
    "embeddings": "embedding",
    "prompts": "prompt",
    "retrievers": "retriever",
    # The template from which an author starts.
    "custom_component": "other",
}
"""By the package of LangFlow's own components, of all versions; for a class whose own name and bases do not decide."""
_KIND_BY_CLASS: Final[dict[str, ComponentKind]] = {
    # Of any package: they moved from one to another over the versions.
    "A2AAgentComponent": "agent",
    "AstraVectorizeComponent": "embedding",
    "BatchRunComponent": "llm",
    "BigQueryExecutorComponent": "data",
    "CSVAgentComponent": "agent",
    "CalculatorComponent": "tool",
    "ChatInput": "input",
    "ChatOutput": "output",
    "CohereRerankComponent": "retriever",
    "ConditionalRouterComponent": "logic",
    "CustomComponent": "other",
    "DataConditionalRouterComponent": "logic",
    "Dotenv": "data",
    "EmbedComponent": "embedding",
    "EmbeddingSimilarityComponent": "data",
    "FileContentRetrieverComponent": "data",
    "FileDescriptionGeneratorComponent": "llm",
    "FileSystemToolComponent": "tool",
    "GetEnvVar": "data",
    "GmailLoaderComponent": "data",
    "GoogleDriveComponent": "data",
    "GoogleOAuthToken": "data",
    "GuardrailsComponent": "llm",
    "GuardrailsV2Component": "llm",
    "HierarchicalTaskComponent": "prompt",
    "HtmlLinkExtractorComponent": "data",
    "HumanInput": "logic",
    "JSONDocumentBuilder": "data",
    "KnowledgeBaseComponent": "retriever",
    "KnowledgeComponent": "retriever",
    "KnowledgeIngestionComponent": "data",
    "LLMRouterComponent": "llm",
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
    "MergeFlowsComponent": "logic",
    "MessageStoreComponent": "data",
    "NotDiamondComponent": "llm",
    "NotifyComponent": "logic",
    "NvidiaIngestComponent": "data",
    "NvidiaRerankComponent": "retriever",
    "NvidiaSystemAssistComponent": "tool",
    "PassMessageComponent": "logic",
    "PoliciesComponent": "tool",
    "PromptComponent": "prompt",
    "PythonFunctionComponent": "tool",
    "PythonREPLComponent": "tool",
    "RunFlowComponent": "logic",
    "RunnableExecComponent": "llm",
    "S3BucketUploaderComponent": "data",
    "SQLDatabaseComponent": "data",
    "SelectivePassThroughComponent": "logic",
    "SequentialTaskComponent": "prompt",
    "ShouldRunNextComponent": "logic",
    "SmartRouterComponent": "llm",
    "SpiderTool": "tool",
    "SplitTextComponent": "data",
    "SplitVideoComponent": "data",
    "StructuredOutputComponent": "llm",
    "SubFlowComponent": "logic",
    "TextInputComponent": "input",
    "TextOutputComponent": "output",
    "VectaraRagComponent": "retriever",
    "VectorStoreInfoComponent": "vector_store",
    "VideoFileComponent": "data",
    "WatsonxDataMCPComponent": "tool",
    "WatsonxDataPrestoComponent": "data",
    "WebhookComponent": "input",
}
_KIND_BY_PART_OF_NAME: Final[dict[str, ComponentKind]] = {
    "Firecrawl": "tool",
    "Trigger": "input",
    "Retriever": "retriever",
    "Retrieval": "retriever",
    "Retriver": "retriever",
    "ChatMemory": "data",
    "TextSplitter": "data",
    "Embedding": "embedding",
    "AgentComponent": "agent",
    "VectorStore": "vector_store",
}
_DATA_CLASSES: Final = (
    "APIRequestComponent AlterMetadataComponent CSVToDataComponent CombineTextComponent CreateDataComponent "
    "CreateListComponent CurrentDateComponent DataFilterComponent DataFrameOperationsComponent DataOperationsComponent "
    "DataToDataFrameComponent DirectoryComponent ExtractDataKeyComponent FileComponent FilterDataComponent "
    "IDGeneratorComponent JSONCleaner JSONToDataComponent MessageToDataComponent NewsSearchComponent "
    "OutputParserComponent ParseDataComponent ParseDataFrameComponent ParseJSONDataComponent ParserComponent "
    "RSSReaderComponent RegexExtractorComponent SQLComponent SQLExecutorComponent SaveToFileComponent "
    "SelectDataComponent StoreMessageComponent TypeConverterComponent URLComponent UpdateDataComponent "
    "WebSearchComponent"
)
_TOOL_CLASSES: Final = (
    "AgentQL ApifyActorsComponent ArXivComponent AssemblyAITranscriptionJobCreator AssemblyAITranscriptionJobPoller "
    "DuckDuckGoSearchComponent ExaSearchToolkit GoogleSearchAPICore GoogleSerperAPICore NeedleComponent "
    "ScrapeGraphSearchApi SearchComponent SerpComponent TavilyExtractComponent TavilySearchComponent WikidataComponent "
    "WikipediaComponent YfinanceComponent YouTubeCommentsComponent YouTubeTranscriptsComponent"
)
_KIND_WITHOUT_MODULE: Final[dict[str, ComponentKind]] = {
    **dict.fromkeys(_DATA_CLASSES.split(), "data"),
    **dict.fromkeys(_TOOL_CLASSES.split(), "tool"),
    **dict.fromkeys(("KnowledgeRetrievalComponent", "RetrieverToolComponent"), "retriever"),
    **dict.fromkeys(("CrewAIAgentComponent", "SequentialTaskAgentComponent"), "agent"),
    **_KIND_BY_CLASS,
}
"""Of LangFlow's own plain classes, by name alone: flows that LangFlow 1.6 and earlier saved do not name the module, and
LangFlow calls it a custom one once the code of the node was edited."""

_kinds: weakref.WeakKeyDictionary[type, ComponentKind | None] = weakref.WeakKeyDictionary()


def component_kind(vertex: Any, component: Any) -> ComponentKind:
    """What the component does. Without a component (not built yet) only LangFlow's own flags and its node decide."""
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
    """The kind of a component by the name of its module and class.

    Attributes:
        certain: Whatever its base classes are; None if the name does not decide.
        likely: Unless its base classes decide otherwise; None for code that is not LangFlow's.
    """

    certain: ComponentKind | None
    likely: ComponentKind | None


@functools.lru_cache(maxsize=1024)
def kinds_by_module(module: str) -> ByModule:
    """By a module with the name of the class at its end, such as ``lfx.components.data_source.url.URLComponent``."""
    package, name = _package_of(module), module.rpartition(".")[2]
    if package is None:
        return ByModule(None, None)
    by_part = next((kind for part, kind in _KIND_BY_PART_OF_NAME.items() if part in name), None)
    certain = _KIND_BY_CLASS.get(name) or (by_part if by_part == "embedding" else None)
    # A bundle whose package is not in the table calls another service.
    unknown: ComponentKind | None = None if module.startswith(_OWN_ROOTS) else "tool"
    return ByModule(certain, by_part or KIND_BY_PACKAGE.get(package.lower(), unknown))


_OWN_ROOTS: Final = ("lfx.", "langflow.")
_INSTALLED_BUNDLES: Final = "_lfx_ext.official."
"""How LangFlow names the modules of a bundle that is a distribution of its own, from 1.10 on."""


def _package_of(module: str) -> str | None:
    """The package of LangFlow's components, or the bundle, that a module belongs to; None for code of an author."""
    parts = module.split(".")
    if module.startswith(_INSTALLED_BUNDLES):
        at = 2
    elif module.startswith(_OWN_ROOTS):
        at = 2 if parts[1] == "components" else len(parts)
    elif module.startswith("lfx_"):  # its own name: lfx_openai.components.openai, lfx_bundles.chroma
        at = 2 if parts[1:2] == ["components"] else 1
    else:
        return None
    return parts[at] if len(parts) > at + 1 else None


def _module_of(vertex: Any) -> str:
    """The module of the node's own class, which LangFlow creates anew from its source, with the name of that class at
    its end; empty where it has none."""
    node = vertex.data.get("node")
    metadata = node.get("metadata") if isinstance(node, dict) else None
    if not isinstance(metadata, dict):
        return ""
    module, name = metadata.get("module"), metadata.get("component_class_name")
    if not isinstance(module, str):
        return ""
    # Of a bundle's node LangFlow names the two apart.
    return f"{module}.{name}" if isinstance(name, str) and not module.endswith(f".{name}") else module


def _kind_of_class(cls: type) -> ComponentKind | None:
    if cls in _kinds:
        return _kinds[cls]
    names = [kinds_by_module(f"{base.__module__}.{base.__name__}") for base in cls.__mro__]
    kind = (
        next((each.certain for each in names if each.certain), None)
        or _kind_by_base(cls)
        or _KIND_BY_TRACE_TYPE.get(getattr(cls, "trace_type", ""))
        or next((each.likely for each in names if each.likely), None)
        or _KIND_WITHOUT_MODULE.get(cls.__name__)
    )
    _kinds[cls] = kind
    return kind


def _kind_by_base(cls: type) -> ComponentKind | None:
    return next((_KIND_BY_BASE[base.__name__] for base in cls.__mro__ if base.__name__ in _KIND_BY_BASE), None)
