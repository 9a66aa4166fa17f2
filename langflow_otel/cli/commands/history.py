"""Commands that compare runs over time, and that forecast or estimate later ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from langflow_otel.cli.commands import options


def baseline_save(
    traces: options.Files = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file of the baseline.")] = Path(
        "baseline.json"
    ),
    flow: options.Flow = None,
    version: options.Version = None,
    since: options.Since = None,
    prometheus: options.Prometheus = None,
    token_file: options.TokenFile = None,
    ca_file: options.CaFile = None,
) -> None:
    """Save durations, errors, tokens and cost of flows and components.

    Example: langflow-otel baseline save spans.jsonl -o baseline.json

    The file has readable figures, and a sample of at most 2,000 executions of each flow and component for comparisons.
    It contains no content, users or sessions. From a Prometheus (with --since) it has durations and errors only.
    """
    from langflow_otel.cli.baseline import command

    if version is not None and prometheus is not None:
        raise typer.BadParameter("metrics do not have the version of a flow", param_hint="--version")
    wanted = command.Wanted(traces or [], flow, since, prometheus, token_file, ca_file)
    command.save(wanted, output, version=version)


def baseline_compare(
    files: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="BASELINE [FILES]",
            help="The baseline, then trace files and folders; default: the file of LANGFLOW_OTEL_TRACE_FILE.",
        ),
    ] = None,
    versions: Annotated[
        Optional[list[str]],
        typer.Option(
            "--version",
            metavar="VERSION",
            help="Only runs of this langflow.flow.version; given twice: compare these two.",
        ),
    ] = None,
    flow: options.Flow = None,
    since: options.Since = None,
    fail_over: Annotated[
        str, typer.Option(metavar="PERCENT", help="The percentage by which a figure may be worse.")
    ] = "10%",
    every: Annotated[bool, typer.Option("--all", help="Also show components without a difference.")] = False,
    prometheus: options.Prometheus = None,
    token_file: options.TokenFile = None,
    ca_file: options.CaFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what is worse or better than a baseline, or than another version.

    Examples: langflow-otel baseline compare baseline.json spans.jsonl --fail-over 10%, or
    langflow-otel baseline compare --version b7d0c1f2a9e4 --version 99fe02ab11cd spans.jsonl

    The exit code is 1 if a figure is worse by more than --fail-over and chance does not explain it, corrected for the
    number of comparisons, and 2 if nothing can be compared or there are too few runs.
    """
    from langflow_otel.cli.baseline import command

    wanted = command.Wanted(files or [], flow, since, prometheus, token_file, ca_file)
    command.compare(wanted, versions or [], fail_over=fail_over, every=every, as_json=as_json)


def baseline_history(
    files: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="FILES",
            help="Trace files and folders, or saved baselines; default: the file of LANGFLOW_OTEL_TRACE_FILE.",
        ),
    ] = None,
    by: Annotated[str, typer.Option(metavar="STEP", help="day or version (of the flow).")] = "day",
    flow: options.Flow = None,
    since: Annotated[
        Optional[str],
        typer.Option("--since", metavar="TIME", help="Only runs that started within this time: 60d, 8w."),
    ] = None,
    at_least: Annotated[
        str, typer.Option("--at-least", metavar="PERCENT", help="The smallest change that is shown.")
    ] = "5%",
    prometheus: options.Prometheus = None,
    token_file: options.TokenFile = None,
    ca_file: options.CaFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show when durations, errors or tokens changed lastingly, over many days or versions.

    Examples: langflow-otel baseline history spans.jsonl, or langflow-otel baseline history baselines/*.json

    Each change is shown with its size, its date, 95 % intervals of both, and the probability that chance alone causes
    it. Two or three weeks of history are needed; with less the exit code is 2. Needs
    langflow-otel[insights,forecast].
    """
    from langflow_otel.cli.baseline import history as command
    from langflow_otel.cli.baseline.command import Wanted

    wanted = Wanted(files or [], flow, since, prometheus, token_file, ca_file)
    command.history(wanted, by=by, over=at_least, as_json=as_json)


def anomalies(
    traces: options.Files = None,
    follow: Annotated[bool, typer.Option("--follow", help="Continue with new spans until Ctrl-C.")] = False,
    flow: options.Flow = None,
    since: Annotated[
        Optional[str],
        typer.Option("--since", metavar="TIME", help="Only anomalies within this time: 30m, 24h, 7d."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="calibrated; arima; or sigma and mad: 3 standard deviations from the mean, the median.",
        ),
    ] = "calibrated",
    false_a_day: Annotated[
        float,
        typer.Option(
            "--false-a-day", min=1e-6, max=1000, metavar="NUMBER", help="The most false alarms a day, of all flows."
        ),
    ] = 0.1,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Seconds between reads, with --follow.")
    ] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout; with --follow one a line.")
    ] = False,
) -> None:
    """Find when a flow, or a type of component in it, behaved unusually.

    Example: langflow-otel anomalies spans.jsonl --since 24h

    Windows of 5 seconds that slide by 1, and of 1 and 5 minutes, are compared with the hour before them: durations,
    share of errors, throughput; with CPU, memory and event loop delay of the same minutes. Needs
    langflow-otel[insights], and no LangFlow.
    """
    from langflow_otel.cli import anomalies as command

    wanted = command.Wanted(flow, since, method, false_a_day)
    if follow:
        command.follow(traces or [], wanted, every_s=every, as_json=as_json)
    else:
        command.anomalies(traces or [], wanted, as_json=as_json)


def forecast(
    traces: options.Files = None,
    days: Annotated[int, typer.Option(min=1, max=365, metavar="DAYS", help="Days to forecast.")] = 30,
    limit: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="FIGURE=VALUE",
            help="Show when this limit is reached: runs, tokens, cost (a day), cpu, memory, disk, as memory=4GiB. "
            "Repeatable.",
        ),
    ] = None,
    flow: options.Flow = None,
    prometheus: options.Prometheus = None,
    token_file: options.TokenFile = None,
    ca_file: options.CaFile = None,
    risk: Annotated[
        bool,
        typer.Option(
            "--risk",
            help="Show figures that grow without stopping instead: memory, errors, retries, more with --prometheus.",
        ),
    ] = False,
    history: Annotated[
        Optional[int],
        typer.Option(
            min=1, max=730, metavar="DAYS", help="Days of history to query from Prometheus; default: 90, with --risk 7."
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Forecast runs, tokens, cost, CPU and memory, and when a limit is reached.

    Example: langflow-otel forecast spans.jsonl --days 30 --limit memory=4GiB

    Each forecast has 95 % intervals and the error of the same model in the past, compared with naive ones.
    At least 21 days of history are needed, and as many as are forecast. Needs langflow-otel[insights,forecast], and no
    LangFlow. --risk needs hours of history, and no [forecast].
    """
    from langflow_otel.cli import forecast as command

    wanted = command.Wanted(days, limit or [], flow, prometheus, token_file, ca_file, history)
    if risk:
        from langflow_otel.cli.risks import risks

        risks(traces or [], wanted, as_json=as_json)
    else:
        command.forecast(traces or [], wanted, as_json=as_json)


def estimate(
    flow: Annotated[Path, typer.Argument(metavar="FLOW", help="JSON as LangFlow exports it.")],
    traces: options.Files = None,
    since: options.Since = None,
    as_json: options.AsJson = False,
) -> None:
    """Estimate time, tokens, cost and memory of a run of a flow before it runs.

    Example: langflow-otel estimate flow.json spans.jsonl

    The estimate is computed along the critical path from past executions of the flow's components, in this flow or
    others, with 90 % intervals and the error of such estimates in the past. Components without a history are listed.
    The newest 2,000 runs are used. Needs langflow-otel[insights], and no LangFlow. The exit code is 2 if nothing can be
    estimated.
    """
    from langflow_otel.cli import estimate as command

    command.estimate_flow(flow, traces or [], since=since, as_json=as_json)
