"""Waiting for what other threads and processes do: generously, since a machine may be busy; no longer than needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.02
PATIENCE_S = 90.0
NOT_TRUE = "it does not come true"


def read_until(read: Callable[[], T], is_wanted: Callable[[T], object], timeout_s: float = PATIENCE_S) -> T:
    """What is read, as soon as it is wanted; what is read when the time is up, for an assertion that shows it."""
    deadline_s = time.monotonic() + timeout_s
    while not is_wanted(found := read()) and time.monotonic() < deadline_s:
        time.sleep(PAUSE_S)
    return found


def wait_until(claim: Callable[[], T], what: object = NOT_TRUE, timeout_s: float = PATIENCE_S) -> T:
    """The claim's value, as soon as it is true.

    Raises:
        AssertionError: It is not within that time; with ``what`` as the message.
    """
    found = read_until(claim, bool, timeout_s)
    assert found, what
    return found


async def read_in_loop(read: Callable[[], T], is_wanted: Callable[[T], object], pause_s: float = PAUSE_S) -> T:
    """Like :func:`read_until`, while the event loop goes on."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_wanted(found := read()) and time.monotonic() < deadline_s:  # noqa: ASYNC110 - nothing sets an event
        await asyncio.sleep(pause_s)
    return found


async def wait_in_loop(claim: Callable[[], T], what: object = NOT_TRUE, pause_s: float = PAUSE_S) -> T:
    """Like :func:`wait_until`, while the event loop goes on."""
    found = await read_in_loop(claim, bool, pause_s)
    assert found, what
    return found
