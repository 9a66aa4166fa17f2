"""Which service and which instance sends: found once in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from langflow_otel._sdk import resource
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.settings import Settings
from tests.support.recording import at_once

DETECTOR = """
from opentelemetry.sdk.resources import Resource, ResourceDetector

class Found(ResourceDetector):
    def detect(self):
        print("detected")
        return Resource({"cloud.region": "here"})
"""
ALL_SIGNALS = """
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from langflow_otel import instrument, instrumentor
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._hooks.patching import Patches
from langflow_otel._settings.settings import Settings
instrumentor.patches = Patches(())
instrumentor.lfx_is_installed = lambda: True
instrument()
print(langflow_resource(Settings.from_env()).attributes["cloud.region"])
"""

IMPORT_LOGS = """
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.settings import Settings
langflow_resource(Settings())
import opentelemetry.sdk._logs
"""


@pytest.fixture
def created(monkeypatch) -> Iterator[list[Resource]]:
    """Each resource that the SDK has created, which is when its detectors run."""
    created: list[Resource] = []
    create = Resource.create

    def noted() -> Resource:
        created.append(create())
        return created[-1]

    resource._detect.cache_clear()
    monkeypatch.setattr(Resource, "create", staticmethod(noted))
    yield created
    resource._detect.cache_clear()


def test_resource_is_detected_once_for_all_providers(created):
    for _ in range(3):
        langflow_resource(Settings())

    assert len(created) == 1


def test_resource_is_detected_once_for_many_threads(created):
    at_once(8, lambda: langflow_resource(Settings()))

    assert len(created) == 1


def test_resource_of_a_forked_child_is_detected_anew(created, monkeypatch):
    parent = langflow_resource(Settings())
    monkeypatch.setattr(os, "getpid", lambda: 7)
    child = langflow_resource(Settings())

    assert len(created) == 2
    assert child.attributes["process.pid"] == 7
    assert child.attributes["service.instance.id"] != parent.attributes["service.instance.id"]


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("OTEL_SERVICE_NAME", "shop", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=store", "store"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "otel", "langflow"),
    ],
)
def test_resource_is_that_of_the_variables_of_the_moment(created, monkeypatch, variable, value, name):
    langflow_resource(Settings())
    monkeypatch.setenv(variable, value)

    assert langflow_resource(Settings()).attributes["service.name"] == name
    assert len(created) == 2


@pytest.mark.slow
def test_sdk_never_reads_attributes_that_are_refused():
    """In a process of its own: the SDK reads them while some of its modules are imported."""
    variables = {"OTEL_RESOURCE_ATTRIBUTES": "team,cloud.region=here"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_LOGS], env=os.environ | variables, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.slow
def test_detector_runs_once_with_all_signals_on(tmp_path: Path):
    """In a process of its own: the SDK runs detectors while some of its modules are imported."""
    folder = tmp_path / "slowdet-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: slowdet\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[opentelemetry_resource_detector]\nfound = slowdet:Found\n")
    (tmp_path / "slowdet.py").write_text(DETECTOR)
    variables = {
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "found",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", ALL_SIGNALS], env=os.environ | variables, capture_output=True, text=True, timeout=120
    )

    assert done.stdout.splitlines() == ["detected", "here"], done.stderr
