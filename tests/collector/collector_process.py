"""Real collectors, each a process of its own that runs a shipped configuration on free ports."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from waiting import wait_until

PROJECT = Path(__file__).parents[2]
CONFIGS = PROJECT / "collector-config"
HOW_TO_GET_IT = (
    "there is no collector: .ci/collector builds one (with Go, some minutes), or put an otelcol-contrib on the PATH, "
    "or name one in LANGFLOW_OTEL_TEST_COLLECTOR"
)


def _find() -> str | None:
    """The one that is named, else the one on the PATH, else the one that .ci/collector has built."""
    manifest = PROJECT / ".ci" / "collector-builder.yaml"
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "langflow-otel" / f"otelcol-{digest}" / "otelcol-contrib"
    return (
        os.environ.get("LANGFLOW_OTEL_TEST_COLLECTOR")
        or shutil.which("otelcol-contrib")
        or (str(built) if built.exists() else None)
    )


# Found once: each test clears the variables of this name.
COLLECTOR = _find()


def free_ports(count: int) -> list[int]:
    """All open at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def eventually(claim: Callable[[], Any], seconds: float = 30, what: str = "it does not come true") -> Any:
    """The claim's value as soon as it is true. What it may raise meanwhile: a refused connection."""

    def found() -> Any:
        with suppress(OSError):
            return claim()

    return wait_until(found, what, seconds)


class Collector:
    """A collector that runs one of the shipped configurations.

    Attributes:
        grpc, http: host:port of its OTLP receivers.
        storage: Its queue on disk.
    """

    def __init__(self, config: str, folder: Path, **environment: Any) -> None:
        grpc, http, health, metrics, queue = free_ports(5)
        self.config = CONFIGS / config
        self.folder = folder / f"{self.config.stem}-{grpc}"
        self.folder.mkdir()
        self.grpc, self.http = f"127.0.0.1:{grpc}", f"127.0.0.1:{http}"
        self.storage = self.folder / "storage"
        self._health, self._metrics = f"http://127.0.0.1:{health}/", f"http://127.0.0.1:{metrics}/metrics"
        self._log = self.folder / "log"
        self.environment = {
            "COLLECTOR_OTLP_GRPC": self.grpc,
            "COLLECTOR_OTLP_HTTP": self.http,
            "COLLECTOR_HEALTH": f"127.0.0.1:{health}",
            "COLLECTOR_METRICS_HOST": "127.0.0.1",
            "COLLECTOR_METRICS_PORT": str(metrics),
            "COLLECTOR_METRICS_QUEUE": f"127.0.0.1:{queue}",
            "COLLECTOR_STORAGE": str(self.storage),
            **{name: str(value) for name, value in environment.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Collector:
        """Returns as soon as its receivers are open."""
        self.launch()
        eventually(self._is_ready, what=f"the collector is not ready: {self.said}")
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(COLLECTOR), "--config", str(self.config)],
                env={"PATH": os.environ["PATH"], **self.environment},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        return self.process

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the collector went away: {self.said}")
        with urllib.request.urlopen(self._health, timeout=5) as answer:
            return bool(answer.status == 200)

    def stop(self) -> None:
        """As a restart does; waits until it has gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)

    def __enter__(self) -> Collector:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        print(self.said[-2000:], file=sys.stderr)

    @property
    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def own_metric(self, name: str, **labels: str) -> float:
        """The sum of one of its own metrics' series with these labels; 0 if there are none."""
        with urllib.request.urlopen(self._metrics, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if re.match(rf"{name}[{{ ]", line)]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in found
            if all(f'{label}="{value}"' in line for label, value in labels.items())
        )


def refused_to_start(config: str, folder: Path, **environment: Any) -> str:
    """What a collector says that does not start."""
    collector = Collector(config, folder, **environment)
    try:
        assert collector.launch().wait(30) != 0
    except subprocess.TimeoutExpired:
        collector.kill()
        raise
    return collector.said


def answers(url: str) -> bool:
    """Whether something speaks HTTP there, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
