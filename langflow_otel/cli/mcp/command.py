"""``langflow-otel mcp``: the analysis of traces as tools of a Model Context Protocol server over stdio."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langflow_otel.cli.console import give_up, printable, say
from langflow_otel.cli.trace_input import chosen_paths

if TYPE_CHECKING:
    from langflow_otel.cli.mcp.context import Given

NEEDS_MCP = "{} is not installed; this needs: pip install 'langflow-otel[mcp]'"


@dataclass(frozen=True)
class Beside:
    """What tools may use beside traces.

    Attributes:
        baseline: A file; None for no tool that compares with it.
        flows: JSON files of flows, for the tool that estimates them.
        prometheus: URL; None for no tool that asks it.
        token_file, ca_file: For it.
    """

    baseline: Path | None
    flows: Sequence[Path]
    prometheus: str | None
    token_file: Path | None
    ca_file: Path | None


def mcp(paths: Sequence[Path], beside: Beside, *, content: bool) -> None:
    """Serve until stdin ends."""
    chosen = chosen_paths(paths)
    try:
        from langflow_otel.cli.mcp.context import Source
        from langflow_otel.cli.mcp.server import serve
        from langflow_otel.cli.mcp.toolbox import Toolbox
    except ImportError as exc:
        give_up(NEEDS_MCP.format(exc.name))
    given = _given(beside)
    logging.basicConfig(level=logging.WARNING, format="langflow-otel: %(message)s")
    for path in chosen:
        if not path.exists():
            say(f"warning: {printable(path)} is not there yet; it is read as soon as it is")
    serve(Toolbox(Source([path.absolute() for path in chosen]), content=content, given=given))


def _given(beside: Beside) -> Given:
    """What cannot be used ends the command with exit code 2."""
    from langflow_otel.cli.baseline.command import loaded
    from langflow_otel.cli.estimate import loaded_flow
    from langflow_otel.cli.mcp.context import Given
    from langflow_otel.insights.prometheus_source import PrometheusAccess, PrometheusError, PrometheusSource

    kept = None if beside.baseline is None else loaded(beside.baseline)
    flows = [loaded_flow(path) for path in beside.flows]
    if beside.prometheus is None:
        return Given(kept, flows)
    try:
        access = PrometheusAccess.of(beside.prometheus, token_file=beside.token_file, ca_file=beside.ca_file)
    except PrometheusError as exc:
        give_up(printable(exc))
    return Given(kept, flows, PrometheusSource(access))
