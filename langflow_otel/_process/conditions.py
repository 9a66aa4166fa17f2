"""Readings for the watch of runs: how much the process and the machine are in use, for the spans of flows."""

from __future__ import annotations

import time
from collections.abc import Callable

from langflow_otel import _semconv as semconv
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.gpu import GpuReader
from langflow_otel._metrics.system import MachineCpu, resident_memory

_MACHINE_INTERVAL_S = 1.0

_OF_GPUS = {
    catalogue.GPU_UTILIZATION.name: semconv.FLOW_GPU_PEAK,
    catalogue.GPU_MEMORY_UTILIZATION.name: semconv.FLOW_GPU_MEMORY_PEAK,
}


class RunConditions:
    """Reads what goes on spans of flows as the highest value during the run.

    Args:
        gpus: Read as well, if there are any.
        clock: Monotonic, in seconds.
    """

    def __init__(self, gpus: GpuReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._gpus = gpus
        self._clock = clock
        self._cpu = MachineCpu()
        self._cpu.utilization()
        # Not at once: loading the GPUs' library takes long, and a process waits for the first reading.
        self._machine_at_s = clock() + _MACHINE_INTERVAL_S

    def read(self) -> dict[str, float]:
        """By the attribute's name: memory each time, the machine's figures once a second."""
        readings: dict[str, float] = {}
        resident = resident_memory()
        if resident:
            readings[semconv.FLOW_MEMORY_PEAK] = resident
        now_s = self._clock()
        if now_s >= self._machine_at_s:
            self._machine_at_s = now_s + _MACHINE_INTERVAL_S
            readings.update(self._read_machine())
        return readings

    def _read_machine(self) -> dict[str, float]:
        readings: dict[str, float] = {}
        busy = self._cpu.utilization()
        if busy is not None:
            readings[semconv.FLOW_SYSTEM_CPU_PEAK] = round(busy, 4)
        for reading in self._gpus.read():
            name = _OF_GPUS.get(reading.metric.name)
            if name is not None:
                readings[name] = max(readings.get(name, 0.0), round(reading.value, 4))
        return readings
