"""Which hooks fit the LangFlow that is installed: they are applied in a process of its own, which imports it.

Not in this one: the import takes some seconds, prints what it likes, and starts what it likes. There it may, with
nowhere to send to and a folder of its own to write to.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from langflow_otel._hooks.versions import lfx_is_installed
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.doctor.report import Finding, Section

_PATIENCE_S: Final = 120.0
_MARK: Final = "langflow-otel hooks: "
_ENGINE: Final = ("lfx.graph", "lfx.custom")
_ENDPOINTS: Final = tuple(f"OTEL_EXPORTER_OTLP_{infix}ENDPOINT" for infix in ("", "TRACES_", "METRICS_", "LOGS_"))


def hooks_section(env: Mapping[str, str]) -> Section | None:
    """Takes some seconds; None without LangFlow."""
    if not lfx_is_installed():
        return None
    started_s = time.perf_counter()
    found = _look(env)
    detail = f"LangFlow's import took {time.perf_counter() - started_s:.1f} s"
    if isinstance(found, str):
        advice = "run it by hand: python -c 'import lfx.graph'"
        return Section("Hooks", detail, [Finding("LangFlow", "problem", f"cannot be imported: {found}", advice)])
    findings = [_applied(found), *_off(found), *_not_importable(found), _own_telemetry(found, env), *_tracebacks(env)]
    return Section("Hooks", detail, findings)


def _look(env: Mapping[str, str]) -> dict[str, Any] | str:
    """What the other process says; a line if it failed."""
    with tempfile.TemporaryDirectory(prefix="langflow-otel-doctor-") as folder:
        try:
            done = subprocess.run(  # noqa: S603 - this very program
                [sys.executable, "-c", f"from {__name__} import tell; tell()"],
                env=_harmless(env, folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE_S,
                check=False,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return f"it takes longer than {_PATIENCE_S:.0f} s"
    told = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if told:
        found: dict[str, Any] = json.loads(told[-1].removeprefix(_MARK))
        return found
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]


def _harmless(env: Mapping[str, str], folder: str) -> dict[str, str]:
    kept = {name: value for name, value in env.items() if not name.startswith(("OTEL_", "LANGFLOW_OTEL_"))}
    # Not from where the command was called: a random.py there would be imported.
    return {**kept, "PYTHONSAFEPATH": "1", "DO_NOT_TRACK": "true", "LANGFLOW_CONFIG_DIR": folder}


def tell() -> None:
    """In the other process: import LangFlow, apply the hooks, print what became of them."""
    import logging

    from langflow_otel._hooks.patching import Patches
    from langflow_otel._hooks.table import HOOKS

    logging.getLogger("langflow_otel").addHandler(logging.NullHandler())
    patches = Patches(HOOKS)
    patches.apply()
    failed: dict[str, str] = {}
    for module in dict.fromkeys(hook.module for hook in HOOKS):
        _import(module, failed)
    native: dict[str, str] = {}
    _import("lfx.observability", native)
    found = {
        "on": patches.on,
        "off": patches.off,
        "optional": [hook.name for hook in HOOKS if hook.optional],
        "total": len(HOOKS),
        "not_importable": failed,
        "absent": sorted({hook.name for hook in HOOKS} - set(patches.on) - set(patches.off)),
        "own_telemetry": not native and "lfx.observability" in sys.modules,
    }
    sys.stdout.write(f"\n{_MARK}{json.dumps(found)}\n")
    sys.stdout.flush()
    # Threads of LangFlow's may be in the middle of something; there is nothing to wait for.
    os._exit(0)


def _import(module: str, failed: dict[str, str]) -> None:
    """Where a package is not installed, its hooks have nothing to do; all else that fails is told."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as exc:
        parts = (exc.name or "").split(".")
        if parts != module.split(".")[: len(parts)]:
            failed[module] = f"{type(exc).__name__}: {exc}"
    except BaseException as exc:  # noqa: BLE001 - code of others, which may raise anything, SystemExit included
        failed[module] = f"{type(exc).__name__}: {exc}"


def _applied(found: Mapping[str, Any]) -> Finding:
    on, absent = len(found["on"]), len(found["absent"])
    text = f"{on} of {found['total']} are on"
    if absent:
        text += f"; {absent} have nothing to hook into here (another version, or not installed)"
    facts = {"on": found["on"], "off": found["off"], "absent": found["absent"]}
    return Finding("hooks", "ok" if on else "problem", text, facts=facts)


def _off(found: Mapping[str, Any]) -> list[Finding]:
    advice = "this LangFlow is another than those that are tested: what the hook records is missing"
    return [Finding("hooks", "problem", f"{name} is off: {why}", advice) for name, why in found["off"].items()]


def _not_importable(found: Mapping[str, Any]) -> Iterator[Finding]:
    for module, why in found["not_importable"].items():
        text = f"{module} cannot be imported: {why[:200]}"
        if module.startswith(_ENGINE):
            yield Finding("hooks", "problem", text, "repair LangFlow's installation")
        else:
            yield Finding("hooks", "warning", text, "it matters only where this part of LangFlow is used")


def _own_telemetry(found: Mapping[str, Any], env: Mapping[str, str]) -> Finding:
    name, is_there = "own telemetry", bool(found["own_telemetry"])
    facts = {"own_telemetry": is_there and any(env.get(each, "").strip() for each in _ENDPOINTS)}
    if not is_there:
        return Finding(name, "info", "this LangFlow has none (it comes with 1.12)", facts=facts)
    if not facts["own_telemetry"]:
        return Finding(name, "info", "LangFlow's is off: there is no OTLP endpoint", facts=facts)
    text = "LangFlow's is on, too; it drops what is not its own, so ours goes by providers of our own. A server's log "
    text += "lines and process metrics are sent by LangFlow, and by us not again. " + _own_spans(env)
    return Finding(name, "info", text, facts=facts)


def _own_spans(env: Mapping[str, str]) -> str:
    wanted = Settings.from_env(env).native_spans
    if wanted == "none":
        return "Its spans are not sent (LANGFLOW_OTEL_NATIVE_SPANS=none)"
    if not _sends_traces(env):
        return "Its spans are not sent: there is no OTLP endpoint for traces"
    if wanted == "flows":
        return "Of its spans those of traces with a flow are sent (LANGFLOW_OTEL_NATIVE_SPANS=flows)"
    return (
        "Its spans go to the same place as ours, some 6 for each request to its API, 30 for a run, a hundred for one "
        "page of its user interface: LANGFLOW_OTEL_NATIVE_SPANS=flows sends only those of traces with a flow, none "
        "sends none"
    )


def _sends_traces(env: Mapping[str, str]) -> bool:
    """As LangFlow decides it."""
    if env.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(env.get(name, "").strip() for name in _ENDPOINTS[:2])


def _tracebacks(env: Mapping[str, str]) -> Iterator[Finding]:
    if env.get("LANGFLOW_LOG_ENV", "").lower().startswith("container"):
        return
    if env.get("LANGFLOW_PRETTY_LOGS", "true").lower() == "true":
        text = "LangFlow renders the traceback of each error with its variables, up to 35 s in which the run waits"
        advice = "LANGFLOW_PRETTY_LOGS=false and LANGFLOW_LOG_ENV=container_json: then it takes half a second"
        yield Finding("tracebacks", "info", text, advice)
