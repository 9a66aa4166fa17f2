"""Tools that compare: two versions, two times, runs with a baseline that was kept, many days or versions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from langflow_otel.cli.baseline import comparison_view
from langflow_otel.cli.mcp.answers import AnswerError, cut, page, present
from langflow_otel.cli.mcp.context import NEEDS_FORECAST, Answer, Asked, Flow, Limit, Since, TimeAgo, ns_ago
from langflow_otel.insights._baselines.baselines import Baseline, baseline_of_traces, baselines_of_steps, holds_runs_of
from langflow_otel.insights._baselines.comparison import Change, NothingToCompareError, compare
from langflow_otel.insights.selection import Selection

if TYPE_CHECKING:
    from langflow_otel.insights._baselines.history import Changed, FigureHistory

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
    kept = asked.given.baseline
    assert kept is not None  # noqa: S101 - for mypy: the tool is only there if there is one
    selection = asked.select(flow, since)
    if holds_runs_of(asked.traces.connection, kept):
        selection = replace(selection, since_ns=max(selection.since_ns or 0, kept.last_ns + 1))
    return _compared(kept, _baseline(asked, selection), fail_over, limit)


def baseline_history(
    asked: Asked,
    by: Annotated[
        Literal["day", "version"], Field(description="What a step is: a day, or a version of the flow")
    ] = "day",
    flow: Flow = None,
    since: Since = None,
    at_least: Annotated[float, Field(description="Smaller changes, in percent, are left out", ge=0, le=100_000)] = 5,
    limit: Limit = 20,
) -> Answer:
    """When durations, errors or tokens of a flow or component changed for good, over many days or versions, as far as
    chance does not explain it. Two or three weeks of history are needed."""
    try:
        from langflow_otel.cli.baseline.history import figure_name, sentences, too_short
        from langflow_otel.insights._baselines.history import Step, history
    except ImportError as exc:
        raise AnswerError(NEEDS_FORECAST.format((exc.name or "").partition(".")[0])) from None
    found_steps = baselines_of_steps(asked.traces.connection, asked.select(flow, since), by=by)
    if not found_steps:
        raise AnswerError("no run has a langflow.flow.version")
    found = history([Step(name, baseline) for name, baseline in found_steps], over=at_least / 100)
    if not found.judged:
        raise AnswerError(f"too short a history: {too_short(found)}")
    changed = [_lasting(figure_name(figure), figure, each) for figure in found.figures for each in figure.changes]
    return {
        "summary": " ".join(sentences(found, at_least / 100)),
        "changes": page(changed, limit, "raise limit, or name one flow"),
    }


def _lasting(name: str, figure: FigureHistory, change: Changed) -> dict[str, Any]:
    new = [f"{each.name}: {each.what} {each.value}" for each in change.began[:_MAX_NAMED]]
    return present(
        flow=figure.flow,
        component=figure.name if figure.component_id is not None else "the whole run",
        figure=name,
        since=change.since,
        until=change.until,
        between=[change.earliest, change.latest],
        before=change.before,
        after=change.after,
        relative=change.relative,
        interval_of_difference=[change.low, change.high],
        chance=change.adjusted_p,
        new_at_that_time=[cut(each) for each in new],
    )


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
        "summary": " ".join(comparison_view.sentences(found)),
        "runs_before_and_after": dict(list(found.executions.items())[:_MAX_NAMED]),
        "changes": page([_change(each) for each in changed], limit, "raise limit, or name one flow"),
        **present(components_changed=[cut(line) for line in comparison_view.graph_lines(found.graph)][:limit]),
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
