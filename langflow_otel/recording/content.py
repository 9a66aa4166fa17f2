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
        main_input: The attribute that says best what came in; None for the first one.
    """

    def __init__(self, gate: ContentGate, open_object: Callable[[Any], Any], withheld: Collection[str] = ()) -> None:
        self._withheld = withheld
        self.gate = gate
        self.is_partial = False
        self.attributes: dict[str, str] = {}
        self.main_input: str | None = None
        self._open_object = open_object
        self._room = PER_SPAN * gate.longest

    def add(self, name: str, value: Any) -> None:
        """A value under an attribute's name; None is no value."""
        name = chosen(name)
        room = self._room + len(self.attributes.get(name, ""))
        if value is None or room <= 0:
            return
        text = self.gate.text(value, room, self._open_object, self._withheld)
        if text is not None:
            self._room = room - len(text)
            self.attributes[name] = text

    def add_messages(self, name: str, role: str, value: Any) -> None:
        """A text as the one message of a GenAI attribute: ``[{"role": ..., "parts": [...]}]``."""
        if value is not None:
            self.add(name, [{"role": role, "parts": [{"type": "text", "content": value}]}])

    def for_span(self) -> Mapping[str, str]:
        """What goes on the span."""
        if not self.gate.on_spans or not self.gate.openinference:
            return self.attributes if self.gate.on_spans else {}
        return {**self._for_openinference(), **self.attributes}

    def _for_openinference(self) -> dict[str, str]:
        found: dict[str, str] = {}
        main = None if self.main_input is None else chosen(self.main_input)
        for value, mime_type, names, prefix in _OPENINFERENCE:
            wanted = [*names, main] if prefix == semconv.COMPONENT_INPUT else names
            name = next((name for name in wanted if name in self.attributes), None)
            name = name or next((name for name in self.attributes if name.startswith(prefix)), None)
            if name is not None:
                found[value], found[mime_type] = _shown(name, self.attributes[name])
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


def _shown(name: str, text: str) -> tuple[str, str]:
    """A value as a reader of OpenInference shows it, and its type: one message is its text."""
    if not text.startswith(("{", "[")):
        return text, _TEXT
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or cut
        return text, _TEXT
    if name in _MESSAGES and len(data) == 1:
        part = data[0]["parts"][0]
        if type(part.get("content")) is str:
            return part["content"], _TEXT
    return text, _JSON


_TEXT: Final = "text/plain"
_JSON: Final = "application/json"
_MESSAGES: Final = frozenset({semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_OUTPUT_MESSAGES})
_OPENINFERENCE: Final = (
    (
        semconv.INPUT_VALUE,
        semconv.INPUT_MIME_TYPE,
        (semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_TOOL_CALL_ARGUMENTS),
        semconv.COMPONENT_INPUT,
    ),
    (
        semconv.OUTPUT_VALUE,
        semconv.OUTPUT_MIME_TYPE,
        (
            semconv.GEN_AI_OUTPUT_MESSAGES,
            semconv.GEN_AI_TOOL_CALL_RESULT,
            f"{semconv.COMPONENT_OUTPUT}message",
            f"{semconv.COMPONENT_OUTPUT}text",
        ),
        semconv.COMPONENT_OUTPUT,
    ),
)
"""Of each: the value, its type, the attributes that it is taken from, else the first with a prefix."""
