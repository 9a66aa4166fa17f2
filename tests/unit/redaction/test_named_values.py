"""Values under secret names do not leave, in whatever form a text or an object holds them."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langflow_otel._content.gate import ContentGate
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction import named_values
from langflow_otel.redaction.redactor import Redactor
from langflow_otel.redaction.secret_names import is_name_of_secret_number, is_secret_name

redact = Redactor().redact
NAMES = [
    *("cookie", "pin", "auth", "otp", "password", "api_key", "X-Api-Key", "accessToken", "client secret", "set-cookie"),
    *("db_password", "PIN", "smtp_pass", "sentry_dsn", "jwt", "codeVerifier", "x-amz-security-token", "密码", "пароль"),
    *(
        "userPin",
        "connectionString",
        "Authorization",
        "proxy-auth",
        "cvv",
        "headers",
        "user_credentials",
        "private_key_2",
        "sig",
    ),
]
CANARIES = ["CANARYa", 'say "CANARY"', "it's CANARY\\", "CANARY, {more}", "a\nCANARY\tb", "CANARY \\\"'"]

FORMS: dict[str, Callable[[Any], str]] = {
    "JSON": json.dumps,
    "JSON, not only ASCII": lambda data: json.dumps(data, ensure_ascii=False),
    "pretty JSON": lambda data: json.dumps(data, indent=2),
    "fenced JSON": lambda data: f"```json\n{json.dumps(data, indent=2)}\n```",
    "JSON behind words": lambda data: f'Here "it" is: {json.dumps(data)}, as you wished.',
    "JSON lines": lambda data: f"{json.dumps(data)}\n{json.dumps(data)}\n",
    "JSON in JSON": lambda data: json.dumps({"body": json.dumps(data)}),
    "pretty JSON in JSON": lambda data: json.dumps({"body": json.dumps(data, indent=4)}),
    "JSON in JSON in JSON": lambda data: json.dumps({"a": json.dumps({"body": json.dumps(data), "n": 1})}),
    "repr": repr,
    "repr in repr": lambda data: repr({"body": repr(data)}),
    "repr in JSON": lambda data: json.dumps({"body": repr(data)}),
    "JSON in repr": lambda data: repr({"body": json.dumps(data)}),
    "pairs": lambda data: json.dumps([list(pair) for pair in data.items()]),
    "tuples": lambda data: str(list(data.items())),
    "rows": lambda data: json.dumps([{"name": name, "type": "str", "value": value} for name, value in data.items()]),
    "a long text": lambda data: json.dumps({"pad": "lorem " * 5_000, **data}),
    "assignments": lambda data: "\n".join(f"headers[{name!r}] = {value!r}" for name, value in data.items()),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_texts_under_secret_names(form: Callable[[Any], str], name: str):
    for canary in CANARIES:
        text = form({"id": 4711, name: canary, "note": "stays"})
        safe = redact(text)

        assert safe is not None
        assert "CANARY" not in safe, text
        assert "4711" in safe
        assert "stays" in safe or canary.endswith("\\")
        assert redact(safe) == safe


@pytest.mark.parametrize(
    "value", [482913, 0.48213, [482913, "CANARY"], {"a": {"b": "CANARY"}, "c": 482913}, ["x} CANARY"]]
)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_numbers_and_structures_under_secret_names(form: Callable[[Any], str], value: Any):
    safe = redact(form({"id": 4711, "otp": value, "max_tokens": 512, "note": "stays"}))

    assert safe is not None
    assert "CANARY" not in safe
    assert "4829" not in safe
    assert "4821" not in safe
    assert "512" in safe
    assert "stays" in safe


@dataclasses.dataclass
class Login:
    cookie: str = "CANARY"
    pin: int = 482913
    userAuth: str = "it's \"CANARY"  # noqa: N815 - names of this form are found, too
    headers: Any = dataclasses.field(default_factory=lambda: {"x": ("CANARY", 482913)})
    otp: Any = decimal.Decimal("482913")
    max_tokens: int = 512
    note: str = "stays"


class Model(pydantic.BaseModel):
    private_key: str = "CANARY"
    jwt: bytes = b"CANARY"
    secrets: Any = {"CANARY"}
    token: Any = collections.deque(["CANARY"])
    max_tokens: int = 512
    note: str = "stays"


@pytest.mark.parametrize(
    "text",
    [
        repr(Login()),
        repr({"login": Login()}),
        json.dumps({"body": repr([Login(), Model()])}),
        str(Model()),
        repr({"cookie": np.str_("CANARY"), "otp": np.int64(482913), "max_tokens": np.int64(512), "note": "stays"}),
        repr({"auth": Model(), "cookie": frozenset(["CANARY"]), "max_tokens": 512, "note": "stays"}),
        repr([(b"cookie", b"CANARY"), (b"x-api-key", b"CANARY"), (b"n", b"512"), (b"note", b"stays")]),
    ],
)
def test_fields_of_objects_under_secret_names(text: str):
    safe = redact(text)

    assert safe is not None
    assert "CANARY" not in safe
    assert "482913" not in safe
    assert "512" in safe
    assert "stays" in safe
    assert redact(safe) == safe


def test_json_stays_json():
    data = {"pin": 482913, "auth": {"a": ["x"]}, "cookie": 'a"b', "n": 5, "password": None, "secret": True, "token": ""}
    hidden, password = "[redacted:secret]", None
    expected = {**data, "pin": hidden, "auth": hidden, "cookie": hidden, "password": password}

    assert json.loads(redact(json.dumps(data)) or "") == expected
    assert json.loads(json.loads(redact(json.dumps({"body": json.dumps(data)})) or "")["body"]) == expected


NOT_SECRET = [
    '{"max_tokens": 512, "token_count": 7, "token_type": "bearer", "total_tokens": 99}',
    '{"token": " the", "p": 0.5}',
    '{"tokenizer": "bert-base", "primary_key": "id", "author": "Anna", "question": "why"}',
    '{"password": "", "token": null, "api_key": "${API_KEY}", "secret": true}',
    "{'Authorization': f'Bearer {token}'}",
    'def f(a: dict = {"token": token}): ...',
    *('"token", 5', 'x["password"] == y', 'the "pin": see below', '{"secret": {}, "auth": []}'),
    *('f(header="Name", key="id", sid="x")', "a(secret=SecretStr('****'))", '{"total_tokens": Decimal("5")}'),
    *('x = get(auth=None, token=next(tokens))', '{"api_key": os.getenv("KEY")}', "tokenizer='bert'"),
    *('"auth": {{ secrets.AUTH }}', "| name | count |\n|---|---|\n| pin | 3 |", "| token |\n| :-- |\n|  |"),
    *("pin: see chapter 3", "otp is required", "The pin: it holds.", '["key", 5, "value"]', "GPIO pin 17 is on"),
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_SECRET)
def test_what_only_looks_like_a_secret_stays(text: str):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("otp: 482913.", "otp: [redacted:secret]."),
        ("pin=4829&x=1", "pin=[redacted:secret]&x=1"),
        ("the OTP is 482913 today", "the OTP is [redacted:secret] today"),
        ('{"password": "cut off', '{"password": "[redacted:password]'),
        ('{"auth": {"a": "cut off', '{"auth": "[redacted:secret]"'),
        ('{"pin": "1111"}', '{"pin": "[redacted:secret]"}'),
        ('{"api_key": "AIza' + "x1Y2_" * 7 + '"}', '{"api_key": "[redacted:gcp_key]"}'),
        ('{"password": "a' + "\\" * 3 + '"b"}', '{"password": "[redacted:password]"}'),
        ('{"cookie": "C:\\\\", "c": 1}', '{"cookie": "[redacted:secret]", "c": 1}'),
        ('{"auth": {"a": "x\\\\", "b": "}"}, "c": 1}', '{"auth": "[redacted:secret]", "c": 1}'),
    ],
)
def test_where_a_value_begins_and_ends(text: str, safe: str):
    assert redact(text) == safe


class TestTables:
    TABLE = "| id | cookie |    pin | note |\n|---:|:-------|-------:|:-----|\n| 47 | CANARY | 482913 | this |\n"

    @pytest.mark.parametrize(
        "text",
        [
            TABLE,
            f"Here:\n\n{TABLE}\nand\n\n{TABLE}",
            TABLE.replace("\n", "\r\n"),
            json.dumps({"parts": [{"content": TABLE}]}),
            json.dumps({"body": json.dumps([TABLE])}),
            "> " + TABLE.replace("\n|", "\n> |"),
            TABLE.replace("|---:|:-------|-------:|:-----|", "| --- | --- | --- | --- |"),
            TABLE.replace("CANARY", "a \\| CANARY"),
        ],
    )
    def test_cells_below_a_secret_name_are_hidden(self, text: str):
        safe = redact(text)

        assert safe is not None
        assert "CANARY" not in safe
        assert "482913" not in safe
        assert safe.count("| 47 |") == text.count("| 47 |") == safe.count("| this |")
        assert redact(safe) == safe

    def test_cells_beside_a_secret_name_are_hidden(self):
        table = "| field | value |\n|---|---|\n| user | anna |\n| otp | 482913 |\n| cookie | CANARY |"
        hidden = "| otp | [redacted:secret] |\n| cookie | [redacted:secret] |"
        assert redact(table) == f"| field | value |\n|---|---|\n| user | anna |\n{hidden}"

    def test_what_follows_a_table_stays(self):
        text = "| pin |\n|---|\n| 4829 |\n\nThe | is a bar | 4829 |\n"
        assert redact(text) == text.replace("| 4829 |\n\n", "| [redacted:secret] |\n\n")


TEXTS = st.text(st.sampled_from("ab1\"'\\\n {}[]()=:,|é"), max_size=12)
ENCODINGS = st.lists(st.sampled_from(["JSON", "repr", "JSON, not only ASCII"]), min_size=1, max_size=4)
SHAPES: dict[str, Callable[[str, str], Any]] = {
    "value": lambda name, value: {"id": 1, name: value, "note": "x"},
    "list": lambda name, value: {"id": 1, name: [1, value, "x"], "note": "x"},
    "dictionary": lambda name, value: {name: {"a": {"it's": '{"', "b": value}, value: 2}, "note": "x"},
    "tuple": lambda name, value: {name: ("x", value), "note": "x"},
    "pair": lambda name, value: [["id", "1"], [name, value], ["note", "x"]],
    "row": lambda name, value: [{"name": name, "type": "str", "value": value}, {"name": "note", "value": "x"}],
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(sorted(SHAPES)), TEXTS, TEXTS, ENCODINGS)
@example("cookie", "value", "\\\"'", "", ["JSON", "JSON", "repr"])
@example("cookie", "value", "\\\"'", "", ["JSON", "repr"])
@example("auth", "dictionary", '"}}', "", ["JSON", "repr"])
@example("cookie", "pair", '"]', "", ["JSON", "repr"])
@example("cookie", "tuple", "", "", ["repr"])
def test_no_value_survives_any_form(name: str, shape: str, before: str, after: str, encodings: list[str]):
    data: Any = SHAPES[shape](name, f"{before}CANARY*{after}")
    for encoding in encodings:
        data = {"body": FORMS[encoding](data)}
    safe = redact(data["body"])

    assert safe is not None
    assert "CANARY" not in safe


@given(st.text(st.sampled_from("\"'\\\n {}[]:,|-ab1pin"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_settles(text: str):
    once = redact(f'"otp": {text}')
    assert once is not None
    assert redact(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        *('"cookie": {', '"cookie": "', '["cookie",', '["cookie",[', '"pin":', "'pin", '\\"pin\\": ', "pin ", "token_"),
        *(
            "| pin |\n|---|\n",
            "|---",
            "|--|\n",
            "| pin |\n|---|\n| 1 |\n",
            "\\n|--|",
            "| ",
            '"otp": {"a": [',
            '"a": "\\\\',
        ),
        *('"name": "pin", ', '{"name": "pin", "a": "b", ', '\'"pin":', '"密码": ', '"auth": {don\'t '),
    ],
)
def test_time_is_bounded(unit: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("langflow_otel._guard.strict", False)
    started = time.thread_time()
    redact(unit * (100_000 // len(unit)))

    # What cannot be done in its budget (0.7 s here) does not leave.
    assert time.thread_time() - started < 3


class TestNames:
    @pytest.mark.parametrize("name", [*NAMES, "key", "pwd", "sid", "refresh_token", "pinCode".replace("Code", "")])
    def test_secret_ones(self, name: str):
        assert is_secret_name(name)
        assert is_secret_name(name.upper()) or name == "userPin"

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "keyboard",
                "author",
                "passenger",
                "monkey",
                "input_value",
                "compass",
                "spinning",
                "shopping",
                "session_id",
            ),
            *(
                "token_type",
                "tokenizer",
                "primary_key",
                "text_key",
                "value_to_pass",
                "secretary",
                "opinion",
                "x" * 1_000_000,
            ),
        ],
    )
    def test_others(self, name: str):
        assert not is_secret_name(name)

    def test_amounts_are_no_secrets(self):
        amounts = ["max_tokens", "prompt_tokens", "totalTokens", "token_count", "maxTokenLength", "tokens", "key"]
        assert not any(map(is_name_of_secret_number, amounts))
        assert all(map(is_name_of_secret_number, ["pin", "otp", "password", "cvv", "access_token", "smtp_pass"]))

    def test_texts_and_data_have_the_same_names(self):
        """The search in a text finds each name that is secret in data."""
        words = [*NAMES, "id", "count", "my", "value", "x", "2", "text", "user"]
        rng = random.Random(4)
        found = 0
        for _ in range(3_000):
            name = rng.choice(["_", "-", " ", "."]).join(rng.choices(words, k=rng.randrange(1, 4)))
            if len(name) > 30 or not is_secret_name(name):
                continue
            found += 1
            assert "CANARY" not in (redact(json.dumps({name: "CANARY1"})) or "CANARY"), name
        assert found > 1_000


class TestGate:
    """The gate hides the same in data and in texts."""

    def test_data(self):
        gate = ContentGate(Settings(content_on_spans=True))
        data = {
            "otp": 482913,
            "password": 98765432,
            "max_tokens": 5,
            "pin": True,
            "auth": None,
            "body": '{"otp": 4829}',
        }
        assert json.loads(gate.text(data, 8192) or "") == {
            "otp": "[redacted:secret]",
            "password": "[redacted:secret]",
            "max_tokens": 5,
            "pin": True,
            "auth": None,
            "body": '{"otp": "[redacted:secret]"}',
        }

    def test_rows(self):
        gate = ContentGate(Settings(content_on_spans=True))
        row = {"value": 482913, "name": "pin", "required": True}
        for value in (row, json.dumps(row), [row]):
            assert "482913" not in (gate.text(value, 8192) or "482913")

    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_texts(self, form: Callable[[Any], str]):
        text = ContentGate(Settings(content_on_spans=True, content_length=40_000)).text(
            form({"id": 1, "cookie": "CANARY", "otp": 482913}), 40_000
        )
        assert text is not None
        assert "CANARY" not in text
        assert "482913" not in text


def test_the_scanner_reads_from_the_quote():
    raw = b'x {"pin": 4829}'
    assert named_values.value_of_quoted(raw, raw.index(b'":')) == (10, 14, "secret", b'"', b'"')
    assert named_values.value_of_quoted(b'"pin": 4', 0) is None
