"""Encoding a batch without keeping the event loop waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

Item = TypeVar("Item")

EVERY: Final = 8
"""Spans between two pauses: about 0.3 ms of encoding."""


class GivingWay(Sequence[Item]):
    """The same items. Whoever goes through them lets other threads run every now and then.

    The exporter's thread shares the interpreter with the event loop, and gives it up only when it has to: encoding a
    batch of 512 spans takes 20 ms, in which the event loop, each time it wakes up, waited 5 ms for its turn.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[Item]:
        for index, item in enumerate(self._items, 1):
            yield item
            if index % EVERY == 0:
                time.sleep(0)
