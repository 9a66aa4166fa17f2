"""Stack traces of others, as text, without their source."""

from __future__ import annotations

import builtins
import sys
import time
import traceback
from typing import Any

import pytest

from langflow_otel._content.error_texts import without_source

KEY = "source-canary"


def fails() -> None:
    raise ValueError("told why")  # source-canary


def chained() -> None:
    try:
        fails()
    except ValueError as exc:
        raise LookupError("above") from exc  # source-canary


def recursive(left: int) -> None:
    if left:
        recursive(left - 1)  # source-canary
    fails()


def broken() -> None:
    compile("source-canary = = 1", "<string>", "exec")


def long_line() -> None:
    print(
        "source-canary",
        1 / 0,  # source-canary
    )


def trace_of(function: Any, **options: Any) -> str:
    try:
        function()
    except Exception as exc:
        return "".join(traceback.TracebackException.from_exception(exc, **options).format())
    raise AssertionError("it did not fail")


ALL = [fails, chained, broken, long_line, lambda: recursive(20)]


@pytest.mark.parametrize("options", [{}, {"capture_locals": True}])
@pytest.mark.parametrize("function", ALL)
def test_frames_and_messages_stay_and_source_does_not(function: Any, options: dict[str, Any]):
    given = trace_of(function, **options)
    sent = without_source(given)

    assert KEY in given
    assert KEY not in sent
    kept = sent.split("\n")
    assert [line for line in kept if line not in given.split("\n")] == []
    frames = [line for line in given.split("\n") if line.startswith("  File ")]
    assert [line for line in kept if line.startswith("  File ")] == frames
    assert kept[0] == "Traceback (most recent call last):"
    assert kept[-2] == given.split("\n")[-2]


def test_both_messages_of_a_chain_stay():
    sent = without_source(trace_of(chained))

    assert "ValueError: told why\n\nThe above exception was the direct cause of" in sent
    assert sent.endswith("LookupError: above\n")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_groups_and_notes_of_exceptions():
    def group() -> None:
        errors = []
        for each in (fails, chained):
            try:
                each()
            except Exception as exc:
                exc.add_note("a note")
                errors.append(exc)
        raise builtins.ExceptionGroup("several", errors)  # source-canary

    given = trace_of(group)
    sent = without_source(given)

    assert KEY in given
    assert KEY not in sent
    assert sent.count("File ") == given.count("File ")
    assert sent.count("| a note") == 2
    assert "  | ExceptionGroup: several (2 sub-exceptions)" in sent


@pytest.mark.parametrize("function", ALL)
def test_a_trace_inside_a_repr_or_json(function: Any):
    given = trace_of(function)
    for quoted in (repr(RuntimeError(given)), "said " + given.replace('"', '\\"').replace("\n", "\\n")):
        sent = without_source(quoted)

        assert KEY in quoted
        assert KEY not in sent
        assert sent.count("File ") == given.count("File ")


def test_a_trace_without_indentation_and_one_that_rich_has_drawn():
    bare = "\n".join(line.strip() for line in trace_of(chained).split("\n"))
    drawn = "╭── Traceback (most recent call last) ──╮\n│ /a.py:1 in f │\n│ ❱ 1 source-canary │\n╰───╯\nValueError: x"

    assert KEY not in without_source(bare)
    assert "ValueError: told why" in without_source(bare)
    assert without_source(drawn) == "ValueError: x"


@pytest.mark.parametrize("text", ["", "ValueError: no trace", "File not found: a, line 3", 'Open File "a"'])
def test_a_text_without_a_trace_stays_as_it_is(text: str):
    assert without_source(text) == text


def test_what_follows_a_frame_on_its_line_does_not_leave():
    assert (
        without_source('  File "a.py", line 3, in f source-canary\n    x\nE: y') == '  File "a.py", line 3, in f\nE: y'
    )


def test_other_line_separators_end_no_line_of_source():
    given = '  File "a.py", line 3, in f\n    x = 1\x0csource-canary\u2028source-canary\nE: y'

    assert without_source(given) == '  File "a.py", line 3, in f\nE: y'


@pytest.mark.parametrize("part", [" ", "| ", 'File "', '\\n  File \\"', '  File "a", line 1\n', "\\n"])
def test_a_long_text_takes_no_longer_a_character(part: str):
    def seconds(times: int) -> float:
        text = 'File "a", line 1\n' + part * times
        start = time.process_time()
        without_source(text)
        return time.process_time() - start

    assert min(seconds(40_000) for _ in range(3)) < 30 * min(seconds(4_000) for _ in range(3)) + 0.05
