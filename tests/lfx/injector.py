"""Finds the functions of this library that run while a flow runs, and makes any of them fail.

The code of a function is exchanged, and not its name somewhere: so whoever holds it, a hook, a partial or another
module, gets the one that fails.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal

When = Literal["at once", "when done"]
Behaviour = Callable[..., Any]
"""Gets the function as it was, and what it is called with."""

_BEHAVIOURS = "_langflow_otel_behaviours"
"""Among the builtins: code that is exchanged runs with the names of its module."""


class InjectedError(RuntimeError):
    """What the functions fail with."""


@dataclass(frozen=True)
class Step:
    """One function of the library."""

    name: str
    function: FunctionType

    def __str__(self) -> str:
        return self.name

    @property
    def holds_host_code(self) -> bool:
        """True for what is awaited: nothing of ours is, but what has host code in it."""
        return inspect.iscoroutinefunction(self.function) or inspect.isasyncgenfunction(self.function)


def modules_in(*packages: str) -> list[str]:
    """The names of all modules in these packages, or of the module itself."""
    found = []
    for name in packages:
        package = importlib.import_module(name)
        path = getattr(package, "__path__", None)
        found += [name] if path is None else [each.name for each in pkgutil.iter_modules(path, f"{name}.")]
    return found


def steps_in(name: str) -> list[Step]:
    """All functions, methods and properties that a module defines."""
    module = importlib.import_module(name)
    # A function may have two names.
    return list({id(step.function): step for step in _steps(module, name, module)}.values())


def _steps(owner: Any, prefix: str, module: ModuleType) -> Iterator[Step]:
    for name, value in tuple(vars(owner).items()):
        if inspect.isclass(value):
            if value.__module__ == module.__name__ and value.__qualname__.endswith(name):
                yield from _steps(value, f"{prefix}.{name}", module)
            continue
        function = _function_of(value)
        # Not the methods that a data class gets made: they have no source.
        if function is not None and function.__code__.co_filename == module.__file__:
            yield Step(f"{prefix}.{name}", function)


def _function_of(value: Any) -> FunctionType | None:
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    elif isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    value = inspect.unwrap(value) if callable(value) else None
    return value if isinstance(value, FunctionType) else None


@contextmanager
def noting_calls(steps: Iterable[Step]) -> Iterator[set[str]]:
    """The names of those that are called meanwhile, in whatever thread."""
    called: set[str] = set()

    def noting(step: Step) -> Behaviour:
        def note(original: FunctionType, *args: Any, **kwargs: Any) -> Any:
            called.add(step.name)
            return original(*args, **kwargs)

        return note

    with ExitStack() as exchanges:
        for step in steps:
            exchanges.enter_context(_exchanged(step, noting(step)))
        yield called


@contextmanager
def failing(step: Step, when: When = "at once") -> Iterator[list[str]]:
    """The function fails meanwhile; the list has its name once for each call."""
    calls: list[str] = []

    def fail(original: FunctionType, *args: Any, **kwargs: Any) -> None:
        calls.append(step.name)
        if when == "when done":
            original(*args, **kwargs)
        raise InjectedError(step.name)

    with _exchanged(step, fail):
        yield calls


@contextmanager
def _exchanged(step: Step, behaviour: Behaviour) -> Iterator[None]:
    function, code = step.function, step.function.__code__
    original = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__
    _behaviours[id(function)] = functools.partial(behaviour, original)
    function.__code__ = _calling(id(function), len(code.co_freevars), inspect.isgeneratorfunction(function))
    try:
        yield
    finally:
        function.__code__ = code
        del _behaviours[id(function)]


_behaviours: dict[int, Callable[..., Any]] = {}
setattr(builtins, _BEHAVIOURS, _behaviours)


@functools.cache
def _calling(key: int, variables: int, is_generator: bool) -> CodeType:
    """Code that calls the behaviour: of the same kind as the function's own, with as many variables from outside."""
    names = [f"v{number}" for number in range(variables)]
    lines = [
        "def outer():",
        *(f"    {name} = None" for name in names),
        "    def calls(*args, **kwargs):",
        f"        return {'(yield from ' if is_generator else '('}{_BEHAVIOURS}[{key}](*args, **kwargs))",
        f"        [{', '.join(names)}]",
        "    return calls",
    ]
    space: dict[str, Callable[[], FunctionType]] = {}
    exec("\n".join(lines), space)
    return space["outer"]().__code__
