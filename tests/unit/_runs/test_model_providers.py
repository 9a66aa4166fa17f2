"""Model providers have the names of the GenAI conventions, whoever says them."""

from __future__ import annotations

import pytest

from langflow_otel._runs.model_providers import provider_name, provider_of_class


@pytest.mark.parametrize(
    ("said", "value"),
    [
        # As LangFlow has them in its lists of models.
        ("Amazon Bedrock", "aws.bedrock"),
        ("Anthropic", "anthropic"),
        ("Azure AI Foundry", "azure.ai.inference"),
        ("Azure OpenAI", "azure.ai.openai"),
        ("Google Generative AI", "gcp.gemini"),
        ("Groq", "groq"),
        ("IBM WatsonX", "ibm.watsonx.ai"),
        ("IBM watsonx.ai", "ibm.watsonx.ai"),
        ("IBM Watsonx", "ibm.watsonx.ai"),
        ("NVIDIA", "nvidia"),
        ("Ollama", "ollama"),
        ("OpenAI", "openai"),
        ("OpenRouter", "openrouter"),
        # As LangChain has them.
        ("amazon_bedrock", "aws.bedrock"),
        ("azure", "azure.ai.openai"),
        ("google_anthropic_vertex", "gcp.vertex_ai"),
        ("google_genai", "gcp.gemini"),
        ("google_vertexai", "gcp.vertex_ai"),
        ("ibm", "ibm.watsonx.ai"),
        ("mistralai", "mistral_ai"),
        ("xai", "x_ai"),
        # The conventions' own.
        ("gcp.gen_ai", "gcp.gen_ai"),
        ("mistral_ai", "mistral_ai"),
        # Of nobody.
        ("My House", "my_house"),
        ("", ""),
    ],
)
def test_a_provider_has_the_name_of_the_conventions(said: str, value: str):
    assert provider_name(said) == value


@pytest.mark.parametrize(
    ("module", "name", "provider"),
    [
        ("langchain_openai.embeddings.base", "OpenAIEmbeddings", "openai"),
        ("langchain_openai.embeddings.azure", "AzureOpenAIEmbeddings", "azure.ai.openai"),
        ("langchain_aws.embeddings.bedrock", "BedrockEmbeddings", "aws.bedrock"),
        ("langchain_google_genai.embeddings", "GoogleGenerativeAIEmbeddings", "gcp.gemini"),
        ("langchain_nvidia_ai_endpoints", "NVIDIAEmbeddings", "nvidia_ai_endpoints"),
        ("langchain_community.embeddings.fake", "FakeEmbeddings", None),
        ("langchain_core.embeddings.fake", "FakeEmbeddings", None),
        ("langchain.embeddings", "CacheBackedEmbeddings", None),
        ("house.models", "Embeddings", None),
    ],
)
def test_a_class_has_the_provider_of_its_package(module: str, name: str, provider: str | None):
    cls = type(name, (), {"__module__": module})

    assert provider_of_class(cls) == provider


def test_a_class_of_the_authors_has_the_provider_of_its_base():
    base = type("AzureOpenAIEmbeddings", (), {"__module__": "langchain_openai.embeddings.azure"})
    of_author = type("HouseEmbeddings", (base,), {"__module__": "house.models"})

    assert provider_of_class(of_author) == "azure.ai.openai"
