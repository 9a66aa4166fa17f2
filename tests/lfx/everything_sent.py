"""All bytes that leave while flows run, and which canaries may be among them."""

from __future__ import annotations

import contextlib
import functools
import io
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from canaries import Canaries, Kind, found_in
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel._sdk.providers import build_tracer_provider
from langflow_otel._settings.settings import Settings
from langflow_otel.instrumentor import LangflowInstrumentor

SPANS = ("spans", "trace file", "printed spans")
LOGS = ("logs", "printed logs")
METRICS = ("metrics", "printed metrics", "scrape", "openmetrics scrape")

Protocol = Literal["grpc", "http/protobuf"]


def belongs(place: str, settings: Settings) -> set[Kind]:
    """What has to be there."""
    kinds: set[Kind] = set()
    if place in SPANS:
        kinds.add("attribute")
        if settings.content_on_spans:
            kinds |= {"content", "span content"}
        if settings.error_messages != "none":
            kinds.add("error")
    if place in LOGS:
        if settings.content_in_events:
            kinds.add("content")
        if settings.error_messages != "none":
            kinds.add("logged error")
    return kinds


def may_be(place: str, settings: Settings) -> set[Kind]:
    """The same, with what some versions of LangFlow log, the error of a component, and what is an input, too."""
    kinds = belongs(place, settings)
    if place in LOGS:
        kinds |= {"error"} if settings.error_messages != "none" else set()
        kinds |= {"attribute"} if settings.content_in_events else set()
    return kinds


def table(canaries: Canaries, sent: dict[str, bytes]) -> str:
    """How many of each kind were planted, and how many are found in each place; for ``pytest -s``."""
    planted = Counter(each.kind for each in canaries.planted.values())
    lines = [f"{'':18}" + "".join(f"{kind + f' ({count})':>20}" for kind, count in planted.items())]
    for place, said in sent.items():
        found = Counter(canaries.planted[number].kind for number in found_in(said))
        lines.append(f"{place:18}" + "".join(f"{found[kind]:>20}" for kind in planted))
    return "\n".join(lines)


async def everything_sent(
    settings: Settings,
    protocol: Protocol,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Any], Awaitable[None]],
) -> dict[str, bytes]:
    """All bytes that leave while ``run`` runs, by place: what a user's destinations get, over real exporters.

    Args:
        settings: Without destinations, which are all added.
        run: Gets the tracer provider, for tracers of its own.
    """
    printed = {name: io.StringIO() for name in ("spans", "metrics", "logs")}
    for name, exporter in (("spans", ConsoleSpanExporter), ("metrics", ConsoleMetricExporter)):
        # Its default is what standard output was when the SDK was imported.
        path = f"langflow_otel._sdk.providers.{exporter.__name__}"
        monkeypatch.setattr(path, functools.partial(exporter, out=printed[name]))
    with otlp_receiver(protocol) as receiver:
        wired = _with_all_destinations(settings, protocol, receiver, folder / "traces.jsonl", monkeypatch)
        provider = build_tracer_provider(wired)
        instrumentor = LangflowInstrumentor()
        with contextlib.redirect_stdout(printed["logs"]):
            instrumentor.instrument(tracer_provider=provider, settings=wired, skip_dep_check=True)
        try:
            await run(provider)
            assert instrumentor.scrape is not None
            pages = [instrumentor.scrape.page(accept, "").body for accept in ("", "application/openmetrics-text")]
        finally:
            provider.shutdown()
            instrumentor.uninstrument()
    return {
        "spans": _bytes_of(receiver.requests),
        "trace file": (folder / "traces.jsonl").read_bytes(),
        "logs": _bytes_of(receiver.log_requests),
        "metrics": _bytes_of(receiver.metric_requests),
        "scrape": pages[0],
        "openmetrics scrape": pages[1],
        **{f"printed {name}": each.getvalue().encode() for name, each in printed.items()},
    }


def _with_all_destinations(
    settings: Settings, protocol: Protocol, receiver: Receiver, file: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_TRACES_EXPORTER": "otlp,console",
        "OTEL_METRICS_EXPORTER": "otlp,console,prometheus",
        "OTEL_LOGS_EXPORTER": "otlp,console",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "LANGFLOW_OTEL_TRACE_FILE": str(file),
        "LANGFLOW_OTEL_ERROR_MESSAGES": settings.error_messages,
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": capture_mode(settings),
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    read = Settings.from_env()
    assert read.problems == ()
    return read


def capture_mode(settings: Settings) -> str:
    """As the variable calls it."""
    modes = ("NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT")
    return modes[settings.content_on_spans + 2 * settings.content_in_events]


def _bytes_of(requests: list[Any]) -> bytes:
    assert requests
    return b"".join(
        request.message.SerializeToString() + f"{request.path} {request.headers}".encode() for request in requests
    )
