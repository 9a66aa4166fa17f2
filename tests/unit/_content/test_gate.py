"""What of a value passes the gate for content: bounded, without secrets, without running its author's code."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langflow_otel._content.gate import PER_SPAN, ContentGate, SpanContent
from langflow_otel._content.plain_values import MAX_DEPTH, MAX_VALUES, plain
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction.known_secrets import HIDDEN
from langflow_otel.redaction.secret_names import is_secret_name

KEY = "AK" + "IA" + "IOSFODNN7EXAMPLE"


def seconds(call: Callable[[], object]) -> float:
    """CPU time, the least of three."""

    def once() -> float:
        started_s = time.process_time()
        call()
        return time.process_time() - started_s

    return min(once() for _ in range(3))


def gate(**kwargs: Any) -> ContentGate:
    return ContentGate(Settings(content_on_spans=True, **kwargs))


class Hostile:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __hash__ = lambda self: 1 / 0  # type: ignore[assignment]


class HostileDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError


class TestPlain:
    def test_plain_data_stays_as_it_is(self):
        value = {"a": [1, 2.5, True, None, "x"], "b": {"c": "d"}}
        assert plain(value, 100) == value

    def test_texts_under_a_secrets_name_are_hidden_and_numbers_are_not(self):
        value = {"X-Api-Key": "k", "accessToken": ["k"], "max_tokens": 5, "headers": {"a": "b"}, "name": "n"}
        assert plain(value, 100) == {
            "X-Api-Key": HIDDEN,
            "accessToken": HIDDEN,
            "max_tokens": 5,
            "headers": HIDDEN,
            "name": "n",
        }

    @pytest.mark.parametrize("name", ["api_key", "API-KEY", "client_secret", "Authorization", "key", "dbPassword"])
    def test_secret_names(self, name: str):
        assert is_secret_name(name)

    @pytest.mark.parametrize("name", ["keyboard", "author", "passenger", "monkey", "question", "input_value"])
    def test_other_names(self, name: str):
        assert not is_secret_name(name)

    def test_objects_are_their_class(self):
        assert plain([Hostile(), HostileDict(), object, b"12345"], 100) == [
            "<Hostile>",
            "<HostileDict>",
            "<type>",
            "<5 bytes>",
        ]

    def test_objects_that_are_known_are_opened(self):
        assert plain([complex(1, 2)], 100, lambda value: {"re": value.real}) == [{"re": 1.0}]

    def test_circles_end(self):
        circle: dict[str, Any] = {}
        circle["self"] = circle
        text = json.dumps(plain(circle, 100))
        assert text.count("self") == MAX_DEPTH
        assert '"..."' in text

    def test_it_is_bounded_whatever_comes(self):
        def of_size(size: int) -> list[Any]:
            values = {str(number): list(range(size)) for number in range(size)}
            return [values, "x" * size * 10_000, list(range(size * 1000))]

        small, huge = of_size(100), of_size(1000)
        assert seconds(lambda: plain(huge, 100)) < 5 * seconds(lambda: plain(small, 100)) + 0.05
        assert len(json.dumps(plain(huge, 100))) < MAX_VALUES * 20

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner),
            max_leaves=10,
        )
    )
    def test_anything_becomes_json(self, value: Any):
        json.dumps(plain(value, 50))


class TestGate:
    def test_a_text_is_itself_and_data_is_json(self):
        assert gate().text("hello", 1000) == "hello"
        assert gate().text({"a": "ü"}, 1000) == '{"a": "ü"}'

    def test_secrets_are_redacted(self):
        assert gate().text(f"the key is {KEY}", 1000) == "the key is [redacted:aws_key]"

    def test_what_is_cut_is_marked_with_its_whole_length(self):
        text = gate(content_length=100).text("word " * 100_000, 1000)
        assert text is not None
        assert len(text) == 100
        assert text.endswith("... [cut, 500000 characters]")

    def test_a_secret_at_the_cut_does_not_leave_by_half(self):
        for before in range(60, 110):
            text = gate(content_length=100).text("a " * (before // 2) + KEY + " b" * 50_000, 1000)
            assert text is not None
            assert KEY[:8] not in text

    def test_many_secrets_before_the_end_of_what_is_read(self):
        """Markers are shorter than what they stand for: the end comes nearer, and half a key with it."""
        text = gate(content_length=8000).text(f"{KEY} " * 5000, 8000)
        assert text is not None
        assert KEY[:8] not in text

    def test_a_large_value_costs_no_more_than_what_may_leave_of_it(self):
        checked, small, large = gate(), "word " * 20_000, "word " * 20_000_000

        assert seconds(lambda: checked.text(large, 10_000)) < 5 * seconds(lambda: checked.text(small, 10_000)) + 0.05

    def test_names_can_be_denied(self):
        denying = gate(content_deny=("Prompt", "Prompt-1"))
        assert denying.denies("x", "Prompt")
        assert denying.denies(None, "Prompt-1")
        assert not denying.denies("prompt", None)

    @pytest.mark.parametrize("answer", [None, 5])
    def test_a_hook_that_gives_no_text_lets_nothing_leave(self, answer: Any, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("langflow_otel._guard.strict", False)
        assert gate(redact_hook=lambda _: answer).text("hello", 100) is None


class TestSpanContent:
    def test_a_span_carries_a_few_values_of_full_length(self):
        content = SpanContent(gate(content_length=100), lambda _: None)
        for number in range(20):
            content.add(f"langflow.component.input.{number}", "x" * 1000)
        assert len(content.attributes) == PER_SPAN
        assert sum(map(len, content.attributes.values())) == PER_SPAN * 100

    def test_where_it_leaves_in_events_only_the_span_has_none(self):
        content = SpanContent(ContentGate(Settings(content_in_events=True)), lambda _: None)
        content.add("langflow.component.input.value", "x")
        assert content.for_span() == {}
        assert content.attributes

    def test_messages_have_the_form_of_the_convention(self):
        content = SpanContent(gate(), lambda _: None)
        content.add_input_message('say "hi"')
        content.add_output_message(None)
        assert json.loads(content.attributes["gen_ai.input.messages"]) == [
            {"role": "user", "parts": [{"type": "text", "content": 'say "hi"'}]}
        ]
        assert "gen_ai.output.messages" not in content.attributes

    def test_output_messages_have_a_reason_to_finish(self):
        content = SpanContent(gate(), lambda _: None)
        content.add_output_message("done")
        assert json.loads(content.attributes["gen_ai.output.messages"]) == [
            {"role": "assistant", "parts": [{"type": "text", "content": "done"}], "finish_reason": "stop"}
        ]


def message(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def texts_of(content: SpanContent) -> list[str]:
    found = json.loads(content.attributes["gen_ai.input.messages"])
    assert all(each.keys() == {"role", "parts"} for each in found)
    return [part["content"] for each in found for part in each["parts"]]


class TestLongMessages:
    """They have to stay JSON: Phoenix and Langfuse show none of what they cannot read."""

    def test_text_of_one_message_is_cut(self):
        content = SpanContent(gate(content_length=1000), lambda _: None)
        content.add("gen_ai.input.messages", [message('say "hi"\n' * 10_000)])

        (said,) = texts_of(content)
        assert said.startswith('say "hi"\n')
        assert "... [cut, " in said[-30:]
        assert 700 < len(content.attributes["gen_ai.input.messages"]) <= 1000

    def test_short_messages_stay_beside_a_long_one(self):
        content = SpanContent(gate(content_length=1000), lambda _: None)
        content.add("gen_ai.input.messages", [message("the question"), message("x " * 50_000, "tool"), message("ok")])

        first, long, last = texts_of(content)
        assert (first, last) == ("the question", "ok")
        assert len(long) > 500

    def test_first_and_last_of_many_messages_stay(self):
        content = SpanContent(gate(content_length=2000), lambda _: None)
        content.add("gen_ai.input.messages", [message(f"number {n} of some length") for n in range(150)])

        said = texts_of(content)
        assert said[0] == "number 0 of some length"
        assert said[-1] == "number 149 of some length"
        assert said[1] == f"... [cut, {150 - (len(said) - 1)} messages]"
        assert len(said) > 10

    def test_secret_at_a_cut_does_not_leave_by_half(self):
        for before in range(300, 420, 7):
            content = SpanContent(gate(content_length=400), lambda _: None)
            content.add("gen_ai.input.messages", [message("a " * (before // 2) + KEY + " b" * 50_000)])
            assert KEY[:8] not in content.attributes["gen_ai.input.messages"]
            texts_of(content)

    def test_system_instructions_are_cut_alike(self):
        content = SpanContent(gate(content_length=300), lambda _: None)
        content.add("gen_ai.system_instructions", [{"type": "text", "content": "x" * 5000}])

        (part,) = json.loads(content.attributes["gen_ai.system_instructions"])
        assert part["content"].endswith("x... [cut, 5000 characters]")

    def test_what_cannot_be_made_to_fit_is_cut_as_any_text(self):
        content = SpanContent(gate(content_length=100), lambda _: None)
        arguments = {f"name {n}": "value" for n in range(100)}
        content.add(
            "gen_ai.input.messages", [{"role": "user", "parts": [{"type": "tool_call", "arguments": arguments}]}]
        )

        assert "[cut, " in content.attributes["gen_ai.input.messages"]
        assert len(content.attributes["gen_ai.input.messages"]) <= 100

    def test_hook_that_gives_no_text_lets_no_message_leave(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("langflow_otel._guard.strict", False)
        keeps_long = gate(content_length=200, redact_hook=lambda text: None if "name" in text else text)
        content = SpanContent(keeps_long, lambda _: None)
        content.add("gen_ai.input.messages", [message("x" * 4000), message("a name")])

        assert content.attributes == {}

    def test_a_large_history_costs_little(self):
        content = SpanContent(gate(), lambda _: None)

        def add(words: int) -> None:
            content.add("gen_ai.input.messages", [message("word " * words) for _ in range(100)])

        assert seconds(lambda: add(20_000)) < 5 * seconds(lambda: add(2_000)) + 0.05
        assert len(texts_of(content)) > 50


class TestShownByOpenInference:
    def shown(self, name: str, value: Any) -> dict[str, str]:
        content = SpanContent(gate(openinference=True), lambda _: None)
        content.add(name, value)
        return {key: text for key, text in content.for_span().items() if key != name}

    @pytest.mark.parametrize(
        ("parts", "value", "mime_type"),
        [
            ([{"type": "text", "content": "a"}, {"type": "text", "content": "b"}], "ab", "text/plain"),
            ([{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "b"}], "b", "text/plain"),
            ([{"type": "tool_call", "name": "add"}], None, "application/json"),
            ([{"type": "text", "content": "a"}, {"type": "tool_call", "name": "add"}], None, "application/json"),
            ([{"type": "image_url"}], None, "application/json"),
            ([], None, "application/json"),
        ],
        ids=["texts", "reasoning", "a tool call", "text and a tool call", "a picture", "nothing"],
    )
    def test_one_message_is_its_text(self, parts: list[Any], value: str | None, mime_type: str):
        given = [{"role": "assistant", "parts": parts}]
        found = self.shown("gen_ai.output.messages", given)

        assert found == {"output.value": json.dumps(given) if value is None else value, "output.mime_type": mime_type}

    def test_an_option_is_no_input(self):
        assert self.shown("langflow.component.input.mode", "fast") == {}

    def test_documents_without_a_score_are_shown(self):
        given = [{"id": "d1", "content": "pears"}, {"id": "", "score": 0.5, "content": "plums"}]

        assert self.shown("gen_ai.retrieval.documents", given) == {
            "retrieval.documents.0.document.id": "d1",
            "retrieval.documents.0.document.content": "pears",
            "retrieval.documents.1.document.score": 0.5,
            "retrieval.documents.1.document.content": "plums",
        }

    def test_documents_that_all_have_a_score_are_converted_by_phoenix(self):
        assert self.shown("gen_ai.retrieval.documents", [{"id": "", "score": 0.5, "content": "plums"}]) == {}

    def test_documents_beyond_the_first_20_are_not_shown(self):
        found = self.shown("gen_ai.retrieval.documents", [{"id": "", "content": "x"}] * 21)

        assert list(found) == [f"retrieval.documents.{number}.document.content" for number in range(20)]

    @pytest.mark.parametrize("left", ['[{"id": "", "cont', '["pears"]', '"pears"', '[{"content": {"a": 1}}]'])
    def test_what_is_no_document_is_not_shown(self, left: str):
        content = SpanContent(gate(openinference=True), lambda _: None)
        content.attributes["gen_ai.retrieval.documents"] = left

        assert list(content.for_span()) == ["gen_ai.retrieval.documents"]
