"""Fork handling: one handler of the operating system's forks for all that is open in a process."""

from __future__ import annotations

import os
import weakref
from typing import ClassVar

from langflow_otel._guard import Guard


class ForkAware:
    """Base of what a process holds open and a forked child must not share.

    :meth:`before_fork` and :meth:`after_fork_in_child` are called from :meth:`register_for_forks` until
    :meth:`unregister_for_forks`, in the order of registration.
    """

    fork_guard: ClassVar[Guard] = Guard("fork")

    def before_fork(self) -> None:
        """Called in the parent, right before it forks."""

    def after_fork_in_child(self) -> None:
        """Called in the child, right after the fork. Other modules may not have handled the fork yet."""

    def register_for_forks(self) -> None:
        _registered[self] = None

    def unregister_for_forks(self) -> None:
        _registered.pop(self, None)


# Weakly, and in order: metrics are registered before the telemetry that they are a part of.
_registered: weakref.WeakKeyDictionary[ForkAware, None] = weakref.WeakKeyDictionary()


def _before_fork() -> None:
    for each in tuple(_registered):
        with each.fork_guard:
            each.before_fork()


def _after_fork_in_child() -> None:
    for each in tuple(_registered):
        with each.fork_guard:
            each.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
