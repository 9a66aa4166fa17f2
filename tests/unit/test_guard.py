"""Errors of our own: contained, logged once, counted, and loud in strict mode."""

from __future__ import annotations

import asyncio
import logging

import pytest

from langflow_otel import _guard as guard
from langflow_otel._guard import Guard, WarnOnce


class OurError(Exception):
    pass


@pytest.fixture
def log(lenient, caplog) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "langflow_otel")
    return caplog


def test_an_error_is_contained_and_the_code_goes_on(log):
    after = []
    with Guard("step"):
        raise OurError
    after.append("reached")

    assert after == ["reached"]


def test_an_error_is_logged_once_for_each_step_and_always_counted(log):
    for step in ("one", "one", "two", "one"):
        with Guard(step):
            raise OurError

    assert guard.faults == {"one": 3, "two": 1}
    assert [(record.name, record.levelname) for record in log.records] == [("langflow_otel", "WARNING")] * 2
    assert [record.getMessage().splitlines()[0] for record in log.records] == [
        f"An error inside langflow-otel was contained at {step}; the flow itself is not affected. "
        "Further ones at this step are counted, not logged."
        for step in ("one", "two")
    ]


def test_the_log_line_has_types_and_frames_and_no_message(log):
    with Guard("step"):
        try:
            raise KeyError("canary of the cause")
        except KeyError as exc:
            raise OurError("canary of the error") from exc

    (record,) = log.records
    lines = record.getMessage().splitlines()
    assert "canary" not in record.getMessage()
    assert record.exc_info is None
    assert lines[1].startswith('  File "')
    assert lines[1].endswith("in test_the_log_line_has_types_and_frames_and_no_message")
    assert lines[2] == f"{__name__}.OurError"
    assert lines[3] == "caused by"
    assert lines[-1] == "KeyError"


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit])
def test_what_is_no_error_passes(log, error: type[BaseException]):
    with pytest.raises(error), Guard("step"):
        raise error

    assert guard.faults == {}
    assert log.records == []


def test_without_an_error_nothing_happens(log):
    with Guard("step") as nothing:
        pass

    assert nothing is None
    assert guard.faults == {}
    assert log.records == []


def test_strict_mode_raises_the_very_error(caplog):
    error = OurError()
    with pytest.raises(OurError) as caught, Guard("step"):
        raise error

    assert caught.value is error
    assert guard.faults == {}
    assert caplog.records == []


def test_an_error_can_be_handed_to_it(log):
    error = OurError()
    Guard("step").contain(error)
    assert guard.faults == {"step": 1}
    assert len(log.records) == 1


def test_strict_mode_raises_the_error_that_is_handed_to_it():
    error = OurError()
    with pytest.raises(OurError) as caught:
        Guard("step").contain(error)
    assert caught.value is error
    assert guard.faults == {}


def test_a_guard_may_be_entered_again_inside_of_itself(log):
    step = Guard("step")
    with step:
        with step:
            raise OurError
        raise OurError

    assert guard.faults == {"step": 2}


def test_warn_once_logs_each_subject_once_and_so_many_at_most(caplog):
    warn_once = WarnOnce(most=2)

    for about in ("a", "a", "b", "b", "c"):
        warn_once(about, "about %s", about)

    assert [record.getMessage() for record in caplog.records] == ["about a", "about b"]
    assert WarnOnce().is_first("a")
