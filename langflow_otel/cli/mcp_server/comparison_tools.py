"""Tools that compare: two versions, two times, or runs with a baseline that was kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

from pydantic import Field

from langflow_otel.cli import baseline_view
from langflow_otel.cli.mcp_server.answers import AnswerError, cut, page, present
from langflow_otel.cli.mcp_server.asked import Answer, Asked, Flow, Limit, Since, TimeAgo, ns_ago
from langflow_otel.insights.baseline_comparison import Change, NothingToCompareError, compare
from langflow_otel.insights.baselines import Baseline, baseline_of_traces, holds_runs_of
from langflow_otel.insights.selection import Selection

_MAX_NAMED: Final = 10

FailOver = Annotated[float, Field(description="By how many percent a figure may be worse", ge=0, le=100_000)]


def compare_versions(
    asked: Asked,
    before: Annotated[str, Field(description="A langflow.flow.version", min_length=1, max_length=200)],
    after: Annotated[str, Field(description="Another one", min_length=1, max_length=200)],
    flow: Flow = None,
    fail_over: FailOver = 10,
    limit: Limit = 20,
) -> Answer:
    """What two versions of a flow do worse or better: durations, errors, tokens, cost, as far as chance does not
    explain it."""
    sides = [_baseline(asked, asked.select(flow, None, each)) for each in (before, after)]
    return _compared(sides[0], sides[1], fail_over, limit)


def compare_times(
    asked: Asked,
    last: Annotated[TimeAgo, Field(description="Such as 24h: runs of this time")],
    flow: Flow = None,
    fail_over: FailOver = 10,
    limit: Limit = 20,
) -> Answer:
    """What became worse or better: the runs of the last hours or days, compared with all runs before them."""
    at_ns = ns_ago(last)
    after = asked.select(flow, last)
    return _compared(
        _baseline(asked, replace(after, since_ns=None, until_ns=at_ns)), _baseline(asked, after), fail_over, limit
    )


def compare_baseline(
    asked: Asked, flow: Flow = None, since: Since = None, fail_over: FailOver = 10, limit: Limit = 20
) -> Answer:
    """What is worse or better than in the baseline that was kept."""
    kept = asked.baseline
    assert kept is not None  # noqa: S101 - for mypy: the tool is only there if there is one
    selection = asked.select(flow, since)
    if holds_runs_of(asked.traces.connection, kept):
        selection = replace(selection, since_ns=max(selection.since_ns or 0, kept.last_ns + 1))
    return _compared(kept, _baseline(asked, selection), fail_over, limit)


def _baseline(asked: Asked, selection: Selection) -> Baseline:
    found = baseline_of_traces(asked.traces.connection, selection)
    if not found.entries:
        raise AnswerError("there are no runs on one side of the comparison")
    return found


def _compared(before: Baseline, after: Baseline, fail_over: float, limit: int) -> dict[str, Any]:
    try:
        found = compare(before, after, fail_over=fail_over / 100)
    except NothingToCompareError as exc:
        raise AnswerError(cut(str(exc), 500)) from None
    changed = sorted(
        [each for each in found.changes if each.verdict in ("worse", "better")], key=lambda each: not each.fails
    )
    return {
        "summary": " ".join(baseline_view.sentences(found)),
        "runs_before_and_after": dict(list(found.executions.items())[:_MAX_NAMED]),
        "changes": page([_change(each) for each in changed], limit, "raise limit, or name one flow"),
        **present(components_changed=[cut(line) for line in baseline_view.graph_lines(found.graph)][:limit]),
    }


def _change(change: Change) -> dict[str, Any]:
    difference = change.difference
    return present(
        flow=change.flow,
        component=change.name if change.component_id is not None else "the whole run",
        figure=f"{change.measured} {change.statistic}",
        before=difference.before,
        after=difference.after,
        relative=change.relative,
        interval_of_difference=[difference.low, difference.high],
        verdict=change.verdict,
        over_the_limit=change.fails or None,
    )
