"""``langflow-otel mcp``: the analysis of traces as tools of a Model Context Protocol server over stdio."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from langflow_otel.cli.console import give_up, printable, say
from langflow_otel.cli.opened_traces import chosen_paths

NEEDS_MCP = "{} is not installed; this needs: pip install 'langflow-otel[mcp]'"


def mcp(paths: Sequence[Path], *, content: bool, baseline: Path | None) -> None:
    """Serve until stdin ends."""
    chosen = chosen_paths(paths)
    try:
        from langflow_otel.cli.mcp_server.server import serve
        from langflow_otel.cli.mcp_server.source import Source
        from langflow_otel.cli.mcp_server.toolbox import Toolbox
        from langflow_otel.insights.baselines import BaselineError, load
    except ImportError as exc:
        give_up(NEEDS_MCP.format(exc.name))
    try:
        kept = None if baseline is None else load(baseline)
    except OSError as exc:
        give_up(f"{printable(baseline)} cannot be read: {exc.strerror or exc}")
    except BaselineError as exc:
        give_up(f"{printable(baseline)}: {printable(exc)}")
    logging.basicConfig(level=logging.WARNING, format="langflow-otel: %(message)s")
    for path in chosen:
        if not path.exists():
            say(f"warning: {printable(path)} is not there yet; it is read as soon as it is")
    serve(Toolbox(Source([path.absolute() for path in chosen]), content=content, baseline=kept))
