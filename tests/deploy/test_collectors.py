"""The real collector takes the configurations with the variables that the compose file and the manifests give it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from overlays import KUBERNETES, ROOT, built, kustomize, of_kind

BUILDER = ROOT / ".ci" / "collector-builder.yaml"


def _find() -> str | None:
    """The one that is named, else the one on the PATH, else the one that .ci/collector has built."""
    digest = hashlib.sha256(BUILDER.read_bytes()).hexdigest()[:12] if BUILDER.exists() else ""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langflow-otel" / f"otelcol-{digest}"
    named = os.environ.get("LANGFLOW_OTEL_TEST_COLLECTOR")
    return named or shutil.which("otelcol-contrib", path=f"{os.environ['PATH']}:{cached}")


# Found once: each test clears the variables of this name.
COLLECTOR = _find()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        COLLECTOR is None, reason="there is no collector: run .ci/collector, or put an otelcol-contrib on the PATH"
    ),
]


def check(config: str, environment: dict[str, str]) -> None:
    assert COLLECTOR is not None
    started = subprocess.run(
        [COLLECTOR, "validate", "--config", ROOT / "collector-config" / config],
        # The node's file system is not mounted here.
        env={**environment, "COLLECTOR_HOST_ROOT": "/"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    assert "deprecated" not in started.stderr


def test_the_compose_files_collector_starts() -> None:
    service = yaml.safe_load((ROOT / "collector-config/compose/compose.yaml").read_text())["services"]["otel-collector"]

    check(Path(service["command"][0]).name, service["environment"])


@pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here: .ci/deploy-tools")
@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment", "StatefulSet"])
def test_the_manifests_collectors_start(kind: str) -> None:
    (workload,) = [w for w in of_kind(built("production"), kind) if w["metadata"]["namespace"] == "telemetry"]
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    configuration = yaml.safe_load((KUBERNETES / "base/collector/kustomization.yaml").read_text())["configMapGenerator"]
    (file,) = [entry["files"][0] for entry in configuration if entry["name"] == workload["metadata"]["name"]]

    check(Path(file).name, {variable["name"]: variable.get("value", "node-1") for variable in container["env"]})


def test_a_variable_that_the_collector_cannot_use_is_refused() -> None:
    with pytest.raises(AssertionError, match="limit_mib"):
        check("gateway.yaml", {"COLLECTOR_MEMORY_MIB": "much"})
