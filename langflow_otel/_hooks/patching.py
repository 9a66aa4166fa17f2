"""Wraps functions of the host as soon as their modules are imported, and puts them back.

Importing LangFlow takes seconds, so nothing is imported here: a hook waits for its module.

A method is looked up in its class at each call. A function of a module is not, where another module imported it by
name: so these names are exchanged, too. A reference that is no name of a module (a default, a partial, a route)
stays as it was: where one is likely, hook what the function calls instead.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import wrapt

logger = logging.getLogger("langflow_otel")

# Generic in newer releases only.
_FunctionWrapper: Any = wrapt.FunctionWrapper
_BoundFunctionWrapper: Any = wrapt.BoundFunctionWrapper


class _BoundWrapper(_BoundFunctionWrapper):  # type: ignore[misc]
    """A method of an object, or a function that was read from its class."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = getattr(self.__wrapped__, "__self__", None)
        return self if owner is None else getattr(copy.deepcopy(owner, memo), self.__name__)

    def __reduce__(self) -> Any:
        owner = getattr(self.__wrapped__, "__self__", None)
        if owner is None:
            *path, _ = self.__qualname__.split(".")
            owner = functools.reduce(getattr, path, sys.modules.get(self.__module__))
        return getattr, (owner, self.__name__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


class Wrapper(_FunctionWrapper):  # type: ignore[misc]
    """Like ``wrapt.FunctionWrapper``, and can be copied and pickled as the function can: wrapt's refuses both.

    An application may hold a method as a callback, such as ``embeddings.embed_query``, in what it copies or stores.
    """

    __bound_function_wrapper__ = _BoundWrapper

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce__(self) -> Any:
        return self.__qualname__  # Found by this in its module, as each function is.

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


@dataclass(frozen=True)
class Hook:
    """One function of the host that is wrapped.

    Attributes:
        module: Where it lives.
        path: Its name there, such as ``Graph.arun``.
        wrapper: ``(wrapped, instance, args, kwargs)``, as wrapt calls it.
        parameters: Names of parameters that the wrapper relies on.
        optional: True if some supported versions do not have it; then its absence is no warning.
    """

    module: str
    path: str
    wrapper: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    optional: bool = False

    @property
    def name(self) -> str:
        return f"{self.module}:{self.path}"


class _Switch:
    """What wrapt asks at each call whether a wrapper is on.

    Args:
        original: What is wrapped, as its owner has it.
    """

    __slots__ = ("on", "original")

    def __init__(self, original: Any) -> None:
        self.on = True
        self.original = original

    def __call__(self) -> bool:
        return self.on


@dataclass
class _Patch:
    owner: Any
    attribute: str
    original: Any
    replacement: Any
    switch: _Switch

    @property
    def is_importable(self) -> bool:
        """True for a function that another module can have under a name of its own."""
        return isinstance(self.owner, ModuleType)


@dataclass
class Patches:
    """The hooks that are on. ``off`` names those that do not fit this version, with the reason."""

    hooks: tuple[Hook, ...]
    active: bool = False
    off: dict[str, str] = field(default_factory=dict)
    _applied: dict[str, _Patch] = field(default_factory=dict)
    _awaited: set[str] = field(default_factory=set)

    @property
    def on(self) -> list[str]:
        """Names of the hooks that are applied now."""
        return list(self._applied)

    def apply(self) -> None:
        """Wrap what is imported already, and the rest when it gets imported."""
        self.active = True
        before = set(self._applied)
        for module in dict.fromkeys(hook.module for hook in self.hooks):
            if module in sys.modules:
                self._patch_module(sys.modules[module])
            elif module not in self._awaited:
                # wrapt cannot forget a callback: register each once in a process.
                self._awaited.add(module)
                wrapt.register_post_import_hook(self._patch_module, module)
        applied = [patch for name, patch in self._applied.items() if name not in before]
        _rename({id(patch.original): patch.replacement for patch in applied if patch.is_importable})

    def undo(self) -> None:
        """Put the very same function objects back."""
        self.active = False
        for patch in self._applied.values():
            if patch.owner.__dict__.get(patch.attribute) is patch.replacement:
                setattr(patch.owner, patch.attribute, patch.original)
            else:
                # Somebody wrapped it after us: our wrapper stays below theirs, and must not come back to life
                # beside the next one.
                patch.switch.on = False
        _rename({id(patch.replacement): patch.original for patch in self._applied.values() if patch.is_importable})
        self._applied.clear()
        self.off.clear()

    def _patch_module(self, module: ModuleType) -> None:
        if not self.active:
            return
        for hook in self.hooks:
            if hook.module == module.__name__ and hook.name not in self._applied:
                self._patch(module, hook)

    def _patch(self, module: ModuleType, hook: Hook) -> None:
        try:
            owner, attribute, original = _locate(module, hook)
        except LookupError as reason:
            if not hook.optional:
                self.off[hook.name] = str(reason)
                logger.warning("langflow-otel: the hook %s is off: %s", hook.name, reason)
            return
        function = original.__func__ if type(original) is staticmethod else original
        switch = _Switch(original)
        replacement = Wrapper(function, hook.wrapper, enabled=switch)
        setattr(owner, attribute, replacement)
        self._applied[hook.name] = _Patch(owner, attribute, original, replacement, switch)


def _locate(module: ModuleType, hook: Hook) -> tuple[Any, str, Any]:
    """Owner, attribute and function of a hook.

    Raises:
        LookupError: It does not exist, or lacks a parameter that the wrapper relies on.
    """
    *owners, attribute = hook.path.split(".")
    owner: Any = module
    for name in owners:
        owner = getattr(owner, name, None)
    original = vars(owner).get(attribute) if owner is not None else None
    original = _without_switched_off(original)
    if original is None:
        raise LookupError(f"{hook.path} does not exist")
    # By type(): what a wrapper does not have is looked for several times in each one below it.
    is_method = type(original) in (staticmethod, classmethod)
    missing = missing_parameters(original.__func__ if is_method else original, hook.parameters)
    if missing:
        raise LookupError(f"{hook.path} has no parameter {', '.join(missing)}")
    return owner, attribute, original


def _without_switched_off(function: Any) -> Any:
    """What is below wrappers of ours that stayed below others', and are the outermost now that these are gone."""
    while type(function) is Wrapper:
        switch = function._self_enabled
        if not isinstance(switch, _Switch) or switch.on:
            break
        function = switch.original
    return function


def missing_parameters(function: Any, names: Iterable[str]) -> list[str]:
    # Of the function itself: with each wrapper around it, signature() takes several times as long.
    parameters = inspect.signature(inspect.unwrap(function)).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    return [name for name in names if name not in parameters]


def _rename(changes: Mapping[int, Any]) -> None:
    """Exchange objects in all modules that have them under some name.

    Args:
        changes: The new object by the old one's ``id()``.
    """
    if not changes:
        return
    old = set(changes)
    for module in _loaded_modules():
        try:
            # Not by getattr(): a module that is loaded on first use would be loaded.
            names: dict[str, Any] = object.__getattribute__(module, "__dict__")
        except AttributeError:  # something else than a module
            continue
        # Most modules have none of them: without a loop that is known in half the time.
        if old.isdisjoint(map(id, tuple(names.values()))):
            continue
        for name in [name for name, value in tuple(names.items()) if id(value) in changes]:
            names[name] = changes[id(names[name])]


def _loaded_modules() -> Iterable[ModuleType]:
    return tuple(sys.modules.values())
