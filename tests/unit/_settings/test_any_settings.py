"""Whatever stands in the environment: no error, one short line for what is wrong, and a setting that works.

``LONG_TESTS=1`` makes many more environments, and other ones each time.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from langflow_otel._sdk.otlp import headers_in
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.variables import CAPTURE, VARIABLES

LONG = bool(os.environ.get("LONG_TESTS"))

pytestmark = pytest.mark.timeout(3600 if LONG else 300)

OTLP = [
    f"OTEL_EXPORTER_OTLP_{signal}{form}"
    for signal in ("", "TRACES_", "METRICS_", "LOGS_")
    for form in ("ENDPOINT", "PROTOCOL", "INSECURE", "COMPRESSION")
]
NAMES = [variable.name for variable in VARIABLES] + OTLP
ACCEPTS = {variable.name: variable.accepts for variable in VARIABLES}
HEADERS_FILE = "LANGFLOW_OTEL_OTLP_HEADERS_FILE"
KEEP = "LANGFLOW_OTEL_KEEP"

WRONG_TYPES = ["1", "-1", "0", "1.5", "1e999", "nan", "-inf", "0x10", "1_000", "١٢", "true", "null", "[]", '{"a": 1}']
MALFORMED = [
    ",",
    ",,=,",
    "otlp,0",
    "=",
    "*=",
    "=1",
    "*=1=2",
    ":",
    "://",
    "http://",
    "~",
    "~nobody-has-this-name/x",
    "%s %d {}",
]
ODD = ["\t", " \n ", "two\nlines", "\r\n", "\x1b[31mred", "\x7f", "\u2028", "\u202eevil", "日本", "🎈" * 40, "\ufeff"]
ODD_BYTES = [os.fsdecode(each) for each in (b"\xff", b"caf\xe9", b"\xc3", b"a\x80b", b"\xed\xa0\x80")]
HUGE = ["x" * 100_000, "9" * 100_000, "é" * 50_000, "a," * 50_000, "*=1," * 20_000, "/" * 100_000, "(" * 100_000]
NASTY = ["", *WRONG_TYPES, *MALFORMED, *ODD, *ODD_BYTES, *HUGE]

# What the system can hand over: any bytes but NUL.
BYTES = st.binary(max_size=60).map(lambda each: os.fsdecode(each.replace(b"\0", b"")))
ADDRESSES = st.from_regex(r"(\w{0,5}:)?/{0,3}[\[\]\w.:@-]{0,12}(:\d{0,6})?[/?#%\w]{0,6}", fullmatch=True)
ACCEPTED = [
    "otlp,console",
    "prometheus",
    "grpc",
    "http/protobuf",
    "host:4317",
    "https://host",
    "errors,slow:5s",
    "a=0.5",
]
NEARLY = st.tuples(st.sampled_from(ACCEPTED + [each.default for each in VARIABLES]), BYTES).map("".join)
TEXTS = BYTES | ADDRESSES | NEARLY | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))

any_way = hypothesis_settings(max_examples=20_000 if LONG else 200, derandomize=not LONG, deadline=None)


def assert_lines(settings: Settings, env: dict[str, str]) -> None:
    """Each wrong variable has one line, which names it, what it says, and what is accepted."""
    named = [problem.partition("=")[0] for problem in settings.problems]
    assert len(set(named)) == len(named)
    for name, problem in zip(named, settings.problems, strict=True):
        text = env[name]
        assert problem.isprintable()
        assert len(problem) < 1000
        assert len(text) <= 1000 or text not in problem
        assert ACCEPTS.get(name, "grpc" if name.endswith("PROTOCOL") else "") in problem or "cannot be read" in problem
        assert "Using " in problem


def assert_usable(settings: Settings) -> None:
    """Every field has a value that the rest of the library can live with, whatever was asked for."""
    settings.service_name.encode()
    assert settings.enabled in ("auto", "true", "false")
    assert settings.detail in ("flow", "component", "model", "output")
    assert settings.error_messages in ("none", "redacted", "full")
    assert settings.remote_parent in ("continue", "link", "ignore")
    assert 100 <= settings.content_length <= 1_000_000
    assert 1 <= settings.window_s <= 86_400
    assert 1 <= settings.max_flows <= 100_000
    assert set(settings.metric_labels) <= {"flow", "component_type", "flow_id", "flow_version"}
    assert all(0 <= ratio <= 1 and pattern for pattern, ratio in settings.sampling)
    assert settings.keep_slow_s is None or (math.isfinite(settings.keep_slow_s) and settings.keep_slow_s >= 0)
    assert all(each.strip() for each in chain(settings.content_deny, settings.instrumentors, settings.baggage_keys))
    assert all(
        type(getattr(settings, each.name)) is bool for each in dataclasses.fields(Settings) if each.type == "bool"
    )
    if settings.scrape is not None:
        assert 0 <= settings.scrape.port <= 65_535
        assert 0 < len(settings.scrape.host) < 254
    for path in (settings.trace_file, *(() if settings.scrape is None else (settings.scrape.token_file,))):
        assert path is None or len(os.fsencode(path)) < 5000
    for target in (settings.otlp, settings.metrics_otlp, settings.logs_otlp):
        assert_target(target)


def assert_target(target: OtlpTarget | None) -> None:
    if target is not None:
        assert target.protocol in ("grpc", "http/protobuf")
        assert "://" in target.endpoint
        target.endpoint.encode()


def default_of(name: str) -> Settings:
    # This variable's default says which runs are kept as soon as it is set.
    return Settings.from_env({KEEP: "errors"} if name == KEEP else {})


@pytest.mark.parametrize("name", NAMES)
def test_each_variable_is_its_default_or_a_valid_value(name: str):
    for text in NASTY:
        settings = Settings.from_env({name: text})

        assert_lines(settings, {name: text})
        assert_usable(settings)
        assert len(settings.problems) <= 1
        if settings.problems:
            assert dataclasses.replace(settings, problems=()) == default_of(name), text[:80]


@any_way
@given(name=st.sampled_from(NAMES), text=TEXTS)
def test_any_text_in_one_variable(name: str, text: str):
    settings = Settings.from_env({name: text})

    assert_lines(settings, {name: text})
    assert_usable(settings)
    if settings.problems:
        assert dataclasses.replace(settings, problems=()) == default_of(name)
        assert settings.problems[0].startswith(f"{name}=")


@any_way
@given(st.dictionaries(st.sampled_from(NAMES), TEXTS | st.sampled_from(NASTY + ACCEPTED), max_size=12))
def test_any_environment(env: dict[str, str]):
    settings = Settings.from_env(env)

    assert_lines(settings, env)
    assert_usable(settings)


@any_way
@given(names=st.lists(st.text(min_size=1), max_size=5), text=TEXTS)
def test_variables_that_nobody_knows(names: list[str], text: str):
    prefixes = ("LANGFLOW_OTEL_", "LANGFLOW_OTEL_DETAIL", "OTEL_")
    settings = Settings.from_env({prefix + name: text for prefix in prefixes for name in names})

    assert all(problem.isprintable() for problem in settings.problems)
    assert dataclasses.replace(settings, problems=()) == Settings()


@pytest.mark.parametrize("name", NAMES)
def test_the_log_takes_the_line_as_it_is(name: str, caplog, tmp_path):
    """Also where it is written as UTF-8, and whatever the handler does with its arguments."""
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    handler.handleError = lambda record: pytest.fail(f"cannot be written: {record.args!r:.200}")  # type: ignore[method-assign]
    logger = logging.getLogger("langflow_otel")
    logger.addHandler(handler)
    try:
        for text in NASTY:
            Settings.from_env({name: text}).log_problems()
    finally:
        logger.removeHandler(handler)
        handler.close()

    assert len(caplog.messages) == len((tmp_path / "log").read_text("utf-8").splitlines())


# Secrets


SECRETS = st.text(
    st.characters(categories=["L", "N"], codec="ascii") | st.sampled_from("-_.~+!$&'()*;,=%@/#?"), min_size=8
)


@any_way
@given(
    name=st.sampled_from([each for each in OTLP if each.endswith("ENDPOINT")]),
    secret=SECRETS,
    shape=st.sampled_from(
        ["http://user:{}@host:port", "https://{}@host:99999", "user:{}@host:0", "http://host:x/?key={}", "ftp://a:{}@b"]
    ),
)
def test_a_password_in_an_address_is_not_shown(name: str, secret: str, shape: str):
    settings = Settings.from_env({name: shape.format(f"hunter2{secret}")})

    # With a slash in it, it is another address, which may well be one.
    assert settings.problems or "/" in secret or "?" in secret or "#" in secret
    assert not any("hunter2" in problem for problem in settings.problems)


@pytest.mark.parametrize("name", [each for each in NAMES if each not in (*OTLP, HEADERS_FILE)])
def test_an_address_with_a_password_in_a_variable_of_another_kind_is_not_shown(name: str):
    settings = Settings.from_env({name: "https://user:hunter2@host:4318/?key=hunter2"})

    assert not any("hunter2" in problem for problem in settings.problems)


def test_headers_in_place_of_their_file_are_not_shown():
    (problem,) = Settings.from_env({HEADERS_FILE: "authorization=Bearer hunter2,x-api-key=hunter2"}).problems

    assert problem == (
        f"{HEADERS_FILE}='authorization=***,x-api-key=***' cannot be read. Using no further headers instead."
    )


@pytest.mark.parametrize("content", ["hunter2", "Bearer hunter2", 'x-api-key="hunter2"', "a b=hunter2", "key: hunter2"])
def test_what_is_no_header_in_their_file_is_not_shown(tmp_path, caplog, content: str):
    """It would be the token itself, without its name."""
    path = tmp_path / "headers"
    path.write_text(f"# ours\nx-tenant=shop, {content}\n")
    found = [headers_in(path) for _ in range(3)]

    assert found == [{"x-tenant": "shop"}] * 3
    (line,) = caplog.messages
    assert line == (
        f"LANGFLOW_OTEL_OTLP_HEADERS_FILE: 1 of 2 entries in {path} are not accepted; use name=value. Not sending them."
    )


@any_way
@given(st.lists(BYTES | st.text() | st.sampled_from(["a=b", "authorization=Bearer%20x", "n = v , m=w"])))
def test_any_file_of_headers(tmp_path_factory, lines: list[str]):
    path = tmp_path_factory.mktemp("any") / "headers"
    path.write_bytes(b"\n".join(line.encode("utf-8", "surrogateescape") for line in lines))

    for name, value in headers_in(path).items():
        assert name.strip() == name.lower() != ""
        assert isinstance(value, str)


# What is made of it


@pytest.mark.parametrize("text", ODD_BYTES)
def test_a_service_name_that_is_no_text_is_not_sent(text: str, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", text)
    settings = Settings.from_env()

    assert settings.problems == (
        f"OTEL_SERVICE_NAME={text!r} is not accepted; use any text. Using 'langflow' instead.",
    )
    assert langflow_resource(settings).attributes["service.name"] == "langflow"


def test_one_line_for_a_protocol_that_each_signal_replaces_by_another():
    settings = Settings.from_env(
        {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "tcp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://host:4317",
        }
    )

    assert len(settings.problems) == 1


def test_all_that_is_read_is_in_here():
    """A variable of ours that is new is tested by itself; a new form of an OTLP variable is added above."""
    source = Path(__file__).parents[3] / "langflow_otel" / "_settings" / "otlp_target.py"
    forms = re.findall(r"OTEL_EXPORTER_OTLP_(?:\{\w+\}_?)?([A-Z]+)", source.read_text())

    assert {*forms} == {name.rpartition("_")[2] for name in OTLP}
    assert CAPTURE in NAMES


def test_no_two_wrong_variables_spoil_each_other():
    """All of them at once are as good as none."""
    everything = dict.fromkeys((each for each in NAMES if each != KEEP), "\x00nothing that anybody takes\x00")
    wrong = Settings.from_env(everything | {"OTEL_SERVICE_NAME": "langflow"})

    free_text = ("content_deny", "instrumentors", "baggage_keys", "redact", "problems")
    for field in dataclasses.fields(Settings):
        if field.name not in free_text:
            assert getattr(wrong, field.name) == getattr(Settings(), field.name), field.name
