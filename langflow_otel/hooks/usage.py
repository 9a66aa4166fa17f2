"""Model, provider and tokens of a component's own model call, as far as LangFlow knows them."""

from __future__ import annotations

from typing import Any

from langflow_otel.recording.facts import ModelUsage


def model_usage(component: Any) -> ModelUsage:
    """Model, provider and tokens of a component's own model call, as far as LangFlow knows them.

    Tokens come from the component itself and never from its message: a message carries the sum of
    everything upstream. LangFlow counts them since 1.9 (lfx 0.4).
    """
    selected = _selected_model(component)
    usage = getattr(component, "_token_usage", None)
    return ModelUsage(
        model=_text(component, "model_name") or selected.get("name") or _text(component, "model"),
        provider=_text(component, "provider") or selected.get("provider"),
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
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


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None
