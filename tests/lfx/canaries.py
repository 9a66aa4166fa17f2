"""Secrets that can be found again: unique texts of a known kind, and everything that leaves while flows run."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel.export.providers import build_tracer_provider
from langflow_otel.instrumentor import LangflowInstrumentor
from langflow_otel.settings import Settings

Kind = Literal["content", "span content", "error", "logged error", "attribute", "secret"]
"""What may leave as content of components and tools; what only spans have; exceptions' messages on spans and in log
records; what leaves in any mode; what never does."""

SPANS = ("spans", "trace file", "printed spans")
LOGS = ("logs", "printed logs")
METRICS = ("metrics", "printed metrics", "scrape", "openmetrics scrape")

_CANARY = re.compile(rb"canary-?(\d{5})", re.IGNORECASE)

Protocol = Literal["grpc", "http/protobuf"]


@dataclass(frozen=True)
class Canary:
    kind: Kind
    where: str


class Canaries:
    """All that were planted.

    Attributes:
        planted: By their numbers.
    """

    def __init__(self) -> None:
        self.planted: dict[int, Canary] = {}

    def plant(self, kind: Kind, where: str) -> str:
        """A text such as ``canary-00017-secret_str``."""
        return f"canary-{self._next(kind, where):05}-{where.replace(' ', '_')}"

    def text(self, kind: Kind, where: str) -> str:
        """The same with what looks like a secret in it: that never leaves, whatever becomes of the text."""
        number = self._next("secret", f"key in {where}")
        keys = (
            "AK" + "IA" + f"CANARY{number:05}ABCDE",
            "gh" + "p_" + f"canary{number:05}" + "a1B2c3D4e5F6g7H8i9J0k1L2m",
            f"password=canary-{number:05}-x",
            f"canary-{number:05}@example.com",
        )
        return f"{self.plant(kind, where)} {keys[number % len(keys)]} said"

    def _next(self, kind: Kind, where: str) -> int:
        number = len(self.planted) + 1
        self.planted[number] = Canary(kind, where)
        return number

    def of(self, *kinds: Kind) -> set[int]:
        return {number for number, each in self.planted.items() if each.kind in kinds}

    def named(self, numbers: set[int]) -> list[str]:
        """For the message of a failing test."""
        return [f"{number} {self.planted[number].kind}: {self.planted[number].where}" for number in sorted(numbers)]


def found_in(sent: bytes) -> set[int]:
    """Numbers of the canaries in there, cut ones and those in other letters too."""
    return {int(number) for number in _CANARY.findall(sent)}


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
        path = f"langflow_otel.export.providers.{exporter.__name__}"
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
