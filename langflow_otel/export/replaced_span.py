"""A finished span with parts of it replaced; the span itself is not changed."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan


class ReplacedSpan(ReadableSpan):
    """The same span with parts replaced. Through the public constructor: were a copy's fields renamed by a new SDK,
    content would leave and nobody would notice.

    Args:
        original: The span.
        parts: ``name``, ``attributes``, ``events``, ``links``, ``status``: what is different.
    """

    def __init__(self, original: ReadableSpan, **parts: Any) -> None:
        whole = {
            "name": original.name,
            "attributes": original.attributes,
            "events": original.events,
            "links": original.links,
            "status": original.status,
        }
        super().__init__(
            context=original.get_span_context(),
            parent=original.parent,
            resource=original.resource,
            kind=original.kind,
            start_time=original.start_time,
            end_time=original.end_time,
            instrumentation_scope=original.instrumentation_scope,
            **(whole | parts),
        )
        self._original = original

    @property
    def dropped_attributes(self) -> int:
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        return self._original.dropped_links
