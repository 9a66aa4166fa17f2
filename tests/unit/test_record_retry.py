"""Retries inside components, told by tenacity's hook or by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from tenacity import RetryError, retry, retry_if_result, stop_after_attempt, wait_incrementing

from langflow_otel import _guard as guard
from langflow_otel import record_retry, span
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import OK, Outcome, ToolInfo
from langflow_otel._runs.recorder import set_active_recorder
from langflow_otel._runs.run import current_run
from langflow_otel.testing import Telemetry
from tests.support.recording import FLOW, component, recorder, recording


class ServiceError(Exception):
    pass


def failing(times: int) -> Callable[[], str]:
    """A call that works after so many failures."""
    left = [ServiceError("canary")] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "done"

    return call


def retried(call: Callable[[], Any], attempts: int = 5, **how: Any) -> Callable[[], Any]:
    """By tenacity, which waits 0.5, 1.0, 1.5 s, on a clock that takes no time."""
    return retry(
        before_sleep=record_retry,
        wait=wait_incrementing(0.5, 0.5),
        stop=stop_after_attempt(attempts),
        sleep=lambda seconds: None,
        **how,
    )(call)


def in_a_component(code: Callable[[], object]) -> None:
    """Runs the code as that of the one component of a flow."""
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    run = recorder().start_component(component("Agent"), flow)
    outcome = OK
    try:
        code()
    except Exception as exc:
        outcome = Outcome.of(exc)
    run.finish(outcome)
    flow.finish(outcome)


def retries(telemetry: Telemetry) -> list[dict[str, Any]]:
    """The events on the component's span."""
    (found,) = [each for each in telemetry.sdk_spans if each.name == "component Agent"]
    return [dict(event.attributes or {}) for event in found.events if event.name == "component.retry"]


def counted(telemetry: Telemetry) -> dict[str, float]:
    return telemetry.metrics("langflow_component_retries")


IN_THE_COMPONENT = 'langflow_component_retries_total{flow="demo",component_type="Agent"}'


def test_each_retry_is_an_event_and_counts(telemetry):
    in_a_component(retried(failing(2)))

    assert retries(telemetry) == [
        {"langflow.retry.attempt": 1, "langflow.retry.delay": 0.5, "error.type": "ServiceError"},
        {"langflow.retry.attempt": 2, "langflow.retry.delay": 1.0, "error.type": "ServiceError"},
    ]
    assert counted(telemetry) == {IN_THE_COMPONENT: 2.0}
    assert telemetry.only_span("component Agent").status == "ok"


def test_the_last_failure_is_no_retry(telemetry):
    in_a_component(retried(failing(9), attempts=3))

    assert [each["langflow.retry.attempt"] for each in retries(telemetry)] == [1, 2]
    assert counted(telemetry) == {IN_THE_COMPONENT: 2.0}
    assert telemetry.only_span("component Agent").attributes["error.type"] == RetryError.__name__


def test_what_works_at_once_is_no_retry(telemetry):
    in_a_component(retried(failing(0)))

    assert retries(telemetry) == []
    assert counted(telemetry) == {}


def test_a_result_that_is_not_good_enough_has_no_error(telemetry):
    results = ["", "", "good"]
    in_a_component(retried(lambda: results.pop(0), retry=retry_if_result(lambda text: not text)))

    assert retries(telemetry) == [
        {"langflow.retry.attempt": 1, "langflow.retry.delay": 0.5},
        {"langflow.retry.attempt": 2, "langflow.retry.delay": 1.0},
    ]


async def test_async_code(telemetry):
    call = failing(1)

    async def ask() -> str:
        return call()

    async def no_sleep(seconds: float) -> None: ...

    flow = recorder().start_flow(FLOW)
    assert flow is not None
    run = recorder().start_component(component("Agent"), flow)
    answer = await retry(before_sleep=record_retry, wait=wait_incrementing(0.5), sleep=no_sleep)(ask)()
    run.finish()
    flow.finish()

    assert answer == "done"
    assert retries(telemetry) == [
        {"langflow.retry.attempt": 1, "langflow.retry.delay": 0.5, "error.type": "ServiceError"}
    ]


def test_by_hand(telemetry):
    def code() -> None:
        record_retry(1)
        record_retry(2, 0.25, ValueError("canary"))
        record_retry(attempt=3, error=KeyError("canary"))

    in_a_component(code)

    assert retries(telemetry) == [
        {"langflow.retry.attempt": 1, "langflow.retry.delay": 0.0},
        {"langflow.retry.attempt": 2, "langflow.retry.delay": 0.25, "error.type": "ValueError"},
        {"langflow.retry.attempt": 3, "langflow.retry.delay": 0.0, "error.type": "KeyError"},
    ]


def test_what_the_error_says_stays_here(telemetry):
    in_a_component(retried(failing(2)))

    (found,) = [each for each in telemetry.sdk_spans if each.name == "component Agent"]
    assert "canary" not in found.to_json()


def test_inside_a_tool_or_a_custom_span_it_is_the_components(telemetry):
    def code() -> None:
        tool = recorder().start_tool(ToolInfo("search"), current_component())
        with span("lookup"):
            retried(failing(1))()
        tool.finish()

    in_a_component(code)

    assert len(retries(telemetry)) == 1
    assert [event for each in telemetry.sdk_spans if each.name != "component Agent" for event in each.events] == []
    assert counted(telemetry) == {IN_THE_COMPONENT: 1.0}


def current_component() -> ComponentRun:
    run = current_run()
    assert isinstance(run, ComponentRun)
    return run


def test_outside_a_component_nothing_is_recorded(telemetry):
    assert retried(failing(1))() == "done"
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    with span("custom"):
        assert retried(failing(1))() == "done"
    flow.finish()
    record_retry(1)

    assert counted(telemetry) == {}
    assert [event for each in telemetry.sdk_spans for event in each.events] == []


def test_in_a_run_that_is_not_sampled_it_counts():
    with recording(sampler=ALWAYS_OFF) as telemetry:
        in_a_component(retried(failing(2)))

        assert telemetry.spans == []
        assert counted(telemetry) == {IN_THE_COMPONENT: 2.0}


def test_while_instrumentation_is_off_nothing_is_looked_at():
    set_active_recorder(None)

    class NotToBeTouched:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    record_retry(NotToBeTouched())
    assert retried(failing(2))() == "done"


def test_switched_off_half_way_the_rest_of_a_run_is_not_recorded(telemetry):
    def code() -> None:
        record_retry(1)
        kept = recorder()
        set_active_recorder(None)
        record_retry(2)
        set_active_recorder(kept)

    in_a_component(code)

    assert len(retries(telemetry)) == 1
    assert counted(telemetry) == {IN_THE_COMPONENT: 1.0}


@pytest.mark.parametrize(
    "attempt", [SimpleNamespace(attempt_number=1), SimpleNamespace(attempt_number=1, outcome=1, next_action=2)]
)
def test_a_state_of_another_kind_costs_the_author_nothing(lenient, attempt: object):
    with recording(strict=False) as telemetry:
        in_a_component(lambda: record_retry(attempt))

        assert telemetry.only_span("component Agent").status == "ok"
        assert counted(telemetry) == {}
    assert guard.faults == {"custom.record_retry": 1}


def test_an_error_in_measuring_does_not_cost_the_event(lenient, monkeypatch):
    def fail(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr("langflow_otel._runs.measuring.FlowMetrics.retried", fail)
    with recording(strict=False) as telemetry:
        in_a_component(retried(failing(1)))

        assert len(retries(telemetry)) == 1
    assert guard.faults == {"metrics.record": 1}
