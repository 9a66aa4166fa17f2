"""Nothing of what an exception says leaves by default: not its message, source text or local values."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from langflow_otel import span, traced
from langflow_otel._content.error_texts import error_type, frames_of, message_of, qualified_type
from langflow_otel._runs.facts import Outcome, ToolInfo
from langflow_otel._sdk.trace_file import otlp_json
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry
from tests.support.recording import FLOW, component, recorder, recording

CANARY = "s3cret-canary"


class PromptQuoteError(Exception):
    pass


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    __repr__ = __str__


class TruthlessError(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError(CANARY)


def an_error() -> BaseException:
    """With the canary in messages, notes, local values and the source text of its frames."""
    try:
        local = {"key": CANARY}
        try:
            raise KeyError("s3cret-canary", local)
        except KeyError as exc:
            raise PromptQuoteError("s3cret-canary") from exc
    except PromptQuoteError as exc:
        getattr(exc, "add_note", lambda _: None)(CANARY)
        return exc


def record_everything(error: BaseException) -> None:
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    run = recorder().start_component(component("Parser"), flow)
    tool = recorder().start_tool(ToolInfo("search"), run)

    @traced("custom")
    def custom() -> None:
        with span("block"):
            raise error

    with pytest.raises(type(error)):
        custom()
    run.note_failure(error)
    for each in (tool, run, flow):
        each.finish(Outcome("error", error))


def exported(telemetry: Telemetry) -> bytes:
    """Every byte that an exporter could send, in both encodings."""
    assert len(telemetry.sdk_spans) == 5
    json = "\n".join(span.to_json() for span in telemetry.sdk_spans)
    return (
        encode_spans(telemetry.sdk_spans).SerializeToString()
        + otlp_json(telemetry.sdk_spans).encode()
        + json.encode()
        + "\n".join(telemetry.warnings).encode()
    )


def test_the_canary_is_where_it_could_leak_from():
    assert CANARY in str(an_error())
    assert CANARY in Path(__file__).read_text("utf-8")


def test_by_default_nothing_of_the_exception_leaves(telemetry):
    record_everything(an_error())

    assert CANARY.encode() not in exported(telemetry)
    assert b"PromptQuoteError" in exported(telemetry)
    for each in telemetry.sdk_spans:
        (event,) = each.events
        assert sorted(event.attributes) == ["exception.stacktrace", "exception.type"]
        assert each.status.description is None


def test_the_stack_has_the_causes_as_types_and_frames(telemetry):
    error = an_error()
    first_line = an_error.__code__.co_firstlineno

    assert frames_of(error) == (
        f'  File "{__file__}", line {first_line + 7}, in an_error\n'
        f"{__name__}.PromptQuoteError\n"
        "caused by\n"
        f'  File "{__file__}", line {first_line + 5}, in an_error\n'
        "KeyError"
    )


def test_full_sends_the_message_of_the_error_and_no_source_text():
    with recording(Settings(error_messages="full")) as telemetry:
        record_everything(an_error())

    for each in telemetry.sdk_spans:
        (event,) = each.events
        assert event.attributes["exception.message"] == CANARY
        quoting = [line for line in event.attributes["exception.stacktrace"].splitlines() if CANARY in line]
        assert [line.partition(": ")[0] for line in quoting] == [f"{__name__}.PromptQuoteError", "KeyError"]


def test_redacted_sends_messages_without_what_is_secret():
    """Those of the causes too, and on spans that other instrumentors made."""
    key = "AK" + "IA" + "IOSFODNN7EXAMPLE"
    try:
        try:
            raise KeyError(f"no such key {key}")
        except KeyError as exc:
            raise ValueError(f"cannot reach mail of jane@example.com with {key}") from exc
    except ValueError as exc:
        error = exc
    with recording(Settings(error_messages="redacted")) as telemetry:
        record_everything(error)

    assert key.encode() not in exported(telemetry)
    for each in telemetry.sdk_spans:
        (event,) = each.events
        message = event.attributes["exception.message"]
        assert message.startswith("cannot reach mail of [redacted:email] with [redacted:")
        assert "KeyError: 'no such key [redacted:" in event.attributes["exception.stacktrace"]


class Refused(Exception):  # noqa: N818
    """As httpx and requests have it."""

    def __init__(self, status: object) -> None:
        self.response = type("Response", (), {"status_code": status})()


def test_the_status_of_a_failed_call_leaves_whatever_messages_do():
    error = ValueError(CANARY)
    error.__cause__ = Refused(429)
    with recording(Settings()) as telemetry:
        record_everything(error)

    for each in telemetry.sdk_spans:
        assert each.events[0].attributes["http.response.status_code"] == 429
    assert CANARY.encode() not in exported(telemetry)


@pytest.mark.parametrize("policy", ["none", "redacted", "full"])
def test_a_message_that_cannot_be_made_is_no_message(policy: Any):
    with recording(Settings(error_messages=policy)) as telemetry:
        record_everything(UnspeakableError())

    assert CANARY.encode() not in exported(telemetry)
    assert all("exception.message" not in each.events[0].attributes for each in telemetry.sdk_spans)


def test_a_message_that_is_no_valid_text_can_be_exported():
    with recording(Settings(error_messages="full")) as telemetry:
        record_everything(ValueError("bad \udcff byte"))

    assert b"bad ? byte" in exported(telemetry)


def test_an_exception_without_a_truth_value():
    cause = TruthlessError()
    error = KeyError()
    error.__cause__ = cause

    assert frames_of(error) == f"KeyError\ncaused by\n{__name__}.TruthlessError"


def test_a_hidden_context_stays_hidden_and_an_open_one_is_shown():
    def chain(hide: bool) -> BaseException:
        try:
            try:
                raise KeyError
            except KeyError:
                if hide:
                    raise ValueError from None
                raise ValueError  # noqa: B904
        except ValueError as exc:
            return exc

    assert "KeyError" not in frames_of(chain(hide=True))
    assert frames_of(chain(hide=False)).endswith("KeyError")


def test_a_chain_that_bites_its_tail_ends():
    first, second = KeyError(), ValueError()
    first.__cause__, second.__cause__ = second, first

    assert frames_of(first) == "KeyError\ncaused by\nValueError"


def test_long_chains_and_deep_stacks_are_cut():
    error: BaseException = KeyError()
    for _ in range(20):
        outer = ValueError()
        outer.__cause__ = error
        error = outer
    assert frames_of(error).split("\ncaused by\n") == ["ValueError"] * 5

    def deep(left: int) -> None:
        if left == 0:
            raise KeyError
        deep(left - 1)

    with pytest.raises(KeyError) as caught:
        deep(200)
    lines = frames_of(caught.value).splitlines()
    assert len(lines) == 51
    assert lines[-2].endswith("in deep")


def test_types_are_named_with_their_module():
    class LocalError(Exception):
        pass

    assert (error_type(KeyError()), qualified_type(KeyError())) == ("KeyError", "KeyError")
    assert qualified_type(asyncio.CancelledError()) == "asyncio.exceptions.CancelledError"
    assert qualified_type(PromptQuoteError()) == f"{__name__}.PromptQuoteError"
    name = "test_types_are_named_with_their_module.<locals>.LocalError"
    assert (error_type(LocalError()), qualified_type(LocalError())) == (name, f"{__name__}.{name}")


def test_the_policy_decides_on_the_message():
    assert message_of(ValueError("text"), Settings()) is None
    assert message_of(ValueError("text"), Settings(error_messages="full")) == "text"
    assert message_of(ValueError(), Settings(error_messages="full")) == ""


@pytest.mark.parametrize("policy", ["redacted", "full"])
def test_a_message_that_quotes_a_trace_quotes_no_source(policy: Any):
    given = 'It failed:\n  File "/a.py", line 1, in f\n    key = "canary"\nValueError: why'

    sent = message_of(RuntimeError(given), Settings(error_messages=policy))

    assert sent == 'It failed:\n  File "/a.py", line 1, in f\nValueError: why'


def test_a_redacted_message_has_the_place_of_a_url_and_no_more():
    error = RuntimeError("404 Not Found for url 'https://host/search/canary?q=canary'")

    sent = message_of(error, Settings(error_messages="redacted"))

    assert sent == "404 Not Found for url 'https://host/search/REDACTED'"
