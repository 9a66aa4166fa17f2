"""Content filter before the exporters: removes prompts, answers, queries, error messages and values in URLs.

Spans of instrumentation libraries keep what is known to be harmless; whatever else is a text is taken off, for
a new release may call its prompts by a new name. Spans of a user's own tracer lose what is known to be content.
Where content may leave, it passes the gate that our own passes. Our own spans have passed it, but for the events, links
and descriptions that others put on them: these are as on a user's own spans. Secrets that are known by their value are
taken out of all of them, our own too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import quotes_denied, redactor, without_source
from langflow_otel._content.gate import ContentGate
from langflow_otel._guard import Guard
from langflow_otel._runs.span_attributes import OwnEvent
from langflow_otel._sdk import content_attributes
from langflow_otel._sdk.batches import PausingSequence
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction.known_secrets import recent_secrets, without_secrets
from langflow_otel.redaction.secret_names import is_secret_name
from langflow_otel.redaction.urls import (
    REDACTED,
    name_without_values,
    template_without_values,
    text_without_url_values,
    url_without_values,
)

_FILTER = Guard("content.filter")

_loaded_libraries: set[str] = set()


def treat_as_library(scope: str) -> None:
    """Treat spans of this instrumentation scope as an instrumentation library's, whatever its name."""
    _loaded_libraries.add(scope)


def is_library(scope: str) -> bool:
    """True for an instrumentation scope of an instrumentation library."""
    return scope in _loaded_libraries or scope.startswith(content_attributes.LIBRARIES)


def without_url_values(attributes: Mapping[str, Any], *, whole_path: bool) -> dict[str, Any]:
    """The attributes with the values in their URLs removed."""
    return {
        name: _url(name, value, whole_path=whole_path)
        if name in content_attributes.URLS and isinstance(value, str)
        else value
        for name, value in attributes.items()
    }


def _url(name: str, value: str, *, whole_path: bool) -> str:
    if whole_path or name not in content_attributes.ROUTES:
        return url_without_values(value, whole_path=whole_path)
    return template_without_values(value)


_DENIED: Final = "_langflow_otel_denied"
"""On a span as the exporters get it."""


def deny_content(span: ReadableSpan) -> None:
    """Mark a span as recorded where content is denied: it is exported without content and without error messages."""
    setattr(span, _DENIED, True)


class ContentFilter(SpanExporter):
    """Span exporter that removes content as described above. The spans themselves are not changed.

    Args:
        exporter: Gets the spans.
        settings: Whether exception texts and status descriptions pass, and how.
    """

    def __init__(self, exporter: SpanExporter, settings: Settings | None = None) -> None:
        self._exporter = exporter
        settings = settings or Settings()
        self._rule = _Rule(settings)
        self._rule_where_denied = _Rule(settings, is_denied=True)
        self._secrets = KnownSecrets()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        harmless = []
        self._secrets.refresh()
        for span in PausingSequence(spans):
            # A span that cannot be judged does not leave.
            with _FILTER:
                rule = self._rule_where_denied if getattr(span, _DENIED, False) else self._rule
                harmless.append(self._secrets.taken_out_of(rule.harmless(span)))
        return self._exporter.export(PausingSequence(harmless))

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Rule:
    """What of a span is exported under these settings.

    Args:
        is_denied: True for spans of which neither content nor messages leave.
    """

    def __init__(self, settings: Settings, *, is_denied: bool = False) -> None:
        self._settings = settings
        self._gate = ContentGate(settings) if settings.captures_content and not is_denied else None
        self._has_messages = settings.error_messages != "none" and not is_denied

    def harmless(self, span: ReadableSpan) -> ReadableSpan:
        """The span without what must not be exported."""
        scope = "" if span.instrumentation_scope is None else span.instrumentation_scope.name
        if scope == semconv.SCOPE:
            return ReplacedSpan(span, **self._put_on(span, strict=False)) if _has_of_others(span) else span
        strict = is_library(scope)
        return ReplacedSpan(
            span,
            name=self._name(span.name, strict),
            attributes=self._attributes(span.attributes, strict),
            **self._put_on(span, strict),
        )

    def _put_on(self, span: ReadableSpan, strict: bool) -> dict[str, Any]:
        """What any code may put on a span that is current."""
        return {
            "events": [self._event(event, strict) for event in span.events if self._passes(event.name, strict)],
            "links": [replaced_link(link, self._attributes(link.attributes, strict)) for link in span.links],
            "status": Status(span.status.status_code, self._message(span.status.description)),
        }

    def _name(self, name: str, strict: bool) -> str:
        # The names that a user's own tracer gives are its author's.
        return name_without_values(name) if strict and not self._settings.url_paths else name

    def _passes(self, event_name: str, strict: bool) -> bool:
        return (self._gate is not None and self._gate.on_spans) or _event_passes(event_name, strict)

    def _event(self, event: Event, strict: bool) -> Event:
        if type(event.name) is OwnEvent:
            return event
        return replaced_event(event, event.name, self._attributes(event.attributes, strict))

    def _attributes(self, attributes: Mapping[str, Any] | None, strict: bool) -> dict[str, Any]:
        kept = {}
        for name, value in (attributes or {}).items():
            if name in content_attributes.URLS:
                if isinstance(value, str):
                    kept[name] = self._url(name, value)
            elif name in content_attributes.MESSAGES:
                message = self._message(value)
                if message is not None:
                    kept[name] = message
            elif (_is_number(value) or name in content_attributes.SAFE) if strict else not _is_content(name):
                kept[name] = value
            elif self._gate is not None and self._gate.on_spans and not is_secret_name(name):
                kept |= self._content(name, value)
        return kept

    def _url(self, name: str, value: str) -> str:
        whole_path = self._settings.url_paths
        url = _url(name, value, whole_path=whole_path)
        return redactor(self._settings).redact(url) or REDACTED if whole_path and self._settings.redacts else url

    def _content(self, name: str, value: Any) -> dict[str, Any]:
        """The attribute as the content gate returns it; a list of texts becomes one text."""
        if self._gate is None or self._gate.denies(name) or not isinstance(value, (str, list, tuple)):
            return {}
        if name in content_attributes.NEVER or (name.endswith(content_attributes.USERS) and not self._settings.user_id):
            return {}
        whole = value if isinstance(value, str) else list(value)
        text = self._gate.text(whole, self._gate.longest, withheld=recent_secrets())
        return {} if text is None else {name: text}

    def _message(self, text: Any) -> Any:
        """An error message according to ``LANGFLOW_OTEL_ERROR_MESSAGES``; None if it is not exported."""
        if text is None or not self._has_messages or quotes_denied(str(text)):
            return None
        text = without_source(str(text))
        if self._settings.error_messages == "full":
            return text
        return redactor(self._settings).redact(text_without_url_values(without_secrets(text)))


def _has_of_others(span: ReadableSpan) -> bool:
    """True if there may be something on a span of ours that has not passed the gate."""
    return (
        any(type(event.name) is not OwnEvent for event in span.events)
        or span.status.description is not None
        or any(link.attributes for link in span.links)
    )


def _is_number(value: Any) -> bool:
    # Not a list of them: an embedding can be turned back into its text.
    return isinstance(value, (bool, int, float))


def _is_content(name: str) -> bool:
    return name in content_attributes.CONTENT or name.startswith(content_attributes.CONTENT_PREFIXES)


def _event_passes(name: str, strict: bool) -> bool:
    return name in content_attributes.SAFE_EVENTS if strict else name not in content_attributes.CONTENT_EVENTS


# Known secrets


_MOST_REMEMBERED: Final = 5000
_LONGEST_REMEMBERED: Final = 200


class KnownSecrets:
    """Removes the known secrets from spans, for one exporter.

    Names, ids and types that recur on each span are searched once, until another secret is known."""

    def __init__(self) -> None:
        # As one value: another thread may export at the same time.
        self._known: tuple[tuple[str, ...], set[str]] = (), set()

    def refresh(self) -> None:
        """Read the current list of known secrets."""
        secrets = recent_secrets()
        if secrets != self._known[0]:
            self._known = secrets, set()

    def taken_out_of(self, span: ReadableSpan) -> ReadableSpan:
        """The span without known secrets; the same object if it has none."""
        secrets, free = self._known
        if not secrets:
            return span
        unseen = {text for text in _texts_of(span) if text not in free}
        # One search through all of them is faster than one through each, and most spans hold no secret.
        together = "\n".join(unseen)
        if without_secrets(together, secrets) != together:
            return _Replacing(secrets).span(span)
        if len(free) > _MOST_REMEMBERED:
            free.clear()
        free.update(text for text in unseen if len(text) <= _LONGEST_REMEMBERED)
        return span


class _Replacing:
    """Copies a span without known secrets."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets

    def span(self, span: ReadableSpan) -> ReadableSpan:
        return ReplacedSpan(
            span,
            name=self._text(span.name),
            attributes=self._attributes(span.attributes),
            events=[
                replaced_event(each, self._text(each.name), self._attributes(each.attributes)) for each in span.events
            ],
            links=[replaced_link(each, self._attributes(each.attributes)) for each in span.links],
            status=Status(span.status.status_code, self._value(span.status.description)),
        )

    def _attributes(self, attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        return {self._text(name): self._value(value) for name, value in (attributes or {}).items()}

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes):
            return self._text(value.decode("latin-1")).encode("latin-1")
        if isinstance(value, Mapping):
            return self._attributes(value)
        return tuple(map(self._value, value)) if isinstance(value, Sequence) else value

    def _text(self, text: str) -> str:
        return without_secrets(text, self._secrets)


def _texts_of(span: ReadableSpan) -> Iterator[str]:
    yield span.name
    yield from _texts_in(span.attributes)
    for each in span.events:
        yield each.name
        yield from _texts_in(each.attributes)
    for link in span.links:
        yield from _texts_in(link.attributes)
    if span.status.description is not None:
        yield span.status.description


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield name
            yield from _texts_in(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts_in(each)


# Changed copies of ended spans


def with_dropped(attributes: Mapping[str, Any], dropped: int) -> Mapping[str, Any]:
    """The attributes with a count of dropped ones, which the SDK reads only from its own class."""
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
    """A finished span with parts replaced; the span itself is not changed.

    Made by the public constructor: if a new SDK renamed the fields of a copy, content would be exported unnoticed.

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
