"""The standard variables that the OpenTelemetry SDK reads itself, as far as they decide on what leaves and where to."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any, Final

from langflow_otel.variables import VARIABLES, Variable, problem_with

_OTLP: Final = "OTEL_EXPORTER_OTLP_"
_SIGNALS: Final = ("TRACES", "METRICS", "LOGS")
_SECONDS_AT_MOST: Final = 600.0
"""Longer than anybody waits: other languages' SDKs count this variable in milliseconds."""


def _text(text: str) -> str:
    return text


def _whole_number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= _SECONDS_AT_MOST:
        raise ValueError(text)
    return value


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(text)
        return text.strip().lower()

    return parse


def _installed(group: str, *known: str) -> Callable[[str], str]:
    """A list of names that the SDK knows, or that an installed package adds."""

    def parse(text: str) -> str:
        for name in filter(None, (part.strip() for part in text.split(","))):
            if name not in known and not entry_points(group=group, name=name):
                raise ValueError(text)
        return text

    return parse


_SAMPLERS = ("always_on", "always_off", "traceidratio")
_SAMPLER = _installed("opentelemetry_traces_sampler", *_SAMPLERS, *(f"parentbased_{name}" for name in _SAMPLERS))
_PROPAGATORS = _installed("opentelemetry_propagator", "tracecontext", "baggage", "none")
_LIMIT = "a whole number"

_ENDPOINT: Final = Variable(
    "ENDPOINT", "", "host:port or http(s)://host:port", "where spans, metrics and log lines go by OTLP", _text
)
_FORMS: Final = (
    Variable("PROTOCOL", "", "grpc, http/protobuf", "how; without it grpc on port 4317, else http/protobuf", _text),
    Variable("HEADERS", "", "name=value,name=value", "sent with each export; often an API key", _text),
    Variable("TIMEOUT", "10", "seconds, up to 600", "how long an export may take", _seconds),
    Variable("COMPRESSION", "none", "none, gzip, deflate", "of what is sent", _one_of("none", "gzip", "deflate")),
    Variable("CERTIFICATE", "", "a path", "PEM file of the authority that the collector's certificate is from", _text),
    Variable("CLIENT_CERTIFICATE", "", "a path", "PEM certificate of this client, where the collector asks", _text),
    Variable("CLIENT_KEY", "", "a path", "PEM private key of this client", _text),
    Variable("INSECURE", "false", "true, false", "plain text where the endpoint has no scheme", _text),
)
"""Each exists for all signals, and as ``_TRACES_``, ``_METRICS_`` and ``_LOGS_``; the own form of a signal wins."""

# Endpoint, protocol and insecure are read by Settings as well, which says what is wrong with them.
_OTHERS: Final = (
    Variable("OTEL_RESOURCE_ATTRIBUTES", "", "key=value,key=value", "who sends; on everything that is sent", _text),
    Variable(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "always_on, always_off, traceidratio, each also with parentbased_ before it",
        "which traces are recorded",
        _SAMPLER,
    ),
    Variable("OTEL_TRACES_SAMPLER_ARG", "", "for traceidratio: 0 to 1", "the sampler's argument", _text),
    Variable(
        "OTEL_PROPAGATORS",
        "tracecontext,baggage",
        "a list of propagators that are installed",
        "headers that join the traces of several services",
        _PROPAGATORS,
    ),
    Variable("OTEL_BSP_SCHEDULE_DELAY", "5000", "milliseconds", "how long spans wait for a batch", _whole_number),
    Variable("OTEL_BSP_EXPORT_TIMEOUT", "30000", "milliseconds", "how long a batch may take", _whole_number),
    Variable("OTEL_BSP_MAX_QUEUE_SIZE", "2048", _LIMIT, "spans that wait; further ones are lost", _whole_number),
    Variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", _LIMIT, "spans in a batch", _whole_number),
    Variable("OTEL_METRIC_EXPORT_INTERVAL", "60000", "milliseconds", "how often metrics are pushed", _whole_number),
    Variable("OTEL_ATTRIBUTE_COUNT_LIMIT", "128", _LIMIT, "attributes of a span or record", _whole_number),
    Variable("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "", _LIMIT, "longer texts are cut", _whole_number),
    Variable("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "128", _LIMIT, "attributes of a span", _whole_number),
    Variable("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "", _LIMIT, "longer texts of a span are cut", _whole_number),
    Variable("OTEL_SPAN_EVENT_COUNT_LIMIT", "128", _LIMIT, "events of a span; the first ones are lost", _whole_number),
    Variable("OTEL_SPAN_LINK_COUNT_LIMIT", "128", _LIMIT, "links of a span", _whole_number),
)


def _general(form: Variable) -> Variable:
    return replace(form, name=f"{_OTLP}{form.name}")


def _of_one(form: Variable, signal: str) -> Variable:
    """Its default is what the general one says."""
    whole = f", with its path (/v1/{signal.lower()})" if form is _ENDPOINT else ""
    meaning = f"the same for {signal.lower()} alone{whole}"
    return replace(form, name=f"{_OTLP}{signal}_{form.name}", default="", meaning=meaning)


def _all_forms() -> Iterator[Variable]:
    for form in (_ENDPOINT, *_FORMS):
        yield _general(form)
        for signal in _SIGNALS:
            yield _of_one(form, signal)


_ALL: Final = (*_all_forms(), *_OTHERS)
_ALWAYS: Final = {
    *(_general(form).name for form in (_ENDPOINT, *_FORMS)),
    *(_of_one(_ENDPOINT, signal).name for signal in _SIGNALS),
    *(variable.name for variable in _OTHERS),
}


def standard_variables(env: Mapping[str, str]) -> list[Variable]:
    """Those that matter here: the general ones, and of the forms for one signal those that are set."""
    return [variable for variable in _ALL if variable.name in _ALWAYS or env.get(variable.name, "").strip()]


def standard_problems(env: Mapping[str, str]) -> list[str]:
    """What the SDK would refuse, or read as something else, and names that look misspelled."""
    return [*_wrong(env), *_misspelled(env)]


def parsed(variable: Variable, text: str) -> tuple[Any, bool]:
    """The value, and whether the text is accepted."""
    try:
        return variable.parse(text), True
    except ValueError:
        return None, False


def _wrong(env: Mapping[str, str]) -> Iterator[str]:
    for variable in _ALL:
        text = env.get(variable.name, "")
        if text.strip() and not parsed(variable, text)[1]:
            accepted = problem_with(variable.name, text, variable.accepts, "").partition(" Using ")[0]
            yield f"{accepted} The OpenTelemetry SDK reads it itself, and may refuse to start."


def _misspelled(env: Mapping[str, str]) -> Iterator[str]:
    ours = [variable.name for variable in VARIABLES]
    known = [*ours, *(variable.name for variable in _ALL)]
    for name in sorted(env):
        # Only the family that decides where everything goes: of others, more exist than are listed here.
        if not name.startswith("OTEL_EXPORTER_OTL") or name in known:
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.93)
        if close:
            yield f"{name} is not a standard variable; did you mean {close[0]}? It is ignored."
