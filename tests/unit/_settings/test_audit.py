"""The line on what leaves a process."""

from __future__ import annotations

import json
import os
import re

import pytest

from langflow_otel import plugin
from langflow_otel._settings.audit import PREFIX, audit_line
from langflow_otel._settings.otlp_target import spelled_out
from langflow_otel._settings.settings import Settings

SECRET = "s3cret-t0ken"


def line(**env: str) -> str:
    return audit_line(Settings.from_env(env), env)


def pairs(text: str) -> dict[str, str]:
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', text.removeprefix(PREFIX))
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found}


def test_by_default_nothing_leaves():
    assert pairs(line()) == {
        "pid": str(os.getpid()),
        "service": "langflow",
        "traces": "none",
        "metrics": "none",
        "logs": "none",
        "content": "off",
        "error_messages": "none",
        "redact_pattern": "off",
        "log_bodies": "allowlist",
        "log_level": "info",
        "user_id": "off",
        "baggage_keys": "none",
        "instrumentors": "none",
        "sampling": "all",
        "keep": "none",
        "scrape": "none",
        "trace_file": "none",
    }


def test_destinations_are_told_by_protocol_and_host():
    found = pairs(
        line(
            OTEL_EXPORTER_OTLP_ENDPOINT="https://otel.example.com:4318",
            OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="[::1]:4317",
            OTEL_TRACES_EXPORTER="otlp,console",
            OTEL_METRICS_EXPORTER="otlp,prometheus",
            LANGFLOW_OTEL_TRACE_FILE="/var/log/spans.jsonl",
            LANGFLOW_OTEL_SCRAPE_TOKEN_FILE="/token",
        )
    )

    assert found["traces"] == "otlp-http:https://otel.example.com:4318,console,file"
    assert found["metrics"] == "otlp-http:https://otel.example.com:4318,scrape"
    assert found["logs"] == "otlp-grpc:https://[::1]:4317"
    assert (found["scrape"], found["scrape_token"], found["scrape_tls"]) == ("localhost:9464", "on", "off")
    assert found["trace_file"] == "/var/log/spans.jsonl"


def test_what_of_users_data_leaves_is_told():
    found = pairs(
        line(
            LANGFLOW_OTEL_ERROR_MESSAGES="full",
            LANGFLOW_OTEL_LOG_BODIES="all",
            LANGFLOW_OTEL_USER_ID="true",
            LANGFLOW_OTEL_BAGGAGE_KEYS="tenant,plan",
            LANGFLOW_OTEL_INSTRUMENTORS="langchain",
        )
    )

    assert (found["error_messages"], found["log_bodies"], found["user_id"]) == ("full", "all", "on")
    assert (found["baggage_keys"], found["instrumentors"]) == ("tenant,plan", "langchain")


@pytest.mark.parametrize(
    ("mode", "told"),
    [("SPAN_ONLY", "spans"), ("SPAN_AND_EVENT", "spans,events"), ("EVENT_ONLY", "events"), ("NO_CONTENT", "off")],
)
def test_content_is_told_by_its_mode(mode: str, told: str):
    assert pairs(line(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=mode))["content"] == told


@pytest.mark.parametrize(
    ("env", "sampling", "keep"),
    [
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, "all", "none"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, "traceidratio:0.1", "none"),
        ({"LANGFLOW_OTEL_SAMPLING": "shop=1,*=0.1", "LANGFLOW_OTEL_KEEP": "slow:5s"}, "shop=1,*=0.1", "slow:5s"),
        ({"LANGFLOW_OTEL_SAMPLING": "*=0.1"}, "*=0.1", "errors"),
    ],
)
def test_sampling(env: dict[str, str], sampling: str, keep: str):
    found = pairs(line(**env))

    assert (found["sampling"], found["keep"]) == (sampling, keep)


def test_it_holds_no_credentials_and_is_one_line():
    told = line(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"https://user:{SECRET}@otel.example.com/{SECRET}?k={SECRET}",
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization={SECRET}",
        OTEL_SERVICE_NAME='a "b"\ntraces=none',
    )

    assert SECRET not in told
    assert "\n" not in told
    assert pairs(told)["service"] == 'a "b"\ntraces=none'
    assert pairs(told)["traces"] == "otlp-http:https://otel.example.com"


@pytest.mark.parametrize("env", [{"OTEL_SDK_DISABLED": "true"}, {"LANGFLOW_OTEL_ENABLED": "false"}])
def test_what_is_off_is_told_as_off(env: dict[str, str]):
    assert line(OTEL_EXPORTER_OTLP_ENDPOINT="http://x", **env).endswith(" service=langflow telemetry=off")


def test_lines_of_the_start_have_no_credential(monkeypatch, caplog, tmp_path):
    secret = "s3cret-t0ken-a1b2"
    (tmp_path / "headers").write_text(f"authorization={secret}\n")
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"collector.example.com:4318/{secret}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={secret}",
        "LANGFLOW_OTEL_OTLP_HEADERS_FILE": secret,
        "LANGFLOW_OTEL_TRACE_FILE": secret,
        "LANGFLOW_OTEL_WINDOW": secret,
        "LANGFLOW_OTEL_SCRAPE_CERT_FILE": "x" * 5000 + secret,
        "OTEL_TRACES_SAMPLER": secret,
        "OTEL_SERVICE_NAME": f"shop {secret}",
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    with caplog.at_level("INFO", "langflow_otel"):
        settings.log_problems()
        for name, value in spelled_out(env).items():
            plugin._say_what_it_is_now(name, value)

    assert "collector.example.com" in caplog.text
    assert "LANGFLOW_OTEL_OTLP_HEADERS_FILE='***' cannot be read" in caplog.text
    assert secret not in caplog.text
    assert secret not in audit_line(settings)
