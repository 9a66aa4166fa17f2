"""Which errors are denied: by themselves, by their causes, by what they quote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from langflow_otel._content.error_texts import deny, frames_of, is_denied, message_of, quotes_denied
from langflow_otel._content.log_lines import WITHHELD, log_line
from langflow_otel._settings.settings import Settings

FULL = Settings(error_messages="full", log_bodies=True)
CANARY = "canary-7f3a"


class SlotsError(Exception):
    __slots__ = ("code",)


class LockedError(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


@dataclass(frozen=True)
class FrozenError(Exception):
    code: str


class HidesError(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            raise AttributeError(name)
        return super().__getattribute__(name)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


ERRORS = [
    ValueError(CANARY),
    KeyError(CANARY),
    OSError(2, CANARY),
    *(cls(CANARY) for cls in (SlotsError, LockedError, FrozenError)),
]


@pytest.mark.parametrize(
    "error", [*ERRORS, HidesError(CANARY), UnspeakableError(CANARY)], ids=lambda each: type(each).__name__
)
def test_an_error_of_any_class_is_denied(error: BaseException):
    assert not is_denied(error)
    deny(error)

    assert is_denied(error)
    assert message_of(error, FULL) is None


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as exc:
        return exc


def while_handled(error: BaseException, handled: BaseException) -> BaseException:
    try:
        try:
            raise handled
        except BaseException:
            raise error  # noqa: B904
    except BaseException as exc:
        return exc


def test_its_causes_and_what_is_raised_from_it_are_denied():
    below = LookupError(f"below {CANARY}")
    error = raised(ValueError(f"itself {CANARY}"), below)
    deny(error)
    above = while_handled(RuntimeError(f"above {CANARY}"), raised(TypeError(f"between {CANARY}"), error))

    assert all(map(is_denied, (below, error, above)))
    assert CANARY not in frames_of(above, FULL)
    assert not is_denied(ValueError(f"itself {CANARY}"))


def test_a_long_chain_is_denied_to_its_end():
    error: BaseException = ValueError(CANARY)
    deny(error)
    for number in range(50):
        error = raised(ValueError(f"{number}"), error)

    assert is_denied(error)


@pytest.mark.parametrize(
    "quote", ["it said: {}", "{!r}", "before\n  {}\nafter", "json"], ids=["text", "repr", "lines", "json"]
)
@pytest.mark.parametrize("message", [f"{CANARY} of 'Zoë'", f'{CANARY} "\\', f"{CANARY}\nsecond line", CANARY * 1_000])
def test_a_text_that_quotes_its_message_is_known(quote: str, message: str):
    text = json.dumps({"error": message}) if quote == "json" else quote.format(message)
    assert not quotes_denied(text)
    deny(ValueError(message))

    assert quotes_denied(text)
    assert message_of(RuntimeError(text), FULL) is None


def test_the_key_of_a_key_error_is_known_without_its_quotes():
    deny(KeyError(CANARY))

    assert quotes_denied(f"no {CANARY} there")


def test_texts_that_are_everywhere_are_not_taken_for_a_quote():
    for error in (ValueError(""), ValueError("no"), ValueError("  \n "), ValueError()):
        deny(error)

    assert not quotes_denied("no such file")


def test_only_the_last_messages_are_known():
    for number in range(1_000):
        deny(ValueError(f"message {number}."))

    assert quotes_denied("message 999.")
    assert not quotes_denied("message 1.")


def test_a_log_line_about_it_is_withheld_and_others_are_not():
    error = ValueError("no")
    deny(error)
    deny(ValueError(CANARY))

    def body(event: dict[str, Any], error: BaseException | None = None) -> tuple[str, Any]:
        line = log_line("x", "error", event, error, None, FULL)
        return line.body, line.attributes.get("reason")

    assert body({"event": "it said no", "reason": "no"}, error) == (WITHHELD, None)
    assert body({"event": f"it said {CANARY}", "reason": CANARY}) == (WITHHELD, WITHHELD)
    assert body({"event": "it said no", "reason": "none"}, ValueError("no")) == ("it said no", "none")
