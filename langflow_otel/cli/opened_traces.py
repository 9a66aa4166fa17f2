"""What the commands that read trace files have in common: which files, progress, and what could not be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from langflow_otel.cli.console import BAD_INPUT, give_up, printable, say
from langflow_otel.cli.progress import bytes_bar

if TYPE_CHECKING:
    from langflow_otel.insights._reading.otlp_lines import Problems
    from langflow_otel.insights.traces import Reading, Traces

TRACE_FILE = "LANGFLOW_OTEL_TRACE_FILE"
NEEDS_INSIGHTS = "{} is not installed; this needs: pip install 'langflow-otel[insights]'"

_MAX_FILES_NAMED = 10


def chosen_paths(paths: Sequence[Path]) -> list[Path]:
    """These, or the file that the environment names. Without any the command ends with exit code 2."""
    if paths:
        return list(paths)
    named = os.environ.get(TRACE_FILE, "").strip()
    if not named or named.lower() == "none":
        give_up(f"no trace files: name some, or set {TRACE_FILE}")
    return [Path(named)]


@contextmanager
def opened_traces(paths: Sequence[Path]) -> Iterator[Traces]:
    """The traces of these files, with a progress bar where the reading takes long.

    What could not be read goes to stderr. If that is everything, or the libraries for it are not installed, the
    command ends with exit code 2 and one line.
    """
    chosen = chosen_paths(paths)
    traces = _opened(chosen)
    with traces:
        for line in reading_lines(traces.reading):
            say(f"warning: {line}")
        yield traces


def _opened(chosen: Sequence[Path]) -> Traces:
    # pyarrow's allocator takes a gigabyte of addresses at once, in KiB, which counts where these are limited.
    os.environ.setdefault("MIMALLOC_ARENA_RESERVE", "65536")
    try:
        from langflow_otel.insights.traces import NoSpansError, open_traces

        try:
            with bytes_bar("reading") as on_progress:
                return open_traces(chosen, on_progress=on_progress)
        except NoSpansError as exc:
            give_up(f"{', '.join(printable(path) for path in chosen)}: {exc}", BAD_INPUT)
    except ImportError as exc:
        give_up(NEEDS_INSIGHTS.format(exc.name))
    except OSError as exc:
        give_up(f"{printable(exc.filename or 'a trace file')} cannot be read: {exc.strerror or exc}")


def reading_lines(reading: Reading) -> list[str]:
    """What could not be read, and what was left out, a line each."""
    lines = [
        *_by_file(reading.bad_lines, "line", "lines", "not read"),
        *_by_file(reading.bad_spans, "span", "spans", "left out"),
    ]
    if reading.duplicates:
        lines.append(f"{_counted(reading.duplicates, 'span', 'spans')} sent more than once counted once")
    if reading.end_before_start:
        lines.append(
            f"{_counted(reading.end_before_start, 'span', 'spans')} ended before the start (a clock was set back): "
            "their duration is 0"
        )
    return lines


def problem_lines(problems: Problems) -> list[str]:
    """The same of lines that were read without their files being told apart."""
    return [
        *(f"{_counted(count, 'line', 'lines')} not read: {reason}" for reason, count in problems.lines.most_common()),
        *(f"{_counted(count, 'span', 'spans')} left out: {reason}" for reason, count in problems.spans.most_common()),
    ]


def _by_file(found: Mapping[Path, Counter[str]], one: str, many: str, outcome: str) -> Iterator[str]:
    for path in list(found)[:_MAX_FILES_NAMED]:
        for reason, count in found[path].most_common():
            yield f"{printable(path)}: {_counted(count, one, many)} {outcome}: {reason}"
    rest = list(found.values())[_MAX_FILES_NAMED:]
    if rest:
        count = sum(sum(reasons.values()) for reasons in rest)
        yield f"{len(rest)} more files: {_counted(count, one, many)} {outcome}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
