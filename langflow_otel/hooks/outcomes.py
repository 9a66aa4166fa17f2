"""How a run ended, as LangFlow's exceptions tell it."""

from __future__ import annotations

from langflow_otel.hooks.versions import is_pause, root_error
from langflow_otel.recording.facts import Outcome


def outcome_of(exc: BaseException) -> Outcome:
    """Cancelled, paused, or an error with its root below LangFlow's wrappers."""
    error = root_error(exc)
    return Outcome("paused") if is_pause(error) else Outcome.of(error)
