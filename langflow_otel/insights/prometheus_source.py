"""A Prometheus-compatible API as a source: Prometheus, VictoriaMetrics, Mimir.

It answers what metrics can answer: runs, errors, percentiles, tokens, cost and resources, also over time. It knows no
single run. Percentiles are interpolated within buckets, see :mod:`langflow_otel.insights.figures`.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, NoReturn
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from langflow_otel._metrics import catalogue
from langflow_otel._settings.secret_files import read_secret
from langflow_otel.insights.figures import DETAILS, FLOW, GROWN, LOOP, NOW, Figures, Measured, Value, figures_of

__all__ = [
    "GAUGES_OVER_TIME",
    "LEAST_STEP_S",
    "OVER_TIME",
    "PASSWORD_VARIABLE",
    "TOKEN_VARIABLE",
    "USER_VARIABLE",
    "Curve",
    "NoSeriesError",
    "PrometheusAccess",
    "PrometheusError",
    "PrometheusSource",
]

TOKEN_VARIABLE: Final = "PROMETHEUS_TOKEN"  # noqa: S105 - the name of a variable
USER_VARIABLE: Final = "PROMETHEUS_USER"
PASSWORD_VARIABLE: Final = "PROMETHEUS_PASSWORD"  # noqa: S105 - the name of a variable

_MAX_BYTES: Final = 64 * 2**20
_MAX_MESSAGE: Final = 200
LEAST_STEP_S: Final = 15
"""Of curves: a scrape is seldom more frequent."""

_START: Final = catalogue.START_TIME.prometheus_name

# Not increase() alone: it extrapolates, and does not count the first sample of a series. So: it where a counter was
# reset in between; else the difference; else a new series from 0, if its process began within the time, or was scraped
# before it; else what increase() makes of it. The value before is that of the last scrape which succeeded: a plain
# selector has none where the one just before failed, and the series would seem to be new.
_GROWN_IN: Final = (
    "((increase({s}[{w}]) and resets({s}[{w}]) > 0)"
    " or ((last_over_time({s}[{w}]) - last_over_time({s}[5m] offset {w})) >= 0)"
    " or ((last_over_time({s}[{w}]) * 1) and on (job, instance)"
    f" (last_over_time({_START}[{{w}}]) >= time() - {{seconds}} or up offset {{w}} >= 0))"
    " or increase({s}[{w}]))"
)

OVER_TIME: Final[Mapping[str, tuple[str, str]]] = {
    "runs": (f"{FLOW}_count", "sum({})"),
    "failed": (f'{FLOW}_count{{status="error"}}', "sum({})"),
    "p50": (f"{FLOW}_bucket", "histogram_quantile(0.5, sum by (le) ({}))"),
    "p95": (f"{FLOW}_bucket", "histogram_quantile(0.95, sum by (le) ({}))"),
    "p99": (f"{FLOW}_bucket", "histogram_quantile(0.99, sum by (le) ({}))"),
    "input_tokens": (catalogue.MODEL_INPUT_TOKENS.prometheus_name, "sum({})"),
    "output_tokens": (catalogue.MODEL_OUTPUT_TOKENS.prometheus_name, "sum({})"),
    "cost": (catalogue.COST.prometheus_name, "sum by (currency) ({})"),
    "loop_delay": (f"{LOOP}_bucket", "histogram_quantile(0.99, sum by (le) ({}))"),
}
"""Curves: the counter of which the growth in each step is taken, and what is made of it."""

GAUGES_OVER_TIME: Final[Mapping[str, str]] = {
    "cpu": f"sum(avg_over_time({catalogue.PROCESS_CPU_UTILIZATION.prometheus_name}[{{w}}]))",
    "memory": f"sum(max_over_time({catalogue.PROCESS_MEMORY_USAGE.prometheus_name}[{{w}}]))",
    "system_cpu": f"max(avg_over_time({catalogue.SYSTEM_CPU_UTILIZATION.prometheus_name}[{{w}}]))",
    "disk": f"max(max_over_time({catalogue.SYSTEM_FILESYSTEM_UTILIZATION.prometheus_name}[{{w}}]))",
    "active": f"sum(max_over_time({catalogue.FLOW_ACTIVE.prometheus_name}[{{w}}]))",
}
"""The same of gauges: CPU and memory are the sums over all processes, disk is the fullest one."""


class PrometheusError(Exception):
    """There is no answer, or none that can be used; one line, without any credential."""


class NoSeriesError(PrometheusError):
    """The server answers, and has nothing of this library."""


@dataclass(frozen=True)
class PrometheusAccess:
    """Where the API is, and what is needed to ask it.

    Attributes:
        url: Without user and password.
        token: Bearer token.
        token_file: A file that holds it; read at each request.
        user: For basic authentication, with the password.
        ca_file: PEM certificates that are trusted instead of the system's.
        timeout_s: For each request.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout_s: float = 10.0

    @classmethod
    def of(
        cls,
        url: str,
        *,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> PrometheusAccess:
        """From a URL, which may have user and password in it, and the environment.

        Raises:
            PrometheusError: It is no URL of HTTP or HTTPS.
        """
        try:
            parts = urlsplit(url.strip())
            has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            has_host = False
        if not has_host or parts.scheme not in ("http", "https"):
            raise PrometheusError("the address of a Prometheus is a URL such as http://localhost:9090")
        user = unquote(parts.username) if parts.username else env.get(USER_VARIABLE) or None
        password = unquote(parts.password) if parts.password else env.get(PASSWORD_VARIABLE) or ""
        plain = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        return cls(plain, env.get(TOKEN_VARIABLE) or None, token_file, user, password, ca_file)

    def authorization(self) -> dict[str, str]:
        """The header.

        Raises:
            PrometheusError: The token's file cannot be read.
        """
        if self.user is not None:
            pair = f"{self.user}:{self.password or ''}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        token = self.token
        if self.token_file is not None:
            try:
                token = read_secret(self.token_file).decode("latin-1").strip()
            except (OSError, ValueError) as exc:
                reason = getattr(exc, "strerror", None) or exc
                raise PrometheusError(f"the file of the token cannot be read: {reason}") from None
        if token and not token.isprintable():
            raise PrometheusError("the token has characters that no header may have")
        return {"Authorization": f"Bearer {token}"} if token else {}


@dataclass(frozen=True)
class Curve:
    """A series over time: Unix seconds and values; where there is nothing, there is no point."""

    labels: Mapping[str, str]
    points: list[tuple[float, float]]


class PrometheusSource:
    """Asks one server.

    Args:
        access: Where, and how.
        selector: PromQL matchers that all series must have, such as ``job="langflow"``; empty for none.

    All methods raise :class:`PrometheusError`.
    """

    def __init__(self, access: PrometheusAccess, selector: str = "") -> None:
        self._access = access
        self._selector = selector
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if access.url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_tls(access)))
        self._opener = urllib.request.build_opener(*handlers)

    @property
    def url(self) -> str:
        return self._access.url

    def figures(self, seconds: float, *, at_s: float | None = None, flow: str | None = None) -> Figures:
        """What was measured in so many seconds.

        Args:
            seconds: At least 1; whole ones count.
            at_s: The end, Unix time; default: now.
            flow: Of this one only.

        Raises:
            NoSeriesError: There is nothing of this library in that time.
        """
        return figures_of(self.measured(seconds, at_s=at_s, flow=flow))

    def measured(
        self, seconds: float, *, at_s: float | None = None, flow: str | None = None, details: bool = False
    ) -> Measured:
        """The same, before figures are made of it.

        Args:
            details: With the counters of :data:`~langflow_otel.insights.figures.DETAILS`.
        """
        seconds = max(1, round(seconds))
        counters = {**GROWN, **DETAILS} if details else GROWN
        now = {name: self._now(name, labels, at_s, flow) for name, labels in NOW.items()}
        grown = {name: self._grown(name, labels, seconds, at_s, flow) for name, labels in counters.items()}
        if not any(now.values()) and not any(grown.values()):
            raise NoSeriesError(f"{self.url} has no series of langflow-otel in that time; is LangFlow scraped?")
        return Measured(seconds, grown, now)

    def flows(self, seconds: float, *, at_s: float | None = None) -> dict[str, float]:
        """Names of the flows, and how many runs of each ended in so many seconds."""
        found = self._grown(f"{FLOW}_count", ("flow",), max(1, round(seconds)), at_s, None)
        return {value.labels.get("flow", ""): value.value for value in found}

    def grown_over_time(
        self, counter: str, labels: Sequence[str], start_s: float, end_s: float, step_s: int, *, flow: str | None = None
    ) -> list[Curve]:
        """By how much a counter has grown in each step of a time.

        Args:
            counter: Its name in the scrape.
            labels: Those of its labels by which the result is told apart.
            start_s: Unix time.
            end_s: The same; so many whole steps later.
            flow: Of this one only.

        Returns:
            Points at the ends of the steps, none where the counter did not exist.
        """
        growth = self._growth(counter, step_s, flow)
        return self._range(f"sum by ({', '.join(labels)}) ({growth})", start_s + step_s, end_s, step_s)

    def gauge_over_time(
        self,
        gauge: str,
        over: Literal["highest", "median"],
        together: Literal["sum", "max"],
        start_s: float,
        end_s: float,
        step_s: int,
    ) -> list[Curve]:
        """The highest or median value of a gauge in each step of a time, as one curve.

        Args:
            gauge: Its name in the scrape.
            together: What is made of its series: their sum, or the highest.
            start_s: Unix time.
            end_s: The same; so many whole steps later.

        Returns:
            Points at the ends of the steps.
        """
        values = f"{_with_matchers(gauge, self._selector)}[{step_s}s]"
        each = f"max_over_time({values})" if over == "highest" else f"quantile_over_time(0.5, {values})"
        return self._range(f"{together}({each})", start_s + step_s, end_s, step_s)

    def gauge_curves(
        self, gauge: str, of_step: str, labels: Sequence[str], start_s: float, end_s: float, step_s: int
    ) -> list[Curve]:
        """A gauge in each step of a time, a curve for each combination of some of its labels.

        Args:
            gauge: Its name in the scrape, which may have matchers.
            of_step: What is taken of a step: a function of PromQL such as ``min_over_time``, or
                ``quantile_over_time(0.25`` with its first argument.

        Returns:
            Points at the ends of the steps; of several series with the same labels the highest value.
        """
        function, _, argument = of_step.partition("(")
        values = f"{_with_matchers(gauge, self._selector)}[{step_s}s]"
        query = f"max by ({', '.join(labels)}) ({function}({f'{argument}, ' if argument else ''}{values}))"
        return self._range(query, start_s + step_s, end_s, step_s)

    def curve(self, name: str, start_s: float, end_s: float, *, points: int = 240) -> list[Curve]:
        """One of :data:`OVER_TIME` or :data:`GAUGES_OVER_TIME` over a time, in at most so many points."""
        step = max(LEAST_STEP_S, math.ceil((end_s - start_s) / points))
        if name in OVER_TIME:
            counter, made_of_it = OVER_TIME[name]
            query = made_of_it.format(self._growth(counter, step, None))
        else:
            query = GAUGES_OVER_TIME[name].replace("{w}", f"{step}s")
            query = query.replace("[", f"{{{self._selector}}}[") if self._selector else query
        return self._range(query, start_s, end_s, step)

    def _range(self, query: str, start_s: float, end_s: float, step_s: int) -> list[Curve]:
        span = {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": str(step_s)}
        result = self._ask("query_range", {"query": query, **span})
        try:
            return [Curve(each.get("metric", {}), _points(each["values"])) for each in result]
        except (ValueError, LookupError, TypeError):
            raise PrometheusError(self._no_results) from None

    def _grown(
        self, name: str, labels: Sequence[str], seconds: int, at_s: float | None, flow: str | None
    ) -> list[Value]:
        only = flow if "flow" in labels else None
        return self._query(f"sum by ({', '.join(labels)}) ({self._growth(name, seconds, only)})", at_s)

    def _now(self, name: str, labels: Sequence[str], at_s: float | None, flow: str | None) -> list[Value]:
        series = _with_matchers(name, self._selector, _flow_matcher(flow if "flow" in labels else None))
        return self._query(f"sum by ({', '.join(labels)}) ({series})", at_s)

    def _growth(self, counter: str, seconds: int, flow: str | None) -> str:
        series = _with_matchers(counter, self._selector, _flow_matcher(flow))
        return _GROWN_IN.format(s=series, w=f"{seconds}s", seconds=seconds)

    def _query(self, query: str, at_s: float | None) -> list[Value]:
        when = {} if at_s is None else {"time": f"{at_s:.3f}"}
        result = self._ask("query", {"query": query, **when})
        try:
            found = [Value(each.get("metric", {}), float(each["value"][1])) for each in result]
        except (ValueError, LookupError, TypeError):
            raise PrometheusError(self._no_results) from None
        return [value for value in found if math.isfinite(value.value)]

    def _ask(self, what: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        body = urlencode({**parameters, "timeout": f"{self._access.timeout_s:g}s"}).encode()
        headers = {"Accept": "application/json", **self._access.authorization()}
        request = urllib.request.Request(f"{self.url}/api/v1/{what}", body, headers)  # noqa: S310 - http or https
        try:
            with self._opener.open(request, timeout=self._access.timeout_s) as answer:
                text = answer.read(_MAX_BYTES + 1)
        except urllib.error.HTTPError as exc:
            self._refused(exc)
        except (OSError, http.client.HTTPException) as exc:
            raise PrometheusError(f"{self.url} {_why(exc, self._access.timeout_s)}") from None
        if len(text) > _MAX_BYTES:
            raise PrometheusError(
                f"{self.url} answers with more than {_MAX_BYTES >> 20} MiB: ask for less time or one flow"
            )
        return self._result_in(text)

    @property
    def _no_results(self) -> str:
        return f"{self.url} is no Prometheus API: what it answers is none of its results"

    def _result_in(self, text: bytes) -> list[dict[str, Any]]:
        try:
            result = json.loads(text)["data"]["result"]
        except (ValueError, LookupError, TypeError, RecursionError):
            result = None
        if not isinstance(result, list) or not all(isinstance(each, dict) for each in result):
            raise PrometheusError(self._no_results)
        return result

    def _refused(self, answer: urllib.error.HTTPError) -> NoReturn:
        with answer:
            status, text = answer.code, answer.read(_MAX_MESSAGE * 10)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            given = "refuses these credentials" if self._access.authorization() else "wants credentials"
            raise PrometheusError(f"{self.url} {given} ({status})")
        try:
            said = json.loads(text)["error"]
        except (ValueError, LookupError, TypeError, RecursionError):
            if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise PrometheusError(f"{self.url} refuses so large a question ({status})") from None
            raise PrometheusError(f"{self.url} is no Prometheus API: it answers {status} {_phrase(status)}") from None
        line = "".join(sign if sign.isprintable() else " " for sign in str(said))[:_MAX_MESSAGE]
        advice = ": ask for less time or one flow" if "too many" in line or "exceed" in line else ""
        raise PrometheusError(f"{self.url} cannot answer ({status}): {line}{advice}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The credentials are for this server, and for no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _tls(access: PrometheusAccess) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if access.ca_file is None else str(access.ca_file))
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "it holds no certificate"
        raise PrometheusError(f"{access.ca_file} cannot be used as certificates to trust: {reason}") from None


def _with_matchers(series: str, *matchers: str) -> str:
    """A name, which may have matchers already, with these."""
    name, _, own = series.partition("{")
    all_of_them = ",".join(each for each in (own.removesuffix("}"), *matchers) if each)
    return f"{name}{{{all_of_them}}}" if all_of_them else name


def _flow_matcher(flow: str | None) -> str:
    # JSON's strings are PromQL's, for what a name can have.
    return "" if flow is None else f"flow={json.dumps(flow, ensure_ascii=False)}"


def _points(values: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    points = ((float(at_s), float(text)) for at_s, text in values)
    return [point for point in points if math.isfinite(point[1])]


def _why(exc: BaseException, timeout_s: float) -> str:
    reason = exc.reason if isinstance(exc, urllib.error.URLError) and isinstance(exc.reason, BaseException) else exc
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted: {reason.verify_message}"
    if isinstance(reason, ssl.SSLError):
        return "does not speak TLS: is it http:// ?"
    if isinstance(reason, TimeoutError):
        return f"did not answer within {timeout_s:g} s"
    if isinstance(reason, socket.gaierror):
        return "cannot be found: no such host"
    if isinstance(reason, ConnectionRefusedError):
        return "cannot be reached: nothing listens there"
    return f"cannot be reached: {getattr(reason, 'strerror', None) or type(reason).__name__}"


def _phrase(status: int) -> str:
    return http.client.responses.get(status, "")
