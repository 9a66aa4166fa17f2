"""Wrappers of the host's functions that can be copied and pickled, as the functions can: wrapt's refuse both.

An application may hold a method as a callback, such as ``embeddings.embed_query``, in what it copies or stores.
"""

from __future__ import annotations

import copy
import functools
import sys
from typing import Any

import wrapt

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
    """Like ``wrapt.FunctionWrapper``."""

    __bound_function_wrapper__ = _BoundWrapper

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce__(self) -> Any:
        return self.__qualname__  # Found by this in its module, as each function is.

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()
