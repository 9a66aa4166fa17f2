"""Compares where spans of other providers are exported with the destinations of this library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.trace import Span

from langflow_otel._guard import Guard
from langflow_otel._runs.parent_context import Reaches, same_provider
from langflow_otel._sdk.versions import active_processor, endpoint_of, processors_in

Passes = Callable[[Any, str], bool]
"""Whether a span processor sends on what an instrumentation scope makes."""

_COMPARE = Guard("parents.compare")
_DEPTH = 8
"""Of wrappers around an exporter."""


def reaches_same_backend(provider: Any, passes: Passes) -> Reaches:
    """True for a span of the provider itself, and for one of another that goes to one of its endpoints.

    Args:
        provider: Makes our spans.
        passes: Knows the host's processors that drop spans.
    """
    of_provider = same_provider(provider)
    own = active_processor(provider)

    def reaches(span: Span) -> bool:
        if of_provider(span):
            return True
        theirs = getattr(span, "_span_processor", None)
        if own is None or theirs is None:
            return False
        with _COMPARE:
            scope: Any = getattr(span, "instrumentation_scope", None)
            sent_to = set(_destinations(theirs, lambda each: passes(each, "" if scope is None else scope.name)))
            return not sent_to.isdisjoint(_destinations(own, lambda _: True))
        return False

    return reaches


def _destinations(processor: Any, passes: Callable[[Any], bool]) -> Iterator[object]:
    """The destinations of a processor: addresses, and ids of exporters without one."""
    if not passes(processor):
        return
    for each in processors_in(processor):
        yield from _destinations(each, passes)
    wrapped = getattr(processor, "_wrapped", None)
    if wrapped is not None:
        yield from _destinations(wrapped, passes)
    exporter = getattr(processor, "span_exporter", None)
    if exporter is not None:
        yield _destination(exporter)


def _destination(exporter: Any) -> object:
    for _ in range(_DEPTH):
        endpoint = endpoint_of(exporter)
        if endpoint is not None:
            # The exporter for gRPC takes the scheme away.
            return endpoint.rpartition("://")[2].rstrip("/")
        inner = getattr(exporter, "_exporter", None)
        if inner is None:
            break
        exporter = inner
    return id(exporter)
