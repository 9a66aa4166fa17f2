"""Loads other OpenTelemetry instrumentors, so that their spans are recorded below runs of this library only."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.trace import TracerProvider

from langflow_otel._guard import Guard
from langflow_otel._sdk import http_clients
from langflow_otel._sdk.http_clients import HttpClients
from langflow_otel._sdk.instrumentor_spans import TracersBelowRuns, watch_other_tracers
from langflow_otel._sdk.versions import (
    AUTO_INSTRUMENTATION,
    OPENINFERENCE_CONTENT,
    OPENINFERENCE_VECTORS,
    OPENLLMETRY_CONTENT,
    is_of_openllmetry,
    takes_capture_mode,
)
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.variables import CAPTURE

logger = logging.getLogger("langflow_otel")

_spans = TracersBelowRuns()
_calls = TracersBelowRuns()
"""Of the named instrumentors, and of the HTTP clients'."""

_UNLOAD = Guard("instrumentors.unload")

_GROUP: Final = "opentelemetry_instrumentor"
_VARIABLE: Final = "LANGFLOW_OTEL_INSTRUMENTORS"
_DISABLED: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


class OtherInstrumentors:
    """The HTTP clients' instrumentors, and those that LANGFLOW_OTEL_INSTRUMENTORS names.

    They make spans below our runs only, no metrics (tokens are counted by us) and no logs. One that cannot be
    loaded is one line in the log; nothing here raises.

    Args:
        settings: See :class:`~langflow_otel._settings.settings.Settings`.
        provider: Makes the spans.
        gated: True if its exporters let content pass as the settings say, see ``content.py``: then the instrumentors
            record it where it may leave.
    """

    def __init__(self, settings: Settings, provider: TracerProvider, *, gated: bool = False) -> None:
        self._names = settings.instrumentors
        self._content_on = gated and settings.content_on_spans
        self._provider = provider
        self._url_paths = settings.url_paths
        # Flows only: the called services then hang below the flow itself.
        self._calls_too = settings.detail != "flow"
        disabled = {name.strip() for name in os.environ.get(_DISABLED, "").split(",")}
        self._disabled = http_clients.NAMES if "*" in disabled else frozenset(disabled)
        self._all_disabled = "*" in disabled
        self._http = HttpClients(_calls, self._disabled)
        self._loaded: list[Any] = []
        self._changed: dict[str, str | None] = {}
        """Variables that others read at each call, as they were before."""

    def load(self) -> None:
        """Load all of them. To be called in the process that runs the flows."""
        _spans.url_paths = _calls.url_paths = self._url_paths
        _spans.makes_spans = self._provider
        _calls.makes_spans = self._provider if self._calls_too else None
        if not _auto_instrumentation_loads_all():
            self._http.load()
        for name in self._names:
            entry = self._find(name)
            if entry is not None:
                self._load(entry)

    def restore(self) -> None:
        """Load the HTTP clients' instrumentors again that other code has uninstrumented meanwhile."""
        if _spans.makes_spans is self._provider:
            self._http.restore()

    def watch(self, handlers: Sequence[object]) -> None:
        """See :func:`~langflow_otel._sdk.instrumentor_spans.watch_other_tracers`."""
        watch_other_tracers(handlers)

    def unload(self) -> None:
        """Undo :meth:`load`; what was active before stays so."""
        _spans.makes_spans = _calls.makes_spans = None
        self._http.unload()
        while self._loaded:
            with _UNLOAD:
                self._loaded.pop().uninstrument()
        while self._changed:
            name, before = self._changed.popitem()
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before

    def _find(self, wanted: str) -> EntryPoint | None:
        distribution, _, name = wanted.rpartition(":")
        if self._all_disabled or name in self._disabled:
            return None
        installed = {
            (_distribution(entry), entry.name): entry for entry in entry_points(group=_GROUP) if not _is_ours(entry)
        }
        found = {
            f"{key[0]}:{name}": entry
            for key, entry in installed.items()
            if key[1] == name and key[0] in (_canonical(distribution) or key[0],)
        }
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            logger.warning(
                "%s names %r, which several distributions have: write one of %s. It is left out.",
                _VARIABLE,
                wanted,
                ", ".join(sorted(found)),
            )
        else:
            logger.warning(
                "%s names %r, which is not installed. Installed are: %s. It is left out.",
                _VARIABLE,
                wanted,
                ", ".join(sorted(":".join(key) for key in installed)),
            )
        return None

    def _load(self, entry: EntryPoint) -> None:
        if entry.name in http_clients.NAMES:
            return  # Loaded in any case.
        try:
            with self._content_switches(entry):
                instrumentor = entry.load()()
                if instrumentor.is_instrumented_by_opentelemetry:
                    logger.debug("langflow-otel leaves %s as it is: it is active already", entry.value)
                    return
                instrumentor.instrument(
                    tracer_provider=_spans,
                    meter_provider=NoOpMeterProvider(),
                    logger_provider=NoOpLoggerProvider(),
                )
        except Exception as exc:  # noqa: BLE001 - code of others, which may raise anything
            logger.warning(
                "%s: %s:%s could not be loaded (%s: %s). It is left out.",
                _VARIABLE,
                _distribution(entry),
                entry.name,
                type(exc).__name__,
                exc,
            )
            return
        # The base class logs a conflict of versions itself, and goes on.
        if instrumentor.is_instrumented_by_opentelemetry:
            self._loaded.append(instrumentor)

    @contextmanager
    def _content_switches(self, entry: EntryPoint) -> Iterator[None]:
        """Set the variables of other instrumentors so that they record content only where it is exported.

        What the user has set stays. The content filter decides what is exported; this saves the work, and applies to
        providers without that filter."""
        switches: tuple[str, ...] = OPENINFERENCE_VECTORS
        if self._content_on:
            if takes_capture_mode(entry):
                self._spell_out_mode()
            # OpenInference and OpenLLMetry record content unless they are stopped. Vectors are of no use to a reader.
        else:
            if is_of_openllmetry(entry) and OPENLLMETRY_CONTENT not in os.environ:
                self._change(OPENLLMETRY_CONTENT, "false")
            switches += OPENINFERENCE_CONTENT
        added = [name for name in switches if name not in os.environ]
        os.environ.update(dict.fromkeys(added, "true"))
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)

    def _spell_out_mode(self) -> None:
        """Replace the older ``true`` by the mode that OpenTelemetry's newer instrumentors accept."""
        if os.environ.get(CAPTURE, "").strip().lower() == "true":
            self._change(CAPTURE, "SPAN_ONLY")

    def _change(self, name: str, value: str) -> None:
        self._changed.setdefault(name, os.environ.get(name))
        os.environ[name] = value


def _auto_instrumentation_loads_all() -> bool:
    """True below ``opentelemetry-instrument`` with an SDK: it loads each instrumentor, some of them after us."""
    return AUTO_INSTRUMENTATION in sys.modules and isinstance(trace.get_tracer_provider(), SdkTracerProvider)


def _is_ours(entry: EntryPoint) -> bool:
    return entry.value.startswith("langflow_otel.")


def _distribution(entry: EntryPoint) -> str:
    return "" if entry.dist is None else _canonical(entry.dist.name)


def _canonical(name: str) -> str:
    """As packages are compared, PEP 503."""
    return name.lower().replace("_", "-").replace(".", "-")
