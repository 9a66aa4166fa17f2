"""What several unit tests share: a recorder without LangFlow, and facts to feed it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Sampler

from langflow_otel import span
from langflow_otel._hooks import native
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._runs.facts import ComponentInfo, ComponentKind, FlowInfo, Outcome
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.recorder import Recorder, active_recorder, set_active_recorder
from langflow_otel._sdk.destinations import reaches_same_backend
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

FLOW = FlowInfo("demo")
LONG = bool(os.environ.get("LONG_TESTS"))
"""Whether the long forms are asked for: of what chance decides, as many histories as the figures in the docs are of."""


def component(name: str, kind: ComponentKind = "other") -> ComponentInfo:
    return ComponentInfo(f"{name}-1", name, name, kind)


def recorder() -> Recorder:
    active = active_recorder()
    assert active is not None
    return active


def at_once(number: int, work: Callable[[], object]) -> None:
    """Calls it in so many threads; an error in one of them is raised here."""
    errors: list[BaseException] = []

    def watched() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=watched) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


@contextmanager
def recording(
    settings: Settings | None = None, sampler: Sampler | None = None, *, strict: bool = True
) -> Iterator[Telemetry]:
    """Instrumentation is on, in memory and without LangFlow."""
    with capture_telemetry(instrument=False, sampler=sampler, strict=strict) as telemetry:
        settings = settings or Settings()
        store = MemoryStore()
        measured = RunMetrics(Instruments(store, telemetry.meter_provider.get_meter("langflow_otel")), settings)
        telemetry._scrape = Scrape(
            store, own_pid=1, window_s=settings.window_s, cores=2.0, read=lambda pids: [], info={}
        )
        active = Recorder(telemetry.provider, settings, measured)
        reaches = reaches_same_backend(telemetry.provider, native.passes)
        active.use_tracer_provider(telemetry.provider, reaches=reaches)
        set_active_recorder(active)
        try:
            yield telemetry
        finally:
            set_active_recorder(None)


def spans_with(values: Mapping[str, Any]) -> list[Any]:
    """A request, a flow that is linked to it, a component that fails, and a span of an author's with these values."""
    with recording() as telemetry:
        with telemetry.provider.get_tracer("app").start_as_current_span("request") as request:
            context = trace.set_span_in_context(request)
        flow = recorder().start_flow(FLOW, parent=context)
        assert flow is not None
        run = recorder().start_component(component("日本 \u2028 \n"), flow)
        with span("custom", **values):
            pass
        run.finish(Outcome("error", KeyError("canary")))
        flow.finish()
    return telemetry.sdk_spans
