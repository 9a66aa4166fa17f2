"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

Files = Annotated[
    Optional[list[Path]],
    typer.Argument(metavar="FILES", help="Trace files and folders; default: the file of LANGFLOW_OTEL_TRACE_FILE."),
]
Trace = Annotated[
    str,
    typer.Argument(metavar="TRACE", help="A trace id or its first digits, last, slowest or failed."),
]
Flow = Annotated[
    Optional[str],
    typer.Option("--flow", metavar="FLOW", help="Only runs of the flow with this name or id."),
]
Since = Annotated[
    Optional[str],
    typer.Option("--since", metavar="TIME", help="Only runs that started within this time: 30m, 24h, 7d."),
]
Version = Annotated[
    Optional[str],
    typer.Option("--version", metavar="VERSION", help="Only runs of this langflow.flow.version."),
]
Prometheus = Annotated[
    Optional[str],
    typer.Option("--prometheus", metavar="URL", help="Query this Prometheus-compatible API instead."),
]
TokenFile = Annotated[
    Optional[Path],
    typer.Option("--prometheus-token-file", metavar="FILE", help="A file with the bearer token of this API."),
]
CaFile = Annotated[
    Optional[Path],
    typer.Option("--prometheus-ca-file", metavar="FILE", help="A PEM file with the certificates to trust for it."),
]
Input = Annotated[
    Optional[str],
    typer.Option("--input", metavar="TEXT", help="The input of the flow."),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout."),
]
