"""Facts about model calls, from the data of LangChain and LangFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from langflow_otel import _semconv as semconv
from langflow_otel._content.limits import MAX_NAME, chosen, chosen_names
from langflow_otel._hooks.versions import token_usage
from langflow_otel._runs.facts import ModelInfo, ModelResponse, ModelUsage, token_count
from langflow_otel._runs.model_providers import provider_name

_DOUBLES: Final = {
    semconv.GEN_AI_REQUEST_TEMPERATURE: ("temperature", "ls_temperature"),
    semconv.GEN_AI_REQUEST_TOP_P: ("top_p",),
    semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: ("frequency_penalty",),
    semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: ("presence_penalty",),
}
_INTEGERS: Final = {
    semconv.GEN_AI_REQUEST_TOP_K: ("top_k",),
    semconv.GEN_AI_REQUEST_MAX_TOKENS: (
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "ls_max_tokens"),
    ),
    semconv.GEN_AI_REQUEST_SEED: ("seed",),
}
_MODELS: Final = ("model_name", "model", "model_id", "ls_model_name", "azure_deployment")
_CHOICES: Final = "n"
_STREAMS: Final = ("stream", "streaming")
_PROVIDER: Final = "ls_provider"

_READ: Final = (
    *_MODELS,
    *(name for names in (*_DOUBLES.values(), *_INTEGERS.values()) for name in names),
    *(_CHOICES, *_STREAMS, _PROVIDER),
)
_OF_CALL: Final = tuple(name for name in _READ if not name.startswith("ls_"))
_OF_MANAGER: Final = tuple(name for name in _READ if name.startswith("ls_"))
"""LangChain's own names, in the metadata of its callback managers."""

_FINISH_REASONS: Final = ("finish_reason", "stop_reason", "done_reason", "stopReason")
_Counts: TypeAlias = "tuple[int | None, int | None, int | None, int | None, int | None]"
"""Tokens, in the order of :class:`ModelResponse`."""
_NO_COUNTS: Final[_Counts] = (None, None, None, None, None)
_LEVELS: Final = ("reasoning_effort", "thinking_level")
_STRUCTURED: Final = "ls_structured_output_format"
"""In the options of a call, by LangChain's ``with_structured_output``."""
_LARGEST: Final = 2**63
_OWN_IDS: Final = ("run-", "lc_run-")
"""How the ids begin that LangChain gives to a message itself."""
_MAX_GENERATIONS: Final = 16
_MAX_INFOS: Final = 128
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})

_infos: dict[tuple[Any, ...], ModelInfo] = {}
"""A flow calls few models, in the same way each time."""


def model_info(
    operation: Literal["chat", "text_completion"],
    parameters: Mapping[str, Any],
    metadata: Mapping[str, Any],
    options: Mapping[str, Any] = _EMPTY,
) -> ModelInfo:
    """A call that starts; the same object for each call of the same model with the same parameters.

    Args:
        operation: See :class:`ModelInfo`.
        parameters: What the model is called with.
        metadata: Of the callback manager.
        options: Of the call.
    """
    more = _level(parameters), _STRUCTURED in options or _asks_for_json(parameters)
    key = (operation, *more, *map(parameters.get, _OF_CALL), *map(metadata.get, _OF_MANAGER))
    try:
        found = _infos.get(key)
    except TypeError:  # A list, or whatever else an author gives in place of a number.
        return _new_info(operation, parameters, metadata, *more)
    if found is None:
        found = _new_info(operation, parameters, metadata, *more)
        # Anything else would be kept from the garbage collector.
        if all(type(value) in _PLAIN and (type(value) is not str or len(value) <= MAX_NAME) for value in key):
            if len(_infos) >= _MAX_INFOS:
                _infos.clear()
            _infos[key] = found
    return found


def _new_info(
    operation: Literal["chat", "text_completion"],
    parameters: Mapping[str, Any],
    metadata: Mapping[str, Any],
    level: str | None,
    as_json: bool,
) -> ModelInfo:
    values = {name: metadata.get(name) for name in _OF_MANAGER} | {name: parameters.get(name) for name in _OF_CALL}
    found: dict[str, str | bool | int | float] = {}
    # Values that are equal, 1 and 1.0, find the same entry: they must not make a difference here.
    for attribute, names in _DOUBLES.items():
        number = next((number for name in names if (number := _double(values[name])) is not None), None)
        if number is not None:
            found[attribute] = number
    for attribute, names in _INTEGERS.items():
        integer = next((integer for name in names if (integer := _integer(values[name])) is not None), None)
        if integer is not None:
            found[attribute] = integer
    choices = _integer(values[_CHOICES])
    if choices is not None and choices > 1:
        found[semconv.GEN_AI_REQUEST_CHOICE_COUNT] = choices
    if any(isinstance(values[name], int) and values[name] == 1 for name in _STREAMS):
        found[semconv.GEN_AI_REQUEST_STREAM] = True
    if level is not None:
        found[semconv.GEN_AI_REQUEST_REASONING_LEVEL] = chosen(level)
    if as_json:
        found[semconv.GEN_AI_OUTPUT_TYPE] = "json"
    provider = _text(values, _PROVIDER)
    return ModelInfo(operation, _text(values, *_MODELS), None if provider is None else provider_name(provider), found)


def _level(parameters: Mapping[str, Any]) -> str | None:
    """How much the model is asked to reason, in the provider's word."""
    for name in _LEVELS:
        if type(level := parameters.get(name)) is str:
            return level
    reasoning = parameters.get("reasoning")
    level = reasoning.get("effort") if type(reasoning) is dict else None
    return level if type(level) is str else None


def _asks_for_json(parameters: Mapping[str, Any]) -> bool:
    wanted = parameters.get("response_format")
    if wanted is not None:
        # A dictionary, or the class that LangChain makes one of.
        return type(wanted) is not dict or wanted.get("type") != "text"
    # Google's, and Ollama's, which is a word or a schema.
    of_ollama = parameters.get("format")
    return parameters.get("response_mime_type") == "application/json" or of_ollama == "json" or type(of_ollama) is dict


def _double(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < _LARGEST else None


def _integer(value: Any) -> int | None:
    number = _double(value)
    return None if number is None or not number.is_integer() else int(value)


def known_to_langflow(info: ModelInfo, known: ModelUsage) -> ModelInfo:
    """The call of a model that LangChain does not name, by LangFlow's data on the component that calls it."""
    return replace(info, model=known.model, provider=known.provider or info.provider)


def model_response(response: Any) -> ModelResponse:
    """An ``LLMResult``, or None."""
    model: str | None = None
    response_id: str | None = None
    reasons: list[str] = []
    counts = _NO_COUNTS
    for generation in generations_of(response):
        message = getattr(generation, "message", None)
        about = _about(generation, message)
        reason = _finish_reason(about)
        if reason is not None:
            reasons.append(reason)
        if model is None:
            model = _text(about, "model_name", "model", "model_id")
        if response_id is None:
            response_id = _id_of(about, message)
        if counts is _NO_COUNTS:
            counts = _tokens_of_message(message, about)
    if counts is _NO_COUNTS:
        counts = _counts(_dict(response, "llm_output").get("token_usage"))
    return ModelResponse(
        None if model is None else chosen(model),
        None if response_id is None else chosen(response_id),
        chosen_names(tuple(reasons)),
        *counts,
    )


def finish_reason_of(generation: Any) -> str | None:
    """Why the model stopped, in its provider's word; None if that is not known."""
    reason = _finish_reason(_about(generation, getattr(generation, "message", None)))
    return None if reason is None else chosen(reason)


def _finish_reason(about: Mapping[str, Any]) -> str | None:
    for name in _FINISH_REASONS:
        if type(reason := about.get(name)) is str:
            return reason
    return None


def _about(generation: Any, message: Any) -> Mapping[str, Any]:
    of_generation, of_message = _dict(generation, "generation_info"), _dict(message, "response_metadata")
    return {**of_generation, **of_message} if of_generation and of_message else of_message or of_generation


def generations_of(response: Any) -> list[Any]:
    """All of a call's, few of many."""
    found: list[Any] = []
    for several in getattr(response, "generations", None) or ():
        found += several[: _MAX_GENERATIONS - len(found)]
    return found


def _tokens_of_message(message: Any, about: Mapping[str, Any]) -> _Counts:
    usage = getattr(message, "usage_metadata", None)
    if type(usage) is not dict:
        return _counts(about.get("token_usage") or about.get("usage"))
    counts = _counts(usage)
    if counts is _NO_COUNTS:
        return counts
    read = written = reasoning = None
    if type(details := usage.get("input_token_details")) is dict:
        read, written = token_count(details.get("cache_read")), token_count(details.get("cache_creation"))
    if type(details := usage.get("output_token_details")) is dict:
        reasoning = token_count(details.get("reasoning"))
    return counts[0], counts[1], read, written, reasoning


def _counts(usage: Any) -> _Counts:
    """As LangChain and the providers call them; without details."""
    if type(usage) is not dict:
        return _NO_COUNTS
    given = token_count(usage["input_tokens"] if "input_tokens" in usage else usage.get("prompt_tokens"))
    written = token_count(usage["output_tokens"] if "output_tokens" in usage else usage.get("completion_tokens"))
    return _NO_COUNTS if given is None and written is None else (given, written, None, None, None)


def _id_of(about: Mapping[str, Any], message: Any) -> str | None:
    given = about.get("id") or getattr(message, "id", None)
    return given if type(given) is str and given and not given.startswith(_OWN_IDS) else None


def _text(values: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = values.get(name)
        if type(value) is str and value:
            return value
    return None


def _dict(holder: Any, name: str) -> Mapping[str, Any]:
    value = getattr(holder, name, None)
    return value if type(value) is dict else _EMPTY


def usage_from_now_on(component: Any, *, certain: bool = True) -> Callable[[], ModelUsage]:
    """Gives what a component's own model call has used, once the component is done.

    LangFlow keeps components for the next run of the same graph, and their tokens with them; it may then answer from
    the values of the last run, or fail, without any call. So tokens that are there now are not this execution's.

    Args:
        component: LangFlow's component, before its code runs.
        certain: False for a component that is no model and no agent: its fields name a model only if it counted tokens.
    """
    return functools.partial(_usage_since, component, certain, token_usage(component))


def _usage_since(component: Any, certain: bool, tokens_before: Any) -> ModelUsage:
    tokens = token_usage(component)
    if tokens is tokens_before:
        tokens = None
    return ModelUsage() if tokens is None and not certain else model_usage(component, tokens)


def model_usage(component: Any, usage: Any) -> ModelUsage:
    """Model, provider and tokens of a component's own model call, as far as LangFlow knows them.

    Tokens come from the component itself and never from its message: a message carries the sum of
    everything upstream. LangFlow counts them since 1.9 (lfx 0.4).
    """
    selected = _selected_model(component)
    provider = _field(component, "provider") or selected.get("provider")
    return ModelUsage(
        model=_field(component, "model_name") or selected.get("name") or _field(component, "model"),
        provider=provider_name(provider) if provider else None,
        input_tokens=token_count(getattr(usage, "input_tokens", None)),
        output_tokens=token_count(getattr(usage, "output_tokens", None)),
    )


def _selected_model(component: Any) -> dict[str, str]:
    """LangFlow's model picker (since 1.8): a list with one dictionary."""
    chosen = getattr(component, "model", None)
    first = chosen[0] if isinstance(chosen, list) and chosen else None
    if not isinstance(first, dict):
        return {}
    return {key: value for key, value in first.items() if isinstance(value, str) and value}


def _field(component: Any, name: str) -> str | None:
    value = getattr(component, name, None)
    return value if isinstance(value, str) and value else None
