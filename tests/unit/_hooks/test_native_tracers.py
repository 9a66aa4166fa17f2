"""What LangFlow's own tracers do when they are made, at the start of a run, is theirs."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from langflow_otel._hooks import native
from langflow_otel._runs.run import current_run
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import capture_telemetry
from tests.support.recording import FLOW, recorder

NEVER = Settings(sampling=(("*", 0.0),), keep_errors=True)
theirs = TracerProvider(shutdown_on_exit=False).get_tracer("phoenix")


async def made(settings: Settings) -> tuple[trace.Span, trace.Span]:
    """The span that a tracer starts when it is made, and the run's."""

    async def start(*args: Any, **kwargs: Any) -> trace.Span:
        assert (args, kwargs, current_run()) == ((1,), {"name": 2}, None)
        return theirs.start_span("Langflow")

    with capture_telemetry(settings=settings):
        run = recorder().start_flow(FLOW)
        assert run is not None
        assert run.span is not None
        span = await native.start_tracers(start, None, (1,), {"name": 2})
        assert current_run() is run
        assert trace.get_current_span() is run.span
        run.finish()
    return span, run.span


async def test_in_a_sampled_run_their_span_is_in_its_trace():
    span, flow = await made(Settings())

    assert span.is_recording()
    assert span.get_span_context().trace_id == flow.get_span_context().trace_id


async def test_a_run_that_is_not_sampled_costs_no_span_of_theirs():
    span, flow = await made(NEVER)

    assert span.is_recording()
    assert span.get_span_context().trace_flags.sampled
    assert span.get_span_context().trace_id != flow.get_span_context().trace_id


async def test_an_error_of_theirs_is_theirs():
    async def broken() -> None:
        raise OSError("canary")

    with capture_telemetry():
        run = recorder().start_flow(FLOW)
        with pytest.raises(OSError, match="canary"):
            await native.start_tracers(broken, None, (), {})
        assert current_run() is run
        assert run is not None
        run.finish()


async def test_outside_of_runs_nothing_is_left():
    async def look() -> object:
        return current_run()

    assert await native.start_tracers(look, None, (), {}) is None
