"""Commands that run flows, and that check or watch a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from langflow_otel.cli.commands import options


def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Continue with one run a second until Ctrl-C, for a Prometheus to scrape.")
    ] = False,
    svg: Annotated[Optional[Path], typer.Option(hidden=True, help="Save the good run's tree as SVG.")] = None,
) -> None:
    """Run a sample flow 20 times and show its traces and metrics.

    Requires LangFlow, but no network and no API key. If OTEL_EXPORTER_OTLP_ENDPOINT or LANGFLOW_OTEL_TRACE_FILE is
    set, the traces are exported there as well. While it runs, its metrics can be scraped at
    OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, or at a free port if that one is in use.
    """
    from langflow_otel.cli.demo import command

    command.demo(svg, serve=serve)


def run(
    context: typer.Context,
    flow: Annotated[Path, typer.Argument(metavar="FLOW", help="JSON as LangFlow exports it, or a Python script.")],
    input_value: options.Input = None,
) -> None:
    """Run a flow file once, as `lfx run` does, and show its trace.

    Example: langflow-otel run flow.json --input "Where is my order?"

    The result is written to stdout, the trace to stderr. Other options after FLOW are passed to `lfx run`,
    such as --format text. The exit code is 1 if the flow fails and 2 if it cannot be run.
    """
    from langflow_otel.cli import run as command

    command.run(flow, input_value, context.args)


def exec_(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments.")],
) -> None:
    """Run a command with LangFlow instrumented in it and in every process that it starts.

    Example: langflow-otel exec -- lfx serve flow.json

    For programs that load no LangFlow plugins: lfx serve, lfx run, LangFlow 1.7, your own programs. The destinations
    are set by environment variables, as for a server. The exit code is that of the command.
    """
    from langflow_otel.cli import exec as command_line

    command_line.run_command(command)


def config(
    check: Annotated[
        bool, typer.Option("--check", help="Print only problems; the exit code is 1 if there are any.")
    ] = False,
    output: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="table, env (for a shell) or yaml.")
    ] = "table",
) -> None:
    """Show every setting and its problems.

    Each setting is shown with its value, where the value comes from, and its meaning. Values of headers, passwords
    and tokens are masked. Problems are written to stderr.
    """
    from langflow_otel.cli import config as command

    command.config(command.format_named(output), check=check)


def doctor(as_json: options.AsJson = False) -> None:
    """Find out why telemetry does not arrive.

    Checks versions and settings, and sends a test span, metric and log record to each OTLP destination. Waits for an
    answer at most as long as OTEL_EXPORTER_OTLP_TIMEOUT (10 s). Imports LangFlow to check which hooks can be applied.
    The exit code is 1 if there is a problem.
    """
    from langflow_otel.cli.doctor import command

    command.doctor(as_json=as_json)


def probe(
    url: Annotated[str, typer.Argument(metavar="URL", help="LangFlow's address, such as http://localhost:7860.")],
    flow: Annotated[
        Optional[str],
        typer.Option("--flow", metavar="FLOW", help="Run this flow as well: its id or endpoint name."),
    ] = None,
    input_value: options.Input = "ping",
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Seconds to wait for an answer.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array on stdout.")] = False,
) -> None:
    """Check that a LangFlow server answers requests.

    Example: langflow-otel probe https://langflow.example.com --flow canary

    Requests LangFlow's /health_check and, with --flow, runs that flow to its end, with the API key in
    LANGFLOW_API_KEY. The exit code is 1 if one of them fails, for cron or a Kubernetes job.
    """
    from langflow_otel.cli import probe as command

    command.probe(url, flow, input_value or "", timeout, as_json=as_json)


def top(
    url: Annotated[
        Optional[str],
        typer.Option("--url", metavar="URL", help="A scrape endpoint; default: that of the settings."),
    ] = None,
    prometheus: options.Prometheus = None,
    token_file: options.TokenFile = None,
    ca_file: options.CaFile = None,
    every: Annotated[
        float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="Seconds between refreshes.")
    ] = 2.0,
    window: Annotated[
        str, typer.Option(metavar="TIME", help="The time window of the figures: 60, 90s, 15m, 1h.")
    ] = "60s",
    once: Annotated[bool, typer.Option("--once", help="Print the figures once and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each refresh.")] = False,
) -> None:
    """Watch a running LangFlow: throughput, errors, P95, slowest components, resources. q or Ctrl-C quits.

    Reads LangFlow's scrape endpoint at OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, with the token and certificate of
    LANGFLOW_OTEL_SCRAPE_TOKEN_FILE and _CERT_FILE. With --once the figures cover the time since LangFlow's start. With
    --prometheus, PROMETHEUS_TOKEN, or PROMETHEUS_USER and PROMETHEUS_PASSWORD, are the credentials. The exit code is 2
    if no metrics can be read.
    """
    from langflow_otel.cli import top as command
    from langflow_otel.cli.top_source import Wanted

    window_s = command.window_of(window, most_s=command.MOST_S if prometheus is None else command.MOST_OF_PROMETHEUS_S)
    wanted = Wanted(url, prometheus, token_file, ca_file, every, window_s)
    command.top(wanted, once=once, as_json=as_json)
