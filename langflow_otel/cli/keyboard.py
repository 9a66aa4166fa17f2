"""Single keys, as they are pressed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Keys(Protocol):
    """Asked for keys."""

    def __call__(self, timeout_s: float) -> str:
        """The next key within so many seconds; empty for none."""


@contextmanager
def pressed_keys() -> Iterator[Keys]:
    """Keys of the terminal, without Enter and without showing them; none where standard input is no terminal."""
    if not sys.stdin.isatty():
        yield _no_keys
        return
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield _windows_key
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield _posix_key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _no_keys(timeout_s: float) -> str:
    time.sleep(timeout_s)
    return ""


def _posix_key(timeout_s: float) -> str:
    import os
    import select

    if not select.select([sys.stdin], [], [], timeout_s)[0]:
        return ""
    # Not sys.stdin.read: what it buffers, select does not see.
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace")


def _windows_key(timeout_s: float) -> str:
    msvcrt = __import__("msvcrt")
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        if msvcrt.kbhit():
            return str(msvcrt.getwch())
        time.sleep(0.02)
    return ""
