"""What LangChain says about a model call becomes facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from langflow_otel.recording import semconv
from langflow_otel.recording.facts import ModelInfo, ModelResponse, ModelUsage
from langflow_otel.recording.model_providers import provider_name
from langflow_otel.recording.sizes import chosen

_NUMBERS: Final = {
    semconv.GEN_AI_REQUEST_TEMPERATURE: ("temperature", "ls_temperature"),
    semconv.GEN_AI_REQUEST_TOP_P: ("top_p",),
    semconv.GEN_AI_REQUEST_TOP_K: ("top_k",),
    semconv.GEN_AI_REQUEST_MAX_TOKENS: (
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "ls_max_tokens"),
    ),
    semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: ("frequency_penalty",),
    semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: ("presence_penalty",),
    semconv.GEN_AI_REQUEST_SEED: ("seed",),
}
_MODELS: Final = ("model_name", "model", "model_id", "ls_model_name", "azure_deployment")
_FINISH_REASONS: Final = ("finish_reason", "stop_reason", "done_reason", "stopReason")
_MOST_BITS: Final = 63
_OWN_IDS: Final = ("run-", "lc_run-")
"""How the ids begin that LangChain gives to a message itself."""
_MAX_GENERATIONS: Final = 16


def model_info(
    operation: Literal["chat", "text_completion"],
    parameters: Mapping[str, Any],
    metadata: Mapping[str, Any],
    known: ModelUsage | None = None,
) -> ModelInfo:
    """A call that starts.

    Args:
        operation: See :class:`ModelInfo`.
        parameters: What the model is called with.
        metadata: Of the callback manager.
        known: What LangFlow knows about the component that calls; used where LangChain does not know the model.
    """
    both = {**metadata, **parameters}
    found: dict[str, str | bool | int | float] = {}
    for attribute, names in _NUMBERS.items():
        for name in names:
            value = both.get(name)
            if value is not None and _is_number(value):
                found[attribute] = value
                break
    count = both.get("n")
    if type(count) is int and 1 < count < 1 << _MOST_BITS:
        found[semconv.GEN_AI_REQUEST_CHOICE_COUNT] = count
    if both.get("stream") is True or both.get("streaming") is True:
        found[semconv.GEN_AI_REQUEST_STREAM] = True
    model = next((both[name] for name in _MODELS if type(both.get(name)) is str and both[name]), None)
    provider = metadata.get("ls_provider")
    provider = provider_name(provider) if type(provider) is str and provider else None
    if model is None and known is not None:
        model, provider = known.model, known.provider or provider
    return ModelInfo(operation, model, provider, found)


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and value.bit_length() <= _MOST_BITS)


def model_response(response: Any) -> ModelResponse:
    """An ``LLMResult``, or None."""
    found: dict[str, Any] = {}
    reasons: list[str] = []
    for generation in generations_of(response):
        message = getattr(generation, "message", None)
        about = _about(generation, message)
        reason = finish_reason_of(generation)
        if reason is not None:
            reasons.append(reason)
        found.setdefault("model", _text(about, "model_name", "model", "model_id"))
        found.setdefault("response_id", _id_of(about, message))
        if "input_tokens" not in found:
            found.update(_tokens(message, about))
    if "input_tokens" not in found:
        found.update(_counts(_dict(response, "llm_output").get("token_usage")))
    return ModelResponse(finish_reasons=tuple(reasons), **found)


def finish_reason_of(generation: Any) -> str | None:
    """Why the model stopped, in its provider's word; None if that is not known."""
    about = _about(generation, getattr(generation, "message", None))
    reason = next((about[name] for name in _FINISH_REASONS if type(about.get(name)) is str), None)
    return None if reason is None else chosen(reason)


def _about(generation: Any, message: Any) -> dict[str, Any]:
    return {**_dict(generation, "generation_info"), **_dict(message, "response_metadata")}


def generations_of(response: Any) -> Iterator[Any]:
    """All of a call's, few of many."""
    left = _MAX_GENERATIONS
    for several in getattr(response, "generations", None) or ():
        for generation in several:
            if left:
                left -= 1
                yield generation


def _tokens(message: Any, about: Mapping[str, Any]) -> dict[str, int]:
    usage = getattr(message, "usage_metadata", None)
    if type(usage) is not dict:
        return _counts(about.get("token_usage") or about.get("usage"))
    found = _counts(usage)
    if found:
        details = {"cache_read_tokens": ("input_token_details", "cache_read")}
        details["cache_write_tokens"] = ("input_token_details", "cache_creation")
        details["reasoning_tokens"] = ("output_token_details", "reasoning")
        for name, (group, key) in details.items():
            value = _dict_in(usage, group).get(key)
            if type(value) is int:
                found[name] = value
    return found


def _counts(usage: Any) -> dict[str, int]:
    """As LangChain and the providers call them."""
    if type(usage) is not dict:
        return {}
    found: dict[str, int] = {}
    for name, theirs in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        value = usage.get(name, usage.get(theirs))
        if type(value) is int and 0 <= value.bit_length() <= _MOST_BITS:
            found[name] = value
    return found


def _id_of(about: Mapping[str, Any], message: Any) -> str | None:
    given = about.get("id") or getattr(message, "id", None)
    return given if type(given) is str and given and not given.startswith(_OWN_IDS) else None


def _text(values: Mapping[str, Any], *names: str) -> str | None:
    return next((values[name] for name in names if type(values.get(name)) is str and values[name]), None)


def _dict(holder: Any, name: str) -> Mapping[str, Any]:
    value = getattr(holder, name, None)
    return value if type(value) is dict else {}


def _dict_in(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    return value if type(value) is dict else {}


def provider_error(error: BaseException) -> BaseException:
    """What the provider's library raised, below LangChain's own class for the same."""
    cause = error.__cause__
    is_langchains = type(error).__module__.startswith("langchain")
    return cause if cause is not None and is_langchains and isinstance(error, type(cause)) else error
