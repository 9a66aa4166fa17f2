"""What may leave this process about an exception. By default: types and frames, never messages."""

from __future__ import annotations

import traceback

from langflow_otel.settings import ErrorMessages

_MAX_CAUSES = 5
_MAX_FRAMES = 50


def error_type(exc: BaseException) -> str:
    """The exception's class name, for ``error.type``: few distinct values, no user data."""
    return type(exc).__qualname__


def qualified_type(exc: BaseException) -> str:
    """The exception's class with its module, for ``exception.type`` (builtins go without)."""
    module = type(exc).__module__
    name = type(exc).__qualname__
    return name if module in ("builtins", "__main__", None) else f"{module}.{name}"


def frames_of(exc: BaseException) -> str:
    """Stack of the exception and of its causes, outermost frame first.

    Only file, line and function: a line of source text can hold a key, a message can quote a
    prompt. At most 5 causes and the innermost 50 frames of each.
    """
    chain: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen and len(chain) < _MAX_CAUSES:
        seen.add(id(current))
        chain.append(_one_stack(current))
        # Not `or`: an exception's truth value is its author's code.
        hidden = None if current.__suppress_context__ else current.__context__
        current = current.__cause__ if current.__cause__ is not None else hidden
    return "\ncaused by\n".join(chain)


def _one_stack(exc: BaseException) -> str:
    frames = [
        f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}'
        for frame, line in traceback.walk_tb(exc.__traceback__)
    ]
    return "\n".join([*frames[-_MAX_FRAMES:], qualified_type(exc)])


def message_of(exc: BaseException, policy: ErrorMessages) -> str | None:
    """The exception's message if the policy lets it leave, else None."""
    if policy == "none":
        return None
    try:
        # The exporter drops a text with a lone surrogate, and complains about it in the log.
        return str(exc).encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - a message that cannot be made is no message; __str__ is the user's code
        return None
