"""What other instrumentors put on their spans does not leave: prompts, answers, queries, texts of exceptions, and
values in URLs.

Spans of instrumentation libraries keep what is known to be harmless; whatever else is a text is taken off, for
a new release may call its prompts by a new name. Spans of a user's own tracer lose what is known to be content.
Where content may leave, it passes the gate that our own passes. Our own spans have passed it, but for the events, links
and descriptions that others put on them: these are as on a user's own spans. Secrets that are known by their value are
taken out of all of them, our own too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from langflow_otel import _semconv as semconv
from langflow_otel._content.denied_errors import quotes_denied
from langflow_otel._content.error_texts import redactor
from langflow_otel._content.gate import ContentGate
from langflow_otel._content.stacktraces import without_source
from langflow_otel._guard import Guard
from langflow_otel._runs.span_attributes import OwnEvent
from langflow_otel._sdk import content_attributes
from langflow_otel._sdk.encoding import GivingWay
from langflow_otel._sdk.known_secrets import KnownSecrets
from langflow_otel._sdk.replaced_span import ReplacedSpan, replaced_event, replaced_link
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
    """Spans of this instrumentation scope are an instrumentation library's, whatever its name looks like."""
    _loaded_libraries.add(scope)


def is_library(scope: str) -> bool:
    """True for an instrumentation scope of an instrumentation library."""
    return scope in _loaded_libraries or scope.startswith(content_attributes.LIBRARIES)


def without_url_values(attributes: Mapping[str, Any], *, whole_path: bool) -> dict[str, Any]:
    """The attributes, with URLs as they may leave."""
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
    """The span was made where content is denied: neither content nor messages of errors leave with it."""
    setattr(span, _DENIED, True)


class ContentFilter(SpanExporter):
    """The same exporter, behind the rule above. The spans themselves are not changed.

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
        for span in GivingWay(spans):
            # A span that cannot be judged does not leave.
            with _FILTER:
                rule = self._rule_where_denied if getattr(span, _DENIED, False) else self._rule
                harmless.append(self._secrets.taken_out_of(rule.harmless(span)))
        return self._exporter.export(GivingWay(harmless))

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Rule:
    """What leaves of a span under these settings.

    Args:
        is_denied: True for spans of which neither content nor messages leave.
    """

    def __init__(self, settings: Settings, *, is_denied: bool = False) -> None:
        self._settings = settings
        self._gate = ContentGate(settings) if settings.captures_content and not is_denied else None
        self._has_messages = settings.error_messages != "none" and not is_denied

    def harmless(self, span: ReadableSpan) -> ReadableSpan:
        """The span without what may not leave."""
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
        """As far as the gate lets it pass; a list of texts becomes one text."""
        if self._gate is None or self._gate.denies(name) or not isinstance(value, (str, list, tuple)):
            return {}
        if name in content_attributes.NEVER or (name.endswith(content_attributes.USERS) and not self._settings.user_id):
            return {}
        whole = value if isinstance(value, str) else list(value)
        text = self._gate.text(whole, self._gate.longest, withheld=recent_secrets())
        return {} if text is None else {name: text}

    def _message(self, text: Any) -> Any:
        """As far as ``LANGFLOW_OTEL_ERROR_MESSAGES`` lets it pass; None if it does not, or quotes a denied error."""
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
