"""NVIDIA GPUs, read through NVML by the package nvidia-ml-py (extra ``gpu``), if there are any."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from langflow_otel._metrics import catalogue
from langflow_otel._metrics.catalogue import Reading


class GpuReader:
    """Reads ``hw.gpu.*`` of the catalogue for each GPU of the machine.

    Without the package, the driver or a GPU there is nothing to read. That is found out at the first
    `read` and not again. A GPU or a value that cannot be read is left out: a GPU divided by MIG has no
    utilization, and tells its memory to privileged users only.
    """

    def __init__(self) -> None:
        self._looked = False
        self._nvml: Any = None

    def read(self) -> list[Reading]:
        """All readings of all GPUs that answer."""
        if not self._looked:
            self._looked = True
            self._nvml = _start_nvml()
        nvml = self._nvml
        if nvml is None:
            return []
        readings: list[Reading] = []
        with contextlib.suppress(nvml.NVMLError):
            for index in range(nvml.nvmlDeviceGetCount()):
                readings += _gpu(nvml, index)
        return readings

    def shutdown(self) -> None:
        """Give NVML back; later reads are empty."""
        nvml, self._nvml, self._looked = self._nvml, None, True
        if nvml is not None:
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()


def _start_nvml() -> Any:
    """The module, its library loaded; None without either."""
    try:
        # By name: the package is optional.
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # No library, no driver, or one that does not fit the other.
        return None
    return nvml


def _gpu(nvml: Any, index: int) -> list[Reading]:
    # ValueError: a name that is not UTF-8, which drivers have been seen to answer.
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        labels = (nvml.nvmlDeviceGetUUID(gpu), nvml.nvmlDeviceGetName(gpu))
    except (nvml.NVMLError, ValueError):
        return []
    readings: list[Reading] = []
    with contextlib.suppress(nvml.NVMLError):
        busy = nvml.nvmlDeviceGetUtilizationRates(gpu).gpu
        readings.append(Reading(catalogue.GPU_UTILIZATION, busy / 100, labels))
    with contextlib.suppress(nvml.NVMLError):
        readings += _memory(nvml.nvmlDeviceGetMemoryInfo(gpu), labels)
    with contextlib.suppress(nvml.NVMLError):
        celsius = nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
        readings.append(Reading(catalogue.GPU_TEMPERATURE, celsius, labels))
    with contextlib.suppress(nvml.NVMLError):
        is_slowed = bool(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu) & _slowing(nvml))
        for state, is_so in (("ok", not is_slowed), ("degraded", is_slowed)):
            readings.append(Reading(catalogue.GPU_STATUS, float(is_so), (*labels, "gpu", state)))
    for kind in ("corrected", "uncorrected"):
        with contextlib.suppress(nvml.NVMLError):  # Not every GPU counts them.
            code = getattr(nvml, f"NVML_MEMORY_ERROR_TYPE_{kind.upper()}")
            errors = nvml.nvmlDeviceGetTotalEccErrors(gpu, code, nvml.NVML_VOLATILE_ECC)
            readings.append(Reading(catalogue.GPU_ERRORS, errors, (*labels, "gpu", kind)))
    return readings


def _slowing(nvml: Any) -> int:
    """Of the reasons for slower clocks those that are faults: not idleness, and no limit that was set."""
    return int(
        nvml.nvmlClocksThrottleReasonHwSlowdown
        | nvml.nvmlClocksThrottleReasonSwThermalSlowdown
        | nvml.nvmlClocksThrottleReasonHwThermalSlowdown
        | nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
    )


def _memory(memory: Any, labels: tuple[str, str]) -> Iterator[Reading]:
    yield Reading(catalogue.GPU_MEMORY_USAGE, memory.used, labels)
    yield Reading(catalogue.GPU_MEMORY_LIMIT, memory.total, labels)
    if memory.total:
        yield Reading(catalogue.GPU_MEMORY_UTILIZATION, memory.used / memory.total, labels)
