"""LangFlow's log lines: they get the ids of the current span, and leave as records.

LangFlow logs by structlog. Each call of ``lfx.log.logger.configure`` makes a new chain of processors, many modules
have that function under a name of their own, and a logger that was used once keeps the chain of that time. So not
``configure`` is wrapped but one processor that is in every chain; in the chains that are there already it is
exchanged in place, which reaches every logger that has them.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

import wrapt
from opentelemetry import _logs, trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from langflow_otel._content.error_texts import error_type
from langflow_otel._content.log_lines import SEVERITIES, log_line, log_sink
from langflow_otel._guard import Guard
from langflow_otel._hooks.outcomes import root_error
from langflow_otel._hooks.patching import Hook, Patches
from langflow_otel._hooks.versions import adds_trace_ids, exports_log_lines
from langflow_otel._runs.recorder import nearest_context
from langflow_otel._settings.settings import Settings

MODULE: Final = "lfx.log.logger"
_DEFAULT_SCOPE = "lfx"
# What these say about an export would be exported, and so on.
_NOT_EXPORTED = ("langflow_otel", "opentelemetry", "grpc")

_JOIN = Guard("logs.join")
_LEAVE = Guard("logs.leave")
_IDS = Guard("logs.ids")
_SEND = Guard("logs.send")
_SAY = Guard("logs.say")


class LogLines:
    """LangFlow's log lines, on and off. One per process, in ``catalogue.py``.

    Args:
        hooks: Processors to wrap: the first one that this LangFlow has.
    """

    def __init__(self, hooks: tuple[Hook, ...]) -> None:
        self._hooks = hooks
        self._patches: Patches | None = None
        self._awaits_module = False

    @property
    def on(self) -> list[str]:
        """Names of the hooks that are applied now."""
        return [] if self._patches is None else self._patches.on

    def switch_on(self, settings: Settings, *, exports: bool) -> None:
        """From here on lines carry ids and go to the :func:`~langflow_otel._content.log_lines.log_sink` of the moment.

        LangFlow 1.10 and later puts the ids itself: there, nothing is wrapped unless lines are exported.

        Args:
            settings: What of a line may leave, from which level on.
            exports: True if there is a sink, or will be.
        """
        global _active
        _active = _Active(settings, adds_ids=_lacks_ids(), exports=exports)
        if MODULE in sys.modules:
            self._join(sys.modules[MODULE])
        elif not self._awaits_module:
            self._awaits_module = True
            wrapt.register_post_import_hook(self._join, MODULE)

    def switch_off(self) -> None:
        """Put everything back."""
        global _active
        _active = None
        patches, self._patches = self._patches, None
        with _LEAVE:
            if patches is not None and MODULE in sys.modules:
                before = _processors(self._hooks)
                patches.undo()
                _exchange(before)

    def _join(self, module: ModuleType) -> None:
        active = _active
        if active is None:
            return
        with _JOIN:
            active.adds_ids = _lacks_ids()
            if self._patches is not None or not (active.adds_ids or active.exports):
                return
            hook = next((hook for hook in self._hooks if hasattr(module, hook.path)), self._hooks[-1])
            before = _processors((hook,))
            self._patches = Patches((hook,))
            self._patches.apply()
            _exchange(before)


def processor(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """One of LangFlow's processors, called with a logger, a method's name and the line as a dictionary."""
    active = _active
    if active is not None and len(args) == 3:
        source, method, event = args
        if active.adds_ids:
            with _IDS:
                _add_ids(event)
        if active.exports:
            with _SEND:
                active.send(source, method, event)
    return wrapped(*args, **kwargs)


class _Active:
    """What the processor needs while it is on."""

    def __init__(self, settings: Settings, *, adds_ids: bool, exports: bool) -> None:
        self.adds_ids = adds_ids
        self.exports = exports
        self._settings = settings
        self._floor = SEVERITIES[settings.log_level]
        self._callsite: Any = None
        self._here = threading.local()

    def send(self, source: Any, method: str, event: dict[str, Any]) -> None:
        sink = log_sink()
        if sink is None:
            return
        level = str(event.get("level") or method).lower()
        if SEVERITIES.get(level, 0) < self._floor or not is_instrumentation_enabled():
            return
        sent_by_langflow = is_sent_by_langflow()
        if not sink.takes(sent_by_langflow=sent_by_langflow) or getattr(self._here, "sending", False):
            return
        scope = _scope_of(source, event)
        if scope.split(".", 1)[0] in _NOT_EXPORTED or self._knows(event):
            return
        # What is logged on the way is about this line, and would be the next one.
        self._here.sending = True
        try:
            error = _error_of(event.get("exc_info"))
            root = None if error is None else error_type(root_error(error))
            line = log_line(scope, level, self._with_callsite(source, method, event), error, root, self._settings)
            sink.emit(line, sent_by_langflow=sent_by_langflow)
        finally:
            self._here.sending = False

    def _knows(self, event: dict[str, Any]) -> bool:
        """True the second time: the handler of a log file formats each line of another library twice, once to see
        whether it still fits into the file."""
        record = event.get("_record")
        if record is None:
            return False
        # Each time it is another copy of the record.
        known = hash((record.created, record.name, record.lineno, event.get("event")))
        if getattr(self._here, "record", None) == known:
            return True
        self._here.record = known
        return False

    def _with_callsite(self, source: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        """LangFlow 1.12 and later puts file, line and function itself, if an endpoint is set."""
        if "lineno" in event:
            return event
        if self._callsite is None:
            self._callsite = _make_callsite()
        located: dict[str, Any] = self._callsite(source, method, event.copy())
        return located


def say(line: str) -> None:
    """Log a line of ours at info level, where this process's lines go, and as one line: LangFlow's server gives
    Python's own logging no handler, or the MCP SDK's, which breaks a line at the width of a terminal."""
    own = logging.getLogger("langflow_otel")
    if MODULE not in sys.modules or (own.hasHandlers() and not _breaks_lines(own)):
        own.info("%s", line)
    else:
        with _SAY:
            sys.modules[MODULE].logger.info(line)


def _breaks_lines(logger: logging.Logger) -> bool:
    """True if its lines go to rich alone, and the program has not asked for that on this very logger."""
    root = logging.getLogger()
    return not logger.handlers and all(type(each).__name__ == "RichHandler" for each in root.handlers)


def is_sent_by_langflow() -> bool:
    """True while LangFlow (1.12 and later) hands its lines to a global SDK provider, of its own or another's. It makes
    its own after us, when a server or ``lfx run`` starts, and never in a plain program: so ask for each line."""
    if not exports_log_lines(sys.modules.get(MODULE)):
        return False
    sdk = sys.modules.get("opentelemetry.sdk._logs")
    return sdk is not None and isinstance(_logs.get_logger_provider(), sdk.LoggerProvider)


def _lacks_ids() -> bool:
    return MODULE in sys.modules and not adds_trace_ids(sys.modules[MODULE])


def _add_ids(event: dict[str, Any]) -> None:
    """The same keys and the same form as LangFlow 1.10 and later."""
    if "trace_id" in event:
        return
    context = trace.get_current_span(nearest_context()).get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event.setdefault("span_id", format(context.span_id, "016x"))


def _scope_of(source: Any, event: dict[str, Any]) -> str:
    name = event.get("logger") or getattr(source, "name", None)
    return name if isinstance(name, str) and name else _DEFAULT_SCOPE


def _error_of(exc_info: Any) -> BaseException | None:
    """The exception behind structlog's ``exc_info``: true, an exception, or a triple of ``sys.exc_info()``."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1] if len(exc_info) == 3 else None
    elif exc_info is True:
        exc_info = sys.exc_info()[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def _make_callsite() -> Any:
    from structlog.processors import CallsiteParameter, CallsiteParameterAdder

    parameter = CallsiteParameter
    return CallsiteParameterAdder(
        [parameter.PATHNAME, parameter.FILENAME, parameter.FUNC_NAME, parameter.LINENO, parameter.MODULE],
        additional_ignores=["langflow_otel._hooks", "wrapt", "logging", MODULE],
    )


def _processors(hooks: Iterable[Hook]) -> dict[str, Any]:
    """The processors that LangFlow's module has now, by name."""
    return {
        hook.path: vars(sys.modules[MODULE])[hook.path] for hook in hooks if hasattr(sys.modules[MODULE], hook.path)
    }


def _exchange(before: dict[str, Any]) -> None:
    """Put the module's present processors in the places of the former ones, in all chains."""
    now = vars(sys.modules[MODULE])
    changed = {id(old): now[name] for name, old in before.items() if now[name] is not old}
    if not changed:
        return
    import structlog

    if not _chains:
        # Chains that were replaced live on in loggers; nobody else knows them. Looked for once: it takes as long
        # as the process is big (50 ms), and chains that come later have the module's processors of their time.
        holders = gc.get_referrers(*(old for name, old in before.items() if id(old) in changed))
        _chains.extend(each for each in holders if isinstance(each, list))
    for chain in (structlog.get_config()["processors"], *_chains):
        if isinstance(chain, list):
            for index, each in enumerate(chain):
                # One element for another, so that a thread that is on its way through the chain is not misled.
                if id(each) in changed:
                    chain[index] = changed[id(each)]


_chains: list[list[Any]] = []
"""Those that there were when log lines were first switched on."""
_active: _Active | None = None
