"""The catalogue of metrics: every name, unit, label, bucket and help text, once.

OpenTelemetry instruments (pushed by OTLP) and the Prometheus scrape are both made from it. Durations are
in seconds, sizes in bytes. ``process.*``, ``system.*`` and ``hw.*`` are names of the OpenTelemetry semantic
conventions (https://opentelemetry.io/docs/specs/semconv/), ``gen_ai.*`` of the GenAI conventions v0.1.0
(https://github.com/open-telemetry/semantic-conventions-genai), ``langflow*`` are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind = Literal["counter", "up_down_counter", "gauge", "histogram", "window"]
"""What OpenTelemetry calls them; a ``window`` is the hidden record that gauges are derived from."""

Cells: TypeAlias = "memoryview[float]"
"""Float64 numbers in which one series is kept: in memory, or in a file that processes share."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Buckets of flows and components."""
_RECOVERY_SECONDS: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_DELAY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Buckets that the HTTP conventions advise."""
_MODEL_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
_TOKENS: Final = tuple(4.0**power for power in range(14))
"""Buckets that the GenAI conventions advise for model calls."""

WINDOW_SLOTS: Final = 61
WINDOW_FIELDS: Final = 4
WINDOW_CELLS: Final = WINDOW_SLOTS * WINDOW_FIELDS
"""See window.py."""

OTHER: Final = "other"
"""The label value for what is past a cap."""

_ABSENT_IF_EMPTY: Final = frozenset({"error.type", "gen_ai.response.model"})
"""Labels that the conventions leave out where there is no value: of what did not fail, or was not answered."""

_UNIT_SUFFIXES: Final = {"s": "seconds", "By": "bytes", "1": "ratio", "Cel": "celsius"}


@dataclass(frozen=True)
class Metric:
    """One metric as it is documented, pushed and scraped.

    Attributes:
        name: The OpenTelemetry name.
        unit: UCUM, as OpenTelemetry writes it; empty where none is declared.
        description: The help text.
        labels: Names of the labels (OpenTelemetry attributes).
        buckets: Upper bounds of a histogram, without infinity.
        per_worker: With several workers its values cannot be added up: one series for each living worker,
            told apart by the label ``worker`` (the process id).
        scraped_as: The name in the scrape, where the rule would give one that Prometheus's own linter refuses.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    per_worker: bool = False
    scraped_as: str = ""

    @property
    def prometheus_name(self) -> str:
        """Name in the scrape: underscores, the unit spelled out, ``_total`` on counters
        (OpenTelemetry specification, "Prometheus and OpenMetrics compatibility")."""
        if self.scraped_as:
            return self.scraped_as
        name = "".join(char if char.isascii() and (char.isalnum() or char == ":") else "_" for char in self.name)
        suffix = _UNIT_SUFFIXES.get(self.unit, "")
        # A ratio is a suffix of gauges only.
        if suffix and not (self.unit == "1" and self.kind != "gauge") and not name.endswith(f"_{suffix}"):
            name = f"{name}_{suffix}"
        return f"{name.removesuffix('_total')}_total" if self.kind == "counter" else name

    @property
    def cells(self) -> int:
        """How many numbers one series of it is kept in: a histogram's are its buckets, infinity among them,
        and the sum."""
        if self.kind == "histogram":
            return len(self.buckets) + 2
        return WINDOW_CELLS if self.kind == "window" else 1

    @property
    def prometheus_labels(self) -> tuple[str, ...]:
        """Label names in the scrape."""
        return tuple(label.replace(".", "_") for label in self.labels)

    def shown_labels(self, values: Iterable[str], *, scraped: bool = False) -> list[tuple[str, str]]:
        """The labels of a series with these values, as they are pushed, or else as they are scraped."""
        names = self.prometheus_labels if scraped else self.labels
        each = zip(self.labels, names, values, strict=True)
        return [(name, value) for label, name, value in each if value or label not in _ABSENT_IF_EMPTY]


# Recorded when it happens.

FLOW_DURATION: Final = Metric(
    "langflow.flow.duration",
    "histogram",
    "s",
    "Duration of a flow run, from its start to its result, error or cancellation.",
    ("flow", "status", "entry_point"),
    SECONDS,
)
FLOW_ACTIVE: Final = Metric(
    "langflow.flow.active", "up_down_counter", "{run}", "Flow runs going on right now.", ("flow", "entry_point")
)
FLOW_RECOVERY_TIME: Final = Metric(
    "langflow.flow.recovery_time",
    "histogram",
    "s",
    "From a flow's first failure after a success until its next success; its mean is the mean time to recovery.",
    ("flow",),
    _RECOVERY_SECONDS,
)
COMPONENT_DURATION: Final = Metric(
    "langflow.component.duration",
    "histogram",
    "s",
    "Duration of a component's execution. Executions answered from LangFlow's cache are not in it.",
    ("flow", "component_type", "status"),
    SECONDS,
)
COMPONENT_BYPASSED: Final = Metric(
    "langflow.component.bypassed",
    "counter",
    "{component}",
    "Components that did not run: answered from LangFlow's cache (cached), or on a branch not taken (skipped).",
    ("flow", "component_type", "reason"),
)
COMPONENT_ERRORS: Final = Metric(
    "langflow.component.errors",
    "counter",
    "{error}",
    "Component executions that failed, by the class of the error.",
    ("flow", "component_type", "error_type"),
)
COMPONENT_RETRIES: Final = Metric(
    "langflow.component.retries",
    "counter",
    "{retry}",
    "Retries inside components, as told by record_retry().",
    ("flow", "component_type"),
)
COMPONENT_FIRST_CHUNK: Final = Metric(
    "langflow.component.time_to_first_chunk",
    "histogram",
    "s",
    "From the first pull on a component's stream to its first chunk.",
    ("flow", "component_type"),
    SECONDS,
)
_MODEL: Final = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model")
_MODEL_TOKENS: Final = (*_MODEL, "gen_ai.token.modality", "flow")
MODEL_DURATION: Final = Metric(
    "gen_ai.client.inference.duration",
    "histogram",
    "s",
    "Duration of a model call, retries in it included, until its answer is complete or it fails.",
    (*_MODEL, "error.type", "flow"),
    _MODEL_SECONDS,
)
MODEL_FIRST_CHUNK: Final = Metric(
    "gen_ai.client.inference.time_to_first_chunk",
    "histogram",
    "s",
    "From the start of a streamed model call to the first chunk of its answer.",
    (*_MODEL, "flow"),
    _MODEL_SECONDS,
)
MODEL_INPUT_TOKENS: Final = Metric(
    "gen_ai.client.inference.usage.input_tokens",
    "counter",
    "{token}",
    "Input tokens that model calls used, cached ones included.",
    _MODEL_TOKENS,
)
MODEL_OUTPUT_TOKENS: Final = Metric(
    "gen_ai.client.inference.usage.output_tokens",
    "counter",
    "{token}",
    "Output tokens that model calls used, those of reasoning included.",
    _MODEL_TOKENS,
)
MODEL_CACHE_READ_TOKENS: Final = Metric(
    "gen_ai.client.inference.usage.cache_read.input_tokens",
    "counter",
    "{token}",
    "Of the input tokens, those that the provider read from its cache.",
    _MODEL_TOKENS,
)
MODEL_CACHE_WRITE_TOKENS: Final = Metric(
    "gen_ai.client.inference.usage.cache_write.input_tokens",
    "counter",
    "{token}",
    "Of the input tokens, those that the provider wrote to its cache.",
    _MODEL_TOKENS,
)
MODEL_REASONING_TOKENS: Final = Metric(
    "gen_ai.client.inference.usage.reasoning.output_tokens",
    "counter",
    "{token}",
    "Of the output tokens, those of reasoning.",
    _MODEL_TOKENS,
)
MODEL_INPUT_TOKENS_EACH: Final = Metric(
    "gen_ai.client.inference.operation.input_tokens",
    "histogram",
    "{token}",
    "Input tokens of one model call that did not fail.",
    (*_MODEL, "flow"),
    _TOKENS,
)
MODEL_OUTPUT_TOKENS_EACH: Final = Metric(
    "gen_ai.client.inference.operation.output_tokens",
    "histogram",
    "{token}",
    "Output tokens of one model call that did not fail.",
    (*_MODEL, "flow"),
    _TOKENS,
)
EMBEDDINGS_DURATION: Final = Metric(
    "gen_ai.client.embeddings.duration",
    "histogram",
    "s",
    "Duration of a call of an embedding model.",
    (*_MODEL, "error.type", "flow"),
    _MODEL_SECONDS,
)
EMBEDDINGS_INPUT_TOKENS: Final = Metric(
    "gen_ai.client.embeddings.operation.input_tokens",
    "histogram",
    "{token}",
    "Input tokens of one call of an embedding model, where the provider's answer has them.",
    (*_MODEL, "flow"),
    _TOKENS,
)
MODEL_RETRIES: Final = Metric(
    "langflow.model.retries",
    "counter",
    "{retry}",
    "Requests that the provider's library sent again within model calls.",
    ("gen_ai.provider.name", "gen_ai.request.model", "flow"),
)
MODEL_ERRORS: Final = Metric(
    "langflow.model.errors",
    "counter",
    "{error}",
    "Model calls that failed, by the category of the error.",
    ("gen_ai.provider.name", "gen_ai.request.model", "langflow.error.category", "flow"),
)
COST: Final = Metric(
    "langflow.cost",
    "counter",
    "",
    "What model calls cost by the list of LANGFLOW_OTEL_PRICES, in units of the currency.",
    ("flow", "model", "provider", "currency"),
)
COST_UNPRICED_CALLS: Final = Metric(
    "langflow.cost.unpriced_calls",
    "counter",
    "{call}",
    "Model calls that are in no cost, since the list of LANGFLOW_OTEL_PRICES has no price for their model.",
    ("flow", "model", "provider"),
)
EVENT_LOOP_DELAY: Final = Metric(
    "langflow.event_loop.delay",
    "histogram",
    "s",
    "How late the event loop ran a callback that was due; one observation a second for each loop that runs flows.",
    (),
    _DELAY_SECONDS,
)
QUEUE_WAIT: Final = Metric(
    "langflow.queue.wait",
    "histogram",
    "s",
    "How long a background job waited, from its submission until a worker started it.",
    ("queue",),
    SECONDS,
)
HTTP_REQUEST_DURATION: Final = Metric(
    "http.server.request.duration",
    "histogram",
    "s",
    "Duration of HTTP requests to the LangFlow server. Health checks and files of the user interface are not in it.",
    ("http.request.method", "http.route", "http.response.status_code"),
    _REQUEST_SECONDS,
)
DROPPED: Final = Metric(
    "langflow_otel.dropped",
    "counter",
    "{item}",
    "Telemetry that this library lost (spans, data points), or errors of its own that it contained.",
    ("signal", "reason"),
)

RECORDED: Final = (
    FLOW_DURATION,
    FLOW_ACTIVE,
    FLOW_RECOVERY_TIME,
    COMPONENT_DURATION,
    COMPONENT_BYPASSED,
    COMPONENT_ERRORS,
    COMPONENT_RETRIES,
    COMPONENT_FIRST_CHUNK,
    MODEL_DURATION,
    MODEL_FIRST_CHUNK,
    MODEL_INPUT_TOKENS,
    MODEL_OUTPUT_TOKENS,
    MODEL_CACHE_READ_TOKENS,
    MODEL_CACHE_WRITE_TOKENS,
    MODEL_REASONING_TOKENS,
    MODEL_INPUT_TOKENS_EACH,
    MODEL_OUTPUT_TOKENS_EACH,
    EMBEDDINGS_DURATION,
    EMBEDDINGS_INPUT_TOKENS,
    MODEL_RETRIES,
    MODEL_ERRORS,
    COST,
    COST_UNPRICED_CALLS,
    EVENT_LOOP_DELAY,
    QUEUE_WAIT,
    HTTP_REQUEST_DURATION,
    DROPPED,
)

# Derived from what was recorded, when somebody asks. Formulas: see derived.py and window.py.

FLOW_WINDOW: Final = Metric("langflow.flow.window", "window", "", "Flow runs that ended lately.", ("flow",))
COMPONENT_WINDOW: Final = Metric(
    "langflow.component.window", "window", "", "Component executions that ended lately.", ("component_type",)
)

THROUGHPUT: Final = Metric(
    "langflow.throughput",
    "gauge",
    "",
    "Flow runs finished per second over the window (60 s unless set); always divided by the whole window.",
)
ERROR_RATE: Final = Metric(
    "langflow.error_rate",
    "gauge",
    "",
    "Percent (0 to 100) of flow runs that failed, of those that ended ok or failed in the window; 0 without any.",
)
FLOW_THROUGHPUT: Final = Metric(
    "langflow.flow.throughput", "gauge", "", "The same as langflow_throughput, for one flow.", ("flow",)
)
FLOW_ERROR_RATE: Final = Metric(
    "langflow.flow.error_rate", "gauge", "", "The same as langflow_error_rate, for one flow.", ("flow",)
)
FLOW_DURATION_EMA: Final = Metric(
    "langflow.flow.duration.ema",
    "gauge",
    "s",
    "Exponential moving average (alpha 0.3) of the durations of a flow's runs that ended ok or failed.",
    ("flow",),
    per_worker=True,
)
COMPONENT_FAILURE_RATIO: Final = Metric(
    "langflow.component.failure_ratio",
    "gauge",
    "",
    "Share (0 to 1) of a component type's executions that failed, of those that ended ok or failed in the window.",
    ("component_type",),
)
CPU_SATURATION: Final = Metric(
    "langflow.cpu.saturation",
    "gauge",
    "1",
    "Flow runs going on, divided by the CPU cores that this process may use (affinity and container limit).",
)

START_TIME: Final = Metric(
    "langflow_otel.start_time",
    "gauge",
    "s",
    "Unix time at which all counters and histograms of this scrape were 0; of several workers the first one's.",
)

DERIVED: Final = (
    THROUGHPUT,
    ERROR_RATE,
    FLOW_THROUGHPUT,
    FLOW_ERROR_RATE,
    FLOW_DURATION_EMA,
    COMPONENT_FAILURE_RATIO,
    CPU_SATURATION,
)

# Read from the operating system and from LangFlow, when somebody asks.

FLOW_OLDEST_AGE: Final = Metric(
    "langflow.flow.oldest_age",
    "gauge",
    "s",
    "Age of the flow's run that has gone on longest; 0 while none does. Runs inside another run are not in it.",
    ("flow",),
    per_worker=True,
)
EVENT_LOOP_LATENESS: Final = Metric(
    "langflow.event_loop.lateness",
    "gauge",
    "s",
    "How late the process's event loop is right now: since when a callback is due that it has not run. It grows while "
    "the loop is blocked.",
    per_worker=True,
)
MEMORY_FRAGMENTATION: Final = Metric(
    "langflow.memory.fragmentation",
    "gauge",
    "1",
    "Share of the C heap that is held from the system but not in use: 1 - allocated / held (glibc mallinfo2).",
    per_worker=True,
)
QUEUE_DEPTH: Final = Metric("langflow.queue.depth", "gauge", "{job}", "Background jobs that wait.", ("queue",))
QUEUE_OLDEST_AGE: Final = Metric(
    "langflow.queue.oldest_age",
    "gauge",
    "s",
    "Age of the background job that waits longest; 0 if none waits.",
    ("queue",),
    per_worker=True,
)
QUEUE_RUNNING: Final = Metric("langflow.queue.running", "gauge", "{job}", "Background jobs that run.", ("queue",))
QUEUE_CAPACITY: Final = Metric(
    "langflow.queue.capacity", "gauge", "{job}", "Background jobs that may run at once.", ("queue",)
)

PROCESS_CPU_TIME: Final = Metric(
    "process.cpu.time", "counter", "s", "CPU time of the process.", ("cpu.mode",), per_worker=True
)
PROCESS_CPU_UTILIZATION: Final = Metric(
    "process.cpu.utilization",
    "gauge",
    "1",
    "CPU time since the last reading, divided by the time passed and the cores that the process may use.",
    (),
    per_worker=True,
)
PROCESS_MEMORY_USAGE: Final = Metric(
    "process.memory.usage", "gauge", "By", "Physical memory that the process uses (resident set).", per_worker=True
)
PROCESS_MEMORY_VIRTUAL: Final = Metric(
    "process.memory.virtual", "gauge", "By", "Virtual memory of the process.", per_worker=True
)
PROCESS_DISK_IO: Final = Metric(
    "process.disk.io",
    "counter",
    "By",
    "Bytes that the process read and wrote.",
    ("disk.io.direction",),
    per_worker=True,
)
PROCESS_THREADS: Final = Metric(
    "process.thread.count",
    "gauge",
    "{thread}",
    "Threads of the process.",
    per_worker=True,
    scraped_as="process_threads",
)
PROCESS_OPEN_FILES: Final = Metric(
    "process.unix.file_descriptor.count",
    "gauge",
    "{file_descriptor}",
    "Open file descriptors of the process.",
    per_worker=True,
    scraped_as="process_open_fds",
)
PROCESS_UPTIME: Final = Metric("process.uptime", "gauge", "s", "Time since the process started.", per_worker=True)
SYSTEM_CPU_CORES: Final = Metric(
    "system.cpu.logical.count",
    "gauge",
    "{cpu}",
    "CPU cores that this process may use: affinity and container limit, may be a fraction.",
    scraped_as="system_cpu_cores",
)
SYSTEM_CPU_UTILIZATION: Final = Metric(
    "system.cpu.utilization", "gauge", "1", "Busy share of all CPU cores of the machine since the last reading."
)
SYSTEM_MEMORY_LIMIT: Final = Metric(
    "system.memory.limit", "gauge", "By", "Memory that may be used: the container's limit, else the machine's memory."
)
SYSTEM_MEMORY_USAGE: Final = Metric(
    "system.memory.usage", "gauge", "By", "Memory in use, of the container where it has a limit, else of the machine."
)
SYSTEM_MEMORY_UTILIZATION: Final = Metric(
    "system.memory.utilization", "gauge", "1", "Memory in use, as a share of system.memory.limit."
)
SYSTEM_DISK_IO: Final = Metric(
    "system.disk.io", "counter", "By", "Bytes that all disks read and wrote.", ("disk.io.direction",)
)
SYSTEM_NETWORK_IO: Final = Metric(
    "system.network.io", "counter", "By", "Bytes over all network interfaces.", ("network.io.direction",)
)
SYSTEM_FILESYSTEM_USAGE: Final = Metric(
    "system.filesystem.usage",
    "gauge",
    "By",
    "Space on the file systems of the working directory and of LANGFLOW_CONFIG_DIR.",
    ("system.filesystem.mountpoint", "system.filesystem.state"),
)
SYSTEM_FILESYSTEM_UTILIZATION: Final = Metric(
    "system.filesystem.utilization",
    "gauge",
    "1",
    "Used space, as a share of what this process may use.",
    ("system.filesystem.mountpoint",),
)
GPU_UTILIZATION: Final = Metric(
    "hw.gpu.utilization",
    "gauge",
    "1",
    "Share of the last sample period in which the GPU was busy.",
    ("hw.id", "hw.name"),
)
GPU_MEMORY_USAGE: Final = Metric("hw.gpu.memory.usage", "gauge", "By", "GPU memory in use.", ("hw.id", "hw.name"))
GPU_MEMORY_LIMIT: Final = Metric("hw.gpu.memory.limit", "gauge", "By", "GPU memory.", ("hw.id", "hw.name"))
GPU_MEMORY_UTILIZATION: Final = Metric(
    "hw.gpu.memory.utilization", "gauge", "1", "GPU memory in use, as a share of it.", ("hw.id", "hw.name")
)
GPU_TEMPERATURE: Final = Metric("hw.temperature", "gauge", "Cel", "Temperature of the GPU.", ("hw.id", "hw.name"))
GPU_STATUS: Final = Metric(
    "hw.status",
    "gauge",
    "1",
    "1 for the state of the GPU, 0 for the other; degraded: heat or hardware slows its clocks.",
    ("hw.id", "hw.name", "hw.type", "hw.state"),
    scraped_as="hw_status",
)
GPU_ERRORS: Final = Metric(
    "hw.errors",
    "counter",
    "{error}",
    "ECC errors of the GPU's memory since the driver was loaded.",
    ("hw.id", "hw.name", "hw.type", "error.type"),
)

READ: Final = (
    FLOW_OLDEST_AGE,
    EVENT_LOOP_LATENESS,
    MEMORY_FRAGMENTATION,
    QUEUE_DEPTH,
    QUEUE_OLDEST_AGE,
    QUEUE_RUNNING,
    QUEUE_CAPACITY,
    PROCESS_CPU_TIME,
    PROCESS_CPU_UTILIZATION,
    PROCESS_MEMORY_USAGE,
    PROCESS_MEMORY_VIRTUAL,
    PROCESS_DISK_IO,
    PROCESS_THREADS,
    PROCESS_OPEN_FILES,
    PROCESS_UPTIME,
    SYSTEM_CPU_CORES,
    SYSTEM_CPU_UTILIZATION,
    SYSTEM_MEMORY_LIMIT,
    SYSTEM_MEMORY_USAGE,
    SYSTEM_MEMORY_UTILIZATION,
    SYSTEM_DISK_IO,
    SYSTEM_NETWORK_IO,
    SYSTEM_FILESYSTEM_USAGE,
    SYSTEM_FILESYSTEM_UTILIZATION,
    GPU_UTILIZATION,
    GPU_MEMORY_USAGE,
    GPU_MEMORY_LIMIT,
    GPU_MEMORY_UTILIZATION,
    GPU_TEMPERATURE,
    GPU_STATUS,
    GPU_ERRORS,
)

CATALOGUE: Final = (*RECORDED, *DERIVED, *READ, START_TIME)


@dataclass(frozen=True)
class Reading:
    """One value read from outside: the machine, a GPU, a queue of LangFlow's.

    Attributes:
        labels: Values of the metric's labels, in their order.
        worker: The process that the value belongs to, for metrics that are ``per_worker``.
    """

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()
    worker: int | None = None
