"""The table of standard variables, which the OpenTelemetry SDK and its exporters read, and the parsers of their texts.

Each parser returns the text as every version of the SDK (1.30 and later) reads it, and raises ValueError or OSError for
a text that some of them refuse or read differently. Modules that take long to import are imported where they are
needed: few users set these variables, and each component that imports ``traced`` imports this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from langflow_otel._settings.secret_files import is_readable, read_secret
from langflow_otel._settings.variables import Variable

LARGEST: Final = 2**31 - 1


class PartlyAcceptedError(ValueError):
    """Some entries of a list are not accepted.

    Attributes:
        used: The text without them.
    """

    def __init__(self, text: str, used: str) -> None:
        super().__init__(text)
        self.used = used


def any_text(text: str) -> str:
    return text


def nothing(text: str) -> str:
    raise ValueError(text)


def number(kind: Callable[[str], float], lowest: float, highest: float) -> Callable[[str], str]:
    """A number between two others, which are accepted too."""

    def parse(text: str) -> str:
        value = kind(text)
        if not lowest <= value <= highest:
            raise ValueError(text)
        return str(value).removesuffix(".0")

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(text)
        return text.strip().lower()

    return parse


# Names of what is installed


def installed(group: str) -> Callable[[str], str]:
    """One name that an installed package has as an entry point of the group."""

    def parse(text: str) -> str:
        if not _loads(group, text.strip()):
            raise ValueError(text)
        return text.strip()

    return parse


def _loads(group: str, name: str) -> bool:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group, name=name):
        try:
            entry.load()
        except Exception:  # noqa: BLE001 - another package's module may raise anything when it is imported
            return False
        return True
    return False


def propagators(text: str) -> str:
    names = _parts(text)
    if "none" in (name.lower() for name in names):
        return "none"
    if not names or not all(_is_propagator(name) for name in names):
        raise ValueError(text)
    return ",".join(names)


def _is_propagator(name: str) -> bool:
    return name in ("tracecontext", "baggage") or _loads("opentelemetry_propagator", name)


_DETECTORS: Final = "opentelemetry_resource_detector"


def detectors(text: str) -> str:
    """Resource detectors, without those that are not installed. ``*`` is spelled out: not each SDK knows it."""
    from importlib.metadata import entry_points

    every = {entry.name for entry in entry_points(group=_DETECTORS)}
    names = [name for part in _parts(text) for name in (sorted(every - {"otel"}) if part == "*" else [part])]
    return _without_others(text, names, [name for name in names if _loads(_DETECTORS, name)])


# Lists


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _without_others(text: str, parts: Sequence[str], good: Sequence[str]) -> str:
    used = ",".join(good)
    if len(good) < len(parts):
        raise PartlyAcceptedError(text, used)
    return used


def resource_attributes(text: str) -> str:
    parts = _parts(text)
    return _without_others(text, parts, [part for part in parts if _is_attribute(part)])


def _is_attribute(part: str) -> bool:
    try:
        # Bytes that are no text reach us as halves of surrogates, which no exporter can send.
        part.encode()
    except UnicodeEncodeError:
        return False
    name, equals, _ = part.partition("=")
    return bool(equals and name.strip())


_HEADER: Final = re.compile(r"([\w.-]+)[ \t]*=[ \t]*([ !#-+\--:<-\[\]-~]*)", re.ASCII)
"""What the SDK takes for a header (in its liberal mode) and gRPC can send, too."""


def is_header(part: str) -> bool:
    """True for ``name=value`` that can be sent as a header, over HTTP and gRPC."""
    found = _HEADER.fullmatch(part)
    if found is None:
        return False
    value = unquote(found[2])
    return value.isascii() and (value.isprintable() or not value)


def headers(text: str) -> str:
    parts = _parts(text)
    return _without_others(text, parts, [part for part in parts if is_header(part)])


def status_codes(text: str) -> str:
    from grpc import StatusCode  # type: ignore[import-untyped]

    names = [name.upper() for name in _parts(text)]
    if not names or not all(name in StatusCode.__members__ for name in names):
        raise ValueError(text)
    return ",".join(names)


def patterns(text: str) -> str:
    try:
        re.compile("|".join(_parts(text)))
    except (re.error, OverflowError, RecursionError) as exc:
        raise ValueError(text) from exc
    return text


# Files


def readable_file(text: str) -> str:
    if not is_readable(Path(text)):
        raise ValueError(text)
    return text


def authority(text: str) -> str:
    """A file with certificates to trust."""
    import ssl

    read_secret(Path(text))  # OpenSSL would read a device or a pipe without an end.
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
    return text


def are_a_pair(chain: str, key: str) -> bool:
    """True if a client can show itself with this certificate and this private key.

    Args:
        key: Empty where the certificate's file holds it.
    """

    import ssl

    def no_password() -> str:
        # Without this, OpenSSL would ask for one at the terminal, and wait.
        raise ValueError("the private key is encrypted")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(chain, key or None, no_password)
    except (OSError, ValueError):  # ssl.SSLError is the former.
        return False
    return True


# The table


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
    "ENDPOINT", "", "host:port or http(s)://host:port", "where spans, metrics and log lines go by OTLP", any_text
)
_PEM: Final = "the path of a PEM file"
_FORMS: Final = (
    _ENDPOINT,
    StandardVariable(
        "PROTOCOL", "", "grpc, http/protobuf", "how; without it grpc on port 4317, else http/protobuf", any_text
    ),
    StandardVariable("HEADERS", "", "name=value,name=value", "sent with each export; often an API key", headers),
    StandardVariable(
        "TIMEOUT",
        "10",
        # Other languages' SDKs count in milliseconds.
        "seconds, above 0, up to 600",
        "how long an export may take",
        number(float, 0.001, 600),
    ),
    StandardVariable(
        "COMPRESSION",
        "none",
        "none, gzip, and over HTTP deflate",
        "of what is sent",
        one_of("none", "gzip", "deflate"),
    ),
    StandardVariable("CERTIFICATE", "", _PEM, "of the authority that the collector's certificate is from", authority),
    StandardVariable(
        "CLIENT_CERTIFICATE", "", _PEM, "certificate of this client, where the collector asks", readable_file
    ),
    StandardVariable("CLIENT_KEY", "", _PEM, "private key of this client", readable_file),
    StandardVariable("INSECURE", "false", "true, false", "plain text where the endpoint has no scheme", any_text),
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
    return StandardVariable(name, choices[0], ", ".join(choices), meaning, one_of(*choices), is_listed=is_listed)


def _batches(family: str, what: str) -> Iterator[StandardVariable]:
    milliseconds, size = number(int, 1, _LONGEST_MS), number(int, 1, LARGEST)
    for name, default, accepts, meaning, parse in (
        (
            "SCHEDULE_DELAY",
            "5000",
            f"milliseconds, 1 to {_LONGEST_MS}",
            f"how long {what} wait for a batch",
            milliseconds,
        ),
        ("EXPORT_TIMEOUT", "30000", f"milliseconds, 1 to {_LONGEST_MS}", "how long a batch may take", milliseconds),
        ("MAX_QUEUE_SIZE", "2048", f"1 to {LARGEST}", f"{what} that wait; further ones are lost", size),
        ("MAX_EXPORT_BATCH_SIZE", "512", f"1 to {LARGEST}", f"{what} in a batch, at most the queue's size", size),
    ):
        yield StandardVariable(f"OTEL_{family}_{name}", default, accepts, meaning, parse)


def _metrics() -> Iterator[StandardVariable]:
    milliseconds, accepts = number(float, 1, _LONGEST_MS), f"milliseconds, 1 to {_LONGEST_MS}"
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
    parse, accepts = number(int, 0, LARGEST), f"0 to {LARGEST}"
    count, length = "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
    yield StandardVariable(count, "128", accepts, "attributes of a span or record", parse)
    # The SDK has none; see _content/limits.py.
    yield StandardVariable(length, "131072", accepts, "longer texts are cut", parse)
    for part, what in (("SPAN", "a span"), ("EVENT", "an event"), ("LINK", "a link"), ("LOGRECORD", "a log record")):
        name = f"OTEL_{part}_ATTRIBUTE_COUNT_LIMIT"
        yield StandardVariable(name, "128", accepts, f"attributes of {what}", parse, count)
    for part, what in (("SPAN", "a span"), ("LOGRECORD", "a log record")):
        name = f"OTEL_{part}_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        yield StandardVariable(name, "", accepts, f"longer texts of {what} are cut", parse, length)
    for part, what in (("EVENT", "events of a span; the first ones are lost"), ("LINK", "links of a span")):
        yield StandardVariable(f"OTEL_SPAN_{part}_COUNT_LIMIT", "128", accepts, what, parse)


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
            status_codes,
        ),
        (
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
            "",
            "*, or a list of resource detectors that are installed",
            "what finds out more about who sends",
            detectors,
        ),
        ("OTEL_CONFIG_FILE", "", "the other variables: this file is not read", "not read", nothing),
        *((name, "", "a list of regular expressions", "addresses without spans", patterns) for name in _EXCLUDED_URLS),
    ):
        yield StandardVariable(name, default, accepts, meaning, parse, is_listed=False)


_EXCLUDED_URLS: Final = tuple(
    f"OTEL_PYTHON_{client}EXCLUDED_URLS" for client in ("", "ASGI_", "HTTPX_", "REQUESTS_", "AIOHTTP_CLIENT_")
)


def _entry_point(name: str, group: str, meaning: str, default: str = "") -> StandardVariable:
    parse = installed(group)
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
        resource_attributes,
    ),
    StandardVariable(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "always_on, always_off, traceidratio, each also with parentbased_ before it",
        "which traces are recorded",
        one_of(*_SAMPLERS),
    ),
    StandardVariable("OTEL_TRACES_SAMPLER_ARG", "1.0", "0 to 1", "the share of traceidratio", number(float, 0, 1)),
    StandardVariable(
        PROPAGATORS,
        "tracecontext,baggage",
        "none, or a list of propagators that are installed",
        "headers that join the traces of several services",
        propagators,
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
