"""The command's arguments. Everything heavy is imported by the subcommand that needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from langflow_otel.version import __version__

app = typer.Typer(
    name="langflow-otel",
    help="OpenTelemetry for LangFlow: every flow run is a trace.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# typing.Optional: Typer on Python 3.10 knows no other form.
_Files = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Argument(metavar="FILES", help="Trace files and folders; default: the file of LANGFLOW_OTEL_TRACE_FILE."),
]
_Which = Annotated[
    str, typer.Argument(metavar="TRACE", help="A trace id or its first digits, last, slowest or failed.")
]
_Prometheus = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--prometheus", metavar="URL", help="Ask this Prometheus-compatible API instead."),
]
_TokenFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--prometheus-token-file", metavar="FILE", help="A file with the bearer token for it."),
]
_CaFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--prometheus-ca-file", metavar="FILE", help="A file of PEM certificates to trust for it."),
]
_Flow = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--flow", help="Only runs of the flow with this name or id."),
]
_Since = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--since", help="Only runs that started so long ago at most: 30m, 24h, 7d."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"langflow-otel {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Go on until Ctrl-C, a run a second, to be scraped.")] = False,
    svg: Annotated[Optional[Path], typer.Option(hidden=True, help="Save the good run's tree as SVG.")] = None,  # noqa: UP045 - Typer on Python 3.10
) -> None:
    """Run a sample flow 20 times and show its traces and metrics.

    It needs LangFlow, but no network and no key. Where OTEL_EXPORTER_OTLP_ENDPOINT or
    LANGFLOW_OTEL_TRACE_FILE is set, the traces go there as well. While it runs, its metrics can be scraped
    at OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, or at any free port if that one is taken.
    """
    from langflow_otel.cli.demo import command

    command.demo(svg, serve=serve)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    flow: Annotated[Path, typer.Argument(metavar="FLOW", help="JSON as LangFlow exports it, or a Python script.")],
    input_value: Annotated[Optional[str], typer.Option("--input", help="What to say to the flow.")] = None,  # noqa: UP045
) -> None:
    """Run a flow file once, as `lfx run` does, and show its trace.

    Example: langflow-otel run flow.json --input "Where is my order?"

    The result goes to stdout, the trace to stderr. Other options after FLOW are handed to `lfx run`,
    such as --format text. The exit code is 1 if the flow fails and 2 if it cannot be run.
    """
    from langflow_otel.cli import run as command

    command.run(flow, input_value, context.args)


@app.command("exec", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def exec_(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments.")],
) -> None:
    """Run a command with LangFlow instrumented in it, and in every process that it starts.

    Example: langflow-otel exec -- lfx serve flow.json

    For what loads no LangFlow plugins: lfx serve, lfx run, LangFlow 1.7, programs of your own. Where it goes
    is for the environment to say, as always. The exit code is the command's.
    """
    from langflow_otel.cli import exec as command_line

    command_line.run_command(command)


@app.command()
def config(
    check: Annotated[
        bool, typer.Option("--check", help="Print only what is wrong; exit code 1 if anything is.")
    ] = False,
    output: Annotated[str, typer.Option("--format", help="table, env (for a shell) or yaml.")] = "table",
) -> None:
    """Show every setting, and what is wrong with any.

    With its value, where that comes from, and what it means. Values of headers, passwords and tokens are
    masked. What is wrong goes to stderr.
    """
    from langflow_otel.cli import config as command

    command.config(command.format_named(output), check=check)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Find out why telemetry does not arrive.

    Looks at versions and settings, and really sends something: a test span, metric and log record go to each
    OTLP destination. No answer is waited for longer than OTEL_EXPORTER_OTLP_TIMEOUT (10 s). LangFlow is imported
    to see which hooks fit. The exit code is 1 if something is wrong.
    """
    from langflow_otel.cli.doctor import command

    command.doctor(as_json=as_json)


@app.command()
def probe(
    url: Annotated[str, typer.Argument(metavar="URL", help="LangFlow's address, such as http://localhost:7860.")],
    flow: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--flow", help="Run this flow as well: its id or endpoint name."),
    ] = None,
    input_value: Annotated[str, typer.Option("--input", help="What to say to the flow.")] = "ping",
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for an answer.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array on stdout.")] = False,
) -> None:
    """Ask whether a LangFlow server answers its users.

    Example: langflow-otel probe https://langflow.example.com --flow canary

    It asks for LangFlow's /health_check and, with --flow, runs that flow to its end, with the API key in
    LANGFLOW_API_KEY. The exit code is 1 if one of them fails, for cron or a Kubernetes job.
    """
    from langflow_otel.cli import probe as command

    command.probe(url, flow, input_value, timeout, as_json=as_json)


@app.command()
def tree(
    which: _Which = "last",
    traces: _Files = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of root spans on stdout.")] = False,
) -> None:
    """Show one trace of a trace file as a tree.

    Example: langflow-otel tree slowest spans.jsonl

    Where a flow has run other flows, the whole run is shown, from the outermost flow. last and a trace id need no
    extra, slowest and failed langflow-otel[insights]. If failed is asked for and no run failed, a line says so and the
    exit code is 0; it is 2 if there is nothing to show.
    """
    from langflow_otel.cli import tree as command

    command.tree(which, traces or [], as_json=as_json)


@app.command()
def top(
    url: Annotated[Optional[str], typer.Option("--url", help="A scrape endpoint; default: by the settings.")] = None,  # noqa: UP045
    prometheus: _Prometheus = None,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between refreshes.")] = 2.0,
    window: Annotated[str, typer.Option(help="The time that figures are over: 60, 90s, 15m, 1h.")] = "60s",
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object on a line for each refresh.")] = False,
) -> None:
    """Watch a running LangFlow: throughput, errors, P95, slowest components, resources. q or Ctrl-C ends it.

    It reads LangFlow's scrape endpoint, at OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, with the token and certificate of
    LANGFLOW_OTEL_SCRAPE_TOKEN_FILE and _CERT_FILE. With --once these are figures since LangFlow's start. With
    --prometheus, PROMETHEUS_TOKEN, or PROMETHEUS_USER and PROMETHEUS_PASSWORD, are the credentials. The exit code is 2
    if nothing can be read.
    """
    from langflow_otel.cli import top as command

    window_s = command.window_of(window, most_s=command.MOST_S if prometheus is None else command.MOST_OF_PROMETHEUS_S)
    wanted = command.Wanted(url, prometheus, token_file, ca_file, every, window_s)
    command.top(wanted, once=once, as_json=as_json)


@app.command()
def export(
    traces: _Files = None,
    output_format: Annotated[
        str, typer.Option("--format", help="speedscope, collapsed, perfetto, csv, json or parquet.")
    ] = "speedscope",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[Optional[Path], typer.Option("-o", "--output", help="A file; default: stdout.")] = None,  # noqa: UP045
    flow: _Flow = None,
    since: _Since = None,
    trace: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only this run: a trace id or its first digits, last, slowest or failed."),
    ] = None,
    newest: Annotated[Optional[int], typer.Option(min=1, help="Only so many runs, the newest.")] = None,  # noqa: UP045
) -> None:
    """Write trace files in the formats of other programs.

    Example: langflow-otel export --format perfetto --newest 100 -o runs.json spans.jsonl

    speedscope and collapsed are flame graphs of all runs merged, perfetto is a timeline; csv, json and parquet have a
    row a span.
    """
    from langflow_otel.cli import export as command

    wanted = command.Wanted(flow, since, trace, newest)
    command.export(traces or [], "json" if as_json else output_format, output, wanted)


@app.command()
def report(
    traces: _Files = None,
    flow: _Flow = None,
    since: _Since = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON on stdout; no page.")] = False,
    prometheus: _Prometheus = None,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Make one HTML page of many runs: what is slow, what fails, what it costs.

    Example: langflow-otel report spans.jsonl --since 24h --open

    The page needs no network and no server. It holds all that the traces do, prompts too where they were recorded.

    With --prometheus it is made from metrics: the last 24 h unless --since says otherwise, figures of flows, components
    and models, and no single runs. PROMETHEUS_TOKEN, or PROMETHEUS_USER and PROMETHEUS_PASSWORD, are the credentials.
    The exit code is 2 if there is nothing to show.
    """
    from langflow_otel.cli import report as command

    wanted = command.Wanted(flow, since, output, open_it, as_json)
    if prometheus is None:
        command.report_of_traces(traces or [], wanted)
    else:
        command.report_of_metrics(prometheus, token_file, ca_file, traces or [], wanted)


@app.command()
def why(
    which: _Which = "last",
    traces: _Files = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say why a run was slow or failed.

    Example: langflow-otel why slowest spans.jsonl

    Against the other runs of the same flow: which component took longer than usual, and what else was different
    about the run (version, model, tokens, retries, worker, load, any attribute), as far as that goes with slowness,
    or with the error, more often than chance allows. Needs langflow-otel[insights], and no LangFlow. Exit codes are
    those of tree.
    """
    from langflow_otel.cli import why as command

    command.why(which, traces or [], as_json=as_json)


@app.command("usage")
def usage_(
    traces: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="FILES", help="Trace files and folders; default: LANGFLOW_OTEL_TRACE_FILE."),
    ] = None,
    by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="flow (the default), model, provider, user, session, or tag:NAME, an attribute of the run or resource."
        ),
    ] = None,
    flow: Annotated[Optional[str], typer.Option(help="Only runs of this flow; its name or id.")] = None,  # noqa: UP045
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only runs that started so long ago at most: 30m, 24h, 7d."),
    ] = None,
    prices: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Price all calls by this file, in the form of LANGFLOW_OTEL_PRICES."),
    ] = None,
    budgets: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--budget", help="What may be spent: 100, 100EUR, alice=5EUR; exit code 1 if it is more."),
    ] = None,
    idle: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, metavar="DAYS", help="Instead: the flows without a run for so many days."),
    ] = None,
    resources: Annotated[
        bool,
        typer.Option("--resources", help="Instead: which attribute goes with how much time, CPU and memory of a run."),
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A row a key, with a heading, on stdout.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Say what was used and what it cost: runs, time, tokens, money.

    Example: langflow-otel usage spans.jsonl --by user --since 30d --prices prices.yaml --budget 500USD

    Costs are those of the spans, or with --prices those of a file. A call that has tokens and no price is named on
    stderr. The exit code is 1 if a budget is exceeded. --resources takes --flow and --since, and needs
    langflow-otel[forecast] as well.
    """
    from langflow_otel.cli import usage as command

    output_format = "json" if as_json else "csv" if as_csv else "table"
    if as_json and as_csv:
        raise typer.BadParameter("it is --json or --csv", param_hint="--csv")
    if resources:
        command.check_alone("--resources", by=by, prices=prices, budget=budgets, idle=idle)
        command.show_resource_use(traces or [], flow=flow, since=since, output_format=output_format)
        return
    if idle is not None:
        command.check_alone("--idle", by=by, flow=flow, since=since, prices=prices, budget=budgets)
        command.show_idle(traces or [], idle, output_format=output_format)
        return
    command.show_usage(
        traces or [],
        by or "flow",
        flow=flow,
        since=since,
        prices=prices,
        budgets=budgets or [],
        output_format=output_format,
    )


baseline_app = typer.Typer(
    help="Keep how flows behave, and say what a later run, or another version of a flow, does worse or better.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(baseline_app, name="baseline")


@baseline_app.command("save")
def baseline_save(
    traces: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="FILES", help="Trace files and folders; default: LANGFLOW_OTEL_TRACE_FILE."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The baseline.")] = Path("baseline.json"),
    flow: Annotated[Optional[str], typer.Option(help="Only runs of this flow; its name or id.")] = None,  # noqa: UP045
    version: Annotated[Optional[str], typer.Option(help="Only runs of this langflow.flow.version.")] = None,  # noqa: UP045
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only runs that started so long ago at most: 30m, 24h, 7d."),
    ] = None,
    prometheus: Annotated[Optional[str], typer.Option(help="Ask this Prometheus-compatible API instead.")] = None,  # noqa: UP045
    token_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-token-file", help="Its bearer token."),
    ] = None,
    ca_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-ca-file", help="PEM certificates to trust for it."),
    ] = None,
) -> None:
    """Keep durations, errors, tokens and cost of flows and components.

    Example: langflow-otel baseline save spans.jsonl -o baseline.json

    The file has figures for readers, and a sample of at most 2,000 executions of each flow and component to compare
    with. No content, user or session is in it. From a Prometheus (with --since) it has durations and errors only.
    """
    from langflow_otel.cli import baseline as command

    if version is not None and prometheus is not None:
        raise typer.BadParameter("metrics do not have the version of a flow", param_hint="--version")
    wanted = command.Wanted(traces or [], flow, since, prometheus, token_file, ca_file)
    command.save(wanted, output, version=version)


@baseline_app.command("compare")
def baseline_compare(
    files: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(
            metavar="BASELINE [FILES]",
            help="The baseline, then trace files and folders; default: LANGFLOW_OTEL_TRACE_FILE.",
        ),
    ] = None,
    versions: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--version", help="Only runs of this langflow.flow.version; twice: compare these two."),
    ] = None,
    flow: Annotated[Optional[str], typer.Option(help="Only runs of this flow; its name or id.")] = None,  # noqa: UP045
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only runs that started so long ago at most: 30m, 24h, 7d."),
    ] = None,
    fail_over: Annotated[str, typer.Option(help="By how much a figure may be worse.")] = "10%",
    every: Annotated[bool, typer.Option("--all", help="Show components without a difference, too.")] = False,
    prometheus: Annotated[Optional[str], typer.Option(help="Ask this Prometheus-compatible API instead.")] = None,  # noqa: UP045
    token_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-token-file", help="Its bearer token."),
    ] = None,
    ca_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-ca-file", help="PEM certificates to trust for it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say what is worse or better than a baseline, or in another version.

    Examples: langflow-otel baseline compare baseline.json spans.jsonl --fail-over 10%, or
    langflow-otel baseline compare --version b7d0c1f2a9e4 --version 99fe02ab11cd spans.jsonl

    The exit code is 1 if a figure is worse by more than --fail-over and chance does not explain it, with all
    comparisons counted, and 2 if nothing can be compared or there are too few runs to tell anything.
    """
    from langflow_otel.cli import baseline as command

    wanted = command.Wanted(files or [], flow, since, prometheus, token_file, ca_file)
    command.compare(wanted, versions or [], fail_over=fail_over, every=every, as_json=as_json)


@baseline_app.command("history")
def baseline_history(
    files: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(
            metavar="FILES",
            help="Trace files and folders, or baselines that were saved; default: LANGFLOW_OTEL_TRACE_FILE.",
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="A step is a day or a version of the flow.")] = "day",
    flow: Annotated[Optional[str], typer.Option(help="Only this flow; its name or id.")] = None,  # noqa: UP045
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only runs that started so long ago at most: 60d, 8w."),
    ] = None,
    at_least: Annotated[str, typer.Option("--at-least", help="Smaller changes are not shown.")] = "5%",
    prometheus: Annotated[Optional[str], typer.Option(help="Ask this Prometheus-compatible API instead.")] = None,  # noqa: UP045
    token_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-token-file", help="Its bearer token."),
    ] = None,
    ca_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-ca-file", help="PEM certificates to trust for it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say when durations, errors or tokens changed for good, over many days or versions.

    Examples: langflow-otel baseline history spans.jsonl, or langflow-otel baseline history baselines/*.json

    Each change comes with how far, since when, 95 % intervals of both, and how likely chance alone makes one. Two or
    three weeks of history are needed; with less the exit code is 2. Needs langflow-otel[insights,forecast].
    """
    from langflow_otel.cli import baseline_history as command
    from langflow_otel.cli.baseline import Wanted

    wanted = Wanted(files or [], flow, since, prometheus, token_file, ca_file)
    command.history(wanted, by=by, over=at_least, as_json=as_json)


@app.command()
def anomalies(
    traces: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="FILES", help="Trace files and folders; default: LANGFLOW_OTEL_TRACE_FILE."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show what comes, until Ctrl-C.")] = False,
    flow: Annotated[Optional[str], typer.Option(help="Only this flow; its name or id.")] = None,  # noqa: UP045
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only what went on so long ago at most: 30m, 24h, 7d."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="calibrated; arima; or sigma and mad: 3 standard deviations from the mean, the median.")
    ] = "calibrated",
    false_a_day: Annotated[
        float,
        typer.Option("--false-a-day", min=1e-6, max=1000, help="So many false alarms a day, at most, of all flows."),
    ] = 0.1,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between looks, with --follow.")] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout; a line each with --follow.")
    ] = False,
) -> None:
    """Find when a flow, or a type of component in it, was not as it usually is.

    Example: langflow-otel anomalies spans.jsonl --since 24h

    Windows of 5 seconds that slide by 1, and of 1 and 5 minutes, are compared with the hour before them: durations,
    share of errors, throughput; and CPU, memory and event loop delay of the same minutes are shown beside. Needs
    langflow-otel[insights], and no LangFlow.
    """
    from langflow_otel.cli import anomalies as command

    wanted = command.Wanted(flow, since, method, false_a_day)
    if follow:
        command.follow(traces or [], wanted, every_s=every, as_json=as_json)
    else:
        command.anomalies(traces or [], wanted, as_json=as_json)


@app.command()
def forecast(
    traces: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="FILES", help="Trace files and folders; default: LANGFLOW_OTEL_TRACE_FILE."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="How many days ahead.")] = 30,
    limit: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="When is it reached? runs, tokens, cost (a day), cpu, memory, disk, as memory=4GiB. Repeatable."
        ),
    ] = None,
    flow: Annotated[Optional[str], typer.Option(help="Only this flow; its name or id.")] = None,  # noqa: UP045
    prometheus: Annotated[Optional[str], typer.Option(help="Ask this Prometheus-compatible API instead.")] = None,  # noqa: UP045
    token_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-token-file", help="Its bearer token."),
    ] = None,
    ca_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prometheus-ca-file", help="PEM certificates to trust for it."),
    ] = None,
    risk: Annotated[
        bool,
        typer.Option(
            "--risk", help="What grows and does not stop: memory, errors, retries, of metrics more; no forecast."
        ),
    ] = False,
    history: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=730, help="Days of history to ask the Prometheus for; default: 90, with --risk 7."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Forecast runs, tokens, cost, CPU and memory, and say when a limit is reached.

    Example: langflow-otel forecast spans.jsonl --days 30 --limit memory=4GiB

    Each forecast comes with 95 % intervals, and with how far it would have been off in the past, beside naive ones.
    At least 21 days of history are needed, and as many as are forecast. Needs langflow-otel[insights,forecast], and no
    LangFlow. --risk needs hours, and no [forecast].
    """
    from langflow_otel.cli import forecast as command

    wanted = command.Wanted(days, limit or [], flow, prometheus, token_file, ca_file, history)
    if risk:
        command.risks(traces or [], wanted, as_json=as_json)
    else:
        command.forecast(traces or [], wanted, as_json=as_json)


@app.command()
def estimate(
    flow: Annotated[Path, typer.Argument(metavar="FLOW", help="JSON as LangFlow exports it.")],
    traces: _Files = None,
    since: _Since = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Estimate what a run of a flow takes before it runs: time, tokens, cost, memory.

    Example: langflow-otel estimate flow.json spans.jsonl

    From what its components took in the past, in this flow or others, along the critical path, with 90 % intervals and
    with how far such estimates were off. Components without a history are named. The newest 2,000 runs are used. Needs
    langflow-otel[insights], and no LangFlow. The exit code is 2 if nothing can be estimated.
    """
    from langflow_otel.cli import estimate as command

    command.estimate_flow(flow, traces or [], since=since, as_json=as_json)


@app.command()
def store(
    traces: _Files = None,
    to: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--to",
            metavar="URL",
            help="postgresql://USER@HOST/DATABASE or sqlite:///FILE; default: LANGFLOW_OTEL_STORE, or sqlite:///runs.db.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C or SIGTERM.")] = False,
    content: Annotated[
        bool, typer.Option("--content", help="Store messages, inputs, outputs and errors' messages that were recorded.")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, max=3650, metavar="DAYS", help="How long rows are kept.")] = 30,
    keep_daily: Annotated[
        int, typer.Option("--keep-daily", min=1, max=36500, metavar="DAYS", help="How long daily figures are kept.")
    ] = 365,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between looks, with --follow.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Store runs, components, model calls, retries and errors in PostgreSQL or SQLite, to be asked in SQL.

    Example: langflow-otel store --to postgresql://langflow@db/telemetry --follow spans.jsonl

    The same span is stored once, however often it is read. Daily figures are kept longer than rows. A password
    belongs into LANGFLOW_OTEL_STORE, PGPASSWORD or ~/.pgpass, since others can see a command's arguments. Needs
    langflow-otel[store], and no LangFlow. The exit code is 2 if nothing can be read or the database cannot be opened,
    and 1 if not all could be stored.
    """
    from langflow_otel.cli import store as command

    wanted = command.Wanted(to, content, keep, keep_daily)
    if follow:
        command.follow(traces or [], wanted, every_s=every, as_json=as_json)
    else:
        command.store(traces or [], wanted, as_json=as_json)


@app.command("mcp")
def mcp_(
    traces: _Files = None,
    content: Annotated[
        bool, typer.Option("--content", help="Show messages, inputs, outputs and arguments, where they were recorded.")
    ] = False,
    baseline: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="A baseline that runs can be compared with."),
    ] = None,
    flows: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--flow", metavar="FILE", help="A flow, as LangFlow exports it, to be estimated. Repeatable."),
    ] = None,
    prometheus: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A Prometheus-compatible API whose metrics say what grows."),
    ] = None,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Let an assistant ask: a Model Context Protocol server over stdin and stdout, which only reads.

    Example, as an assistant's settings have it: langflow-otel mcp /var/log/langflow/spans.jsonl

    It has tools for what why, tree, report, usage, baseline, anomalies and forecast say, and with --flow for what
    estimate does. No other files than these can be read by them, and no other address than --prometheus be asked. It
    ends when stdin does. Needs langflow-otel[mcp], and no LangFlow.
    """
    from langflow_otel.cli.mcp import command

    beside = command.Beside(baseline, flows or [], prometheus, token_file, ca_file)
    command.mcp(traces or [], beside, content=content)


def main() -> None:
    """The console script. Where memory does not suffice it ends with exit code 2 and one line."""
    from langflow_otel.cli.console import BAD_INPUT, is_out_of_memory, never_fail_on_a_sign, say

    never_fail_on_a_sign()
    try:
        app()
        return
    except Exception as exc:
        if not is_out_of_memory(exc):
            raise
    # By now what was read is no longer held.
    say("langflow-otel: out of memory: fewer files, or fewer runs by --flow and --since, need less")
    sys.stdout.flush()
    # Not sys.exit: without memory, the threads of the libraries that read may crash while the interpreter ends.
    os._exit(BAD_INPUT)
