"""Secrets that are known by their value are taken out of every text of a span, under any name and from any source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status

from langflow_otel._sdk.replaced_span import ReplacedSpan, replaced_event, replaced_link
from langflow_otel.redaction.known_secrets import recent_secrets, without_secrets

_MOST_REMEMBERED: Final = 5000
_LONGEST_REMEMBERED: Final = 200


class KnownSecrets:
    """Takes the known secrets out of spans. For one exporter at a time: names, ids and types that come again with each
    span are searched once, until another secret is known."""

    def __init__(self) -> None:
        # As one value: another thread may export at the same time.
        self._known: tuple[tuple[str, ...], set[str]] = (), set()

    def refresh(self) -> None:
        """Look which secrets are known now."""
        secrets = recent_secrets()
        if secrets != self._known[0]:
            self._known = secrets, set()

    def taken_out_of(self, span: ReadableSpan) -> ReadableSpan:
        """The span without them: the same one if it has none."""
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
    """Makes the span without them."""

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
