"""A finished span with parts of it replaced; the span itself is not changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link


def with_dropped(attributes: Mapping[str, Any], dropped: int) -> Mapping[str, Any]:
    """The attributes, and how many more there were: the SDK reads that only from its own class."""
    if not dropped:
        return attributes
    bounded = BoundedAttributes(None, attributes)
    bounded.dropped = dropped
    return bounded


def replaced_event(event: Event, name: str, attributes: Mapping[str, Any]) -> Event:
    """The same event with another name and other attributes."""
    return Event(name, with_dropped(attributes, event.dropped_attributes), event.timestamp)


def replaced_link(link: Link, attributes: Mapping[str, Any]) -> Link:
    """The same link with other attributes."""
    return Link(link.context, with_dropped(attributes, link.dropped_attributes))


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
