"""The hooks fit the installed LangFlow, and leave no trace when they are taken off."""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import wrapt
from fastapi import FastAPI
from flows import line, run
from lfx.cli import serve_app
from lfx.cli.serve_app import create_multi_serve_app
from nodes import basic

from langflow_otel._hooks import versions
from langflow_otel._hooks.patching import Hook, Patches, Wrapper, missing_parameters
from langflow_otel._hooks.table import HOOKS, patches
from langflow_otel._settings.settings import Settings
from langflow_otel.instrumentor import LangflowInstrumentor
from langflow_otel.testing import capture_telemetry


def _current(hook: Hook) -> object:
    try:
        owner = importlib.import_module(hook.module)
    except ModuleNotFoundError:
        return None
    *path, attribute = hook.path.split(".")
    for name in path:
        owner = getattr(owner, name)
    return vars(owner).get(attribute)


# langflow itself is not installed here; an optional hook is one that older versions do not have.
IMPORTABLE = [
    hook
    for hook in HOOKS
    if not hook.module.startswith("langflow.") and (not hook.optional or _current(hook) is not None)
]


@pytest.mark.parametrize("hook", IMPORTABLE, ids=lambda hook: hook.name)
def test_each_hooked_function_exists_with_the_parameters_that_we_use(hook):
    function = getattr(_current(hook), "__func__", _current(hook))  # of a class method

    assert callable(function)
    assert missing_parameters(function, hook.parameters) == []


def test_the_list_of_hooks_is_not_empty():
    assert len(IMPORTABLE) >= 15


@pytest.mark.parametrize(
    ("path", "is_kind"),
    [
        ("process_agent_events", inspect.iscoroutinefunction),
        ("Graph.arun", inspect.iscoroutinefunction),
        ("Graph.process", inspect.iscoroutinefunction),
        ("Graph.build_vertex", inspect.iscoroutinefunction),
        ("Graph.astep", inspect.iscoroutinefunction),
        ("Graph.async_start", inspect.isasyncgenfunction),
        ("Component._get_output_result", inspect.iscoroutinefunction),
        ("Component._stream_message", inspect.iscoroutinefunction),
        ("Component.send_error", inspect.iscoroutinefunction),
    ],
)
def test_each_hooked_function_is_of_the_kind_that_its_wrapper_expects(path, is_kind):
    hook = next(hook for hook in IMPORTABLE if hook.path == path)

    assert is_kind(_current(hook))


def test_all_hooks_are_on_and_taking_them_off_restores_the_very_same_functions():
    for hook in IMPORTABLE:
        importlib.import_module(hook.module)
    before = {hook.name: _current(hook) for hook in IMPORTABLE}

    with capture_telemetry():
        assert set(patches.on) >= {hook.name for hook in IMPORTABLE}
        assert patches.off == {}
        assert all(_current(hook) is not before[hook.name] for hook in IMPORTABLE)

    assert all(_current(hook) is before[hook.name] for hook in IMPORTABLE)


def test_only_these_hooked_functions_can_be_imported_by_name():
    """All others are looked up in their class at each call. A new one: hook what it calls, if callers keep it in
    another way than as a name of their module."""
    functions = {hook.path for hook in HOOKS if "." not in hook.path}

    assert functions == {
        "_build_output_function",
        "_build_output_async_function",
        "handle_call_tool",
        "generate_flow_events",
        "process_agent_events",
    }


@pytest.mark.parametrize(
    "hook", [hook for hook in IMPORTABLE if "." not in hook.path and "." in hook.module], ids=lambda hook: hook.name
)
def test_function_imported_by_name_is_hooked_in_either_order(hook):
    module = importlib.import_module(hook.module)
    original = getattr(module, hook.path)
    importer, late_importer = ModuleType("an_importer"), ModuleType("a_late_importer")
    sys.modules.update({each.__name__: each for each in (importer, late_importer)})
    try:
        importer.their_name = original
        with capture_telemetry():
            late_importer.their_name = getattr(module, hook.path)
            for each in (importer, late_importer):
                assert each.their_name is getattr(module, hook.path) is not original
        assert importer.their_name is late_importer.their_name is original
    finally:
        for each in (importer, late_importer):
            del sys.modules[each.__name__]


def make_serve_app() -> FastAPI:
    """The application of ``lfx serve``, without flows."""
    if "registry" in inspect.signature(create_multi_serve_app).parameters:
        return create_multi_serve_app(registry=serve_app.FlowRegistry())
    return create_multi_serve_app(root_dir=Path(), graphs={}, metas={}, verbose_print=print)  # before lfx 1.11


@pytest.mark.parametrize("made_before", [True, False], ids=["made before", "made after"])
async def test_server_made_by_an_imported_function_has_request_spans(made_before, monkeypatch):
    monkeypatch.setenv("LANGFLOW_API_KEY", "sk-test")
    app = make_serve_app() if made_before else None
    with capture_telemetry() as telemetry:
        transport = httpx.ASGITransport(app or make_serve_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://lfx") as client:
            answer = await client.get("/flows", headers={"x-api-key": "sk-test"})

        assert answer.status_code == 200
        assert telemetry.tree() == ["GET /flows"]


async def test_instrumenting_twice_is_once(telemetry):
    LangflowInstrumentor().instrument(tracer_provider=telemetry.provider, settings=Settings())
    await run(line(basic.Echo))
    telemetry.warnings.clear()  # the base class says that it was on already

    assert len(telemetry.tree()) == 4


def test_a_wrapper_that_somebody_put_over_ours_stays_when_we_leave():
    from lfx.graph.graph.base import Graph

    original = vars(Graph)["astep"]
    with capture_telemetry():
        ours = vars(Graph)["astep"]
        Graph.astep = theirs = lambda *args, **kwargs: ours(*args, **kwargs)

    assert vars(Graph)["astep"] is theirs
    Graph.astep = original


async def test_a_wrapper_of_ours_that_was_left_below_theirs_does_not_come_back_beside_the_next_one(monkeypatch):
    from lfx.graph.graph.base import Graph

    with capture_telemetry():
        ours = vars(Graph)["build_vertex"]
        monkeypatch.setattr(Graph, "build_vertex", lambda graph, *args, **rest: ours.__get__(graph)(*args, **rest))
    with capture_telemetry() as telemetry:
        await run(line(basic.Echo))

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Echo",
        "  component Chat Output",
    ]


def test_wrappers_of_ours_that_were_left_below_others_do_not_pile_up():
    from lfx.graph.graph.base import Graph

    original = vars(Graph)["astep"]
    for _ in range(3):
        with capture_telemetry():
            ours = vars(Graph)["astep"]
            assert ours.__wrapped__ is original
            Graph.astep = functools.partial(ours)
        # Another instrumentor puts back what it had found.
        Graph.astep = ours
    with capture_telemetry():
        pass

    assert vars(Graph)["astep"] is original


def test_wrappers_that_others_leave_do_not_slow_us_down():
    from lfx.graph.graph.base import Graph

    original = vars(Graph)["astep"]
    try:
        for _ in range(40):
            Graph.astep = wrapt.FunctionWrapper(vars(Graph)["astep"], lambda wrapped, _, args, kwargs: wrapped(*args))
        with capture_telemetry():
            assert type(vars(Graph)["astep"]) is Wrapper
    finally:
        Graph.astep = original


def test_a_hook_that_does_not_fit_is_named_once_and_the_rest_works(caplog):
    fits = Hook("lfx.graph.graph.base", "Graph.find_next_runnable_vertices", lambda w, _, a, k: w(*a, **k))
    gone = Hook("lfx.graph.graph.base", "Graph.gone", lambda w, _, a, k: w(*a, **k))
    changed = Hook("lfx.graph.graph.base", "Graph.arun", lambda w, _, a, k: w(*a, **k), ("renamed",))
    own = Patches((fits, gone, changed))
    with caplog.at_level(logging.WARNING, logger="langflow_otel"):
        own.apply()
    try:
        assert own.on == [fits.name]
        assert own.off == {
            gone.name: "Graph.gone does not exist",
            changed.name: "Graph.arun has no parameter renamed",
        }
        assert [record.getMessage() for record in caplog.records] == [
            "langflow-otel: the hook lfx.graph.graph.base:Graph.gone is off: Graph.gone does not exist",
            "langflow-otel: the hook lfx.graph.graph.base:Graph.arun is off: Graph.arun has no parameter renamed",
        ]
    finally:
        own.undo()


@pytest.mark.parametrize(
    ("version", "known"), [("0.2.1", True), ("1.13.0", True), ("1.14.0", False), ("0.1.13", False)]
)
def test_a_version_outside_of_the_tested_range_is_one_clear_warning(monkeypatch, version, known):
    monkeypatch.setattr(versions, "lfx_version", lambda: version)
    warning = versions.unknown_version_warning()

    assert (warning is None) is known
    if warning is not None:
        assert f"lfx {version} is installed" in warning
