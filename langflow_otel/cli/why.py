"""``langflow-otel why``: why a run was slow or failed."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel import _semconv as semconv
from langflow_otel.cli.console import (
    finite,
    glyphs_of,
    heading,
    in_bytes,
    in_percent,
    in_words,
    make_console,
    printable,
    shortened,
)
from langflow_otel.cli.trace_input import opened_traces, trace_and_paths, trace_id_of
from langflow_otel.insights._statistics.differences import Difference, Differences
from langflow_otel.insights.why import FAILED, MIN_RUNS, OUTLIER_Z, SLOW, TOO_FEW, ComponentTime, Explanation, explain

_MAX_TEXT_WIDTH = 100
_MAX_COMPONENTS = 8
_MAX_DIFFERENCES = 8
_MAX_UNPROVEN = 4
_MAX_NAMED = 3
_MOSTLY = 0.5
_NOT_UNUSUAL_Z = 2.0
_MAX_VALUE = 60
_IN_UNITS: Mapping[str, Callable[[float], str]] = {
    semconv.FLOW_MEMORY_PEAK: in_bytes,
    semconv.FLOW_EVENT_LOOP_DELAY_PEAK: in_words,
    semconv.FLOW_SYSTEM_CPU_PEAK: lambda share: in_percent(100 * share),
    semconv.FLOW_GPU_PEAK: lambda share: in_percent(100 * share),
    semconv.FLOW_GPU_MEMORY_PEAK: lambda share: in_percent(100 * share),
}
_UNIT = re.compile(r"(?<=\d) (?=(?:%|s|ms|[KMG]?i?B)(?!\w))")


def why(which: str, paths: Sequence[Path], *, as_json: bool) -> None:
    """Explain the run in the trace with this id, or the one that ended last, took longest or failed last."""
    which, paths = trace_and_paths(which, paths)
    with opened_traces(paths) as traces:
        trace_id = trace_id_of(traces, which, nothing="null" if as_json else None)
        explanation = explain(traces.connection, trace_id)
    if as_json:
        typer.echo(json.dumps(explanation_as_json(explanation), indent=2))
    else:
        show_explanation(explanation, make_console())


def show_explanation(explanation: Explanation, console: Console) -> None:
    """Print it."""
    width = min(console.width, _MAX_TEXT_WIDTH)
    heading(console, _plain(explanation.flow) or "a flow without a name", f"trace {explanation.trace_id}")
    console.print()
    _say(console, " ".join(sentences(explanation)), width)
    _show_components(explanation, console)
    _show_differences(explanation, console)
    if explanation.missing:
        console.print()
        _say(console, f"Not in the data: {', '.join(explanation.missing)}.", width, "dim")


def _say(console: Console, text: str, width: int, style: str = "") -> None:
    """In lines of this width, that do not begin with the unit of a number."""
    joined = _UNIT.sub("\0", text)
    for line in textwrap.wrap(joined, width, break_on_hyphens=False):
        console.print(Text(line.replace("\0", " "), style))


def _plain(text: object) -> str:
    """Without control codes, on one line, and not longer than a few lines of the terminal."""
    return shortened(printable(text))


def explanation_as_json(explanation: Explanation) -> dict[str, Any]:
    """One object; shares are 0 to 1, a value that is infinite is null."""
    data: dict[str, Any] = asdict(explanation)
    data["summary"] = " ".join(sentences(explanation))
    for component, given in zip(data["components"], explanation.components, strict=True):
        component["extra_s"] = given.extra_s
    for name in ("differences", "peaks"):
        found: Differences | None = getattr(explanation, name)
        for part in ("found", "unproven") if found is not None else ():
            for difference, given in zip(data[name][part], getattr(found, part), strict=True):
                difference.update(like_share=given.like_share, rest_share=given.rest_share, difference=given.difference)
    return finite(data)  # type: ignore[no-any-return]


def sentences(explanation: Explanation) -> Iterator[str]:
    """The answer in words, without control codes."""
    yield _outcome(explanation)
    if explanation.runs_in_trace > 1:
        yield f"It is one of {explanation.runs_in_trace} runs in the trace."
    yield from _place(explanation)
    yield from _companions(explanation)


def _outcome(explanation: Explanation) -> str:
    history, took = explanation.history, in_words(explanation.duration_s)
    if explanation.verdict == FAILED:
        return _failed(explanation)
    ended = "" if explanation.status == "ok" else f" and ended as {_plain(explanation.status)}"
    if explanation.verdict == TOO_FEW or history.median_s is None or history.faster_share is None:
        others = {0: "is no other successful run", 1: "is only 1 other successful run"}.get(
            history.succeeded, f"are only {history.succeeded} other successful runs"
        )
        return (
            f"This run took {took}{ended}. There {others} of this flow in the files: too few runs to say whether "
            f"that is slow ({MIN_RUNS} are needed)."
        )
    faster = "all" if history.faster_share == 1 else in_percent(100 * history.faster_share)
    if explanation.verdict != SLOW:
        return (
            f"This run took {took}{ended}, which is not slow: the median of {history.succeeded} other successful runs "
            f"is {in_words(history.median_s)}, and {faster} of them took less."
        )
    ratio = explanation.duration_s / max(history.median_s, 1e-9)
    unusual = history.robust_z is not None and history.robust_z > OUTLIER_Z
    return (
        f"This run took {took}{ended}: {ratio:.1f} times the median of {history.succeeded} other successful runs "
        f"({in_words(history.median_s)}), and longer than {faster} of them"
        + (", which is far outside of what is usual." if unusual else ", which happens in this flow now and then.")
    )


def _failed(explanation: Explanation) -> str:
    failure, history = explanation.failure, explanation.history
    took = in_words(explanation.duration_s)
    if failure is None:
        return f"This run failed after {took}."
    kind = _plain(failure.error_type or "an error")
    if failure.category and failure.category != "code":
        kind += f" ({_plain(failure.category)})"
    place = _plain(failure.component or failure.name)
    inside = (
        f', in its span "{_plain(failure.name)}"' if failure.component and failure.component not in failure.name else ""
    )
    message = f': "{_plain(failure.message)}"' if failure.message else ""
    if not history.runs:
        others = "No other run of this flow is in the files."
    elif history.same_error:
        others = f"{history.same_error} of {history.runs} other runs of this flow failed with the same error."
    else:
        others = f"None of {history.runs} other runs of this flow failed with this error."
    return f"This run failed after {took}: {kind} in {place}{inside}{message}. {others}"


def _place(explanation: Explanation) -> Iterator[str]:
    components = explanation.components
    if explanation.verdict == TOO_FEW and components:
        first = max(components, key=lambda each: each.here_s)
        share = in_percent(100 * first.here_s / max(explanation.duration_s, 1e-9))
        yield f"Most of its time went to {_name(first)}: {in_words(first.here_s)}, {share}."
    if explanation.verdict != SLOW:
        return
    slower = [each for each in components if each.extra_s > 0]
    if slower and slower[0].share >= _MOSTLY:
        first = slower[0]
        yield (
            f"It was slow in {_name(first)}, which took {in_words(first.here_s)} instead of {in_words(first.usual_s)}: "
            f"{in_percent(100 * first.share)} of the extra time{_inside(first)}."
        )
        if first.robust_z is not None and first.robust_z < _NOT_UNUSUAL_Z:
            yield "Its duration varies as much in other runs."
    elif slower:
        parts = [f"{_name(each)} ({in_percent(100 * each.share)})" for each in slower[:_MAX_NAMED]]
        yield f"No single component made it slow: the extra time is spread over {_listed(parts)}."


def _inside(component: ComponentTime) -> str:
    if not component.longest_span or component.name in component.longest_span:
        return ""
    return f', most of it in "{_plain(component.longest_span)}"'


def _companions(explanation: Explanation) -> Iterator[str]:
    differences = explanation.differences
    if differences is None:
        return
    outcome = "this error" if explanation.verdict == FAILED else "slowness"
    like = _like(explanation)
    if differences.found:
        first = differences.found[0]
        yield (
            f"What goes with {outcome}: {_fact(first)}. {first.like_with} of {like} have it, and "
            f"{first.rest_with} of {_rest(explanation, first.rest)}."
        )
        others = [_fact(each) for each in differences.found[1 : 1 + _MAX_NAMED]]
        if others:
            yield f"Also: {'; '.join(others)}."
    elif not explanation.like:
        yield f"No other run {_was_like(explanation)}, so there is nothing to compare it with."
    elif not differences.compared:
        runs = "1 other run" if explanation.like == 1 else f"{explanation.like} other runs"
        yield f"With {runs} {_why_like(explanation)}, no difference can be told from chance."
    else:
        were = "difference was" if differences.compared == 1 else "differences were"
        rest = _rest(explanation, explanation.history.succeeded - _slow_others(explanation))
        yield (
            f"Nothing goes with {outcome} more often than chance allows: {differences.compared} {were} compared "
            f"between {like} and {rest}."
        )
    if explanation.peaks is not None and explanation.peaks.found:
        names = [_fact(each) for each in explanation.peaks.found[:_MAX_NAMED]]
        yield f"The process had higher peaks, as in any run that takes longer: {'; '.join(names)}."


def _like(explanation: Explanation) -> str:
    runs = "the other run" if explanation.like == 1 else f"the {explanation.like} other runs"
    return f"{runs} {_why_like(explanation)}"


def _why_like(explanation: Explanation) -> str:
    if explanation.slow_from_s is None:
        return "with the same error"
    return f"that took {in_words(explanation.slow_from_s)} or longer"


def _was_like(explanation: Explanation) -> str:
    return "failed like this" if explanation.verdict == FAILED else "was about as slow"


def _rest(explanation: Explanation, count: int) -> str:
    return f"the {count} runs that succeeded" if explanation.verdict == FAILED else f"the {count} faster runs"


def _slow_others(explanation: Explanation) -> int:
    return explanation.like if explanation.verdict == SLOW else 0


def _with_unit(name: str, text: str) -> str:
    """A number of a peak as people read it: ``at least 305,291,264`` as ``at least 291 MiB``."""
    words, _, number = text.rpartition(" ")
    try:
        return f"{words} {_IN_UNITS[name](float(number.replace(',', '')))}".strip()
    except (KeyError, ValueError):
        return text


def _fact(difference: Difference) -> str:
    value = _plain(_with_unit(difference.name, difference.value))
    value = value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 3] + "..."
    name = _plain(difference.name)
    return f"{name} {value}" if value.startswith(("at least ", "at most ")) else f"{name} = {value}"


def _name(component: ComponentTime) -> str:
    return _plain(component.name) or "LangFlow itself, between components"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _show_components(explanation: Explanation, console: Console) -> None:
    if not explanation.components:
        return
    compared = explanation.components[0].usual_s is not None
    heading(
        console,
        "Where the time went",
        "on the critical path" + (", against the median of other runs" if compared else ""),
    )
    is_slow = explanation.verdict == SLOW
    columns = ["usually", "longer by", *(["of the extra time"] if is_slow else [])] if compared else ["share"]
    table = _table(console, "component", "this run", *columns)
    shown = explanation.components if compared else sorted(explanation.components, key=lambda each: -each.here_s)
    # A line that only says "and 1 more" takes the place of the one it hides.
    count = len(shown) if len(shown) == _MAX_COMPONENTS + 1 else _MAX_COMPONENTS
    for each in shown[:count]:
        if compared:
            extra = ("-" if each.extra_s < 0 else "+") + in_words(abs(each.extra_s))
            share = in_percent(100 * each.share) if each.share else ""
            style = "bold" if is_slow and each.share >= _MOSTLY else ""
            cells = [in_words(each.here_s), in_words(each.usual_s), extra, *([share] if is_slow else [])]
        else:
            cells = [in_words(each.here_s), in_percent(100 * each.here_s / max(explanation.duration_s, 1e-9))]
            style = ""
        table.add_row(Text(_name(each), style), *(Text(cell, style) for cell in cells))
    console.print(table)
    _say_more(console, len(shown) - count)


def _show_differences(explanation: Explanation, console: Console) -> None:
    differences, peaks = explanation.differences, explanation.peaks
    if differences is None:
        return
    like = ("same error", "succeeded") if explanation.verdict == FAILED else ("slow runs", "others")
    if differences.found:
        heading(console, "What goes with it", "how many of them have it; this run is not counted")
        _show_table(differences.found, _MAX_DIFFERENCES, console, like, "bold")
    if peaks is not None and peaks.found:
        heading(console, "Higher peaks of the process", "in longer runs they are higher, whatever made them long")
        _show_table(peaks.found, _MAX_DIFFERENCES, console, like, "")
    if differences.unproven:
        heading(console, "Rare, but not proven to matter", "few other runs have it, or none")
        _show_table(differences.unproven, _MAX_UNPROVEN, console, like, "dim")


def _show_table(found: Sequence[Difference], most: int, console: Console, groups: tuple[str, str], style: str) -> None:
    table = _table(console, "what", "usually", *groups)
    for each in found[:most]:
        _add(table, each, style)
    console.print(table)
    _say_more(console, len(found) - most)


def _add(table: Table, difference: Difference, style: str) -> None:
    what = Text(_fact(difference), style)
    if difference.also:
        what.append(f"\nthe same runs: {', '.join(_plain(name) for name in difference.also[:_MAX_NAMED])}", "dim")
        if len(difference.also) > _MAX_NAMED:
            what.append(f" and {len(difference.also) - _MAX_NAMED} more", "dim")
    usual = _plain(_with_unit(difference.name, difference.usual)) or "-"
    table.add_row(
        what,
        Text(usual if len(usual) <= _MAX_VALUE else usual[: _MAX_VALUE - 3] + "..."),
        Text(f"{difference.like_with} of {difference.like}"),
        Text(f"{difference.rest_with} of {difference.rest}"),
    )


def _table(console: Console, first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", width=None)
    table.add_column(first, overflow="fold", max_width=max(20, min(console.width, 2 * _MAX_TEXT_WIDTH) - 42))
    for name in others:
        table.add_column(name, justify="left" if name == "usually" and first == "what" else "right", overflow="fold")
    return table


def _say_more(console: Console, count: int) -> None:
    if count > 0:
        console.print(Text(f"{glyphs_of(console).ellipsis} and {count} more (--json has all)", "dim"))
