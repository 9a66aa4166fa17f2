"""What the tools have in common: the traces they are about, and their arguments."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from langflow_otel.cli.mcp.answers import AnswerError, cut, moment
from langflow_otel.cli.trace_input import seconds_in
from langflow_otel.insights._baselines.baselines import Baseline
from langflow_otel.insights._estimates.flow_graph import FlowGraph
from langflow_otel.insights._reading.content_attributes import without_content
from langflow_otel.insights._reading.run_lists import flow_summaries
from langflow_otel.insights._reading.trace_sources import trace_files
from langflow_otel.insights.prometheus_source import PrometheusSource
from langflow_otel.insights.selection import Selection, find_trace
from langflow_otel.insights.traces import NoSpansError, Traces, open_traces

Answer = dict[str, Any]

NARROWER: Final = "raise limit, or narrow it down by flow or since"
NEEDS_FORECAST: Final = "{} is not installed where this server runs; it needs: pip install 'langflow-otel[forecast]'"
LEFT_OUT: Final = "content is left out; it is shown if the server is started with --content"

_MAX_NAMED: Final = 10
_MAX_NAME: Final = 60
_TRACE: Final = re.compile("last|slowest|failed|[0-9a-fA-F]{1,32}")
Flow = Annotated[str | None, Field(description="Only runs of the flow with this name or id", max_length=500)]
Version = Annotated[str | None, Field(description="Only runs of this langflow.flow.version", max_length=200)]
Limit = Annotated[int, Field(description="So many rows at most", ge=1, le=50)]
_READING_SHARE = 0.05


def _time_ago(text: str) -> str:
    if not seconds_in(text):
        raise ValueError("a number and one of s, m, h, d, w is accepted, such as 24h")
    return text


def _trace_name(text: str) -> str:
    if not _TRACE.fullmatch(text):
        raise ValueError("a trace id or its first digits, last, slowest or failed is accepted")
    return text


TimeAgo = Annotated[str, AfterValidator(_time_ago)]
Since = Annotated[TimeAgo | None, Field(description="Only runs that started so long ago at most, such as 30m, 24h, 7d")]
Trace = Annotated[
    str,
    Field(description="A trace id or its first digits, or last, slowest or failed (the newest that failed)"),
    AfterValidator(_trace_name),
]


def ns_ago(since: str | None) -> int | None:
    """The moment so long ago, nanoseconds since the epoch; None for None."""
    return None if since is None else time.time_ns() - int(seconds_in(since) * 1e9)


@dataclass(frozen=True)
class Given:
    """What the server was started with beside traces.

    Attributes:
        baseline: To compare with.
        flows: To be estimated.
        prometheus: Whose metrics are asked.
    """

    baseline: Baseline | None = None
    flows: Sequence[FlowGraph] = ()
    prometheus: PrometheusSource | None = None


NOTHING: Final = Given()


@dataclass(frozen=True)
class Asked:
    """What a tool works with.

    Attributes:
        source: Of the traces; a tool that needs none does not read them.
        content: Whether content may be shown.
    """

    source: Source
    content: bool
    given: Given

    @cached_property
    def traces(self) -> Traces:
        """Those of the files by now, the same for all of the question.

        Raises:
            AnswerError: There are none.
        """
        return self.source.traces()

    def select(self, flow: str | None = None, since: str | None = None, version: str | None = None) -> Selection:
        """The runs.

        Raises:
            AnswerError: There are none.
        """
        selection = Selection(flow=flow, version=version, since_ns=ns_ago(since))
        chosen, given = selection.chosen()
        if not self.traces.connection.execute(f"SELECT 1 FROM ({chosen}) LIMIT 1", given).fetchall():  # noqa: S608 - ours
            raise AnswerError(self._nothing(selection))
        return selection

    def trace_id(self, trace: str) -> str:
        """The id of this trace.

        Raises:
            AnswerError: There is none, or not only one.
        """
        try:
            return find_trace(self.traces.connection, trace)
        except LookupError as exc:
            raise AnswerError(str(exc.args[0])) from None

    def shown(self, attributes: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Those that may be shown, and how many may not."""
        return (dict(attributes), 0) if self.content else without_content(attributes)

    def _nothing(self, selection: Selection) -> str:
        flows = flow_summaries(self.traces.connection)
        if not flows:
            return "there is no run of a flow in the files"
        names = [cut(each.flow or each.flow_id, _MAX_NAME) for each in flows[:_MAX_NAMED]]
        more = f" and {len(flows) - _MAX_NAMED} more" if len(flows) > _MAX_NAMED else ""
        newest = moment(max(each.last_ns for each in flows))
        return f"no such run; there are runs of {', '.join(names)}{more}, the newest started {newest}"


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
