"""Where telemetry goes by OTLP: a test item is really sent to each destination."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from langflow_otel._sdk.otlp import Signal
from langflow_otel._settings.masking import Secrets
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.console import in_words
from langflow_otel.cli.doctor.diagnosis import listener_behind, verdict
from langflow_otel.cli.doctor.listener import Listener
from langflow_otel.cli.doctor.probe import probe
from langflow_otel.cli.doctor.probe_answers import Answer
from langflow_otel.cli.doctor.report import Finding, Section
from langflow_otel.cli.doctor.target import Destination, Verdict, not_sendable

_DETAIL: Final = "a test span, metric and log record, sent as the library sends"
_DEFAULT_TIMEOUT_S: Final = 10.0
_LOOK_S: Final = 10.0
_LONGEST_S: Final = 60.0
_QUOTES_HEADERS = re.compile("header|metadata", re.IGNORECASE)


@dataclass
class _Sent:
    destination: Destination
    answer: Answer | None = None
    """None if nothing could be sent."""
    listener: Listener | None = None
    verdict: Verdict | None = None

    @property
    def arrived(self) -> bool:
        return self.answer is not None and self.answer.outcome == "accepted"


def destinations_section(settings: Settings, env: Mapping[str, str]) -> Section:
    """Send to all of them at once, and say what came back."""
    off = _switched_off(settings)
    if off is not None:
        return Section("Destinations", "nothing was sent", [off])
    all_sent = [_Sent(Destination(*each, env)) for each in _targets(settings)]
    threads = [threading.Thread(target=_send, args=(sent, settings), daemon=True) for sent in all_sent]
    for thread in threads:
        thread.start()
    # Each sender gives up by itself; looking at the port may then have to wait for a name server.
    give_up_s = time.monotonic() + max((_timeout_s(sent.destination) for sent in all_sent), default=0.0) + _LOOK_S
    for thread in threads:
        thread.join(max(0.0, give_up_s - time.monotonic()))
    secrets = Secrets(env)
    found = {sent.destination.signal: _finding(sent, all_sent, secrets) for sent in all_sent}
    others = {signal: _not_pushed(signal, settings) for signal in ("traces", "metrics", "logs") if signal not in found}
    return Section("Destinations", _DETAIL if found else "nothing goes by OTLP", [*found.values(), *others.values()])


def _switched_off(settings: Settings) -> Finding | None:
    if settings.sdk_disabled:
        return Finding("all", "warning", "switched off by OTEL_SDK_DISABLED=true", "OTEL_SDK_DISABLED: leave it out")
    if settings.enabled == "false":
        text = "switched off by LANGFLOW_OTEL_ENABLED=false"
        return Finding("all", "warning", text, "LANGFLOW_OTEL_ENABLED: leave it out, or set it to auto")
    return None


def _targets(settings: Settings) -> list[tuple[Signal, Any]]:
    targets: list[tuple[Signal, Any]] = [
        ("traces", settings.otlp),
        ("metrics", settings.metrics_otlp),
        ("logs", settings.logs_otlp),
    ]
    return [(signal, target) for signal, target in targets if target is not None]


def _send(sent: _Sent, settings: Settings) -> None:
    destination = sent.destination
    sent.verdict = not_sendable(destination)
    if sent.verdict is None:
        sent.answer = probe(destination.signal, destination.target, settings, _timeout_s(destination))
        sent.listener = listener_behind(sent.answer, destination)


def _timeout_s(destination: Destination) -> float:
    """The exporter's own, as far as anybody wants to wait for it here."""
    try:
        given_s = float(destination.value("TIMEOUT"))
    except ValueError:
        return _DEFAULT_TIMEOUT_S
    # Neither nothing nor what is no number.
    return min(given_s, _LONGEST_S) if given_s > 0 else _DEFAULT_TIMEOUT_S


def _finding(sent: _Sent, all_sent: list[_Sent], secrets: Secrets) -> Finding:
    to, answer = sent.destination, sent.answer
    facts: dict[str, Any] = {"endpoint": to.shown, "protocol": to.target.protocol, "outcome": "not sent"}
    took = ""
    told = sent.verdict
    if answer is not None:
        others_arrive = any(
            each.arrived and each.destination.place == to.place for each in all_sent if each is not sent
        )
        told = verdict(_without_headers(answer), sent.listener, to, others_arrive=others_arrive)
        took = f"{in_words(answer.took_s)}; "
        facts |= {"outcome": answer.outcome, "code": answer.code or None, "took_ms": round(answer.took_s * 1000, 1)}
    told = told or Verdict("no answer in time", f"{to.variable('ENDPOINT')}: is the address right?")
    text = secrets.hide(f"{told.text} ({took}{to.target.protocol} {to.shown})")
    return Finding(to.signal, "problem" if told.advice else "ok", text, secrets.hide(told.advice), facts)


def _without_headers(answer: Answer) -> Answer:
    """What refuses a header quotes it, in whatever form."""
    if answer.outcome == "settings" and _QUOTES_HEADERS.search(answer.told):
        return Answer("settings", "a header cannot be sent as it is", answer.code, answer.took_s)
    return answer


def _not_pushed(signal: Signal, settings: Settings) -> Finding:
    elsewhere = {
        "traces": [("the console", settings.console), ("the trace file", settings.trace_file is not None)],
        "metrics": [("the console", settings.metrics_console), ("the scrape endpoint", settings.scrape is not None)],
        "logs": [("the console", settings.logs_console)],
    }[signal]
    places = " and ".join(name for name, used in elsewhere if used)
    return Finding(signal, "info", f"to {places} only" if places else "not by OTLP", facts={"outcome": "not sent"})
