"""Open connections of the scrape endpoint, limited in number and in time."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Literal

State = Literal["asking", "answered", "idle"]

_ANSWER_LASTS_S = 5.0
"""A client that reads its answer for longer may lose its place to another."""
_LEAVES_WITHIN_S = 1.0


class Place:
    """One connection.

    Attributes:
        socket: Replaced when the connection becomes TLS.
        state: ``asking`` until a request is complete and shows that its client may ask; ``answered`` while the answer
            is made and sent; ``idle`` between two requests.
    """

    def __init__(self, connection: socket.socket, lock: threading.Lock, lasts_s: float) -> None:
        self.socket = connection
        self.state: State = "asking"
        self.is_cut = False
        self._lock = lock
        self._lasts_s = lasts_s
        self._change("asking")

    def secure(self, connection: socket.socket) -> None:
        """The same connection, by its TLS socket."""
        with self._lock:
            self._check()
            self.socket = connection

    def begin_answer(self) -> None:
        """A request is complete.

        Raises:
            ConnectionAbortedError: The place was given to another client.
        """
        with self._lock:
            self._check()
            self._change("answered")

    def end_answer(self, *, trusted: bool) -> None:
        """The answer is sent; there is time for another request.

        Args:
            trusted: The client may read the metrics.
        """
        with self._lock:
            self._change("idle" if trusted else "asking")

    def cut(self) -> None:
        """End the connection; its thread notices. For a caller that has the lock."""
        self.is_cut = True
        self._shut(socket.SHUT_RDWR)

    def stop_reading(self) -> None:
        """No further request comes; an answer that is being sent gets through."""
        self._shut(socket.SHUT_RD)

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            # Not SSLSocket's: it would take away what the connection's thread works with.
            socket.socket.shutdown(self.socket, how)

    def _check(self) -> None:
        if self.is_cut:
            raise ConnectionAbortedError("another client has its place")

    def _change(self, state: State) -> None:
        self.state = state
        self.since_s = time.monotonic()
        self.deadline_s = self.since_s + self._lasts_s


class Places:
    """The open connections.

    Args:
        number: Of connections at a time.
        lasts_s: Time for a request and its answer; it begins anew with each.
    """

    def __init__(self, number: int, lasts_s: float) -> None:
        self._number = number
        self._lasts_s = lasts_s
        self._free = threading.BoundedSemaphore(number)
        self._lock = threading.Lock()
        self._taken: dict[Place, None] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, connection: socket.socket) -> Place | None:
        """A place for a new connection. If all are taken, the connection that has least claim to its place is closed:
        one that has not finished a request that it may make, else one between two requests, else one that reads its
        answer slowly; the oldest of a kind. None if each is being answered."""
        has_place = self._free.acquire(blocking=False)
        if not has_place and not (self._close_one() and self._free.acquire(timeout=_LEAVES_WITHIN_S)):
            return None
        place = Place(connection, self._lock, self._lasts_s)
        with self._lock:
            self._taken[place] = None
        return place

    def give_back(self, place: Place) -> None:
        with self._lock:
            del self._taken[place]
        self._free.release()

    def _close_one(self) -> bool:
        slow_since_s = time.monotonic() - _ANSWER_LASTS_S
        with self._lock:
            # Those that are cut already leave by themselves: the next client needs another place.
            open_ = [place for place in self._taken if not place.is_cut]
            for state in ("asking", "idle", "answered"):
                for place in open_:
                    if place.state == state and (state != "answered" or place.since_s < slow_since_s):
                        place.cut()
                        return True
        return False

    def cut_late(self) -> None:
        """End the connections whose time is over."""
        now_s = time.monotonic()
        with self._lock:
            for place in self._taken:
                if place.deadline_s < now_s:
                    place.cut()

    def close(self) -> None:
        """Requests that have not come yet will not; wait until each answer that is being sent is sent."""
        with self._lock:
            for place in self._taken:
                place.stop_reading()
        free = 0
        while free < self._number and self._free.acquire(timeout=1.0):
            free += 1
        for _ in range(free):
            self._free.release()
