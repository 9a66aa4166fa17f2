"""The standard variables that the OpenTelemetry SDK and its exporters read for us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from langflow_otel._settings import standard_texts as texts
from langflow_otel._settings.variables import Variable

SIGNALS: Final = ("TRACES", "METRICS", "LOGS")
OTLP: Final = "OTEL_EXPORTER_OTLP_"
PROPAGATORS: Final = "OTEL_PROPAGATORS"

_LONGEST_MS: Final = 10**9
"""Eleven days. Some waits of Python end with an error above a few hundred years, and none is meant then."""


@dataclass(frozen=True)
class StandardVariable(Variable):
    """A variable that the SDK reads.

    Attributes:
        parse: Gives the text as each version of the SDK reads it.
        default: What holds where the variable is not set, is empty or is not accepted.
        general: The variable whose value holds then instead of the default.
        is_listed: False for one that ``langflow-otel config`` shows only where it is set.
    """

    general: str = ""
    is_listed: bool = True


_ENDPOINT: Final = StandardVariable(
    "ENDPOINT", "", "host:port or http(s)://host:port", "where spans, metrics and log lines go by OTLP", texts.any_text
)
_PEM: Final = "the path of a PEM file"
_FORMS: Final = (
    _ENDPOINT,
    StandardVariable(
        "PROTOCOL", "", "grpc, http/protobuf", "how; without it grpc on port 4317, else http/protobuf", texts.any_text
    ),
    StandardVariable("HEADERS", "", "name=value,name=value", "sent with each export; often an API key", texts.headers),
    StandardVariable(
        "TIMEOUT",
        "10",
        # Other languages' SDKs count in milliseconds.
        "seconds, above 0, up to 600",
        "how long an export may take",
        texts.number(float, 0.001, 600),
    ),
    StandardVariable(
        "COMPRESSION",
        "none",
        "none, gzip, and over HTTP deflate",
        "of what is sent",
        texts.one_of("none", "gzip", "deflate"),
    ),
    StandardVariable(
        "CERTIFICATE", "", _PEM, "of the authority that the collector's certificate is from", texts.authority
    ),
    StandardVariable(
        "CLIENT_CERTIFICATE", "", _PEM, "certificate of this client, where the collector asks", texts.readable_file
    ),
    StandardVariable("CLIENT_KEY", "", _PEM, "private key of this client", texts.readable_file),
    StandardVariable("INSECURE", "false", "true, false", "plain text where the endpoint has no scheme", texts.any_text),
)
"""Each exists for all signals, and as ``_TRACES_``, ``_METRICS_`` and ``_LOGS_``; the own form of a signal wins.
What is wrong with endpoint, protocol and insecure, ``otlp_target.py`` says."""


def _otlp() -> Iterator[StandardVariable]:
    for form in _FORMS:
        general = f"{OTLP}{form.name}"
        yield StandardVariable(general, form.default, form.accepts, form.meaning, form.parse)
        for signal in SIGNALS:
            whole = f", with its path (/v1/{signal.lower()})" if form is _ENDPOINT else ""
            name, meaning = f"{OTLP}{signal}_{form.name}", f"the same for {signal.lower()} alone{whole}"
            is_listed = form is _ENDPOINT
            yield StandardVariable(name, "", form.accepts, meaning, form.parse, general, is_listed=is_listed)


def _choice(name: str, choices: tuple[str, ...], meaning: str, *, is_listed: bool = True) -> StandardVariable:
    """The first one is the default."""
    return StandardVariable(name, choices[0], ", ".join(choices), meaning, texts.one_of(*choices), is_listed=is_listed)


def _batches(family: str, what: str) -> Iterator[StandardVariable]:
    milliseconds, size = texts.number(int, 1, _LONGEST_MS), texts.number(int, 1, texts.LARGEST)
    for name, default, accepts, meaning, parse in (
        (
            "SCHEDULE_DELAY",
            "5000",
            f"milliseconds, 1 to {_LONGEST_MS}",
            f"how long {what} wait for a batch",
            milliseconds,
        ),
        ("EXPORT_TIMEOUT", "30000", f"milliseconds, 1 to {_LONGEST_MS}", "how long a batch may take", milliseconds),
        ("MAX_QUEUE_SIZE", "2048", f"1 to {texts.LARGEST}", f"{what} that wait; further ones are lost", size),
        ("MAX_EXPORT_BATCH_SIZE", "512", f"1 to {texts.LARGEST}", f"{what} in a batch, at most the queue's size", size),
    ):
        yield StandardVariable(f"OTEL_{family}_{name}", default, accepts, meaning, parse)


def _metrics() -> Iterator[StandardVariable]:
    milliseconds, accepts = texts.number(float, 1, _LONGEST_MS), f"milliseconds, 1 to {_LONGEST_MS}"
    yield StandardVariable(
        "OTEL_METRIC_EXPORT_INTERVAL", "60000", accepts, "how often metrics are pushed", milliseconds
    )
    yield StandardVariable("OTEL_METRIC_EXPORT_TIMEOUT", "30000", accepts, "how long a push may take", milliseconds)
    yield _choice("OTEL_METRICS_EXEMPLAR_FILTER", ("trace_based", "always_on", "always_off"), "what has exemplars")
    preferences = ("cumulative", "delta", "lowmemory")
    yield _choice(f"{OTLP}METRICS_TEMPORALITY_PREFERENCE", preferences, "what a pushed number counts from")
    aggregations = ("explicit_bucket_histogram", "base2_exponential_bucket_histogram")
    yield _choice(f"{OTLP}METRICS_DEFAULT_HISTOGRAM_AGGREGATION", aggregations, "buckets of pushed histograms")


def _limits() -> Iterator[StandardVariable]:
    number, accepts = texts.number(int, 0, texts.LARGEST), f"0 to {texts.LARGEST}"
    count, length = "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
    yield StandardVariable(count, "128", accepts, "attributes of a span or record", number)
    # The SDK has none; see _content/limits.py.
    yield StandardVariable(length, "131072", accepts, "longer texts are cut", number)
    for part, what in (("SPAN", "a span"), ("EVENT", "an event"), ("LINK", "a link"), ("LOGRECORD", "a log record")):
        name = f"OTEL_{part}_ATTRIBUTE_COUNT_LIMIT"
        yield StandardVariable(name, "128", accepts, f"attributes of {what}", number, count)
    for part, what in (("SPAN", "a span"), ("LOGRECORD", "a log record")):
        name = f"OTEL_{part}_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        yield StandardVariable(name, "", accepts, f"longer texts of {what} are cut", number, length)
    for part, what in (("EVENT", "events of a span; the first ones are lost"), ("LINK", "links of a span")):
        yield StandardVariable(f"OTEL_SPAN_{part}_COUNT_LIMIT", "128", accepts, what, number)


def _rare() -> Iterator[StandardVariable]:
    """What is seldom set, and mostly of the SDK for Python alone."""
    for kind, default in (("tracer", "default"), ("meter", "default"), ("logger", "sdk")):
        yield _entry_point(
            f"OTEL_PYTHON_{kind.upper()}_PROVIDER",
            f"opentelemetry_{kind}_provider",
            "the global provider",
            f"{default}_{kind}_provider",
        )
    yield _entry_point(
        "OTEL_PYTHON_CONTEXT", "opentelemetry_context", "what keeps the current span", "contextvars_context"
    )
    for protocol in ("GRPC", "HTTP"):
        for infix in ("", *(f"{signal}_" for signal in SIGNALS)):
            name = f"OTEL_PYTHON_EXPORTER_OTLP_{protocol}_{infix}CREDENTIAL_PROVIDER"
            yield _entry_point(name, "opentelemetry_otlp_credential_provider", "makes the credentials of exports")
    switch = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
    yield _choice(switch, ("false", "true"), "metrics of the SDK itself", is_listed=False)
    for name, default, accepts, meaning, parse in (
        (
            "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES",
            "CANCELLED,DEADLINE_EXCEEDED,RESOURCE_EXHAUSTED,ABORTED,OUT_OF_RANGE,UNAVAILABLE,DATA_LOSS",
            "a list of gRPC's status codes",
            "after which an export is tried again",
            texts.status_codes,
        ),
        (
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
            "",
            "*, or a list of resource detectors that are installed",
            "what finds out more about who sends",
            texts.detectors,
        ),
        ("OTEL_CONFIG_FILE", "", "the other variables: this file is not read", "not read", texts.nothing),
        *(
            (name, "", "a list of regular expressions", "addresses without spans", texts.patterns)
            for name in _EXCLUDED_URLS
        ),
    ):
        yield StandardVariable(name, default, accepts, meaning, parse, is_listed=False)


_EXCLUDED_URLS: Final = tuple(
    f"OTEL_PYTHON_{client}EXCLUDED_URLS" for client in ("", "ASGI_", "HTTPX_", "REQUESTS_", "AIOHTTP_CLIENT_")
)


def _entry_point(name: str, group: str, meaning: str, default: str = "") -> StandardVariable:
    parse = texts.installed(group)
    return StandardVariable(name, default, "the name of an installed one", meaning, parse, is_listed=False)


_SAMPLERS: Final = tuple(
    f"{parent}{name}" for parent in ("", "parentbased_") for name in ("always_on", "always_off", "traceidratio")
)

STANDARD: Final = (
    *_otlp(),
    StandardVariable(
        "OTEL_RESOURCE_ATTRIBUTES",
        "",
        "key=value,key=value",
        "who sends; on everything that is sent",
        texts.resource_attributes,
    ),
    StandardVariable(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "always_on, always_off, traceidratio, each also with parentbased_ before it",
        "which traces are recorded",
        texts.one_of(*_SAMPLERS),
    ),
    StandardVariable(
        "OTEL_TRACES_SAMPLER_ARG", "1.0", "0 to 1", "the share of traceidratio", texts.number(float, 0, 1)
    ),
    StandardVariable(
        PROPAGATORS,
        "tracecontext,baggage",
        "none, or a list of propagators that are installed",
        "headers that join the traces of several services",
        texts.propagators,
    ),
    *_batches("BSP", "spans"),
    *_batches("BLRP", "log records"),
    *_metrics(),
    *_limits(),
    *_rare(),
)
"""A general variable stands before those that it holds for."""


# Which concern a signal


_OF_ONE_SIGNAL: Final = {
    "TRACES": ("_TRACES_", "_BSP_", "_SPAN_", "_EVENT_", "_LINK_", "_TRACER_"),
    "METRICS": ("_METRICS_", "_METRIC_", "_METER_"),
    "LOGS": ("_LOGS_", "_BLRP_", "_LOGRECORD_", "_LOGGER_"),
}


def names_for(signal: str) -> list[str]:
    """Names of the variables that a signal (``TRACES``, ``METRICS``, ``LOGS``) depends on."""
    others = [part for other, parts in _OF_ONE_SIGNAL.items() if other != signal for part in parts]
    return [variable.name for variable in STANDARD if not any(part in variable.name for part in others)]
