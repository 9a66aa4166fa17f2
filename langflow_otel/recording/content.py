"""The one gate for content: prompts, answers, inputs and outputs of components, arguments and results of tools.

It decides, in this order: whether content leaves at all (``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``),
whether that of this component and field does (``LANGFLOW_OTEL_CONTENT_DENY``), and what of its text does: without
secrets, as the author's hook leaves it, cut to size. The hooks hand it nothing that LangFlow knows to be a secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from langflow_otel.recording import semconv
from langflow_otel.recording.log_lines import SEVERITIES, LogLine, log_sink
from langflow_otel.recording.plain import MARGIN, plain
from langflow_otel.recording.privacy import redacted
from langflow_otel.recording.sizes import chosen
from langflow_otel.settings import Settings

PER_SPAN: Final = 4
"""A span carries so many times as much as one value."""


class ContentGate:
    """Lets content pass, or not.

    Args:
        settings: The mode, the deny list, patterns, the longest text.
    """

    def __init__(self, settings: Settings) -> None:
        self.on_spans = settings.content_on_spans
        self.in_events = settings.content_in_events
        self.longest = settings.content_length
        self.openinference = settings.openinference
        self._settings = settings
        self._denied = frozenset(settings.content_deny)

    def denies(self, *names: str | None) -> bool:
        """True if one of these component types, ids, tools or fields is on the deny list."""
        return not self._denied.isdisjoint(names)

    def text(
        self,
        value: Any,
        room: int,
        open_object: Callable[[Any], Any] = lambda _: None,
        withheld: Collection[str] = (),
    ) -> str | None:
        """What may leave of a value; None for nothing.

        Args:
            value: A text, or data that becomes JSON.
            room: Characters, at most.
            open_object: Gives plain data for the host's objects.
            withheld: Secrets that are known by their value.
        """
        room = min(room, self.longest)
        read = room + 2 * MARGIN
        if type(value) is str:
            whole = _without_named_secrets(value, read)
        else:
            whole = _json(plain(value, read, open_object, withheld))
        return redacted(whole, room, self._settings, withheld)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _without_named_secrets(text: str, longest: int) -> str:
    """JSON that is a text already: by the names in it, as if it were data."""
    if len(text) > longest or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    safe = plain(data, longest)
    return text if safe == data else _json(safe)


class SpanContent:
    """The content of one span, as far as there is room.

    Args:
        gate: Decides.
        open_object: Gives plain data for the host's objects.
        withheld: Values of secret inputs of this run: a component may hand one on.

    Attributes:
        is_partial: True if something stays here by its name that a model may get to see: then no messages leave.
    """

    def __init__(self, gate: ContentGate, open_object: Callable[[Any], Any], withheld: Collection[str] = ()) -> None:
        self._withheld = withheld
        self.gate = gate
        self.is_partial = False
        self.attributes: dict[str, str] = {}
        self._open_object = open_object
        self._room = PER_SPAN * gate.longest

    def add(self, name: str, value: Any) -> None:
        """A value under an attribute's name; None is no value."""
        if value is None or self._room <= 0:
            return
        name = chosen(name)
        text = self.gate.text(value, self._room, self._open_object, self._withheld)
        if text is not None:
            self._room -= len(text)
            self.attributes[name] = text

    def add_messages(self, name: str, role: str, value: Any) -> None:
        """A text as the one message of a GenAI attribute: ``[{"role": ..., "parts": [...]}]``."""
        if value is not None:
            self.add(name, [{"role": role, "parts": [{"type": "text", "content": value}]}])

    def for_span(self) -> Mapping[str, str]:
        """What goes on the span."""
        if not self.gate.on_spans or not self.gate.openinference:
            return self.attributes if self.gate.on_spans else {}
        found = dict(self.attributes)
        for ours, theirs in _OPENINFERENCE.items():
            value = next((text for name, text in self.attributes.items() if name.startswith(ours)), None)
            if value is not None:
                found.setdefault(theirs, value)
        return found

    def emit(self, identity: Mapping[str, Any]) -> None:
        """Send it as an event, with what tells whose it is; nothing where log records have nowhere to go."""
        sink = log_sink()
        if not self.gate.in_events or not self.attributes or sink is None:
            return
        attributes = {"event.name": semconv.CONTENT_EVENT, **identity, **self.attributes}
        sink.emit(
            LogLine(semconv.SCOPE, SEVERITIES["info"], "INFO", semconv.CONTENT_EVENT, attributes),
            sent_by_langflow=False,
        )


_OPENINFERENCE: Final = {
    semconv.GEN_AI_INPUT_MESSAGES: semconv.INPUT_VALUE,
    semconv.GEN_AI_TOOL_CALL_ARGUMENTS: semconv.INPUT_VALUE,
    semconv.COMPONENT_INPUT: semconv.INPUT_VALUE,
    semconv.GEN_AI_OUTPUT_MESSAGES: semconv.OUTPUT_VALUE,
    semconv.GEN_AI_TOOL_CALL_RESULT: semconv.OUTPUT_VALUE,
    semconv.COMPONENT_OUTPUT: semconv.OUTPUT_VALUE,
}
