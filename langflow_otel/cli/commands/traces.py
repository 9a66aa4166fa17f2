"""Commands that show, export, summarize or serve what trace files contain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from langflow_otel.cli.commands import options


def tree(
    which: options.Trace = "last",
    traces: options.Files = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of root spans on stdout.")] = False,
) -> None:
    """Show one trace of a trace file as a tree.

    Example: langflow-otel tree slowest spans.jsonl

    If a flow has run other flows, the whole run is shown, from the outermost flow. last and a trace id need no
    extra, slowest and failed need langflow-otel[insights]. With failed, if no run failed, a line says so and the
    exit code is 0; it is 2 if there is nothing to show.
    """
    from langflow_otel.cli import tree as command

    command.tree(which, traces or [], as_json=as_json)


def export(
    traces: options.Files = None,
    output_format: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="speedscope, collapsed, perfetto, csv, json or parquet."),
    ] = "speedscope",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Optional[Path], typer.Option("-o", "--output", metavar="FILE", help="The output file; default: stdout.")
    ] = None,
    flow: options.Flow = None,
    since: options.Since = None,
    trace: Annotated[
        Optional[str],
        typer.Option(metavar="TRACE", help="Only this run: a trace id or its first digits, last, slowest or failed."),
    ] = None,
    newest: Annotated[
        Optional[int], typer.Option(min=1, metavar="NUMBER", help="Only this number of newest runs.")
    ] = None,
) -> None:
    """Write trace files in the formats of other programs.

    Example: langflow-otel export --format perfetto --newest 100 -o runs.json spans.jsonl

    speedscope and collapsed are flame graphs of all runs merged, perfetto is a timeline; csv, json and parquet have
    one row a span.
    """
    from langflow_otel.cli import export as command

    wanted = command.Wanted(flow, since, trace, newest)
    command.export(traces or [], "json" if as_json else output_format, output, wanted)


def report(
    traces: options.Files = None,
    flow: options.Flow = None,
    since: options.Since = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file of the page.")] = Path(
        "report.html"
    ),
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON on stdout instead of writing a page.")
    ] = False,
    prometheus: options.Prometheus = None,
    token_file: options.TokenFile = None,
    ca_file: options.CaFile = None,
) -> None:
    """Write one HTML page about many runs: what is slow, what fails, what it costs.

    Example: langflow-otel report spans.jsonl --since 24h --open

    The page needs no network and no server. It contains all that the traces contain, including recorded prompts.

    With --prometheus the page is made from metrics: of the last 24 h unless --since is given, with figures of flows,
    components and models, and without single runs. PROMETHEUS_TOKEN, or PROMETHEUS_USER and PROMETHEUS_PASSWORD, are
    the credentials. The exit code is 2 if there is nothing to show.
    """
    from langflow_otel.cli import report as command

    wanted = command.Wanted(flow, since, output, open_it, as_json)
    if prometheus is None:
        command.report_of_traces(traces or [], wanted)
    else:
        command.report_of_metrics(prometheus, token_file, ca_file, traces or [], wanted)


def why(which: options.Trace = "last", traces: options.Files = None, as_json: options.AsJson = False) -> None:
    """Explain why a run was slow or failed.

    Example: langflow-otel why slowest spans.jsonl

    Compares the run with the other runs of the same flow: which component took longer than usual, and which other
    attributes (version, model, tokens, retries, worker, load, any other) coincide with slowness, or with the error,
    more often than chance allows. Needs langflow-otel[insights], and no LangFlow. The exit codes are those of tree.
    """
    from langflow_otel.cli import why as command

    command.why(which, traces or [], as_json=as_json)


def usage(
    traces: options.Files = None,
    by: Annotated[
        Optional[str],
        typer.Option(
            metavar="KEY",
            help="flow (the default), model, provider, user, session, or tag:NAME, an attribute of the run or "
            "resource.",
        ),
    ] = None,
    flow: options.Flow = None,
    since: options.Since = None,
    prices: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Compute all costs from this file, in the format of LANGFLOW_OTEL_PRICES."),
    ] = None,
    budgets: Annotated[
        Optional[list[str]],
        typer.Option(
            "--budget",
            metavar="AMOUNT",
            help="A budget: 100, 100EUR, alice=5EUR; exit code 1 if it is exceeded.",
        ),
    ] = None,
    idle: Annotated[
        Optional[float],
        typer.Option(min=0, metavar="DAYS", help="List the flows without a run in this number of days instead."),
    ] = None,
    resources: Annotated[
        bool,
        typer.Option("--resources", help="Show time, CPU and memory of a run by its attributes instead."),
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout: a heading and one row a key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Show usage and cost: runs, time, tokens, money.

    Example: langflow-otel usage spans.jsonl --by user --since 30d --prices prices.yaml --budget 500USD

    Costs are those recorded in the spans, or with --prices those of a file. Models whose calls have tokens and no price
    are listed on stderr. The exit code is 1 if a budget is exceeded. --resources accepts --flow and --since, and needs
    langflow-otel[forecast] as well.
    """
    from langflow_otel.cli import usage as command

    output_format = "json" if as_json else "csv" if as_csv else "table"
    if as_json and as_csv:
        raise typer.BadParameter("only one of --json and --csv is accepted", param_hint="--csv")
    if resources:
        from langflow_otel.cli.usage_resources import show_resource_use

        command.check_alone("--resources", by=by, prices=prices, budget=budgets, idle=idle)
        show_resource_use(traces or [], flow=flow, since=since, output_format=output_format)
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


def store(
    traces: options.Files = None,
    to: Annotated[
        Optional[str],
        typer.Option(
            "--to",
            metavar="URL",
            help="postgresql://USER@HOST/DATABASE or sqlite:///FILE; default: LANGFLOW_OTEL_STORE, or sqlite:///runs.db.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Continue with new spans until Ctrl-C or SIGTERM.")] = False,
    content: Annotated[
        bool, typer.Option("--content", help="Store recorded messages, inputs, outputs and error messages as well.")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, max=3650, metavar="DAYS", help="How long rows are kept.")] = 30,
    keep_daily: Annotated[
        int, typer.Option("--keep-daily", min=1, max=36500, metavar="DAYS", help="How long daily figures are kept.")
    ] = 365,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Seconds between reads, with --follow.")
    ] = 1.0,
    as_json: options.AsJson = False,
) -> None:
    """Store runs, components, model calls, retries and errors in PostgreSQL or SQLite, for SQL queries.

    Example: langflow-otel store --to postgresql://langflow@db/telemetry --follow spans.jsonl

    A span is stored once, however often it is read. Daily figures are kept longer than rows. Pass a password in
    LANGFLOW_OTEL_STORE, PGPASSWORD or ~/.pgpass, since other users can see a command's arguments. Needs
    langflow-otel[store], and no LangFlow. The exit code is 2 if nothing can be read or the database cannot be opened,
    and 1 if not everything could be stored.
    """
    from langflow_otel.cli import store as command

    wanted = command.Wanted(to, content, keep, keep_daily)
    if follow:
        command.follow(traces or [], wanted, every_s=every, as_json=as_json)
    else:
        command.store(traces or [], wanted, as_json=as_json)


def mcp(
    traces: options.Files = None,
    content: Annotated[
        bool, typer.Option("--content", help="Show recorded messages, inputs, outputs and arguments.")
    ] = False,
    baseline: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="A baseline to compare runs with."),
    ] = None,
    flows: Annotated[
        Optional[list[Path]],
        typer.Option("--flow", metavar="FILE", help="A flow, as LangFlow exports it, to estimate. Repeatable."),
    ] = None,
    prometheus: Annotated[
        Optional[str],
        typer.Option("--prometheus", metavar="URL", help="A Prometheus-compatible API to find growing metrics in."),
    ] = None,
    token_file: options.TokenFile = None,
    ca_file: options.CaFile = None,
) -> None:
    """Serve the analysis of traces to an assistant: a read-only Model Context Protocol server over stdin and stdout.

    Example, as in an assistant's settings: langflow-otel mcp /var/log/langflow/spans.jsonl

    Has tools for the results of why, tree, report, usage, baseline, anomalies and forecast, and with --flow of
    estimate. The tools can read no other files, and query no other address than that of --prometheus. Exits at the end
    of stdin. Needs langflow-otel[mcp], and no LangFlow.
    """
    from langflow_otel.cli.mcp import command

    beside = command.Beside(baseline, flows or [], prometheus, token_file, ca_file)
    command.mcp(traces or [], beside, content=content)
