"""Names of model providers, as the GenAI conventions have them."""

from __future__ import annotations

import functools
import weakref
from typing import Final

_VALUES: Final = (
    "anthropic",
    "aws.bedrock",
    "azure.ai.inference",
    "azure.ai.openai",
    "cohere",
    "deepseek",
    "gcp.gemini",
    "gcp.gen_ai",
    "gcp.vertex_ai",
    "groq",
    "ibm.watsonx.ai",
    "mistral_ai",
    "moonshot_ai",
    "openai",
    "perplexity",
    "x_ai",
)
"""All of ``gen_ai.provider.name`` in v0.1.0."""


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


_BY_LETTERS: Final = {
    **{_letters(value): value for value in _VALUES},
    "amazonbedrock": "aws.bedrock",
    "anthropicbedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azureaichatcompletions": "azure.ai.inference",
    "azureaifoundry": "azure.ai.inference",
    "azureaiopenaiapi": "azure.ai.openai",
    "azureopenai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrockconverse": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "googleanthropicvertex": "gcp.vertex_ai",
    "googlegenai": "gcp.gemini",
    "googlegenerativeai": "gcp.gemini",
    "googlevertexai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "ibmwatsonx": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertexai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "watsonxai": "ibm.watsonx.ai",
}
"""Words of LangChain (``ls_provider``) and of LangFlow (the name in its lists), without case and punctuation."""

_BY_CLASS: Final = {"AzureOpenAIEmbeddings": "azure.ai.openai", "BedrockEmbeddings": "aws.bedrock"}
"""Classes of LangChain whose package is also another provider's."""
_OF_NO_PROVIDER: Final = frozenset({"", "core", "classic", "community"})


@functools.lru_cache(maxsize=256)
def provider_name(name: str) -> str:
    """The conventions' value for a provider, or else the given name in small letters, with ``_`` for spaces.

    Args:
        name: As LangChain or LangFlow call it: ``google_genai``, ``Google Generative AI``.
    """
    return _BY_LETTERS.get(_letters(name)) or name.strip().lower().replace(" ", "_")


# Weakly: classes of authors' components are made anew from their source.
_by_class: weakref.WeakKeyDictionary[type, str | None] = weakref.WeakKeyDictionary()


def provider_of_class(cls: type) -> str | None:
    """The provider whose models a class of LangChain calls, by the name of its package, such as ``langchain_openai``.

    Returns:
        None for a class of any other package.
    """
    try:
        return _by_class[cls]
    except KeyError:
        found = _by_class[cls] = _provider_of_class(cls)
        return found


def _provider_of_class(cls: type) -> str | None:
    known = next((_BY_CLASS[base.__name__] for base in cls.__mro__ if base.__name__ in _BY_CLASS), None)
    if known is not None:
        return known
    package, _, name = cls.__module__.partition(".")[0].partition("_")
    return provider_name(name) if package == "langchain" and name not in _OF_NO_PROVIDER else None
