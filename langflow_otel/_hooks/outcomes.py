"""How a run ended: cancelled, paused, or with the error below the wrappers of LangFlow and LangChain."""

from __future__ import annotations

import traceback

from langflow_otel._guard import Guard
from langflow_otel._runs.error_categories import is_from_outside
from langflow_otel._runs.facts import Outcome

# LangFlow's wrappers around the error that a component raised, by class name: they are defined in
# different modules over the versions.
_WRAPPERS = frozenset({"ComponentBuildError", "StreamingError", "ExceptionWithMessageError"})
# What these begin with in all versions: Graph._run, Component._get_output_result.
_WRAPPING: dict[type[BaseException], str] = {ValueError: "Error running graph", TypeError: "Error running method"}
# Classes that LangFlow's own code raises from another error, with other words: LCModelComponent.get_chat_result.
_REWORDED = frozenset({Exception, RuntimeError, TypeError, ValueError})
_MAX_CAUSES = 10

_OUTCOME = Guard("outcome")


def outcome_of(exc: BaseException) -> Outcome:
    """Cancelled, paused, or an error with its root below LangFlow's wrappers."""
    with _OUTCOME:
        error = root_error(exc)
        return Outcome("paused") if is_pause(error) else Outcome.of(error)
    # The caller is about to end a run, which must end.
    return Outcome.of(exc)


def is_pause(exc: BaseException) -> bool:
    """True for the exception by which a run waits for a person (LangFlow 1.11 and later)."""
    return type(exc).__name__ == "GraphPausedException"


def root_error(exc: BaseException) -> BaseException:
    """The error that the failing code raised, below LangFlow's own wrappers.

    Causes that the component's author chose (``raise X from y``) stay: X is the error. But a ``ValueError`` or the like
    says less than the error of a provider that it was raised from, in any code: LangFlow runs its own components
    and those of authors from their source, where they look the same. Only explicit causes count: in all versions
    LangFlow raises its wrappers ``from`` the error, and a context alone may be an error that was handled.
    """
    for _ in range(_MAX_CAUSES):
        cause = exc.__cause__
        if cause is None or not (_is_wrapper(exc) or _is_reworded(exc) or provider_error(exc) is cause):
            break
        exc = cause
    return exc


def provider_error(error: BaseException) -> BaseException:
    """What the provider's library raised, where one of LangChain's integrations raises an error of its own from it."""
    cause = error.__cause__
    root = type(error).__module__.partition(".")[0]
    if cause is None or not root.startswith("langchain_") or root == "langchain_core":
        return error
    return cause if isinstance(error, type(cause)) or is_from_outside(cause) else error


def _is_reworded(exc: BaseException) -> bool:
    """Only for an error with a cause."""
    if type(exc) not in _REWORDED:
        return False
    if _is_raised_by_langflow(exc):
        return True
    below = exc.__cause__
    for _ in range(_MAX_CAUSES):
        if below is None or type(below) not in _REWORDED:
            break
        below = below.__cause__
    return below is not None and is_from_outside(below)


def _is_raised_by_langflow(exc: BaseException) -> bool:
    innermost = None
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        innermost = frame
    if innermost is None:
        return False
    # Source that LangFlow executes has its globals, and no file.
    module = innermost.f_globals.get("__name__")
    root = module.partition(".")[0] if type(module) is str else ""
    return (root in ("lfx", "langflow") or root.startswith("lfx_")) and innermost.f_code.co_filename != "<string>"


def _is_wrapper(exc: BaseException) -> bool:
    if type(exc).__name__ in _WRAPPERS:
        return True
    # By type() alone: what an author's own class or argument is asked is the author's code.
    prefix = _WRAPPING.get(type(exc))
    first = exc.args[0] if prefix is not None and exc.args else None
    return prefix is not None and type(first) is str and first.startswith(prefix)
