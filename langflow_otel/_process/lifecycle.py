"""Lifecycle of a process's telemetry: open it, now or with the first run, flush it, stop it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from langflow_otel._guard import Guard
from langflow_otel._hooks.logs import say
from langflow_otel._hooks.native import already_pushed, passes
from langflow_otel._hooks.queues import queue_readings
from langflow_otel._process.process import PassedIn, ProcessTelemetry
from langflow_otel._runs.recorder import Recorder
from langflow_otel._runs.request import end_open_requests
from langflow_otel._runs.run import end_open_runs
from langflow_otel._settings.audit import audit_line
from langflow_otel._settings.masking import one_line

logger = logging.getLogger("langflow_otel")

_OPEN = Guard("instrument")

NOTHING_TO_DO = (
    "langflow-otel: spans, metrics and log lines have nowhere to go, so nothing is instrumented. Set "
    "OTEL_EXPORTER_OTLP_ENDPOINT (or LANGFLOW_OTEL_TRACE_FILE, OTEL_TRACES_EXPORTER=console, "
    "OTEL_METRICS_EXPORTER=prometheus), or pass a tracer_provider or a meter_provider."
)

REFUSED = (
    "langflow-otel: the OpenTelemetry SDK does not accept its settings (%s: %s), so nothing is instrumented. "
    "Check the OTEL_* variables."
)


class ProcessLifecycle:
    """Opens, flushes and closes what a recorder sends with; see :class:`langflow_otel._runs.interfaces.Lifecycle`.

    Args:
        recorder: Records the runs.
        passed_in: Providers that the caller of ``instrument()`` passed in.
        on_refused: Called if what was deferred cannot be opened.

    Attributes:
        telemetry: What is open; None before :meth:`open` and after :meth:`stop` or :meth:`close`.
    """

    def __init__(self, recorder: Recorder, passed_in: PassedIn, on_refused: Callable[[], None]) -> None:
        self._recorder = recorder
        self._passed_in = passed_in
        self._on_refused = on_refused
        self._is_closed = False
        self.telemetry: ProcessTelemetry | None = None

    def open(self) -> bool:
        """Open the exporters; False if there is nowhere to send to, which is logged."""
        settings = self._recorder.settings
        try:
            telemetry = ProcessTelemetry(settings, self._passed_in, queue_readings, already_pushed, passes)
        except Exception as exc:  # noqa: BLE001 - what all signals have in common, such as a resource detector
            logger.error(REFUSED, type(exc).__name__, one_line(exc))
            return False
        if not telemetry.wanted:
            telemetry.close()
            if not settings.has_destination:  # Else each signal has logged why it is not sent.
                logger.warning(NOTHING_TO_DO)
            return False
        self.telemetry = telemetry
        telemetry.serve(self._recorder)
        for reason in telemetry.reasons:
            logger.debug("langflow-otel is on: %s", reason)
        if settings.has_destination:
            say(audit_line(settings))
        return True

    def defer(self) -> None:
        """Open the exporters with the first run, instead of now."""
        self._recorder.prepare_with(self._open_deferred)

    def _open_deferred(self) -> None:
        with _OPEN:
            if not self._is_closed and not self.open():
                self._on_refused()

    def stop(self, within_s: float) -> None:
        """End all open runs, send everything, and free the port; a later run opens the exporters again.

        Args:
            within_s: How long to wait for a collector that does not answer, in seconds.
        """
        telemetry = self.telemetry
        if self._is_closed or telemetry is None:
            return
        _end_all()
        self.telemetry = None
        self.defer()
        if not telemetry.close_within(within_s):
            logger.warning("The last telemetry was not taken within %s s, and is lost.", within_s)

    def give_up(self) -> None:
        """End all open runs and send everything, in a thread: the process may be killed at any moment."""
        if self.telemetry is not None:
            _end_all()
            self.telemetry.start_flush()

    def flush(self) -> threading.Thread | None:
        """Send everything that has ended, in the thread that this returns; None if nothing is open."""
        return None if self.telemetry is None else self.telemetry.start_flush()

    def close(self) -> None:
        """Send everything, and close the exporters for good."""
        self._is_closed = True
        telemetry, self.telemetry = self.telemetry, None
        if telemetry is None:
            return
        if telemetry.closes_spans:
            # An open run would end when nothing is sent any more.
            _end_all()
        telemetry.close()


def _end_all() -> None:
    end_open_runs("shutdown")
    end_open_requests("shutdown")
