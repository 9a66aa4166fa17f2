"""The flow's results, exceptions and order are those it would have without instrumentation, also when
any function of ours fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest
from flows import INPUT, line
from nodes import basic, models, streams
from test_components import router_flow
from test_loops import loop_flow
from test_streams import pair
from test_tools import agent_flow

from langflow_otel.hooks import identity, kinds, outcomes, usage, versions
from langflow_otel.recording import guard, privacy, recorder, runs, spans, stream_runs
from langflow_otel.testing import Telemetry, capture_telemetry


async def _agent() -> Any:
    return await agent_flow(models.ShoutAgent, models.Shout)


async def _agent_with_broken_tool() -> Any:
    return await agent_flow(models.ShoutAgent, models.ShoutBroken)


def _coroutine(make: Callable[[], Any]) -> Callable[[], Any]:
    async def call() -> Any:
        return make()

    return call


FLOWS = {
    "traced": _coroutine(lambda: line(basic.TracedOutput, basic.Blocking)),
    "router": _coroutine(lambda: router_flow("hi")),
    "loop": _coroutine(loop_flow),
    "agent": _agent,
    "broken tool": _agent_with_broken_tool,
    "stream": _coroutine(lambda: pair(streams.Streams, streams.Reads)),
    "closed stream": _coroutine(lambda: pair(streams.Streams, streams.ReadsOneAndCloses)),
    "sync stream": _coroutine(lambda: pair(streams.StreamsSync, streams.Reads)),
    "failing stream": _coroutine(lambda: pair(streams.StreamsBroken, streams.Reads)),
    "failing": _coroutine(lambda: line(basic.Echo, basic.Broken)),
}


async def observed(name: str) -> tuple[Any, ...]:
    """What a caller of this flow can see: by arun its results or error, by async_start the order too."""
    graph = await FLOWS[name]()
    try:
        results = await graph.arun(INPUT, session_id="s1")
        by_arun: Any = [{key: _text(value) for key, value in out.results.items()} for out in results[0].outputs if out]
    except Exception as exc:
        by_arun = _chain(exc)
    graph = await FLOWS[name]()
    by_steps: list[Any] = []
    try:
        async for item in graph.async_start(INPUT, max_iterations=20):
            by_steps.append(getattr(getattr(item, "vertex", None), "id", type(item).__name__))
    except Exception as exc:
        by_steps.append(_chain(exc))
    return by_arun, by_steps


def _text(value: Any) -> Any:
    text = getattr(value, "text", None)
    return text if isinstance(text, str) else type(value).__name__


def _chain(exc: BaseException | None) -> list[str]:
    names = []
    while exc is not None:
        names.append(type(exc).__name__)
        exc = exc.__cause__
    return names


@pytest.fixture(scope="module")
def uninstrumented() -> dict[str, Any]:
    return {}


async def without(name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        known[name] = await observed(name)
    return known[name]


@pytest.mark.parametrize("name", FLOWS)
async def test_results_errors_and_order_are_the_same(name, uninstrumented):
    expected = await without(name, uninstrumented)
    with capture_telemetry() as telemetry:
        got = await observed(name)

    assert got == expected
    assert telemetry.tree()


async def test_the_exception_is_the_very_object_that_the_component_raised(telemetry: Telemetry):
    graph = line(basic.Broken)
    with pytest.raises(ValueError, match="canary") as caught:
        await graph.arun(INPUT, session_id="s1")

    assert caught.value.__cause__.__cause__ is basic.Broken.error


def _functions_of(module: ModuleType) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, FunctionType):
            found.append((module, name))
        elif inspect.isclass(value):
            found += [(value, key) for key, member in vars(value).items() if isinstance(member, FunctionType)]
    return found


# Getters by which the hooks ask whether they are on; a weak reference's callback, contained by Python itself.
NOT_A_STEP = {"active_recorder", "set_active_recorder", "current_run", "executes", "bound", "_forget"}
STEPS = [
    (owner, name)
    for module in (identity, kinds, usage, outcomes, versions, recorder, runs, stream_runs, spans, privacy)
    for owner, name in _functions_of(module)
    if name not in NOT_A_STEP and name not in ("lfx_is_installed", "unknown_version_warning", "lfx_version", "_minor")
]


def test_the_injector_finds_our_steps():
    assert len(STEPS) > 50


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=lambda each: getattr(each, "__name__", each))
async def test_a_fault_in_any_step_of_ours_changes_nothing(owner, name, monkeypatch, uninstrumented):
    calls = []

    def fail(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        raise RuntimeError("injected")

    with capture_telemetry(strict=False, check_leaks=False):
        monkeypatch.setattr(owner, name, fail)
        got = {flow: await observed(flow) for flow in FLOWS}
        monkeypatch.undo()

    for flow, seen in got.items():
        assert seen == await without(flow, uninstrumented), flow
    if calls:
        assert guard.faults
