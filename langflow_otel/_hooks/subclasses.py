"""Wraps methods of a class of the host's and of all its subclasses, each of which brings its own.

Of the classes that exist, and of later ones by the base's ``__init_subclass__``, which Python calls for each new one.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

import wrapt

from langflow_otel._guard import Guard
from langflow_otel._hooks.patching import Wrapper

Wrapping = Callable[..., Any]
"""``(wrapped, instance, args, kwargs)``, as wrapt calls it."""


class _MethodWrapper(Wrapper):
    """Found again by its class: a list of what was wrapped would keep classes that the host drops."""


class SubclassMethods:
    """The methods of one base class, wrapped while this is on. One per base and process.

    Args:
        module: Where the base class is defined; it is not imported for this.
        base: Its name.
        wrappings: Gives the methods of a class, by name, that are to be wrapped, and by what.
        guard: Contains errors while a class is looked at.
        with_base: True if the base's own methods are wrapped, too.
    """

    def __init__(
        self,
        module: str,
        base: str,
        wrappings: Callable[[type], Iterable[tuple[str, Wrapping]]],
        guard: Guard,
        *,
        with_base: bool = False,
    ) -> None:
        self._module = module
        self._name = base
        self._wrappings = wrappings
        self._guard = guard
        self._with_base = with_base
        self._on = False
        self._awaited = False
        self._base: Any = None
        self._init_subclass: Any = None

    def switch_on(self) -> None:
        """Wrap them now, or as soon as the module is imported."""
        if self._on:
            return
        self._on = True
        module = sys.modules.get(self._module)
        if module is not None:
            self._imported(module)
        elif not self._awaited:
            self._awaited = True
            wrapt.register_post_import_hook(self._imported, self._module)

    def switch_off(self) -> None:
        """Put the very same functions back."""
        self._on = False
        base, self._base = self._base, None
        if base is None:
            return
        if base.__dict__.get("__init_subclass__") is self._init_subclass:
            del base.__init_subclass__
        for cls in self._classes(base):
            with self._guard:
                self._unwrap(cls)

    def _imported(self, module: ModuleType) -> None:
        base: Any = getattr(module, self._name, None)
        if not self._on or base is None or "__init_subclass__" in base.__dict__:
            return

        def init_subclass(cls: Any, /, **kwargs: Any) -> None:
            super(base, cls).__init_subclass__(**kwargs)
            if self._on:
                with self._guard:
                    self._wrap(cls)

        self._base = base
        self._init_subclass = base.__init_subclass__ = classmethod(init_subclass)
        with self._guard:
            for cls in self._classes(base):
                self._wrap(cls)

    def _classes(self, base: type) -> list[type]:
        return [*([base] if self._with_base else []), *_subclasses(base)]

    def _wrap(self, cls: type) -> None:
        for name, wrapping in self._wrappings(cls):
            wrapper = _MethodWrapper(cls.__dict__[name], wrapping, enabled=lambda: self._on)
            wrapper._self_switch = self
            setattr(cls, name, wrapper)

    def _unwrap(self, cls: type) -> None:
        for name, method in tuple(cls.__dict__.items()):
            # By type() alone: a wrapper says that it is a function.
            if issubclass(type(method), _MethodWrapper) and method._self_switch is self:
                setattr(cls, name, method.__wrapped__)


def own_methods(cls: type) -> dict[str, FunctionType]:
    """The plain functions that a class itself defines, without abstract ones."""
    return {
        name: value
        for name, value in tuple(cls.__dict__.items())
        if inspect.isfunction(value) and not getattr(value, "__isabstractmethod__", False)
    }


def _subclasses(base: type) -> list[type]:
    found: dict[type, None] = {}
    direct: type
    for direct in base.__subclasses__():
        found.update(dict.fromkeys([direct, *_subclasses(direct)]))
    return list(found)
