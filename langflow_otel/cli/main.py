"""The command ``langflow-otel`` and its subcommands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from langflow_otel.cli.commands import history, servers, traces
from langflow_otel.version import __version__

app = typer.Typer(
    name="langflow-otel",
    help="OpenTelemetry for LangFlow: every flow run is a trace.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
baseline_app = typer.Typer(
    help="Save the figures of flows, and compare later runs or other versions with them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


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


app.command()(servers.demo)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(servers.run)
app.command("exec", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})(servers.exec_)
app.command()(servers.config)
app.command()(servers.doctor)
app.command()(servers.probe)
app.command()(servers.top)
app.command()(traces.tree)
app.command()(traces.export)
app.command()(traces.report)
app.command()(traces.why)
app.command()(traces.usage)
app.add_typer(baseline_app, name="baseline")
baseline_app.command("save")(history.baseline_save)
baseline_app.command("compare")(history.baseline_compare)
baseline_app.command("history")(history.baseline_history)
app.command()(history.anomalies)
app.command()(history.forecast)
app.command()(history.estimate)
app.command()(traces.store)
app.command()(traces.mcp)


def main() -> None:
    """Run the command line. Out of memory, it exits with code 2 and one line."""
    from langflow_otel.cli.console import BAD_INPUT, is_out_of_memory, never_fail_on_a_sign, say

    never_fail_on_a_sign()
    try:
        app()
        return
    except Exception as exc:
        if not is_out_of_memory(exc):
            raise
    # By now what was read is no longer held.
    say("langflow-otel: out of memory: select fewer files, or fewer runs with --flow and --since")
    sys.stdout.flush()
    # Not sys.exit: without memory, the threads of the libraries that read may crash while the interpreter ends.
    os._exit(BAD_INPUT)
