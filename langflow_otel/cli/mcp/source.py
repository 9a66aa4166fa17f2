"""The traces that questions are about: those of the files given at start, and what comes to them meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from langflow_otel.cli.mcp.answers import AnswerError
from langflow_otel.insights._reading.trace_sources import trace_files
from langflow_otel.insights.traces import NoSpansError, Traces, open_traces

_READING_SHARE = 0.05


class Source:
    """Trace files, read again when they have grown.

    Args:
        paths: Files and folders.
        cache_dir: As of :func:`~langflow_otel.insights.traces.open_traces`.
    """

    def __init__(self, paths: Sequence[Path], *, cache_dir: Path | None = None) -> None:
        self._paths = paths
        self._cache_dir = cache_dir
        self._traces: Traces | None = None
        self._seen: object = None
        self._not_before = 0.0

    def traces(self) -> Traces:
        """The traces by now; of large files that grow, those of a while ago, so that reading takes 5 % of the time.

        Raises:
            AnswerError: The files cannot be read, or hold no spans.
        """
        if self._traces is not None and time.monotonic() < self._not_before:
            return self._traces
        try:
            state = self._state()
            if self._traces is None or state != self._seen:
                self._read(state)
        except OSError as exc:
            raise AnswerError(f"{exc.filename or 'a trace file'} cannot be read: {exc.strerror or exc}") from exc
        except NoSpansError as exc:
            raise AnswerError(f"{', '.join(map(str, self._paths))}: {exc}") from exc
        assert self._traces is not None  # noqa: S101 - for mypy: read above, or an error was raised
        return self._traces

    def _state(self) -> object:
        found = []
        for path in trace_files(self._paths):
            stat = path.stat()
            found.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return found

    def _read(self, state: object) -> None:
        started = time.monotonic()
        traces = open_traces(self._paths, cache_dir=self._cache_dir)
        self.close()
        self._traces, self._seen = traces, state
        now = time.monotonic()
        self._not_before = now + (now - started) / _READING_SHARE

    def close(self) -> None:
        if self._traces is not None:
            self._traces.close()
            self._traces = None
