"""Tells span attributes with content (messages, inputs, outputs, tool arguments, error messages) from others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from langflow_otel import _semconv as semconv

_CONTENT: Final = (
    *semconv.CONTENT_ATTRIBUTES,
    semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
    semconv.INPUT_VALUE,
    semconv.OUTPUT_VALUE,
    semconv.RETRIEVAL_DOCUMENT,
    semconv.EXCEPTION_MESSAGE,
    semconv.EXCEPTION_STACKTRACE,
)
"""Names, or what they begin with."""
_KNOWN: Final = frozenset(
    value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)
) - frozenset(_CONTENT)

# In names that others chose: of another instrumentor, or of a flow's author.
_WORDS: Final = frozenset(
    {
        *("answer", "argument", "arguments", "args", "body", "choice", "choices", "command", "completion"),
        *("completions", "content", "contents", "data", "description", "document", "documents", "email", "input"),
        *("inputs", "instruction", "instructions", "kwargs", "message", "messages", "observation", "output", "outputs"),
        *("parameter", "parameters", "params", "payload", "prompt", "prompts", "query", "question", "reason", "reply"),
        *("request", "response", "result", "results", "return", "stack", "stacktrace", "statement", "summary", "text"),
        *("thought", "thoughts", "transcript", "uri", "url", "value", "values"),
    }
)
_AMOUNTS: Final = frozenset(
    {"bytes", "cost", "count", "duration", "length", "ms", "seconds", "size", "tokens", "usage"}
)
_SEPARATORS = re.compile(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])")
_LONGEST: Final = 200


def is_content(name: str, value: object) -> bool:
    """True for an attribute that holds content, or may.

    The names that this library and the conventions define are told apart one by one. Any other is taken for content if
    a word of its name says so, unless it is an amount of it, or if it is a text of more than 200 characters.

    Args:
        name: Of the attribute.
        value: Its value; the text of a number counts as one.
    """
    if name.startswith(_CONTENT):
        return True
    if name in _KNOWN:
        return False
    words = {word.lower() for word in _SEPARATORS.split(name)}
    if not _WORDS.isdisjoint(words):
        return _AMOUNTS.isdisjoint(words) or not _is_number(value)
    return len(str(value)) > _LONGEST


def without_content(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The attributes that hold none, and how many others there are."""
    kept = {name: value for name, value in attributes.items() if not is_content(name, value)}
    return kept, len(attributes) - len(kept)


def _is_number(value: object) -> bool:
    try:
        float(str(value).replace(",", ""))
    except ValueError:
        return False
    return True
