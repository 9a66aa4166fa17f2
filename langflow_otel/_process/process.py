"""Telemetry of one process: its providers, its scrape endpoint, the other instrumentors that it loaded.

All of it belongs to the process that uses it, down to ``service.instance.id``: a forked child abandons its parent's,
and opens its own with its first run.
"""

from __future__ import annotations

import atexit
import functools
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from langflow_otel._guard import Guard
from langflow_otel._process.fork import ForkAware
from langflow_otel._process.metrics import MetricsPipeline, ReadHost
from langflow_otel._runs.recorder import Recorder, process_recorder
from langflow_otel._sdk.destinations import Passes, reaches_same_backend
from langflow_otel._sdk.ended_span import EndedSpans
from langflow_otel._sdk.instrumentor_spans import watch_nested_model_spans
from langflow_otel._sdk.instrumentors import OtherInstrumentors
from langflow_otel._sdk.logs import LogsPipeline
from langflow_otel._sdk.providers import Choice, choose_tracer_provider, unless_refused
from langflow_otel._sdk.sampling import follows_recorder
from langflow_otel._settings.settings import Settings

logger = logging.getLogger("langflow_otel")

_CLOSE = Guard("stop.close")
_FLUSH = Guard("stop.flush")


@dataclass(frozen=True)
class PassedIn:
    """Providers that the caller passed in; the rest is made from the settings."""

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: Any = None


class ProcessTelemetry(ForkAware):
    """Everything that is open while telemetry leaves this process.

    Args:
        settings: Where it goes.
        passed_in: Providers to use instead.
        read_host: See :class:`~langflow_otel._process.metrics.MetricsPipeline`.
        already_pushed: The same.
        passes: See :func:`~langflow_otel._sdk.destinations.reaches_same_backend`.

    Raises:
        Exception: Whatever the SDK raises for a variable that it does not accept; nothing is left open then.
    """

    def __init__(
        self,
        settings: Settings,
        passed_in: PassedIn,
        read_host: ReadHost,
        already_pushed: Callable[[], Collection[str]],
        passes: Passes = lambda processor, scope: True,
    ) -> None:
        self._settings = settings
        self._passes = passes
        self._passed_in = passed_in
        self._traces: Choice[TracerProvider] | None = None
        self._others: OtherInstrumentors | None = None
        self._logs: LogsPipeline | None = None
        with ExitStack() as undo:
            undo.callback(self._close_traces_and_logs)
            self._open_traces_and_logs()
            self.metrics = MetricsPipeline(settings, read_host, already_pushed, passed_in.meter_provider)
            undo.pop_all()
        self.register_for_forks()

    @property
    def wanted(self) -> bool:
        """True if anything has somewhere to go, and the SDK lets it."""
        return self.metrics.wanted or bool(self._choices())

    @property
    def closes_spans(self) -> bool:
        """True if no span leaves any more once this is closed; a provider that was passed in goes on."""
        return self._traces is not None and self._traces.own is not None

    @property
    def reasons(self) -> list[str]:
        """Why these providers."""
        return [choice.reason for choice in self._choices()]

    def _choices(self) -> list[Choice[Any]]:
        logs = None if self._logs is None else self._logs.choice
        return [choice for choice in (self._traces, self.metrics.choice, logs) if choice is not None]

    def _open_traces_and_logs(self) -> None:
        settings, passed_in = self._settings, self._passed_in
        self._traces = unless_refused("TRACES", lambda: choose_tracer_provider(settings, passed_in.tracer_provider))
        if self._traces is not None:
            watch_nested_model_spans(self._traces.provider)
        self._logs = LogsPipeline(settings, passed_in.logger_provider)

    def serve(self, recorder: Recorder) -> None:
        """Let the recorder's spans and measurements leave from here; the log lines do so since they can."""
        self._serve_traces(recorder)
        recorder.use_metrics(self.metrics.run_metrics if self.metrics.wanted else None, self.metrics.watch)

    def _serve_traces(self, recorder: Recorder) -> None:
        provider = None if self._traces is None else self._traces.provider
        reaches = reaches_same_backend(provider, self._passes)
        own = None if self._traces is None else self._traces.own
        sender = None if own is None else EndedSpans(own).sender
        recorder.use_tracer_provider(provider, decides=follows_recorder(provider), reaches=reaches, sender=sender)
        if self._traces is not None:
            self._others = OtherInstrumentors(self._settings, self._traces.provider, gated=own is not None)
            self._others.load()
            recorder.other_instrumentors = self._others

    def start_flush(self) -> threading.Thread:
        """Send what has ended, in the thread that this returns."""
        own = [choice.own for choice in self._choices() if choice.own is not None]
        flushing = threading.Thread(target=_flush, args=(own,), name="langflow-otel-flush", daemon=True)
        flushing.start()
        return flushing

    def close(self) -> None:
        """Send what has ended, and close the providers that are ours. Metrics are closed last: spans that are lost
        on the way are counted in the last push."""
        self.unregister_for_forks()
        with ExitStack() as closing:
            closing.callback(self.metrics.close)
            self._close_traces_and_logs()

    def _close_traces_and_logs(self) -> None:
        others, traces, logs = self._others, self._traces, self._logs
        self._others = self._traces = self._logs = None
        # The last one first, and each whatever becomes of the others.
        with ExitStack() as closing:
            if logs is not None:
                closing.callback(logs.shutdown)
            if traces is not None:
                closing.callback(traces.shutdown)
            if others is not None:
                closing.callback(others.unload)

    def close_within(self, seconds: float) -> bool:
        """Like :meth:`close`, for a process that must end; False if the rest was not sent in time, and is lost."""
        own = [choice.own for choice in self._choices() if choice.own is not None]
        # A daemon: neither the host nor the interpreter waits longer for it.
        closing = threading.Thread(target=self._close_guarded, name="langflow-otel-stop", daemon=True)
        closing.start()
        closing.join(seconds)
        for provider in own:
            atexit.unregister(provider.shutdown)
        return not closing.is_alive()

    def _close_guarded(self) -> None:
        with _CLOSE:
            self.close()

    def after_fork_in_child(self) -> None:
        """Abandon the parent's providers: another thread of the parent may be in the middle of an export."""
        for choice in self._choices():
            if choice.own is not None:
                atexit.unregister(choice.own.shutdown)
        recorder = process_recorder()
        if recorder is not None:
            recorder.use_tracer_provider(None)
            recorder.prepare_with(functools.partial(self._reopen, recorder))
        self._traces = self._logs = None

    def _reopen(self, recorder: Recorder) -> None:
        with self.fork_guard:
            if self._others is not None:
                self._others.unload()
            self._open_traces_and_logs()
            self._serve_traces(recorder)


def _flush(providers: Sequence[Any]) -> None:
    for provider in providers:
        with _FLUSH:
            provider.force_flush()
