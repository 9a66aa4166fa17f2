"""Model, provider and tokens of a component's own model call, as far as LangFlow knows them."""

from __future__ import annotations

from typing import Any

from langflow_otel._runs.facts import ModelUsage, token_count
from langflow_otel._runs.model_providers import provider_name


class ModelCall:
    """A component that is about to call its model, or that may call one.

    Args:
        component: LangFlow's component.
        certain: False for a component that is no model and no agent: its fields name a model only if it counted tokens.

    LangFlow keeps components for the next run of the same graph, and their tokens with them; it may then
    answer from the values of the last run, or fail, without any call. So tokens that are there before are
    not this execution's.
    """

    def __init__(self, component: Any, *, certain: bool = True) -> None:
        self._component = component
        self._certain = certain
        self._tokens_before = _tokens(component)

    def usage(self) -> ModelUsage:
        """What the call used, once it is over."""
        tokens = _tokens(self._component)
        if tokens is self._tokens_before:
            tokens = None
        return ModelUsage() if tokens is None and not self._certain else model_usage(self._component, tokens)


def _tokens(component: Any) -> Any:
    # Not by getattr(): where LangFlow has no such field (before lfx 0.4), it searches inputs and outputs for it.
    return component.__dict__.get("_token_usage")


def model_usage(component: Any, usage: Any) -> ModelUsage:
    """Model, provider and tokens of a component's own model call, as far as LangFlow knows them.

    Tokens come from the component itself and never from its message: a message carries the sum of
    everything upstream. LangFlow counts them since 1.9 (lfx 0.4).
    """
    selected = _selected_model(component)
    provider = _text(component, "provider") or selected.get("provider")
    return ModelUsage(
        model=_text(component, "model_name") or selected.get("name") or _text(component, "model"),
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


def _text(component: Any, name: str) -> str | None:
    value = getattr(component, name, None)
    return value if isinstance(value, str) and value else None
