"""What is recorded around one call of a function of the host: before it, after it, and when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from langflow_otel._guard import Guard
from langflow_otel._runs.recorder import Recorder, active_recorder

Call = TypeVar("Call")
"""What ``start`` returns: the run of this call, and whatever else its end needs."""
Wrapped = Callable[..., Any]


@dataclass(frozen=True)
class Boundary(Generic[Call]):
    """The steps around one call. The host's result and exception pass unchanged, cancellation included.

    Attributes:
        start: Called first, with the recorder, the instance, ``args`` and ``kwargs``, and only while instrumentation is
            on. Returns None for a call that is not recorded.
        succeed: Called with what ``start`` returned and with the host's result.
        fail: Called with what ``start`` returned and with the host's exception.
        starts: Contains the errors of ``start``.
        ends: Contains the errors of ``succeed``, ``fail`` and ``leave``.
        leave: Called last, also where ``succeed`` or ``fail`` has failed; for what must be restored.
    """

    start: Callable[[Recorder, Any, Any, Any], Call | None]
    succeed: Callable[[Call, Any], object]
    fail: Callable[[Call, BaseException], object]
    starts: Guard
    ends: Guard
    leave: Callable[[Call], object] | None = None

    # Both write the same steps out: a helper in between would cost a call, and a frame to await through, each time.

    def around_coroutine(self, *, prepares: bool = False) -> Wrapped:
        """The wrapper of a coroutine function.

        Args:
            prepares: True for a function with which recording may begin: exporters are made first, off the event loop.
        """
        start, succeed, fail, leave, starts, ends = self._steps

        async def hook(wrapped: Wrapped, instance: Any, args: Any, kwargs: Any) -> Any:
            call = None
            with starts:
                recorder = active_recorder()
                if recorder is not None:
                    if prepares:
                        await recorder.prepare_off_loop()
                    call = start(recorder, instance, args, kwargs)
            if call is None:
                return await wrapped(*args, **kwargs)
            try:
                result = await wrapped(*args, **kwargs)
            except BaseException as exc:
                with ends:
                    fail(call, exc)
                raise
            else:
                with ends:
                    succeed(call, result)
            finally:
                if leave is not None:
                    with ends:
                        leave(call)
            return result

        return hook

    def around_function(self) -> Wrapped:
        """The wrapper of a plain function."""
        start, succeed, fail, leave, starts, ends = self._steps

        def hook(wrapped: Wrapped, instance: Any, args: Any, kwargs: Any) -> Any:
            call = None
            with starts:
                recorder = active_recorder()
                if recorder is not None:
                    call = start(recorder, instance, args, kwargs)
            if call is None:
                return wrapped(*args, **kwargs)
            try:
                result = wrapped(*args, **kwargs)
            except BaseException as exc:
                with ends:
                    fail(call, exc)
                raise
            else:
                with ends:
                    succeed(call, result)
            finally:
                if leave is not None:
                    with ends:
                        leave(call)
            return result

        return hook

    @property
    def _steps(self) -> tuple[Any, ...]:
        return self.start, self.succeed, self.fail, self.leave, self.starts, self.ends
