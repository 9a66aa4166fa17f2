"""GPUs: NVML's answers become readings, and whatever is missing is left out."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from langflow_otel._metrics import catalogue
from langflow_otel._metrics.catalogue import Reading
from langflow_otel._metrics.gpu import GpuReader

try:
    import pynvml as real
except ImportError:
    real = None

GIB = 2**30
CONSTANTS = ("NVML_MEMORY_ERROR_TYPE", "NVML_VOLATILE", "NVML_TEMPERATURE", "nvmlClocksThrottle")


@dataclass
class Gpu:
    """A GPU's answers; an error code of NVML's stands for the call that fails with it."""

    uuid: str
    name: Any = "NVIDIA A100-SXM4-80GB"
    memory: Any = (80 * GIB, 60 * GIB, 20 * GIB)  # total, free, used
    utilization: Any = (37, 12)  # GPU, memory
    handle: int = 0
    temperature: int = 41
    slowed_by: int = 0
    errors: tuple[Any, Any] = (3, 0)  # corrected, uncorrected
    unsupported: str = ""


@dataclass
class Machine:
    """Stands in for the module pynvml, with its own structures and errors."""

    gpus: list[Gpu]
    init: int = 0
    count: int = 0
    calls: list[str] = field(default_factory=list)

    def module(self) -> ModuleType:
        def answer(value: Any) -> Any:
            if isinstance(value, int) and value:
                raise real.NVMLError(value)
            if isinstance(value, Exception):
                raise value
            return value

        def gpu(handle: Any) -> Gpu:
            assert isinstance(handle, real.c_nvmlDevice_t)
            return self.gpus[ctypes.cast(handle, ctypes.c_void_p).value - 1]

        def handle(index: int) -> Any:
            answer(self.gpus[index].handle)
            return ctypes.cast(index + 1, real.c_nvmlDevice_t)

        def told(device: Any, name: str, value: Any) -> Any:
            if name in gpu(device).unsupported:
                raise real.NVMLError(real.NVML_ERROR_NOT_SUPPORTED)
            return value

        functions = {
            "nvmlInit": lambda: answer(self.init),
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: answer(self.count) or len(self.gpus),
            "nvmlDeviceGetHandleByIndex": handle,
            "nvmlDeviceGetUUID": lambda device: gpu(device).uuid,
            "nvmlDeviceGetName": lambda device: answer(gpu(device).name),
            "nvmlDeviceGetMemoryInfo": lambda device: real.c_nvmlMemory_t(*answer(gpu(device).memory)),
            "nvmlDeviceGetTemperature": lambda device, sensor: told(device, "temperature", gpu(device).temperature),
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda device: told(device, "status", gpu(device).slowed_by),
            "nvmlDeviceGetTotalEccErrors": lambda device, kind, counter: told(
                device, "errors", gpu(device).errors[kind]
            ),
            "nvmlDeviceGetUtilizationRates": lambda device: real.c_nvmlUtilization_t(*answer(gpu(device).utilization)),
        }
        module = ModuleType("pynvml")
        module.NVMLError = real.NVMLError
        vars(module).update({name: getattr(real, name) for name in dir(real) if name.startswith(CONSTANTS)})
        for name, function in functions.items():
            assert callable(getattr(real, name))
            setattr(module, name, self._counted(name, function))
        return module

    def _counted(self, name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            return function(*args)

        return call


@pytest.fixture
def reader(monkeypatch):
    if real is None:
        pytest.skip("nvidia-ml-py is not installed")

    def on(machine: Machine) -> GpuReader:
        monkeypatch.setitem(sys.modules, "pynvml", machine.module())
        return GpuReader()

    return on


def code(name: str) -> int:
    return getattr(real, f"NVML_ERROR_{name}")


def names(readings: list[Reading], uuid: str) -> set[str]:
    return {reading.metric.name for reading in readings if reading.labels[0] == uuid}


ALL = {metric.name for metric in catalogue.CATALOGUE if metric.name.startswith("hw.")}
MEMORY = {name for name in ALL if ".memory." in name}


HEALTH = {"hw.temperature", "hw.status", "hw.errors"}


def health(gpu: tuple[str, str], celsius: float) -> list[Reading]:
    return [
        Reading(catalogue.GPU_TEMPERATURE, celsius, gpu),
        Reading(catalogue.GPU_STATUS, 1.0, (*gpu, "gpu", "ok")),
        Reading(catalogue.GPU_STATUS, 0.0, (*gpu, "gpu", "degraded")),
        Reading(catalogue.GPU_ERRORS, 3, (*gpu, "gpu", "corrected")),
        Reading(catalogue.GPU_ERRORS, 0, (*gpu, "gpu", "uncorrected")),
    ]


def test_two_gpus(reader):
    idle = Gpu("GPU-2", "NVIDIA L4", memory=(24 * GIB, 24 * GIB, 0), utilization=(0, 0))
    readings = reader(Machine([Gpu("GPU-1"), idle])).read()

    first, second = ("GPU-1", "NVIDIA A100-SXM4-80GB"), ("GPU-2", "NVIDIA L4")
    assert readings == [
        Reading(catalogue.GPU_UTILIZATION, 0.37, first),
        Reading(catalogue.GPU_MEMORY_USAGE, 20 * GIB, first),
        Reading(catalogue.GPU_MEMORY_LIMIT, 80 * GIB, first),
        Reading(catalogue.GPU_MEMORY_UTILIZATION, 0.25, first),
        *health(first, 41),
        Reading(catalogue.GPU_UTILIZATION, 0.0, second),
        Reading(catalogue.GPU_MEMORY_USAGE, 0, second),
        Reading(catalogue.GPU_MEMORY_LIMIT, 24 * GIB, second),
        Reading(catalogue.GPU_MEMORY_UTILIZATION, 0.0, second),
        *health(second, 41),
    ]
    assert {reading.metric.name for reading in readings} == ALL
    assert {reading.metric.labels[:2] for reading in readings} == {("hw.id", "hw.name")}
    assert all(len(reading.labels) == len(reading.metric.labels) for reading in readings)


@pytest.mark.parametrize(
    ("reason", "is_slowed"),
    [
        ("None", False),
        ("GpuIdle", False),
        ("SwPowerCap", False),
        ("HwSlowdown", True),
        ("SwThermalSlowdown", True),
        ("HwThermalSlowdown", True),
        ("HwPowerBrakeSlowdown", True),
    ],
)
def test_gpu_that_heat_or_hardware_slows_is_degraded(reason: str, is_slowed: bool, reader):
    gpu = Gpu("GPU-1", slowed_by=getattr(real, f"nvmlClocksThrottleReason{reason}"))
    states = {each.labels[-1]: each.value for each in reader(Machine([gpu])).read() if each.metric.name == "hw.status"}

    assert states == {"ok": float(not is_slowed), "degraded": float(is_slowed)}


def test_gpu_without_ecc_or_sensor_has_the_rest(reader):
    gpu = Gpu("GPU-1", unsupported="temperature errors")

    assert names(reader(Machine([gpu])).read(), "GPU-1") == ALL - {"hw.temperature", "hw.errors"}


def test_a_gpu_that_is_lost_hides_no_other(reader):
    lost = Gpu("GPU-1", handle=code("GPU_IS_LOST"))

    assert {reading.labels[0] for reading in reader(Machine([lost, Gpu("GPU-2")])).read()} == {"GPU-2"}


def test_a_name_that_is_not_text_hides_no_other_gpu(reader):
    nameless = Gpu("GPU-1", name=UnicodeDecodeError("utf-8", b"\xf8", 0, 1, "invalid start byte"))

    assert {reading.labels[0] for reading in reader(Machine([nameless, Gpu("GPU-2")])).read()} == {"GPU-2"}


def test_a_gpu_divided_by_mig_has_no_utilization(reader):
    divided = Gpu("GPU-1", utilization=code("NOT_SUPPORTED"))
    not_ours = Gpu("GPU-2", utilization=code("NOT_SUPPORTED"), memory=code("NO_PERMISSION"))
    readings = reader(Machine([divided, not_ours, Gpu("GPU-3")])).read()

    assert [names(readings, uuid) for uuid in ("GPU-1", "GPU-2", "GPU-3")] == [
        MEMORY | HEALTH,
        HEALTH,
        ALL,
    ]


def test_a_gpu_without_memory_of_its_own(reader):
    readings = reader(Machine([Gpu("GPU-1", memory=code("NOT_SUPPORTED")), Gpu("GPU-2", memory=(0, 0, 0))])).read()

    assert names(readings, "GPU-1") == ALL - MEMORY
    assert names(readings, "GPU-2") == ALL - {"hw.gpu.memory.utilization"}


def test_no_gpu_or_none_to_be_counted(reader):
    assert reader(Machine([])).read() == []
    assert reader(Machine([Gpu("GPU-1")], count=code("UNINITIALIZED"))).read() == []


@pytest.mark.parametrize("failure", ["LIBRARY_NOT_FOUND", "DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH"])
def test_without_a_driver_nvml_is_looked_for_once(failure: str, reader):
    machine = Machine([Gpu("GPU-1")], init=code(failure))
    gpus = reader(machine)

    assert (gpus.read(), gpus.read()) == ([], [])
    gpus.shutdown()
    assert machine.calls == ["nvmlInit"]


def test_nvml_is_started_once_and_given_back_once(reader):
    machine = Machine([])
    gpus = reader(machine)
    assert machine.calls == []

    gpus.read()
    gpus.read()
    gpus.shutdown()
    gpus.shutdown()
    assert machine.calls == ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetCount", "nvmlShutdown"]
    assert gpus.read() == []


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    gpus = GpuReader()

    assert gpus.read() == []
    gpus.shutdown()
    assert gpus.read() == []


def test_the_real_package_on_this_machine():
    if real is None:
        pytest.skip("nvidia-ml-py is not installed")
    try:
        real.nvmlInit()
    except real.NVMLError:
        count = 0
    else:
        count = real.nvmlDeviceGetCount()
        real.nvmlShutdown()

    gpus = GpuReader()
    readings = gpus.read()
    gpus.shutdown()
    assert len({reading.labels for reading in readings}) <= count
    assert {reading.metric.name for reading in readings} <= ALL
