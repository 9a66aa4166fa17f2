"""The public harness: it shows trees, and fails when something outlives the code under test."""

from __future__ import annotations

import asyncio
import logging

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

from langflow_otel import _guard as guard
from langflow_otel import span, traced
from langflow_otel._runs.component import ComponentRun, LoopIteration
from langflow_otel._runs.facts import CANCELLED, OK
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import LeakError, Telemetry, capture_telemetry
from tests.support.recording import FLOW, component, recorder, recording


def record_a_flow() -> None:
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    for name in ("b", "a"):
        run = recorder().start_component(component(name), flow)
        with span("part", size=len(name)):
            pass
        run.finish(CANCELLED if name == "a" else OK)
    flow.finish()


def test_a_tree_is_indented_names_with_what_is_not_ok(telemetry):
    record_a_flow()

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component b",
        "    part",
        "  component a [cancelled]",
        "    part",
    ]


def test_a_tree_shows_the_attributes_that_are_asked_for(telemetry):
    record_a_flow()

    assert telemetry.tree("size", "langflow.component.type", "absent", by_name=True) == [
        "invoke_workflow demo",
        "  component a [cancelled] langflow.component.type=a",
        "    part size=1",
        "  component b langflow.component.type=b",
        "    part size=1",
    ]


def test_spans_of_others_are_shown_too(telemetry):
    with telemetry.provider.get_tracer("other").start_as_current_span("request") as request:
        request.set_status(trace.StatusCode.ERROR)

    assert telemetry.tree() == ["request [error]"]


def test_nothing_recorded_is_an_empty_tree(telemetry):
    assert telemetry.tree() == []
    assert telemetry.roots() == []


def test_the_only_span_of_a_name(telemetry):
    record_a_flow()

    assert telemetry.only_span("component a").attributes["langflow.component.id"] == "a-1"
    with pytest.raises(AssertionError, match=r"^2 spans are called 'part'; there are \['part', 'component b', "):
        telemetry.only_span("part")
    with pytest.raises(AssertionError, match=r"^0 spans are called 'other'; "):
        telemetry.only_span("other")


def test_clear_forgets(telemetry):
    record_a_flow()
    telemetry.clear()
    with span("next"):
        pass

    assert telemetry.names() == ["next"]


def test_what_was_recorded_can_be_read_after_the_block():
    with recording() as telemetry:
        record_a_flow()

    assert len(telemetry.spans) == len(telemetry.sdk_spans) == 5
    assert [root.name for root in telemetry.roots()] == ["invoke_workflow demo"]


# What it fails on


def test_an_open_span():
    with pytest.raises(LeakError, match=r"^spans are still open: \['left open'\]$"), recording() as telemetry:
        telemetry.provider.get_tracer("x").start_span("left open")


def test_a_leaked_context():
    before = otel_context.get_current()
    with pytest.raises(LeakError, match=r"^the OpenTelemetry context has leaked: .*key"), recording():
        token = otel_context.attach(otel_context.set_value("key", "value"))
    otel_context.detach(token)

    assert otel_context.get_current() == before


def test_a_run_that_is_still_current():
    run = LoopIteration(ComponentRun(None, otel_context.Context(), None, Settings(), component("a")), object)
    with pytest.raises(LeakError, match=r"^a run is still current$"), recording():
        run.enter()
    run.leave()


async def test_a_leftover_task():
    async def left_over() -> None:
        await asyncio.Event().wait()

    with pytest.raises(LeakError, match=r"^tasks are still running: .*left_over"), recording():
        task = asyncio.create_task(left_over())
    task.cancel()


async def test_a_task_that_is_done_is_not_left_over():
    async def short() -> None: ...

    with recording():
        await asyncio.create_task(short())


async def test_a_task_from_before_is_not_left_over():
    task = asyncio.create_task(asyncio.Event().wait())
    with recording():
        pass
    task.cancel()


@pytest.mark.parametrize("name", ["langflow_otel", "opentelemetry.sdk"])
def test_a_logged_warning(name: str):
    with pytest.raises(LeakError, match=f"^warnings were logged: .*{name}: careful"), recording():
        logging.getLogger(name).warning("careful")


def test_warnings_are_only_kept_where_it_is_not_strict():
    with recording(strict=False) as telemetry:
        logging.getLogger("langflow_otel").warning("careful %s", 1)
        logging.getLogger("langflow_otel").info("nothing")
        logging.getLogger("somebody").warning("else")

    assert telemetry.warnings == ["langflow_otel: careful 1"]


def test_the_tests_own_error_is_not_hidden_by_a_leak():
    def leaks_and_fails() -> None:
        with recording() as telemetry:
            telemetry.provider.get_tracer("x").start_span("left open")
            raise KeyError("own")

    with pytest.raises(KeyError, match=r"own"):
        leaks_and_fails()


# What it leaves behind


def test_everything_is_as_before_afterwards(monkeypatch):
    monkeypatch.setattr(guard, "strict", False)
    provider, handlers = trace.get_tracer_provider(), logging.getLogger("langflow_otel").handlers[:]
    with recording() as telemetry:
        assert guard.strict
        assert trace.get_tracer_provider() is provider
        assert telemetry.provider is not provider

    assert not guard.strict
    assert active_recorder() is None
    assert logging.getLogger("langflow_otel").handlers == handlers


def test_everything_is_as_before_after_an_error(monkeypatch):
    monkeypatch.setattr(guard, "strict", False)
    with pytest.raises(KeyError), recording():
        raise KeyError

    assert not guard.strict
    assert active_recorder() is None


def test_blocks_after_each_other_do_not_mix():
    found: list[Telemetry] = []
    for name in ("one", "two"):
        with recording() as telemetry:
            traced(name)(lambda: None)()
        found.append(telemetry)

    assert [each.names() for each in found] == [["one"], ["two"]]


def test_it_instruments_by_itself(monkeypatch):
    monkeypatch.setattr("langflow_otel.instrumentor.lfx_is_installed", lambda: True)
    monkeypatch.setattr("langflow_otel.LangflowInstrumentor._check_dependency_conflicts", lambda _: None)
    with capture_telemetry() as telemetry, span("custom"):
        pass

    assert telemetry.names() == ["custom"]
    assert active_recorder() is None
