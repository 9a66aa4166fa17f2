"""What is on this machine: the trace file, the prices, the scrape endpoint, the workers' folder."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from langflow_otel._metrics import catalogue, workers
from langflow_otel._metrics.credentials import key_without_certificate
from langflow_otel._metrics.default_registry import MULTIPROC_DIR, has_no_shared_folder
from langflow_otel._metrics.endpoint import METRICS_PATH, listening_address
from langflow_otel._process.price_file import read_prices
from langflow_otel._sdk.rotating_file import nearest_existing, why_not_writable
from langflow_otel._sdk.trace_file import KEPT_FILES, MAX_BYTES, UNWRITABLE
from langflow_otel._settings.secret_files import read_secret
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.cli.console import in_bytes
from langflow_otel.cli.doctor.report import Finding, Section
from langflow_otel.cli.scraping import ScrapedPage, Scraper

_FILE: Final = "LANGFLOW_OTEL_TRACE_FILE"
_PRICES: Final = "LANGFLOW_OTEL_PRICES"
_HOST: Final = "OTEL_EXPORTER_PROMETHEUS_HOST"
_PORT: Final = "OTEL_EXPORTER_PROMETHEUS_PORT"
_TOKEN: Final = "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE"  # noqa: S105 - the name of a variable
_CERT: Final = "LANGFLOW_OTEL_SCRAPE_CERT_FILE"
_KEY: Final = "LANGFLOW_OTEL_SCRAPE_KEY_FILE"
_HERE: Final = ("localhost", "127.0.0.1", "::1")


def local_section(settings: Settings) -> Section | None:
    """None where nothing of it is asked for."""
    findings: list[Finding] = []
    if settings.trace_file is not None:
        findings.append(_trace_file(settings.trace_file))
    if settings.prices is not None:
        findings.append(_prices(settings.prices))
    if settings.scrape is not None:
        findings += [*_files(settings.scrape), *_endpoint(settings.scrape), _workers()]
    return Section("Here", "files and ports of this machine", findings) if findings else None


def file_problems(settings: Settings) -> list[str]:
    """A line for each file or folder that variables name and that cannot be used: what is accepted, what happens."""
    findings = [] if settings.trace_file is None else [_trace_file(settings.trace_file)]
    if settings.prices is not None:
        findings.append(_prices(settings.prices))
    if settings.scrape is not None:
        findings += _files(settings.scrape)
    return [f"{each.advice} ({each.text})" for each in findings if each.status == "problem"]


# The trace file


def _trace_file(path: Path) -> Finding:
    facts = {"path": str(path)}
    problem = why_not_writable(path)
    if problem:
        return Finding("trace file", "problem", f"{path}: {problem}", UNWRITABLE, facts)
    needed = MAX_BYTES * (KEPT_FILES + 1)
    free = shutil.disk_usage(nearest_existing(path)).free
    if free < needed:
        text = f"{path}: {in_bytes(free)} are free, and it may take {in_bytes(needed)}"
        return Finding("trace file", "warning", text, f"{_FILE}: name a file on another disk", facts)
    return Finding("trace file", "ok", f"{path} can be written", facts=facts)


# The prices


def _prices(path: Path) -> Finding:
    try:
        found = read_prices(path)
    except (OSError, ValueError) as exc:
        text = f"{path}: {getattr(exc, 'strerror', None) or exc}"
        return Finding("prices", "problem", text, f"{_PRICES}: until the file can be used there are no costs")
    number = f"{found.entries} {'price' if found.entries == 1 else 'prices'}"
    return Finding("prices", "ok", f"{path}: {number} in {', '.join(found.currencies)}")


# The scrape endpoint


def _files(scrape: ScrapeSettings) -> Iterator[Finding]:
    if scrape.token_file is not None:
        problem = _why_no_token(scrape.token_file)
        text = f"{scrape.token_file}: {problem}" if problem else f"{scrape.token_file} can be read"
        advice = f"{_TOKEN}: name a file that holds the token; until then each scrape is refused" if problem else ""
        yield Finding("token", "problem" if problem else "ok", text, advice)
    elif scrape.host not in _HERE:
        text = f"anybody who reaches {scrape.host}:{scrape.port} can read the metrics"
        yield Finding("token", "warning", text, f"{_TOKEN}: ask for a token, or {_HOST}=localhost")
    if scrape.cert_file is not None:
        problem = _why_no_certificate(scrape.cert_file, scrape.key_file)
        text = f"{scrape.cert_file}: {problem}" if problem else f"{scrape.cert_file} can be used"
        advice = f"{_CERT}: name a PEM file, and its key in {_KEY}; until then each scrape is refused"
        yield Finding("certificate", "problem" if problem else "ok", text, advice if problem else "")
    elif (unused := key_without_certificate(scrape)) is not None:
        yield Finding("certificate", "problem", f"{scrape.key_file} is the key of no certificate", unused)
    if scrape.registry and has_no_shared_folder():
        text = f"{os.environ[MULTIPROC_DIR]}: it is no folder"
        advice = (
            f"{MULTIPROC_DIR}: name a folder; until then the scrape shows what one process has in prometheus_client"
        )
        yield Finding("shared folder", "problem", text, advice)


def _why_no_token(path: Path) -> str:
    try:
        return "" if read_secret(path).strip() else "it is empty"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"


def _why_no_certificate(chain: Path, key: Path | None) -> str:
    try:
        for path in (chain, *([key] if key else [])):
            read_secret(path)
        # Without a password, OpenSSL would ask for one at the terminal, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, lambda: "")
    except ssl.SSLError as exc:
        return f"no certificate with its key: {exc.reason or 'unreadable'}"
    except (OSError, ValueError) as exc:
        return f"cannot be used: {getattr(exc, 'strerror', None) or exc}"
    return ""


def _endpoint(scrape: ScrapeSettings) -> Iterator[Finding]:
    place = f"{scrape.host}:{scrape.port}"
    if not scrape.port:
        yield Finding("scrape", "info", f"{scrape.host}, on any port that is free then; its log line says which")
        return
    try:
        page = _scraper(scrape).read()
    except (OSError, ValueError) as exc:
        yield _not_answered(scrape, place, exc)
        return
    if not page.series("target_info"):
        yield _taken(place, "something else answers there")
        return
    runs = page.total(f"{catalogue.FLOW_DURATION.prometheus_name}_count") or 0
    text = f"{place}: a process with langflow-otel answers, {runs:,.0f} flow runs"
    yield Finding("scrape", "ok", text, facts={"answers": True, "flow_runs": int(runs)})
    yield _dropped(page)


def _scraper(scrape: ScrapeSettings) -> Scraper:
    host = f"[{scrape.host}]" if ":" in scrape.host else scrape.host
    return Scraper(f"http{'s' if scrape.cert_file else ''}://{host}:{scrape.port}{METRICS_PATH}", scrape)


def _not_answered(scrape: ScrapeSettings, place: str, answer: Exception) -> Finding:
    facts = {"answers": False}
    try:
        family, address = listening_address(scrape)
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            if os.name == "posix":
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, UnicodeError) as exc:
        if getattr(exc, "errno", None) == errno.EADDRINUSE:
            return _taken(place, f"something listens there, and does not give the page: {answer}")
        text = f"{place} cannot be listened on: {getattr(exc, 'strerror', None) or exc}"
        return Finding("scrape", "problem", text, f"{_HOST}: name an address of this machine", facts)
    return Finding("scrape", "ok", f"{place} is free; nobody answers there now", facts=facts)


def _taken(place: str, how: str) -> Finding:
    advice = f"{_PORT}: take another port, or a token that fits in {_TOKEN}"
    return Finding("scrape", "problem", f"{place}: {how}", advice, {"answers": False})


def _dropped(page: ScrapedPage) -> Finding:
    series = page.series(catalogue.DROPPED.prometheus_name)
    lost = {
        f"{each.labels.get('signal')} {each.labels.get('reason')}": int(each.value) for each in series if each.value
    }
    if not lost:
        return Finding("dropped", "ok", "nothing so far", facts={"dropped": {}})
    text = "so far " + ", ".join(f"{name}: {number:,}" for name, number in sorted(lost.items()))
    advice = "export_failed: see Destinations; queue_full: raise OTEL_BSP_MAX_QUEUE_SIZE (logs: OTEL_BLRP_...)"
    return Finding("dropped", "warning", text, advice, {"dropped": lost})


# The folder that workers share


def _workers() -> Finding:
    if os.name != "posix":
        return Finding("workers", "info", "each answers for itself: this system has no file locks of this kind")
    root = workers.default_root()
    if not root.exists():
        return Finding("workers", "ok", f"{root} is made when several workers start")
    found = root.lstat()
    if root.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        text = f"{root} is not a folder that only this user can use: each worker answers for itself"
        return Finding("workers", "problem", text, "remove it; OTEL_METRICS_EXPORTER=prometheus makes it anew")
    folders = [folder for folder in root.iterdir() if folder.is_dir()]
    alive = sum(workers.has_life(folder) for folder in folders)
    text = f"{root}: {alive} {'group' if alive == 1 else 'groups'} of workers now, {len(folders) - alive} of before"
    return Finding("workers", "ok", text, facts={"groups": alive, "old_groups": len(folders) - alive})
