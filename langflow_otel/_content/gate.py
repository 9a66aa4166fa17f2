"""The one gate for content: prompts, answers, inputs and outputs of components, arguments and results of tools.

It decides, in this order: whether content leaves at all (``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``),
whether that of this component and field does (``LANGFLOW_OTEL_CONTENT_DENY``), and what of its text does: without
secrets, as the author's hook leaves it, cut to size. The hooks hand it nothing that LangFlow knows to be a secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, cast

from opentelemetry.util.types import AttributeValue

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import redacted
from langflow_otel._content.limits import as_json, chosen, fitted
from langflow_otel._content.log_lines import SEVERITIES, LogLine, log_sink
from langflow_otel._content.plain_values import MARGIN, plain
from langflow_otel._settings.settings import Settings

PER_SPAN: Final = 4
"""A span carries so many times as much as one value."""
DOCUMENTS_SHOWN: Final = 20
"""Each has attributes of its own, and a span has 128 of them unless configured otherwise."""


class ContentGate:
    """Decides which content is exported, and redacts and cuts it.

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
        """The text of a value that is exported; None for nothing.

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
            whole = as_json(plain(value, read, open_object, withheld))
        return redacted(whole, room, self._settings, withheld)

    def messages(
        self,
        messages: list[Any],
        room: int,
        open_object: Callable[[Any], Any],
        withheld: Collection[str] = (),
        *,
        ranked: bool = False,
    ) -> str | None:
        """The same of messages, of parts of one, or of documents: what is cut are their texts, for as JSON they have to
        be whole.

        Args:
            ranked: True if the best comes first, so that the last ones are left out where there are too many.
        """
        room = min(room, self.longest)
        data = plain(messages, room + 2 * MARGIN, open_object, withheld)
        whole = as_json(data)
        safe = redacted(whole, room + MARGIN, self._settings, withheld)
        if safe is None or (len(safe) <= room and len(whole) <= room + MARGIN):
            return safe
        try:
            short = fitted(
                cast("list[Any]", data), room, lambda text, share: self._safe(text, share, withheld), ranked=ranked
            )
        except _WithheldError:
            return None
        # Once more: the names in it have not been looked at.
        return redacted(short or whole, room, self._settings, withheld)

    def _safe(self, text: str, room: int, withheld: Collection[str]) -> str:
        safe = redacted(text, room, self._settings, withheld)
        if safe is None:
            raise _WithheldError
        return safe


class _WithheldError(Exception):
    """Nothing of a text is exported."""


def _without_named_secrets(text: str, longest: int) -> str:
    """JSON that is a text already: by the names in it, as if it were data."""
    if len(text) > longest or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    safe = plain(data, longest)
    return text if safe == data else as_json(safe)


class SpanContent:
    """The content of one span, as far as there is room.

    Args:
        gate: Decides.
        open_object: Gives plain data for the host's objects.
        withheld: Values of secret inputs of this run: a component may hand one on.

    Attributes:
        is_partial: True if something stays here by its name that a model may get to see: then no messages leave.
        main_input: The attribute that best describes what a component got; None for none.
        withheld_tools: Gives the names of tools that its code may call, and whose arguments and results stay here.
    """

    def __init__(self, gate: ContentGate, open_object: Callable[[Any], Any], withheld: Collection[str] = ()) -> None:
        self._withheld = withheld
        self.gate = gate
        self.is_partial = False
        self.attributes: dict[str, str] = {}
        self.main_input: str | None = None
        self.withheld_tools: Callable[[], Collection[str]] = frozenset
        self._open_object = open_object
        self._room = PER_SPAN * gate.longest

    def add(self, name: str, value: Any) -> None:
        """A value under an attribute's name; None is no value."""
        name = chosen(name)
        room = self._room + len(self.attributes.get(name, ""))
        if value is None or room <= 0:
            return
        if name in _LISTS and type(value) is list:
            ranked = name == semconv.GEN_AI_RETRIEVAL_DOCUMENTS
            text = self.gate.messages(value, room, self._open_object, self._withheld, ranked=ranked)
        else:
            text = self.gate.text(value, room, self._open_object, self._withheld)
        if text is not None:
            self._room = room - len(text)
            self.attributes[name] = text

    def add_input_message(self, value: Any) -> None:
        """A text as the one message that came in; None is no value."""
        if value is not None:
            message = {"role": "user", "parts": [{"type": "text", "content": value}]}
            self.add(semconv.GEN_AI_INPUT_MESSAGES, [message])

    def add_output_message(self, value: Any) -> None:
        """A text as the one message that came out; None is no value."""
        if value is not None:
            # Without a reason to finish the convention's schema, and with it Phoenix, takes none of the messages.
            message = {"role": "assistant", "parts": [{"type": "text", "content": value}], "finish_reason": "stop"}
            self.add(semconv.GEN_AI_OUTPUT_MESSAGES, [message])

    def for_span(self) -> Mapping[str, AttributeValue]:
        """The attributes of the span."""
        if not self.gate.on_spans or not self.gate.openinference:
            return self.attributes if self.gate.on_spans else {}
        return {**self._for_openinference(), **self.attributes}

    def _for_openinference(self) -> dict[str, AttributeValue]:
        found = _documents_shown(self.attributes.get(semconv.GEN_AI_RETRIEVAL_DOCUMENTS))
        came_in = next((each for each in (*_CAME_IN, self.main_input) if each in self.attributes), None)
        outputs = (name for name in self.attributes if name.startswith(semconv.COMPONENT_OUTPUT))
        came_out = next((each for each in _CAME_OUT if each in self.attributes), None) or next(outputs, None)
        if came_in is not None:
            found[semconv.INPUT_VALUE], found[semconv.INPUT_MIME_TYPE] = _shown(came_in, self.attributes[came_in])
        if came_out is not None:
            found[semconv.OUTPUT_VALUE], found[semconv.OUTPUT_MIME_TYPE] = _shown(came_out, self.attributes[came_out])
        return found

    def emit(self, identity: Mapping[str, Any]) -> None:
        """Emit the content as an event with the identity of its span; nothing without a destination for log records."""
        sink = log_sink()
        if not self.gate.in_events or not self.attributes or sink is None:
            return
        attributes = {"event.name": semconv.CONTENT_EVENT, **identity, **self.attributes}
        sink.emit(
            LogLine(semconv.SCOPE, SEVERITIES["info"], "INFO", semconv.CONTENT_EVENT, attributes),
            sent_by_langflow=False,
        )


def _documents_shown(text: str | None) -> dict[str, AttributeValue]:
    """Documents under OpenInference's names, where one has no score: then Phoenix converts none of them."""
    if text is None:
        return {}
    try:
        documents = json.loads(text)
    except (ValueError, RecursionError):  # cut
        return {}
    if not isinstance(documents, list) or not all(isinstance(each, dict) for each in documents):
        return {}
    if all("score" in each for each in documents):
        return {}
    return {
        f"{semconv.RETRIEVAL_DOCUMENT}{number}.document.{name}": value
        for number, each in enumerate(documents[:DOCUMENTS_SHOWN])
        for name, value in each.items()
        if isinstance(value, (str, float)) and value != ""
    }


def _shown(name: str, text: str) -> tuple[str, str]:
    """A value as a reader of OpenInference shows it, and its type: one message is its text."""
    if not text.startswith(("{", "[")):
        return text, _TEXT
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or cut
        return text, _TEXT
    said = _said(data[0]["parts"]) if name in _MESSAGES and len(data) == 1 else None
    return (text, _JSON) if said is None else (said, _TEXT)


def _said(parts: list[dict[str, Any]]) -> str | None:
    """The text of a message; None if there is none, or if it is not all: it calls tools, or has pictures."""
    kinds = {part.get("type") for part in parts}
    if "text" not in kinds or not kinds <= {"text", "reasoning"}:
        return None
    return "".join(str(part.get("content", "")) for part in parts if part.get("type") == "text")


_TEXT: Final = "text/plain"
_JSON: Final = "application/json"
_MESSAGES: Final = frozenset({semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_OUTPUT_MESSAGES})
_LISTS: Final = _MESSAGES | {semconv.GEN_AI_SYSTEM_INSTRUCTIONS, semconv.GEN_AI_RETRIEVAL_DOCUMENTS}
_CAME_IN: Final = (semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_TOOL_CALL_ARGUMENTS)
_CAME_OUT: Final = (
    semconv.GEN_AI_OUTPUT_MESSAGES,
    semconv.GEN_AI_TOOL_CALL_RESULT,
    f"{semconv.COMPONENT_OUTPUT}message",
    f"{semconv.COMPONENT_OUTPUT}text",
)
"""Outputs, in order of preference; without any of them the first output is shown."""
