"""The table of environment variables: name, default, accepted values, meaning, parser and field of ``Settings``."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from langflow_otel._settings.masking import shown_value


@dataclass(frozen=True)
class Variable:
    """One environment variable as it is documented and parsed.

    Attributes:
        parse: Turns the text into a value; raises ValueError when the text is not accepted.
        setting: The field of ``Settings`` that has this value, ``scrape.`` before those of ``ScrapeSettings``; empty
            for a variable from which several fields are made.
    """

    name: str
    default: str
    accepts: str
    meaning: str
    parse: Callable[[str], Any]
    setting: str = field(default="", kw_only=True)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        lowered = text.strip().lower()
        if lowered not in choices:
            raise ValueError(text)
        return lowered

    return parse


def _some_of(*choices: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        parts = tuple(part.strip().lower() for part in text.split(",") if part.strip())
        if not parts or any(part not in choices for part in parts):
            raise ValueError(text)
        return parts

    return parse


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in ("true", "false"):
        raise ValueError(text)
    return lowered == "true"


def _has_openinference(text: str) -> bool:
    parts = _some_of("genai", "openinference")(text)
    if "genai" not in parts:
        raise ValueError(text)
    return "openinference" in parts


def _has_log_bodies(text: str) -> bool:
    return _one_of("allowlist", "all")(text) == "all"


_LONGEST_PATH: Final = 4096


def _path(text: str) -> Path | None:
    if text.strip().lower() == "none":
        return None
    if len(os.fsencode(text)) > _LONGEST_PATH or "\0" in text:
        raise ValueError(text)
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError as exc:  # "~name" of an unknown user
        raise ValueError(text) from exc


def _prices(text: str) -> Path | None:
    path = _path(text)
    if path is not None and path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise ValueError(text)
    return path


def _service_name(text: str) -> str:
    text.encode()  # Bytes that are no text reach us as halves of surrogates, which no exporter can send.
    return text


def _number(parse: Callable[[str], float], lowest: float, highest: float) -> Callable[[str], float]:
    def parse_within(text: str) -> float:
        value = parse(text)
        if not lowest <= value <= highest:
            raise ValueError(text)
        return value

    return parse_within


def _metric_labels(text: str) -> tuple[str, ...]:
    if text.strip().lower() == "none":
        return ()
    return _some_of("flow", "component_type", "flow_id", "flow_version")(text)


def _names(text: str) -> tuple[str, ...]:
    """Names between commas; ``none`` for none of them."""
    if text.strip().lower() == "none":
        return ()
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names or any(any(map(str.isspace, name)) for name in names):
        raise ValueError(text)
    return tuple(dict.fromkeys(names))


def _ratios(text: str) -> tuple[tuple[str, float], ...]:
    """Patterns with ratios, ``checkout=1,chat-*=0.01``; ``none`` for none."""
    if text.strip().lower() == "none":
        return ()
    rules = []
    for part in filter(str.strip, text.split(",")):
        pattern, found, ratio = part.rpartition("=")
        if not found or not pattern.strip():
            raise ValueError(text)
        rules.append((pattern.strip(), _number(float, 0, 1)(ratio)))
    if not rules:
        raise ValueError(text)
    return tuple(rules)


CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def _check_that_re2_is_there(text: str) -> None:
    """Content that needs redaction is not exported without ``google-re2``."""
    if importlib.util.find_spec("re2") is None:
        raise ValueError(text)


def _capture(text: str) -> str:
    """One of the convention's modes; ``true`` and ``false`` are its older values."""
    mode = {"TRUE": "SPAN_ONLY", "FALSE": "NO_CONTENT"}.get(text.strip().upper(), text.strip().upper())
    if mode not in ("NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"):
        raise ValueError(text)
    if mode != "NO_CONTENT":
        _check_that_re2_is_there(text)
    return mode


def _error_messages(text: str) -> str:
    policy = _one_of("none", "redacted", "full")(text)
    if policy == "redacted":
        _check_that_re2_is_there(text)
    return policy


def _pattern(text: str) -> str | None:
    if text.strip().lower() == "none":
        return None
    # Not at the top: RE2 is loaded only where a pattern is given.
    from langflow_otel.redaction.scan import check_pattern

    return check_pattern(text)


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration_s(text: str) -> float:
    number = text.strip().rstrip("hms")
    return _number(float, 0, 1e6)(number) * _UNITS_S[text.strip()[len(number) :]]


def _keep(text: str) -> tuple[bool, float | None]:
    """Whether failed runs are kept, and from which duration on slow ones are."""
    parts = [part.strip().lower() for part in text.split(",") if part.strip()]
    if parts == ["none"]:
        return False, None
    slow = [part.removeprefix("slow:") for part in parts if part.startswith("slow:")]
    if not parts or len(slow) > 1 or {part for part in parts if not part.startswith("slow:")} - {"errors"}:
        raise ValueError(text)
    try:
        return "errors" in parts, _duration_s(slow[0]) if slow else None
    except KeyError as exc:
        raise ValueError(text) from exc


_LONGEST_HOST: Final = 253


def _host(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    # One colon is that of a port, which has a variable of its own; an IPv6 address has more.
    if not host or "/" in host or host.count(":") == 1 or any(map(str.isspace, host)):
        raise ValueError(text)
    if len(host) > _LONGEST_HOST or not host.isprintable():
        raise ValueError(text)
    return host


def _hosts(text: str) -> tuple[str, ...]:
    """Names between commas, without ports; ``*`` for any; ``none`` for none."""
    return tuple(name if name == "*" else _host(name).lower() for name in _names(text))


VARIABLES: Final = (
    Variable(
        "OTEL_SERVICE_NAME",
        "langflow",
        "any text",
        "`service.name` of everything that is sent",
        _service_name,
        setting="service_name",
    ),
    Variable(
        "OTEL_TRACES_EXPORTER",
        "otlp",
        "otlp, console, none, or a list",
        "where spans go; `otlp` is implied once an endpoint is set",
        _some_of("otlp", "console", "none"),
    ),
    Variable(
        "OTEL_METRICS_EXPORTER",
        "otlp",
        "otlp, prometheus, console, none, or a list",
        "where metrics go; `prometheus` opens the scrape endpoint",
        _some_of("otlp", "prometheus", "console", "none"),
    ),
    Variable(
        "OTEL_LOGS_EXPORTER",
        "otlp",
        "otlp, console, none, or a list",
        "where LangFlow's log lines go, beside where LangFlow writes them; `otlp` is implied once an endpoint is "
        "set; disabled when LangFlow (1.12 or later) already exports them",
        _some_of("otlp", "console", "none"),
    ),
    Variable(
        "OTEL_EXPORTER_PROMETHEUS_HOST",
        "localhost",
        "a host name or address",
        "where the scrape endpoint listens; `0.0.0.0` for all interfaces, and then with a token",
        _host,
        setting="scrape.host",
    ),
    Variable(
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        "9464",
        "0 to 65535",
        "its port; 0 takes any free one",
        _number(int, 0, 65535),
        setting="scrape.port",
    ),
    Variable(
        "LANGFLOW_OTEL_OTLP_HEADERS_FILE",
        "none",
        "a path, none",
        "headers for OTLP, as in `OTEL_EXPORTER_OTLP_HEADERS` and beside them, one on a line: a token that is mounted "
        "as a file",
        _path,
    ),
    Variable(
        "OTEL_SDK_DISABLED",
        "false",
        "true, false",
        "`true` switches everything off, as the specification says",
        _boolean,
        setting="sdk_disabled",
    ),
    Variable(
        "LANGFLOW_OTEL_ENABLED",
        "auto",
        "auto, true, false",
        "auto: on as soon as a destination is configured (endpoint, exporter, trace file, scrape)",
        _one_of("auto", "true", "false"),
        setting="enabled",
    ),
    Variable(
        "LANGFLOW_OTEL_DETAIL",
        "model",
        "flow, component, model, output",
        "how fine the trace is: flows only, with components and tools, with each model call, or with each output "
        "method as well",
        _one_of("flow", "component", "model", "output"),
        setting="detail",
    ),
    Variable(
        "LANGFLOW_OTEL_SAMPLING",
        "none",
        "none, or a list of pattern=ratio, each ratio 0 to 1",
        "share of each flow's runs that is sent as traces, by name or id, first match wins, such as "
        "`checkout=1,chat-*=0.01,*=0.1`; a caller's decision is respected; without it `OTEL_TRACES_SAMPLER` decides",
        _ratios,
        setting="sampling",
    ),
    Variable(
        "LANGFLOW_OTEL_KEEP",
        "errors",
        "none, or a list of errors and slow:DURATION (ms, s, m, h)",
        "runs that are sent whole though they are not sampled, such as `errors,slow:5s`; where "
        "`LANGFLOW_OTEL_SAMPLING` is not set, only if this is",
        _keep,
    ),
    Variable(
        "LANGFLOW_OTEL_ERROR_MESSAGES",
        "none",
        "none, redacted (needs langflow-otel[redact]), full",
        "exception messages on spans and logs, causes' too; they often quote the prompt, so only types, frames and an "
        "HTTP status leave by default; `redacted` without keys, tokens, passwords, addresses, phone and card numbers",
        _error_messages,
        setting="error_messages",
    ),
    Variable(
        CAPTURE,
        "NO_CONTENT",
        "NO_CONTENT, and with langflow-otel[redact] SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT",
        "prompts, answers, inputs and outputs of components, arguments and results of tools: whether they leave, and "
        "as attributes of spans, as log records, or both; never a secret input",
        _capture,
    ),
    Variable(
        "LANGFLOW_OTEL_CONTENT_DENY",
        "none",
        "none, or a list of component types, component ids, tools and fields",
        "whose content never leaves",
        _names,
        setting="content_deny",
    ),
    Variable(
        "LANGFLOW_OTEL_CONTENT_LENGTH",
        "8192",
        "100 to 1000000",
        "characters of one value or exception message; what is longer is cut, and marked. A span carries four times as "
        "much",
        _number(int, 100, 1_000_000),
        setting="content_length",
    ),
    Variable(
        "LANGFLOW_OTEL_REDACT",
        "none",
        "none, or a regular expression of RE2 syntax (needs langflow-otel[redact])",
        "what is redacted beside the built-in kinds, such as `EMP-[0-9]{6}`; several are joined by a vertical bar",
        _pattern,
        setting="redact",
    ),
    Variable(
        "LANGFLOW_OTEL_REDACT_IPS",
        "false",
        "true, false",
        "redact IPv4 and IPv6 addresses as well",
        _boolean,
        setting="redact_ips",
    ),
    Variable(
        "LANGFLOW_OTEL_SEMCONV",
        "genai",
        "genai; genai,openinference",
        "`openinference` adds `openinference.span.kind`, and `input.value` and `output.value` where content may leave, "
        "for Phoenix and Arize",
        _has_openinference,
        setting="openinference",
    ),
    Variable(
        "LANGFLOW_OTEL_TRACE_FILE",
        "none",
        "a path, none",
        "append spans to this regular file as OTLP JSON lines, rotated at 64 MiB, three old files kept; processes may "
        "share it; a new one is for its owner alone, and what follows one that is there has the same permissions",
        _path,
        setting="trace_file",
    ),
    Variable(
        "LANGFLOW_OTEL_WINDOW",
        "60",
        "seconds, 1 to 86400",
        "window of throughput, error rate and failure ratio",
        _number(float, 1, 86400),
        setting="window_s",
    ),
    Variable(
        "LANGFLOW_OTEL_MAX_FLOWS",
        "200",
        "1 to 100000",
        "flows with series of their own; further ones are counted together as `other`",
        _number(int, 1, 100000),
        setting="max_flows",
    ),
    Variable(
        "LANGFLOW_OTEL_METRIC_LABELS",
        "flow,component_type",
        "none, or a list of flow, component_type, flow_id, flow_version",
        "labels on component metrics; `flow_id` and `flow_version` are added to flow metrics too",
        _metric_labels,
        setting="metric_labels",
    ),
    Variable(
        "LANGFLOW_OTEL_PRICES",
        "none",
        "a path of a .yaml, .yml or .json file, none",
        "your prices of models, from which the cost of runs is computed; read again when the file changes",
        _prices,
        setting="prices",
    ),
    Variable(
        "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE",
        "none",
        "a path, none",
        "a scrape must bring the bearer token in this file; read again when the file changes",
        _path,
        setting="scrape.token_file",
    ),
    Variable(
        "LANGFLOW_OTEL_SCRAPE_CERT_FILE",
        "none",
        "a path, none",
        "PEM certificate (chain) that makes the scrape endpoint HTTPS; read again when the file changes",
        _path,
        setting="scrape.cert_file",
    ),
    Variable(
        "LANGFLOW_OTEL_SCRAPE_KEY_FILE",
        "none",
        "a path, none",
        "PEM private key, where the certificate's file does not hold it",
        _path,
        setting="scrape.key_file",
    ),
    Variable(
        "LANGFLOW_OTEL_SCRAPE_HOSTS",
        "none",
        "none, *, or a list of host names without ports",
        "without a token, the scrape endpoint answers only requests for a local host or for one of these; `*` for any",
        _hosts,
        setting="scrape.hosts",
    ),
    Variable(
        "LANGFLOW_OTEL_SCRAPE_REGISTRY",
        "true",
        "true, false",
        "the scrape also shows what the process has in the default registry of `prometheus_client`",
        _boolean,
        setting="scrape.registry",
    ),
    Variable(
        "LANGFLOW_OTEL_INSTRUMENTORS",
        "none",
        "none, or a list of entry points, each as name or distribution:name",
        "other OpenTelemetry instrumentors to load inside our tree, such as `langchain` or "
        "`openinference-instrumentation-langchain:langchain`",
        _names,
        setting="instrumentors",
    ),
    Variable(
        "LANGFLOW_OTEL_NATIVE_SPANS",
        "keep",
        "keep, flows, none",
        "LangFlow's own spans (1.12 and later): all are sent, or only those of traces with a flow, or none; with "
        "`none` (any version) no request has a span of ours either, and each run is a trace of its own",
        _one_of("keep", "flows", "none"),
        setting="native_spans",
    ),
    Variable(
        "LANGFLOW_OTEL_REMOTE_PARENT",
        "continue",
        "continue, link, ignore",
        "what an incoming `traceparent` is to a run: its parent, a link, or nothing; with `link` and `ignore` the "
        "caller's baggage and `tracestate` go no further either",
        _one_of("continue", "link", "ignore"),
        setting="remote_parent",
    ),
    Variable(
        "LANGFLOW_OTEL_BAGGAGE_KEYS",
        "none",
        "none, or a list of keys",
        "W3C baggage entries that become attributes of flow spans, under their own names",
        _names,
        setting="baggage_keys",
    ),
    Variable(
        "LANGFLOW_OTEL_URL_PATHS",
        "false",
        "true, false",
        "keep the paths of URLs on spans whole; without it `REDACTED` stands for each segment that is no known word of "
        "an API, for keys and prompts are there as well",
        _boolean,
        setting="url_paths",
    ),
    Variable(
        "LANGFLOW_OTEL_USER_ID",
        "false",
        "true, false",
        "put LangFlow's user id on flow spans",
        _boolean,
        setting="user_id",
    ),
    Variable(
        "LANGFLOW_OTEL_LOG_LEVEL",
        "info",
        "debug, info, warning, error, critical",
        "the lowest level of log lines that are sent; LangFlow's own variable, with its meaning",
        _one_of("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal"),
        setting="log_level",
    ),
    Variable(
        "LANGFLOW_OTEL_LOG_BODIES",
        "allowlist",
        "allowlist, all",
        "`all` sends the text of log lines, which often quotes prompts; LangFlow's own variable, with its meaning",
        _has_log_bodies,
        setting="log_bodies",
    ),
)
"""The variables that this library reads itself. Those that only the OpenTelemetry SDK reads
(headers, timeouts, certificates, samplers, batch sizes, propagators) keep their specified meaning."""


def problem_with(name: str, text: str, accepts: str, used: str) -> str:
    """The one line on a wrong value, without credentials."""
    shown = shown_value(name, text)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return f"{name}={shown!r} is not accepted; use {accepts}. Using {used!r} instead."
