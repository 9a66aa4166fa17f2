"""``langflow-otel config``, and what of a setting may be shown."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk import environment_variables
from typer.testing import CliRunner

from langflow_otel._sdk.providers import build_tracer_provider
from langflow_otel._settings import masking
from langflow_otel._settings.masking import (
    Secrets,
    masked_headers,
    one_line,
    shown_problem,
    shown_value,
    without_credentials,
)
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.variables import VARIABLES
from langflow_otel.cli import config
from langflow_otel.cli.config import _misspelled, standard_problems, standard_variables
from langflow_otel.cli.console import Warnings
from langflow_otel.cli.doctor import command, local
from langflow_otel.cli.main import app

SECRET = "s3cret-t0ken"


@pytest.fixture
def env(monkeypatch) -> Callable[..., None]:
    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["config", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def settings_in(text: str) -> dict[str, dict[str, Any]]:
    """The YAML that is written, read as far as it goes: each scalar is one of JSON."""
    found: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(": ")
        if line.startswith("  "):
            found[list(found)[-1]][key] = json.loads(value)
        else:
            found[line.removesuffix(":")] = {}
    return found


def test_every_variable_is_there_with_value_source_and_meaning(env):
    env(LANGFLOW_OTEL_DETAIL="flow", OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="3", COLUMNS="160")
    found = settings_in(run("--format", "yaml").stdout)
    table = run().stdout

    assert list(found) == [each.name for each in (*VARIABLES, *standard_variables(os.environ))]
    assert found["LANGFLOW_OTEL_DETAIL"] == {"value": "flow", "source": "environment"}
    assert found["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"] == {"value": "3", "source": "environment"}
    assert found["OTEL_BSP_MAX_QUEUE_SIZE"] == {"value": "2048", "source": "default"}
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == {"value": None, "source": "not set"}
    assert set(found) <= set(table.split())
    assert "how fine the trace is" in table
    assert re.search(r"LANGFLOW_OTEL_DETAIL +flow +environment", table)
    assert re.search(r"OTEL_BSP_MAX_QUEUE_SIZE +2048 +default", table)


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_a_terminal_is_never_overrun(env, monkeypatch, width: int):
    env(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.observability.svc.cluster.example.com:4318/with/a/long/path")
    monkeypatch.setattr(config, "make_console", lambda: console)
    from rich.console import Console

    console = Console(width=width, highlight=False, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    config.config(config.Format.TABLE, check=False)

    lines = console.export_text().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "".join(lines).replace(" ", "").count("/with/a/long/path") == 1


@pytest.mark.parametrize("output", ["table", "env", "yaml"])
def test_secrets_are_masked(env, output: str):
    env(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"https://user:{SECRET}@x.example.com:4318/p?api_key={SECRET}#{SECRET}",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"htp://user:{SECRET}@x",
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{SECRET},x-tenant=t",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS=f"Authorization: {SECRET}",
        OTEL_RESOURCE_ATTRIBUTES=f"team=a,vendor.api_key={SECRET}",
    )
    result = run("--format", output)

    assert SECRET not in result.stdout + result.stderr
    if output != "table":  # which breaks long lines
        assert "authorization=***,x-tenant=***" in result.stdout
        assert "team=a,vendor.api_key=***" in result.stdout
        assert "https://***@x.example.com:4318/p?api_key=***" in result.stdout


@pytest.mark.parametrize("output", ["table", "env", "yaml"])
@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://x.example.com/{SECRET}/v1", "https://x.example.com/***/v1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"x.example.com:4318/{SECRET}", "x.example.com:4318/***"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"a=b,conn=postgres://u:{SECRET}@h/d", "a=b,conn=***"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"db=postgres://u:{SECRET},{SECRET}@h/d,a=b", "db=***,***,a=b"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"db=postgres%3A%2F%2Fu%3A{SECRET}%40h", "db=***"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"db=Server=x;Pwd={SECRET}", "db=***"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"app.kennwort={SECRET},db=x;Passphrase={SECRET}", "app.kennwort=***,db=***"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"db.dsn={SECRET},app.pwd={SECRET}", "db.dsn=***,app.pwd=***"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"site=https://h/{SECRET}?k={SECRET}", "site=https://h/***?k=***"),
        ("LANGFLOW_OTEL_OTLP_HEADERS_FILE", SECRET, "***"),
        ("LANGFLOW_OTEL_OTLP_HEADERS_FILE", f"authorization=Bearer%20{SECRET}", "authorization=***"),
        ("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", SECRET, "***"),
        ("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", f"/run/secrets/{SECRET}", "/run/secrets/***"),
        ("LANGFLOW_OTEL_TRACE_FILE", SECRET, "***"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", SECRET, "***"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", f"-----BEGIN PRIVATE KEY-----{SECRET}", "***"),
    ],
)
def test_a_credential_is_masked_in_whatever_variable(env, output: str, name: str, text: str, shown: str):
    env(**{name: text})
    result = run("--format", output)
    # It fails where a file cannot be read.
    checked = CliRunner().invoke(app, ["config", "--check"])

    assert SECRET not in result.stdout + result.stderr + checked.stdout + checked.stderr
    assert shown_value(name, text) == shown


@pytest.mark.parametrize(
    "path", ["/run/secrets/otel-headers.txt", "~/headers_2", "C:\\otel\\ca.pem", "certs/ca.pem", "token"]
)
def test_a_path_that_does_not_exist_is_shown(path: str):
    assert shown_value("LANGFLOW_OTEL_OTLP_HEADERS_FILE", path) == path


def test_a_path_that_exists_is_shown_whatever_it_is_called(tmp_path):
    path = tmp_path / "a1b2c3d4e5f6g7h8i9j0"
    path.touch()

    assert shown_value("LANGFLOW_OTEL_OTLP_HEADERS_FILE", str(path)) == str(path)


def test_for_a_shell(env, tmp_path):
    """What is sourced again gives the same settings; what is masked or wrong stays a comment."""
    env(
        OTEL_SERVICE_NAME='bob\'s "shop" $(touch x) `y`\nexport LANGFLOW_OTEL_DETAIL=flow',
        LANGFLOW_OTEL_MAX_FLOWS="7",
        LANGFLOW_OTEL_WINDOW="never; touch x",
        OTEL_EXPORTER_OTLP_HEADERS="a=b\ntouch x",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://u:p@h/\ntouch x",
    )
    text = run("--format", "env").stdout
    (tmp_path / "settings.sh").write_text(text)
    dump = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    clean = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["/bin/sh", "-c", f". ./settings.sh && {dump}"], cwd=tmp_path, env=clean, capture_output=True, text=True
    )

    sourced = {name: value for name, value in json.loads(done.stdout).items() if "OTEL" in name}
    assert done.stderr == ""
    assert sourced == {"OTEL_SERVICE_NAME": os.environ["OTEL_SERVICE_NAME"], "LANGFLOW_OTEL_MAX_FLOWS": "7"}
    assert [path.name for path in tmp_path.iterdir()] == ["settings.sh"]
    assert "# LANGFLOW_OTEL_DETAIL=model  # default" in text.splitlines()
    assert "# LANGFLOW_OTEL_WINDOW is not accepted as it is; in force: 60" in text.splitlines()


@given(st.text())
def test_any_text_is_a_scalar_of_yaml(text: str):
    scalar = config._yaml(text)

    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]", scalar)
    assert json.loads(scalar) == text


def test_a_value_that_is_no_text_costs_no_traceback(env):
    env(OTEL_SERVICE_NAME="\udcff")
    for output in ("table", "env", "yaml"):
        assert "OTEL_SERVICE_NAME" in run("--format", output).stdout


def test_check_is_one_line_if_nothing_is_wrong(env):
    assert run("--check").stdout == "0 variables set, nothing wrong\n"
    env(LANGFLOW_OTEL_DETAIL="flow")
    result = run("--check")

    assert (result.stdout, result.stderr) == ("1 variable set, nothing wrong\n", "")


def test_check_says_what_is_wrong_and_fails(env):
    env(
        LANGFLOW_OTEL_WINDOW="0",
        LANGFLOW_OTEL_DETIAL="flow",
        OTEL_EXPORTER_OTLP_ENDPIONT="http://x",
        OTEL_EXPORTER_OTLP_COMPRESSION="zip",
    )
    result = run("--check", code=1)

    assert result.stdout == ""
    assert [line.split()[0] for line in result.stderr.splitlines()] == [
        "LANGFLOW_OTEL_WINDOW='0'",
        "LANGFLOW_OTEL_DETIAL",
        "OTEL_EXPORTER_OTLP_COMPRESSION='zip'",
        "OTEL_EXPORTER_OTLP_ENDPIONT",
    ]
    assert run().exit_code == 0
    assert settings_in(run("--format", "yaml").stdout)["LANGFLOW_OTEL_WINDOW"]["source"] == "not accepted"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"LANGFLOW_OTEL_SCRAPE_TOKEN_FILE": "/no/token"},
            "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE: name a file that holds the token; until then each scrape is refused "
            "(/no/token: cannot be read: No such file or directory)",
        ),
        (
            {"LANGFLOW_OTEL_SCRAPE_CERT_FILE": "/no/cert"},
            "LANGFLOW_OTEL_SCRAPE_CERT_FILE: name a PEM file, and its key in LANGFLOW_OTEL_SCRAPE_KEY_FILE; until then "
            "each scrape is refused (/no/cert: cannot be used: No such file or directory)",
        ),
        (
            {"LANGFLOW_OTEL_SCRAPE_KEY_FILE": "/no/key"},
            "LANGFLOW_OTEL_SCRAPE_KEY_FILE: name its certificate in LANGFLOW_OTEL_SCRAPE_CERT_FILE; until then scrapes "
            "are answered in plain text (/no/key is the key of no certificate)",
        ),
        (
            {"LANGFLOW_OTEL_TRACE_FILE": "/"},
            "LANGFLOW_OTEL_TRACE_FILE: name a file that can be written; until then spans are lost (/: it is a folder)",
        ),
        (
            {"LANGFLOW_OTEL_TRACE_FILE": "/proc/nope/x"},
            "LANGFLOW_OTEL_TRACE_FILE: name a file that can be written; until then spans are lost "
            "(/proc/nope/x: nothing may be made in /proc: No such file or directory)",
        ),
        (
            {"LANGFLOW_OTEL_TRACE_FILE": "/etc/passwd/x"},
            "LANGFLOW_OTEL_TRACE_FILE: name a file that can be written; until then spans are lost "
            "(/etc/passwd/x: /etc/passwd is no folder)",
        ),
        (
            {"PROMETHEUS_MULTIPROC_DIR": "/no/folder"},
            "PROMETHEUS_MULTIPROC_DIR: name a folder; until then the scrape shows what one process has in "
            "prometheus_client (/no/folder: it is no folder)",
        ),
        (
            {"LANGFLOW_OTEL_PRICES": "/no/prices.yaml"},
            "LANGFLOW_OTEL_PRICES: until the file can be used there are no costs "
            "(/no/prices.yaml: No such file or directory)",
        ),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "100"},
            "OTEL_BSP_MAX_QUEUE_SIZE='100' is not accepted; use at least OTEL_BSP_MAX_EXPORT_BATCH_SIZE, which is 512. "
            "Using '512' instead.",
        ),
        (
            {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/cert"},
            "OTEL_EXPORTER_OTLP_CERTIFICATE='/no/cert' is not accepted; use the path of a PEM file. "
            "Using 'none' instead.",
        ),
    ],
)
def test_check_knows_what_only_fails_once_it_is_used(env, variables: dict[str, str], line: str):
    env(OTEL_METRICS_EXPORTER="prometheus", **variables)

    assert run("--check", code=1).stderr.splitlines() == [line]


@pytest.mark.parametrize("path", ["/proc/nope/x", "/etc/passwd/x", "/"])
def test_a_trace_file_that_cannot_be_written_is_said_in_one_way(env, caplog, path: str):
    env(LANGFLOW_OTEL_TRACE_FILE=path)
    settings = Settings.from_env()
    build_tracer_provider(settings).shutdown()
    (finding,) = local.local_section(settings).findings

    said = [record.getMessage() for record in caplog.records]
    assert said == run("--check", code=1).stderr.splitlines() == [f"{finding.advice} ({finding.text})"]


def test_doctor_says_the_same_of_the_variables(env):
    env(
        LANGFLOW_OTEL_WINDOW="0",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_METRIC_EXPORT_INTERVAL="0",
        OTEL_METRICS_EXEMPLAR_FILTER="xyz",
        OTEL_TRACES_EXPORTER="console",
    )
    told = [finding.text for finding in command._settings_section(os.environ, []).findings]
    providers = command._providers(Settings.from_env())

    assert told == run("--check", code=1).stderr.splitlines()
    assert len(told) == 4
    assert [finding.status for finding in providers.findings] == ["ok", "info", "info"]


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100", "512"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"api_key={SECRET},team=a,x", "api_key=***,team=a"),
        ("OTEL_EXPORTER_OTLP_HEADERS", f"x-key={SECRET},x:{SECRET}", "x-key=***"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "soon", "7"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/cert", None),
    ],
)
def test_what_is_used_instead_is_shown(env, name: str, text: str, shown: str | None):
    env(OTEL_EXPORTER_OTLP_TIMEOUT="7", **{name: text})
    result = run("--format", "yaml")

    assert settings_in(result.stdout)[name] | {"masked": None} == {
        "value": shown or "",
        "source": "not accepted",
        "masked": None,
    }
    assert SECRET not in result.stdout + result.stderr


def test_there_is_no_such_format():
    result = run("--format", "xml", code=2)

    assert "there is table, env and yaml" in result.stderr


@pytest.mark.parametrize(
    ("name", "good", "wrong"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5", "10000"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "GZIP", "zstd"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "sometimes"),
        ("OTEL_PROPAGATORS", "baggage,tracecontext", "carrier-pigeon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "512", "-1"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0", "many"),
    ],
)
def test_what_the_sdk_reads_itself_is_checked_too(name: str, good: str, wrong: str):
    assert standard_problems({name: good}) == []
    (problem,) = standard_problems({name: wrong})
    assert problem.startswith(f"{name}={wrong!r} is not accepted; use ")


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_METRICS_MAX_SIZE", "OTEL_EXPORTER_ZIPKIN_ENDPOINT"])
def test_other_standard_variables_are_no_typing_errors(name: str):
    assert standard_problems({name: "x"}) == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://localhost:4318", "http://localhost:4318"),
        ("https://u:p@h:1/a", "https://***@h:1/a"),
        ("https://u:p/w@h", "https://***@h"),
        ("u:p@h:4317", "***@h:4317"),
        ("h:4317", "h:4317"),
        ("https://h/p?key=k&b=&c#f", "https://h/p?key=***&b=***&c=***"),
        ("https://[::1]:4318/x", "https://[::1]:4318/x"),
        ("", ""),
    ],
)
def test_an_address_without_credentials(address: str, shown: str):
    assert without_credentials(address) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a=b", "a=***"),
        ("a=b, x-y = c=d ,", "a=***,x-y=***"),
        (SECRET, "***"),
        (f"{SECRET}=", "***"),
        (f"{SECRET}==", "***"),
        (f"Authorization: Bearer {SECRET}=x", "***"),
        ("", ""),
    ],
)
def test_headers_show_their_names_alone(text: str, shown: str):
    assert masked_headers(text) == shown


def test_a_problem_does_not_quote_a_password():
    long = f"http://u:{'p' * 60}{SECRET}@h.example.com:port"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": long, "LANGFLOW_OTEL_WINDOW": "x"}
    shown = [shown_problem(problem, env) for problem in Settings.from_env(env).problems]

    assert shown[0].startswith("LANGFLOW_OTEL_WINDOW='x' is not accepted; ")
    assert shown[1].startswith("OTEL_EXPORTER_OTLP_ENDPOINT='http://***@h.example.com:port' is not accepted; use host")
    assert "pppp" not in "".join(shown)
    assert shown_value("OTEL_SERVICE_NAME", "a=b@c?d") == "a=b@c?d"


def test_credentials_are_known_from_each_source_of_an_exporter(tmp_path):
    (tmp_path / "headers").write_text("# mine\nauthorization=Basic dXNlcjpwYXNzIndvcmQ=\nx-key=k-from-file,x-b=b\n")
    (tmp_path / "token").write_text("scrape-token\n")
    env = {
        "LANGFLOW_OTEL_OTLP_HEADERS_FILE": str(tmp_path / "headers"),
        "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE": str(tmp_path / "token"),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "k3y-instead-of-a-path",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:endpoint-password@h/path-k3y-1/v1",
        "OTEL_RESOURCE_ATTRIBUTES": "team=a,conn=postgres://u:db-password@h/d",
        "HTTPS_PROXY": "http://p:proxy-password@proxy:3128",
    }
    known = [
        'pass"word',
        "k-from-file",
        "scrape-token",
        "k3y-instead-of-a-path",
        "endpoint-password",
        "path-k3y-1",
        "db-password",
        "proxy-password",
    ]
    spellings: list[Callable[[str], str]] = [
        str,
        json.dumps,
        repr,
        quote,
        lambda text: json.dumps(json.dumps({"echo": text})),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
    ]
    secrets = Secrets(env)
    for spelled in [spell(secret) for secret in known for spell in spellings]:
        said = secrets.hide(f"echo {spelled} end")
        assert said.startswith("echo ")
        assert said.endswith(" end")
        assert "***" in said, spelled
        assert spelled not in said, spelled


def test_half_a_credential_at_the_end_of_a_line_is_not_shown(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={SECRET}")

    said = one_line("x" * (300 - len(SECRET) // 2) + SECRET)

    assert said == "x" * (300 - len(SECRET) // 2) + "***"


def test_a_short_value_of_a_header_stays_in_lines_of_our_own():
    secrets = Secrets({"OTEL_EXPORTER_OTLP_HEADERS": "x-env=prod,x-key=a-long-key"})

    assert secrets.hide_in_line("prod: a-long-key") == "prod: ***"
    assert secrets.hide("prod: a-long-key") == "***: ***"


def test_what_others_write_is_freed_of_credentials():
    env = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc%2Fdef,x=on",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://user:p%40ssw@h?key=k3y-k3y",
    }
    told = "no Bearer abc/def here, nor abc/def or abc%2Fdef, nor p@ssw nor p%40ssw nor k3y-k3y; on and off stay"

    assert Secrets(env).hide(told) == "no *** here, nor *** or ***, nor *** nor *** nor ***; on and off stay"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("OTEL_SERVICE_NAM", "OTEL_SERVICE_NAME"),
        ("OTEL_TRACE_SAMPLER", "OTEL_TRACES_SAMPLER"),
        ("OTEL_METRIC_EXPORTER", "OTEL_METRICS_EXPORTER"),
        ("OTEL_RESOURCE_ATTRIBUTE", "OTEL_RESOURCE_ATTRIBUTES"),
        ("OTEL_BSP_MAX_QUEU_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"),
        ("OTEL_EXPORTER_OTLP_ENDPOIT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_a_misspelled_standard_variable_is_reported(written: str, meant: str):
    assert standard_problems({written: "x"}) == [
        f"{written} is not a standard variable; did you mean {meant}? It is ignored."
    ]


def test_no_variable_of_the_sdk_counts_as_misspelled():
    names = [name for name in vars(environment_variables) if name.startswith("OTEL_")]

    assert [name for name in names if list(_misspelled({name: "x"}))] == []
    assert (
        list(_misspelled({"OTEL_PYTHON_EXCLUDED_URLS": "x", "OTEL_LOG_LEVEL": "x", "OTEL_" + "x" * 100_000: "x"})) == []
    )


@pytest.mark.parametrize("text", ["Bearer abcdef", "bearer correct/horse", "Basic abcdef", "Authorization: Bearer abc"])
def test_a_header_in_place_of_the_path_of_its_file_is_hidden(text: str):
    assert masking.shown_path(text) == "***"


def test_warning_of_the_sdk_is_shown_without_the_header_it_quotes(env):
    env(OTEL_EXPORTER_OTLP_HEADERS=f"Authorization: Bearer {SECRET}")
    lines: list[str] = []
    quoted = ("Header format invalid! %s", (f"Authorization: Bearer {SECRET}",))
    Warnings(lines.append).emit(logging.LogRecord("opentelemetry.util.re", logging.WARNING, "", 0, *quoted, None))

    assert len(lines) == 1
    assert lines[0].startswith("warning: Header format invalid! ")
    assert SECRET not in lines[0]
