"""Every difference between LangFlow versions that the hooks must know, in one place.

Read from lfx 0.2.1, 0.3.4, 0.4.6, 1.10.3, 1.11.6, 1.12.8 and 1.13.0.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

OLDEST_LFX = "0.2"
NEWEST_LFX = "1.13"
INSTALL_HINT = "LangFlow is not installed here. Install it with: pip install 'langflow-otel[lfx]' (or [langflow])"

# lfx.observability.get_execution_protocol(), LangFlow 1.12 and later.
_ENTRY_POINTS = {
    "v1": "api",
    "v1.advanced": "api",
    "openai_responses": "api",
    "v2": "api",
    "v2.public": "api",
    "agentic": "api",
    "v1.build": "playground",
    "v1.build.public": "playground",
    "v2.background": "job",
    "lfx.serve": "serve",
    "lfx.run": "cli",
}
# Paths of LangFlow's API and of ``lfx serve``; the first that fits.
_PATHS = (
    ("/api/v1/build", "playground"),
    ("/api/v1/webhook", "webhook"),
    ("/api/v1/mcp", "mcp"),
    ("/api/v1/voice", "voice"),
    ("/api/v1/a2a", "a2a"),
    ("/api/", "api"),
    ("/", "serve"),
)
_FRAMES_BETWEEN = 6  # ours, and those of a wrapt without its C extension
_SAME_NAME = frozenset({"webhook", "mcp", "voice", "a2a"})


def lfx_is_installed() -> bool:
    try:
        return importlib.util.find_spec("lfx") is not None
    except ValueError:  # it is imported, and has no spec
        return True


@functools.cache
def lfx_version() -> str | None:
    """Of the installed lfx, whatever the distribution is called; None if nothing says it."""
    try:
        return metadata.version("lfx")
    except metadata.PackageNotFoundError:
        # LangFlow's nightly builds, and forks.
        names = metadata.packages_distributions().get("lfx")
        return metadata.version(names[0]) if names else None


def lfx_is_too_old() -> bool:
    """True before the first version whose server runs on lfx: there is nothing to instrument."""
    version = lfx_version()
    return version is not None and _minor(version) < _minor(OLDEST_LFX)


def unknown_version_warning() -> str | None:
    """A warning if the installed lfx is outside of the tested range, else None. The pre-releases of a version are in it
    if the version is."""
    version = lfx_version()
    if version is None or _minor(OLDEST_LFX) <= _minor(version) <= _minor(NEWEST_LFX):
        return None
    return (
        f"langflow-otel is tested with lfx {OLDEST_LFX} to {NEWEST_LFX}, and lfx {version} is installed. "
        "It works as far as the engine's functions are the same; a hook that does not fit is named below."
    )


def _minor(version: str) -> tuple[int, int]:
    parts = [int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:2]]
    return parts[0], parts[1] if len(parts) > 1 else 0


def is_finish(item: object) -> bool:
    """True for the item by which a graph says that it is done; readers stop at it."""
    return type(item).__name__ == "Finish"


def served_entry_point() -> str | None:
    """The surface that the current run came in by, where LangFlow knows it (1.12 and later)."""
    observability: Any = sys.modules.get("lfx.observability")
    get_protocol = getattr(observability, "get_execution_protocol", None)
    if get_protocol is None:
        return None
    protocol = get_protocol()
    if protocol in _SAME_NAME:
        return str(protocol)
    found = _ENTRY_POINTS.get(protocol) if protocol else None
    # The UI runs flows by the public API, and says by a header that it is the playground.
    get_client = getattr(observability, "get_execution_client", None)
    return "playground" if found == "api" and get_client is not None and get_client() == "playground" else found


def entry_point_of_path(path: str) -> str:
    """The surface that a request comes in by, as its path says."""
    return next(name for prefix, name in _PATHS if path.startswith(prefix))


@functools.cache
def command_entry_point() -> str | None:
    """``cli`` in a process that is `lfx run`, else None."""
    program = Path(sys.argv[0] if sys.argv else "")
    name = program.parent.name if program.name == "__main__.py" else program.stem
    return "cli" if name == "lfx" and sys.argv[1:2] == ["run"] else None


def queued_by_elsewhere() -> Any:
    """Context of the span that queued the current job, perhaps in another process, where LangFlow (1.12 and
    later) keeps it with the job; else None."""
    get_link = getattr(sys.modules.get("lfx.observability"), "get_queued_trace_link", None)
    link = None if get_link is None else get_link()
    return None if link is None else link.context


def loops_run_as_subgraphs(graph: Any) -> bool:
    """True since lfx 0.3: a loop's body is a graph of its own, run once for each item. Before, the
    loop and its body are built again and again in the main graph."""
    return hasattr(graph, "create_subgraph")


def loaded_flow() -> tuple[Mapping[str, Any], Any] | None:
    """Below ``lfx.load.aload_flow_from_json``, which hands a graph its nodes and edges and drops the rest: the whole
    flow, and where it came from (a path, or the flow itself). Else None.

    Read from the caller's variables: that function is called by many names, and what it calls gets no more.
    """
    frame = sys._getframe(1)
    for _ in range(_FRAMES_BETWEEN):
        if frame.f_code.co_name == "aload_flow_from_json" and frame.f_globals.get("__name__") == "lfx.load.load":
            content = frame.f_locals.get("flow_graph")
            return (content, frame.f_locals["flow"]) if isinstance(content, Mapping) else None
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


def exports_log_lines(module: Any) -> bool:
    """True since LangFlow 1.12: ``lfx.log.logger`` has a processor that hands lines to OpenTelemetry."""
    return hasattr(module, "emit_to_otel_logs")


def adds_trace_ids(module: Any) -> bool:
    """True since LangFlow 1.10: ``lfx.log.logger`` puts the ids of the current span on its lines."""
    return hasattr(module, "add_otel_trace_context")


def reports_stream_events(run_manager: Any) -> bool:
    """True since LangChain 1.3: chunks are reported by ``on_stream_event`` as well."""
    return hasattr(run_manager, "on_stream_event")


def unread_stream_of(result: Any) -> Any:
    """The iterator that a ``Message`` has instead of its text, since LangFlow 1.11 in ``text_stream``; else None."""
    if type(result).__name__ != "Message":
        return None
    stream = getattr(result, "text_stream", None)
    if stream is None:
        stream = result.__dict__.get("text")
    return stream if hasattr(stream, "__anext__") or hasattr(stream, "__next__") else None


def token_usage(component: Any) -> Any:
    """The tokens that a component has counted, since LangFlow 1.9 (lfx 0.4); None before."""
    # Not by getattr(): where LangFlow has no such field, it searches inputs and outputs for it.
    return component.__dict__.get("_token_usage")
