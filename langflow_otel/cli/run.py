"""``langflow-otel run``: ``lfx run`` in this process, traced, and the trace on stderr."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, TextIO

import typer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langflow_otel import _semconv as semconv
from langflow_otel._hooks.versions import INSTALL_HINT, lfx_is_installed
from langflow_otel._runs.facts import Interrupted
from langflow_otel._sdk.batches import CountingMetricExporter
from langflow_otel._sdk.otlp import otlp_exporter
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.console import BAD_INPUT, FAILED, Warnings, give_up, make_console, shortened
from langflow_otel.cli.tracing import destinations, tracing
from langflow_otel.cli.tree import tree_view
from langflow_otel.insights.trace import TraceSpan, build_trees, from_sdk, without_scope

_COMPONENT_FAILED = "Error building Component"  # as LangFlow begins such a message, all versions
PATIENCE_S: Final = 10.0
"""How long what was interrupted may take to end: a component's thread cannot be stopped."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(flow: Path, input_value: str | None, lfx_options: Sequence[str]) -> None:
    """Run the flow file; exits with 1 if the flow fails, with 2 if it cannot be run, and with 128 and the number of a
    signal that came."""
    _check_flow_file(flow)
    if not lfx_is_installed():
        give_up(INSTALL_HINT)
    settings = Settings.from_env()
    arguments = [str(flow), *lfx_options]
    if input_value is not None:
        arguments += ["--input-value", input_value]
    _run_traced(flow, arguments, settings)


def _check_flow_file(path: Path) -> None:
    """What can be told without LangFlow, whose import takes seconds."""
    if not path.is_file():
        give_up(f"{path}: there is no such file")
    if path.suffix == ".py":
        return
    try:
        flow = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        give_up(f"{path}: cannot be read: {exc.strerror}")
    except ValueError as exc:
        give_up(f"{path}: not JSON: {exc}")
    if not _is_flow(flow):
        give_up(f"{path}: JSON, but not a LangFlow flow: it has no data.nodes")


def _is_flow(flow: Any) -> bool:
    data = flow.get("data", flow) if isinstance(flow, dict) else None
    return isinstance(data, dict) and isinstance(data.get("nodes"), list)


@dataclass(frozen=True)
class _Result:
    """What ``lfx run`` said, and the traces of it.

    Attributes:
        code: Its exit code.
        is_cancelled: True if a signal came.
    """

    code: int
    stdout: str
    roots: list[TraceSpan]
    is_cancelled: bool = False

    @property
    def error(self) -> str:
        """The message of ``lfx run``'s error response, as one line."""
        try:
            response = json.loads(self.stdout.strip().rsplit("\n", 1)[-1])
            message = str(response["exception_message"])
        except (ValueError, KeyError, TypeError):
            message = self.stdout
        # What comes after two paragraphs is advice on options.
        return shortened(" ".join(" ".join(message.split("\n\n")[:2]).split()))

    @property
    def never_ran(self) -> bool:
        """True if the file asks for something that is not there. Without a sampled trace, the message tells."""
        return (
            self.code != 0 and not self.is_cancelled and not self.roots and not self.error.startswith(_COMPONENT_FAILED)
        )


def _run_traced(flow: Path, arguments: list[str], settings: Settings) -> None:
    # LangFlow puts what is written to stderr meanwhile into its result: warnings go past it.
    stderr = sys.stderr
    Warnings(stderr.write).listen()
    kept = InMemorySpanExporter()
    processors = [SimpleSpanProcessor(kept)]
    if settings.console:
        # Standard output belongs to the result.
        processors.append(SimpleSpanProcessor(ConsoleSpanExporter(out=stderr)))
    meters = _meters_on(stderr, settings) if settings.metrics_console else None
    settings = replace(settings, enabled="true", console=False)
    # With an OTLP endpoint, LangFlow from 1.12 on sends traces of its own from here.
    with tracing(settings, *processors, own_process=settings.otlp is None, meter_provider=meters) as going_on:
        with Interruption(going_on.give_up):
            code, stdout, is_cancelled = _lfx_run(arguments)
        roots = build_trees(without_scope(from_sdk(kept.get_finished_spans()), semconv.LANGFLOW_SCOPE))
        # Before the traces are sent, which may take a while: nobody who reads the result waits for that.
        result = _Result(code, stdout, roots, is_cancelled)
        _report(flow, result, [*_no_trace(result, settings), *destinations(settings, going_on.scrape_url)])


def _meters_on(stderr: TextIO, settings: Settings) -> MeterProvider:
    """Pushes metrics to where the settings say, with standard error as the console."""
    exporters: list[MetricExporter] = [ConsoleMetricExporter(out=stderr)]
    if settings.metrics_otlp is not None:
        exporters.append(CountingMetricExporter(otlp_exporter(settings.metrics_otlp, "metrics")))
    readers = [PeriodicExportingMetricReader(exporter) for exporter in exporters]
    return MeterProvider(metric_readers=readers, resource=langflow_resource(settings))


def _lfx_run(arguments: list[str]) -> tuple[int, str, bool]:
    """Exit code and standard output of ``lfx run``, and whether a signal ended it."""
    stdout = io.StringIO()
    code: Any = 0
    is_cancelled = False
    try:
        from lfx.__main__ import app

        with redirect_stdout(stdout):
            app(["run", *arguments], prog_name="langflow-otel")
    except SystemExit as end:
        code, is_cancelled = end.code or 0, isinstance(end, Interrupted)
    return code if isinstance(code, int) else FAILED, stdout.getvalue(), is_cancelled


def _no_trace(result: _Result, settings: Settings) -> Iterator[str]:
    """Why there is no tree, where a setting is the reason."""
    if result.roots or result.code == BAD_INPUT:
        return
    if settings.sdk_disabled:
        yield "no trace: tracing is off (OTEL_SDK_DISABLED=true)"
    elif result.is_cancelled:
        return  # perhaps before the flow began
    elif settings.sampling:
        yield "no trace: this run is not sampled (LANGFLOW_OTEL_SAMPLING)"
    elif os.environ.get("OTEL_TRACES_SAMPLER"):
        yield f"no trace: this run is not sampled (OTEL_TRACES_SAMPLER={os.environ['OTEL_TRACES_SAMPLER']})"


def _report(flow: Path, result: _Result, places: Sequence[str]) -> None:
    if result.code == BAD_INPUT:  # wrong options; lfx has said so
        raise typer.Exit(BAD_INPUT)
    if result.never_ran:
        give_up(f"{flow}: {result.error}")
    sys.stdout.write(result.stdout)
    sys.stdout.flush()
    console = make_console(stderr=True)
    for root in result.roots:
        console.print(tree_view(root, console))
    for line in places:
        console.print(line, style="dim", soft_wrap=True, markup=False)
    if result.is_cancelled:
        give_up("cancelled", result.code)
    if result.code != 0:
        give_up(f"the flow failed: {result.error}", FAILED)


class Interruption:
    """While this is entered, a signal raises :class:`~langflow_otel._runs.facts.Interrupted` in the main thread.

    Args:
        give_up: Called in another thread when that has not ended the flow in time; the process ends after it.
    """

    def __init__(self, give_up: Callable[[], object]) -> None:
        self._give_up = give_up
        self._before: dict[signal.Signals, Any] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Interruption:
        for each in _SIGNALS:
            self._before[each] = signal.signal(each, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        code = 128 + number  # as shells say it
        if self._timer is None:
            self._timer = threading.Timer(PATIENCE_S, self._end, (code,))
            self._timer.daemon = True
            self._timer.start()
        raise Interrupted(code)

    def _end(self, code: int) -> None:
        try:
            self._give_up()
            # LangFlow has replaced sys.stderr.
            os.write(2, b"langflow-otel: cancelled\n")
        finally:
            os._exit(code)
