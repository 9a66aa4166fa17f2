"""Wrapped functions of the host can be copied and pickled, as before."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from langflow_otel._hooks.patching import Hook, Patches


class Store:
    def __init__(self, size: int = 3) -> None:
        self.size = size

    def search(self, text: str) -> str:
        return text * self.size


def find(text: str) -> str:
    return text


def around(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return f"<{wrapped(*args, **kwargs)}>"


@pytest.fixture(autouse=True)
def wrapped():
    patches = Patches((Hook(__name__, "Store.search", around), Hook(__name__, "find", around)))
    patches.apply()
    assert len(patches.on) == 2
    yield patches
    patches.undo()


WAYS = {
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda held, protocol=protocol: pickle.loads(pickle.dumps(held, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_method_that_an_object_holds_is_copied_with_it(way):
    held = way([Store(2).search, Store.search, find])

    assert [held[0]("a"), held[1](Store(1), "b"), held[2]("c")] == ["<aa>", "<b>", "<c>"]


def test_a_deep_copy_is_a_method_of_the_copied_object():
    store = Store()
    copied, search = copy.deepcopy((store, store.search))

    assert search.__self__ is copied
    assert copied is not store


def test_what_was_pickled_is_read_without_us(wrapped):
    pickled = pickle.dumps([Store(2).search, Store.search, find])
    wrapped.undo()

    held = pickle.loads(pickled)
    assert b"langflow_otel" not in pickled
    assert [held[0]("a"), held[1](Store(1), "b"), held[2]("c")] == ["aa", "b", "c"]


def test_a_local_function_cannot_be_pickled_as_before():
    class Local:
        def search(self) -> None: ...

    plain = Local.search
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(plain)
    Local.search = type(Store.__dict__["search"])(plain, around)  # type: ignore[method-assign]
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(Local.search)
