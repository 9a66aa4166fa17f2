"""Secrets that are known by their value, for texts whose run nobody knows."""

from __future__ import annotations

import base64
import html
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from langflow_otel._content.error_texts import message_of
from langflow_otel._content.gate import ContentGate
from langflow_otel._content.log_lines import log_line
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._runs.facts import ModelResponse
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.prices import Pricing, price_table
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction.known_secrets import HIDDEN, recent_secrets, remember_secrets, without_secrets


def test_those_that_were_seen_last_are_known():
    remember_secrets(["first", *(f"secret-{number}" for number in range(255))])
    assert len(recent_secrets()) == 256

    remember_secrets(["first"])
    remember_secrets(["newest"])
    assert recent_secrets()[-2:] == ("first", "newest")
    assert "secret-0" not in recent_secrets()
    assert "secret-1" in recent_secrets()


def test_a_models_name_that_is_one_is_no_label_and_in_no_log_line(caplog):
    remember_secrets(["Tr0ub4dor-3-long"])
    measures = RunMetrics(Instruments(MemoryStore(), None), Settings())

    assert measures.model("Tr0ub4dor-3-long") == measures.answering_model("Tr0ub4dor-3-long") == HIDDEN
    assert measures.model("gpt") == "gpt"
    Pricing(price_table({"currency": "USD", "prices": [{"model": "gpt", "input": 1, "output": 1}]})).costs(
        ModelResponse(input_tokens=1), "Tr0ub4dor-3-long", "Tr0ub4dor-3-long"
    )
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.count(HIDDEN) == 2
    assert "Tr0ub4dor" not in said


def test_several_threads_remember_at_once():
    def remember(start: int) -> None:
        for number in range(start, start + 2_000):
            remember_secrets([f"secret-{number}"])

    threads = [threading.Thread(target=remember, args=(start,)) for start in range(0, 8_000, 2_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(recent_secrets()) <= 256
    assert len(set(recent_secrets())) == len(recent_secrets()) >= 200


SECRETS = [
    'Tr0ub4dor"&3-long',
    "back\\slash-Passw0rd",
    "first-line-9Zq\nsecond-line-7Lm",
    "ends with a backslash\\",
    "a'b\"c\\'de\\\\f\tg",
    "pä ß wörd-\N{GRINNING FACE}~1",
    "a/b+c=d e%f<g>",
    "plainsecret1234",
    '\\\\"\\x"<>',
]

SPELLED: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON, not only ASCII": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON in JSON in JSON": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "repr": repr,
    "repr of repr": lambda text: repr(repr(text)),
    "repr of a dictionary": lambda text: repr({"a": [text]}),
    "repr of bytes": lambda text: repr(text.encode()),
    "JSON of repr": lambda text: json.dumps(repr(text)),
    "URL": quote,
    "URL, slashes too": lambda text: quote(text, safe=""),
    "URL with +": quote_plus,
    "URL in URL": lambda text: quote(quote(text)),
    "JSON in URL": lambda text: quote(json.dumps(text)),
    "form": lambda text: urlencode({"field": text}),
    "HTML": html.escape,
    "HTML in HTML": lambda text: html.escape(html.escape(text)),
    "JSON in HTML": lambda text: html.escape(json.dumps(text)),
    "XML": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 behind one byte": lambda text: base64.b64encode(b":" + text.encode() + b"x").decode(),
    "base64 behind two bytes": lambda text: base64.b64encode(b"u:" + text.encode() + b"xy").decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("spell", SPELLED.values(), ids=SPELLED)
def test_a_secret_is_found_in_each_spelling(secret: str, spell: Callable[[str], str]):
    whole = f"before {spell(secret)} after"
    safe = without_secrets(whole, [secret])

    assert HIDDEN in safe
    assert safe.startswith("before ")
    assert safe.endswith(" after")
    # What is left are brackets, quotes and the characters that base64 shares with a neighbour.
    assert len(safe) <= len("before  after") + len(HIDDEN) + 18
    assert not any(run in safe for run in re.findall("[A-Za-z0-9]{3,}", secret))


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.sampled_from("ab1\"'\\\n\t %+/&<é\N{GRINNING FACE}-"), min_size=8, max_size=30).map(str.strip),
    st.lists(st.sampled_from(["JSON", "JSON, not only ASCII", "repr", "repr of bytes", "form", "URL"]), max_size=3),
    st.sampled_from(["as it is", "HTML", "HTML in HTML"]),
)
def test_any_secret_is_found_in_any_spelling(secret: str, inner: list[str], outer: str):
    assume(len(secret) >= 8)
    text = secret
    for name in (*inner, outer):
        text = SPELLED[name](text)

    assert HIDDEN in without_secrets(f"x {text} y", [secret])


def test_a_secret_that_holds_another_is_taken_out_whole():
    for secrets in (["abcdefgh", "abcdefgh-ijklmnop"], ["abcdefgh-ijklmnop", "abcdefgh"]):
        assert without_secrets("is abcdefgh-ijklmnop.", secrets) == f"is {HIDDEN}."


def test_secrets_that_overlap_are_taken_out_together():
    assert without_secrets("is abcdefgh1234xyzw5678.", ["abcdefgh1234", "1234xyzw5678"]) == f"is {HIDDEN}."
    assert without_secrets("abcdefgh12345678", ["abcdefgh", "12345678"]) == HIDDEN * 2


def test_other_texts_stay_as_they_are():
    text = 'a "b" \\ c\n plainsecret123 Tr0ub4dor'
    assert without_secrets(text, SECRETS) == text
    assert without_secrets(text, []) is text
    assert without_secrets(text) is text


def test_secrets_of_the_process_are_the_default():
    remember_secrets(['say "hi" 1234'])
    assert without_secrets('{"a": "say \\"hi\\" 1234"}') == f'{{"a": "{HIDDEN}"}}'


@pytest.mark.parametrize("unit", ["\\", "%25", '\\"', "&amp;", "a\\", "%5C", "first-line-9Zq\\"])
def test_time_grows_with_the_text_alone(unit: str):
    text = unit * (100_000 // len(unit))
    started = time.thread_time()
    for secret in SECRETS:
        without_secrets(text, [secret])

    assert time.thread_time() - started < 10


class TestWhereTextsLeave:
    """The gate, error messages and log lines take known secrets out, whatever the encoding does to them."""

    @pytest.mark.parametrize("secret", SECRETS)
    def test_from_data_before_it_is_encoded(self, secret: str):
        gate = ContentGate(Settings(content_on_spans=True))
        data = {"note": f"value {secret} .", secret: [secret], "inner": json.dumps({"body": secret})}
        text = gate.text(data, 8192, withheld={secret})

        assert text is not None
        assert json.loads(text)["note"] == f"value {HIDDEN} ."
        assert text.count(HIDDEN) == 4

    @pytest.mark.parametrize("mode", ["redacted", "full"])
    @pytest.mark.parametrize("secret", SECRETS)
    def test_from_an_errors_message(self, secret: str, mode: Literal["redacted", "full"]):
        assert message_of(KeyError(secret), Settings(error_messages=mode), [secret]) == f"'{HIDDEN}'".replace(
            "'", repr(secret)[0]
        )

    @pytest.mark.parametrize(
        "settings", [Settings(log_bodies=True), Settings(log_bodies=True, error_messages="redacted")]
    )
    def test_from_a_log_line(self, settings: Settings):
        secret = SECRETS[0]
        remember_secrets([secret])
        event = {"event": f"got {secret!r}", "answer": json.dumps(secret)}
        line = log_line("scope", "error", event, None, None, settings)

        assert line.body == f"got '{HIDDEN}'"
        assert line.attributes["answer"] == f'"{HIDDEN}"'

    def test_a_number_that_is_a_secret_is_one(self):
        gate = ContentGate(Settings(content_on_spans=True))
        assert gate.text({"note": 4829137712, "other": 5}, 99, withheld={"4829137712"}) == (
            f'{{"note": "{HIDDEN}", "other": 5}}'
        )

    @pytest.mark.parametrize("size", range(90, 110))
    def test_half_a_secret_at_the_cut_does_not_leave(self, size: int):
        secret = "secret-" + "x1y2" * 5
        gate = ContentGate(Settings(content_on_spans=True, content_length=100))
        read = 100 + 2 * 4096
        whole = secret * 100 + "z" * (read - 100 * len(secret) - size) + secret * 9
        text = gate.text([whole], 100, withheld={secret})

        assert text is not None
        assert "secret-" not in text.replace(HIDDEN, "")
