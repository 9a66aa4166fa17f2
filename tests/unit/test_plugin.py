"""The zero-code start: what LangFlow's plugin loader calls."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from langflow_otel import LangflowInstrumentor, instrumentor, plugin, uninstrument
from langflow_otel import _guard as guard
from langflow_otel._hooks.patching import Hook, Patches
from langflow_otel._hooks.server import ServerMiddleware
from langflow_otel._process import lifecycle
from langflow_otel._runs.recorder import active_recorder
from langflow_otel.plugin import register, switch_on

NO_DESTINATION = ("DEBUG", "langflow-otel has no destination, so nothing is instrumented.")


class Wrapper:
    """LangFlow's own, around its application: it lets plugins add routes, and nothing else."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app


def run_flow() -> str:
    return "ran"


def around(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return f"watched: {wrapped(*args, **kwargs)}"


@pytest.fixture
def host(monkeypatch) -> Iterator[ModuleType]:
    module = ModuleType("a_host")
    module.run_flow = run_flow  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_host", module)
    monkeypatch.setattr(instrumentor, "patches", Patches((Hook("a_host", "run_flow", around),)))
    monkeypatch.setattr(instrumentor, "lfx_is_installed", lambda: True)
    monkeypatch.setattr(LangflowInstrumentor, "_check_dependency_conflicts", lambda _: None)
    yield module
    if LangflowInstrumentor().is_instrumented_by_opentelemetry:
        uninstrument()


@pytest.fixture
def app() -> FastAPI:
    return FastAPI()


@pytest.fixture
def destination(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))


@pytest.fixture(autouse=True)
def _all_lines(caplog) -> None:
    caplog.set_level(logging.DEBUG, "langflow_otel")


@pytest.fixture(autouse=True)
def _environment_afterwards(monkeypatch) -> None:
    """What is written back to the environment goes again."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "langflow_otel"]


def middlewares(app: FastAPI) -> int:
    return sum(1 for each in app.user_middleware if each.cls is ServerMiddleware)


def is_off(host: ModuleType, app: FastAPI) -> bool:
    return host.run_flow is run_flow and active_recorder() is None and middlewares(app) == 0


def test_langflow_finds_it():
    (found,) = entry_points(group="langflow.plugins", name="langflow-otel")

    assert found.load() is register


@pytest.mark.usefixtures("destination")
def test_with_a_destination_everything_is_on_and_nothing_is_made_yet(host, app, caplog):
    register(Wrapper(app))

    assert host.run_flow() == "watched: ran"
    assert middlewares(app) == 1
    assert LangflowInstrumentor()._process is None
    assert lines(caplog) == []


def test_without_a_destination_there_is_one_debug_line_and_nothing_is_wrapped(host, app, caplog):
    register(Wrapper(app))

    assert lines(caplog) == [NO_DESTINATION]
    assert is_off(host, app)


@pytest.mark.usefixtures("destination")
@pytest.mark.parametrize(("name", "text"), [("LANGFLOW_OTEL_ENABLED", "false"), ("OTEL_SDK_DISABLED", "true")])
def test_switched_off_nothing_is_wrapped(host, app, caplog, name: str, text: str):
    os.environ[name] = text
    register(Wrapper(app))

    assert lines(caplog) == []
    assert is_off(host, app)


def test_asked_for_without_a_destination_the_warning_says_what_to_set(host, app, caplog, monkeypatch):
    monkeypatch.setattr(lifecycle, "ProcessTelemetry", lambda *_: SimpleNamespace(wanted=False, close=lambda: None))
    os.environ["LANGFLOW_OTEL_ENABLED"] = "true"
    register(Wrapper(app))

    assert lines(caplog) == [("WARNING", lifecycle.NOTHING_TO_DO)]
    assert is_off(host, app)


@pytest.mark.usefixtures("destination")
def test_called_twice_is_called_once(host, app):
    register(Wrapper(app))
    first = active_recorder()
    register(Wrapper(app))

    assert active_recorder() is first
    assert middlewares(app) == 1
    assert host.run_flow() == "watched: ran"


@pytest.mark.usefixtures("destination")
def test_what_is_instrumented_already_gets_its_application_watched(host, app):
    assert switch_on()
    register(Wrapper(app))

    assert middlewares(app) == 1


@pytest.mark.usefixtures("destination")
def test_an_application_without_a_wrapper_does_too(host, app):
    register(app)

    assert middlewares(app) == 1


@pytest.mark.usefixtures("destination", "lenient")
@pytest.mark.parametrize("step", ["spelled_out", "switch_on"])
def test_an_error_of_ours_is_one_line_and_the_server_starts(host, app, caplog, monkeypatch, step: str):
    def broken(*_: Any) -> Any:
        raise ValueError("canary")

    monkeypatch.setattr(plugin, step, broken)
    register(Wrapper(app))

    ((level, message),) = lines(caplog)
    assert level == "WARNING"
    assert message.startswith("An error inside langflow-otel was contained at plugin; ")
    assert "canary" not in message
    assert is_off(host, app)


@pytest.mark.usefixtures("destination", "lenient")
def test_switched_on_by_itself_it_does_not_raise_either(host, app, monkeypatch):
    """``langflow-otel exec`` calls it in the middle of the host's import of LangFlow."""
    monkeypatch.setattr(plugin, "spelled_out", lambda _: 1 / 0)

    assert switch_on() is False
    assert is_off(host, app)


@pytest.mark.usefixtures("destination", "lenient")
def test_an_application_that_has_started_already_is_one_line(host, caplog):
    app = FastAPI()
    app.middleware_stack = app.build_middleware_stack()
    register(Wrapper(app))

    assert guard.faults["plugin"] == 1
    assert host.run_flow() == "watched: ran"


def test_a_wrong_setting_is_said_once(host, app, caplog, tmp_path):
    os.environ["LANGFLOW_OTEL_TRACE_FILE"] = str(tmp_path / "spans.jsonl")
    os.environ["LANGFLOW_OTEL_DETAIL"] = "all"
    register(Wrapper(app))
    register(Wrapper(app))

    assert lines(caplog) == [
        (
            "WARNING",
            "LANGFLOW_OTEL_DETAIL='all' is not accepted; use flow, component, model, output. Using 'model' instead.",
        )
    ]


def test_an_endpoint_without_a_scheme_is_spelled_out_for_langflow(host, app, caplog):
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "localhost:4317"
    os.environ["OTEL_EXPORTER_OTLP_INSECURE"] = "true"
    register(Wrapper(app))

    assert os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://localhost:4317"
    assert os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
    after = "so that LangFlow's own telemetry understands it, too."
    assert lines(caplog) == [
        ("INFO", f"OTEL_EXPORTER_OTLP_ENDPOINT is now http://localhost:4317, {after}"),
        ("INFO", f"OTEL_EXPORTER_OTLP_PROTOCOL is now grpc, {after}"),
    ]
    assert host.run_flow() == "watched: ran"
