"""What the tools have in common: the traces they are about, and their arguments."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from langflow_otel.cli.choosing import seconds_in
from langflow_otel.cli.mcp.answers import AnswerError, cut, moment
from langflow_otel.cli.mcp.source import Source
from langflow_otel.insights._baselines.baselines import Baseline
from langflow_otel.insights._estimates.flow_graph import FlowGraph
from langflow_otel.insights._reading.content_attributes import without_content
from langflow_otel.insights._reading.run_lists import flow_summaries
from langflow_otel.insights.prometheus_source import PrometheusSource
from langflow_otel.insights.selection import Selection, find_trace
from langflow_otel.insights.traces import Traces

Answer = dict[str, Any]

NARROWER: Final = "raise limit, or narrow it down by flow or since"
NEEDS_FORECAST: Final = "{} is not installed where this server runs; it needs: pip install 'langflow-otel[forecast]'"
LEFT_OUT: Final = "content is left out; it is shown if the server is started with --content"

_MAX_NAMED: Final = 10
_MAX_NAME: Final = 60
_TRACE: Final = re.compile("last|slowest|failed|[0-9a-fA-F]{1,32}")


def _time_ago(text: str) -> str:
    if not seconds_in(text):
        raise ValueError("a number and one of s, m, h, d, w is accepted, such as 24h")
    return text


def _trace_name(text: str) -> str:
    if not _TRACE.fullmatch(text):
        raise ValueError("a trace id or its first digits, last, slowest or failed is accepted")
    return text


TimeAgo = Annotated[str, AfterValidator(_time_ago)]
Flow = Annotated[str | None, Field(description="Only runs of the flow with this name or id", max_length=500)]
Version = Annotated[str | None, Field(description="Only runs of this langflow.flow.version", max_length=200)]
Since = Annotated[TimeAgo | None, Field(description="Only runs that started so long ago at most, such as 30m, 24h, 7d")]
Trace = Annotated[
    str,
    Field(description="A trace id or its first digits, or last, slowest or failed (the newest that failed)"),
    AfterValidator(_trace_name),
]
Limit = Annotated[int, Field(description="So many rows at most", ge=1, le=50)]


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
