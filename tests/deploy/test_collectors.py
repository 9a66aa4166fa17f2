"""The real collector takes the configurations with the variables that the compose file and the manifests give it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from overlays import EVERY_COMPONENT, ROOT, Resource, built, kustomize, named, pod, workloads

COMPOSE = ROOT / "collector-config" / "compose"
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


def check(configurations: list[Path], environment: dict[str, str]) -> None:
    assert COLLECTOR is not None
    started = subprocess.run(
        [COLLECTOR, "validate", *(f"--config={path}" for path in configurations)],
        # The node's file system is not mounted here.
        env={**environment, "COLLECTOR_HOST_ROOT": "/"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    assert "deprecated" not in started.stderr


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.tls.yaml"], ["compose.logs.yaml"]])
def test_the_compose_files_collectors_start(files: list[str]) -> None:
    """Each collector of the last file, with what the files before say of it."""
    services = [yaml.safe_load((COMPOSE / name).read_text())["services"] for name in files]
    for name in [name for name in services[-1] if name.startswith("otel-")]:
        parts = [of[name] for of in services if name in of]
        short = [volume for part in parts for volume in part["volumes"] if isinstance(volume, str)]
        mounted = dict(volume.split(":")[1::-1] for volume in short)
        configurations = [COMPOSE / mounted[option.partition("=")[2]] for option in parts[0]["command"]]

        check(configurations, {key: value for part in parts for key, value in part["environment"].items()})


@pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here: .ci/deploy-tools")
@pytest.mark.parametrize("overlay", ["production", EVERY_COMPONENT])
def test_the_manifests_collectors_start(overlay: str, tmp_path: Path) -> None:
    collectors = [w for w in workloads(built(overlay)) if pod(w)["containers"][0]["name"] == "collector"]
    assert len(collectors) == (4 if overlay == EVERY_COMPONENT else 3)

    for workload in collectors:
        (container,) = pod(workload)["containers"]
        configurations = configurations_of(workload, overlay, tmp_path)

        check(configurations, {variable["name"]: variable.get("value", "node-1") for variable in container["env"]})


def configurations_of(workload: Resource, overlay: str, folder: Path) -> list[Path]:
    """What its arguments name, from the ConfigMaps that are mounted there."""
    (container,) = pod(workload)["containers"]
    maps = {volume["name"]: volume.get("configMap", {}).get("name") for volume in pod(workload)["volumes"]}
    mounts = {mount["mountPath"]: maps.get(mount["name"]) for mount in container["volumeMounts"]}
    written = []
    for argument in container["args"]:
        path = Path(argument.removeprefix("--config="))
        data = named(built(overlay), "ConfigMap", mounts[str(path.parent)])["data"]
        written.append(folder / f"{workload['metadata']['name']}-{path.name}")
        written[-1].write_text(data[path.name])
    return written


def test_a_variable_that_the_collector_cannot_use_is_refused() -> None:
    with pytest.raises(AssertionError, match="limit_mib"):
        check([ROOT / "collector-config" / "gateway.yaml"], {"COLLECTOR_MEMORY_MIB": "much"})
