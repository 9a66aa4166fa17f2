"""How a run ended, as LangFlow's exceptions tell it."""

from __future__ import annotations

from langflow_otel._guard import Guard
from langflow_otel._hooks.versions import is_pause, root_error
from langflow_otel._runs.facts import Outcome

_OUTCOME = Guard("outcome")


def outcome_of(exc: BaseException) -> Outcome:
    """Cancelled, paused, or an error with its root below LangFlow's wrappers."""
    with _OUTCOME:
        error = root_error(exc)
        return Outcome("paused") if is_pause(error) else Outcome.of(error)
    # Whoever asks is about to end a run, which must end.
    return Outcome.of(exc)
