"""What components do, as their nodes say it, also where LangFlow creates the class anew from its source."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lfx.components
import pytest
from flows import line, run
from lfx.graph import Graph
from nodes import basic, models
from nodes.edited import Edited

from langflow_otel._hooks.facts import only_offered_tools
from langflow_otel._hooks.kinds import KIND_BY_PACKAGE, component_kind, kinds_by_module

PACKAGES = sorted(each.name for each in pkgutil.iter_modules(lfx.components.__path__) if each.ispkg)


def test_every_package_of_langflows_components_has_a_kind():
    assert len(PACKAGES) > 80
    assert [name for name in PACKAGES if name.lower() not in KIND_BY_PACKAGE] == []


def test_no_component_of_langflow_is_of_no_kind():
    """All of the installed version, by their source: few can be imported without the library of their provider."""
    classes = dict(component_classes())

    assert len(classes) > 100
    assert [module for module, cls in classes.items() if kind_of(module, cls) == "other"] == [
        "lfx.components.custom_component.custom_component.CustomComponent"
    ]


def component_classes() -> Iterator[tuple[str, type]]:
    """Each with the name of its module: a class of the same name and bases, as far as these are components too."""
    root = Path(next(iter(lfx.components.__path__)))
    for path in sorted(root.rglob("*.py")):
        module = ".".join(["lfx.components", *path.relative_to(root).with_suffix("").parts])
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and "display_name" in names_set_in(node):
                bases = tuple(type(name, (), {}) for each in node.bases if (name := getattr(each, "id", None)))
                yield f"{module}.{node.name}", type(node.name, bases, {})


def names_set_in(node: ast.ClassDef) -> set[str]:
    targets = [target for each in node.body if isinstance(each, ast.Assign) for target in each.targets]
    targets += [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
    return {each.id for each in targets if isinstance(each, ast.Name)}


def kind_of(module: str, cls: type) -> str:
    return component_kind(vertex_of(module), cls())


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("lfx.components.data_source.url.URLComponent", "data"),
        ("lfx.components.data_source.sql_executor.SQLComponent", "data"),
        ("lfx.components.files_and_knowledge.save_file.SaveToFileComponent", "data"),
        ("lfx.components.files_and_knowledge.knowledge.KnowledgeComponent", "retriever"),
        ("lfx.components.files_and_knowledge.retrieval.KnowledgeRetrievalComponent", "retriever"),
        ("lfx.components.files_and_knowledge.memory_retrieval.MemoryBaseComponent", "retriever"),
        ("lfx.components.langchain_utilities.self_query.SelfQueryRetrieverComponent", "retriever"),
        ("lfx.components.models_and_agents.memory.MemoryComponent", "data"),
        ("lfx.components.helpers.memory.MemoryComponent", "data"),
        ("lfx.components.processing.parser.ParserComponent", "data"),
        ("lfx.components.processing.structured_output.StructuredOutputComponent", "llm"),
        ("langflow.components.logic.llm_conditional_router.SmartRouterComponent", "llm"),
        *(
            (f"lfx.components.llm_operations.x.{name}", "llm")
            for name in (
                "StructuredOutputComponent",
                "BatchRunComponent",
                "SmartRouterComponent",
                "GuardrailsComponent",
                "GuardrailsV2Component",
                "LambdaFilterComponent",
                "LLMSelectorComponent",
            )
        ),
        ("lfx_arxiv.components.arxiv.arxiv.ArXivComponent", "tool"),
        ("lfx_openai.components.openai.openai_chat_model.OpenAIModelComponent", "llm"),
        ("lfx.components.datastax.astradb_vectorstore.AstraDBVectorStoreComponent", "vector_store"),
        ("lfx.components.input_output.webhook.WebhookComponent", "input"),
        ("lfx.components.files_and_knowledge.filesystem.FileSystemToolComponent", "tool"),
        ("lfx.components.unknown.new.NewComponent", "other"),
        ("custom_components.url_component.URLComponent", "other"),
        ("shop.components.data_source.URLComponent", "other"),
        ("", "other"),
    ],
)
def test_a_node_with_a_plain_base_has_the_kind_of_its_module(module, kind):
    vertex = vertex_of(module)

    assert component_kind(vertex, None) == kind
    assert component_kind(vertex, type("Anew", (basic.Echo,), {})(_id="X-1")) == kind


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("_lfx_ext.official.arxiv.arxiv", "ArXivComponent", "tool"),
        ("_lfx_ext.official.chroma.local_db", "LocalDBComponent", "vector_store"),
        ("_lfx_ext.official.confluent.kafka_consumer", "ConfluentKafkaConsumerComponent", "data"),
        ("_lfx_ext.official.google.gmail_trigger", "GoogleOnGmailTriggerComponent", "input"),
        ("_lfx_ext.official.nvidia.nvidia_embedding", "NVIDIAEmbeddingsComponent", "embedding"),
        ("_lfx_ext.official.openai.openai_chat_model", "OpenAIModelComponent", "llm"),
        ("_lfx_ext.official.somebodys.api", "SomebodysComponent", "tool"),
        ("_lfx_ext.official.vectara.vectara_rag", "VectaraRagComponent", "retriever"),
        ("_lfx_ext.extra.mine.api", "MyComponent", "other"),
        ("custom_components.url", "URLComponent", "other"),
        ("custom_components.url", None, "other"),
    ],
)
def test_a_node_with_a_class_name_of_its_own_has_its_kind(module, name, kind):
    node = {"metadata": {"module": module, "component_class_name": name}}

    assert component_kind(SimpleNamespace(is_input=False, is_output=False, data={"node": node}), None) == kind


@pytest.mark.parametrize(
    ("name", "bases", "kind"),
    [
        ("ParseDataComponent", (), "data"),
        ("SmartRouterComponent", (), "llm"),
        ("YfinanceComponent", (), "tool"),
        ("KnowledgeRetrievalComponent", (), "retriever"),
        ("CustomComponent", (), "other"),
        ("OurOwnComponent", (), "other"),
        # What its base says is more than a name that any author may use.
        ("SearchComponent", (models.FakeModel,), "llm"),
    ],
)
@pytest.mark.parametrize("node", [{}, {"metadata": {"module": "custom_components.edited"}}])
def test_a_node_without_langflows_module_has_its_class_kind(node, name, bases, kind):
    """Flows that LangFlow 1.0 to 1.6 saved, graphs made in Python, and nodes whose code was edited."""
    vertex = SimpleNamespace(is_input=False, is_output=False, data={"node": node})
    cls = type(name, bases or (basic.Echo,), {})

    assert component_kind(vertex, cls(_id="X-1")) == kind


@pytest.mark.parametrize(
    "module",
    [
        "lfx.components.amazon.amazon_bedrock_embedding.AmazonBedrockEmbeddingsComponent",
        "lfx_ollama.components.ollama.ollama_embeddings.OllamaEmbeddingsComponent",
    ],
)
def test_embeddings_with_a_models_base_are_embeddings(module):
    assert component_kind(vertex_of(module), models.FakeModel(_id="X-1")) == "embedding"


def test_a_base_class_says_more_than_a_package():
    module = "lfx.components.processing.something_new.NewComponent"

    assert component_kind(vertex_of(module), models.FakeModel(_id="X-1")) == "llm"


@pytest.mark.parametrize("node", [None, "text", {}, {"metadata": None}, {"metadata": {"module": 7}}])
def test_a_node_that_says_nothing_is_read_by_its_class(node):
    vertex = SimpleNamespace(is_input=False, is_output=False, data={"node": node})

    assert component_kind(vertex, basic.Echo(_id="X-1")) == "other"
    assert component_kind(vertex, models.FakeModel(_id="X-1")) == "llm"


def vertex_of(module: str) -> Any:
    node = {"metadata": {"module": module, "code_hash": "0123456789ab"}}
    return SimpleNamespace(is_input=False, is_output=False, data={"node": node})


async def test_a_run_of_nodes_made_from_their_source_tells_their_kinds(telemetry):
    """As in a server: the class that runs is not the one that its module has."""
    stored = line(Edited).dump()["data"]
    (edited,) = [node for node in stored["nodes"] if node["id"] == "Edited-0"]
    edited["data"]["node"]["metadata"] = {"module": "lfx.components.processing.parser.ParserComponent"}
    await run(Graph.from_payload(stored, flow_name="demo"))

    assert telemetry.tree("langflow.component.kind") == [
        "invoke_workflow demo",
        "  component Chat Input langflow.component.kind=input",
        "  component Edited langflow.component.kind=data",
        "    rank",
        "      lookup",
        "  component Chat Output langflow.component.kind=output",
    ]


def test_names_of_classes_in_the_table_exist_in_some_version():
    """In the installed one, or they would be checked in no version at all."""
    sources = "".join(
        path.read_text(encoding="utf-8") for path in Path(next(iter(lfx.components.__path__))).rglob("*.py")
    )
    kinds = importlib.import_module("langflow_otel._hooks.kinds")
    found = [name for name in kinds._KIND_BY_CLASS if f"class {name}" in sources]

    assert len(found) > 30
    assert all(kinds_by_module(f"lfx.components.x.{name}").certain == kinds._KIND_BY_CLASS[name] for name in found)


async def test_a_component_that_is_no_model_has_its_own_tokens(telemetry):
    await run(line(models.Counts))
    tokens = ("gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")

    assert telemetry.tree(*tokens) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Counts gen_ai.request.model=fake-1 gen_ai.usage.input_tokens=3 gen_ai.usage.output_tokens=5",
        "  component Chat Output",
    ]


async def test_a_component_that_counted_none_names_no_model(telemetry):
    await run(line(models.CountsNothing))

    assert "gen_ai.request.model" not in telemetry.only_span("component Counts Nothing").attributes


@pytest.mark.parametrize(
    ("results", "only_tools"),
    [({"component_as_tool": []}, True), ({"component_as_tool": [], "out": 1}, False), ({}, False), (None, False)],
)
def test_what_a_component_that_only_offered_tools_has_made(results, only_tools):
    assert only_offered_tools(SimpleNamespace(results=results)) is only_tools
