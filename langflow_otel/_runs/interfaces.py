"""What the recorder uses of the packages above it, as protocols: ``_process`` and ``_sdk`` implement them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol


class Lifecycle(Protocol):
    """Sends or closes the telemetry of this process when its server stops."""

    def stop(self, within_s: float) -> None:
        """End all open runs, send everything, and close the exporters; a later run opens them again.

        Args:
            within_s: How long to wait for the exporters, in seconds. What is not sent by then is lost.
        """

    def give_up(self) -> None:
        """End all open runs and send everything, in a thread: the process may be killed at any moment."""

    def flush(self) -> threading.Thread | None:
        """Send everything that has ended.

        Returns:
            The thread that sends it; None if no exporter is open.
        """


class OtherInstrumentors(Protocol):
    """The instrumentors of other projects that run beside the library."""

    def restore(self) -> None:
        """Instrument HTTP clients again that another library has uninstrumented."""

    def watch(self, handlers: Sequence[object]) -> None:
        """Notice the spans that other instrumentors make of the call that LangChain is about to report.

        Args:
            handlers: LangChain's callback handlers for the call.
        """
