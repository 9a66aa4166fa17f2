"""The overlays of collector-config/kubernetes as kustomize builds them, and the schemas that they must fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "collector-config" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
EVERY_COMPONENT = "production with every component"
ALL_BUILT = [*OVERLAYS, EVERY_COMPONENT]

Resource = dict[str, Any]


def tools() -> Path | None:
    """What .ci/deploy-tools made, if it has run here."""
    cached = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "langflow-otel"
    script = ROOT / ".ci" / "deploy-tools"
    digest = subprocess.run(["sha256sum", script], capture_output=True, text=True, check=True).stdout[:12]
    folder = cached / f"deploy-{digest}"
    return folder if folder.is_dir() else None


def kustomize() -> list[str] | None:
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    made = shutil.which("kustomize") or shutil.which("kustomize", path=f"{tools()}/bin")
    return [made, "build"] if made else None


@cache
def built(overlay: str) -> list[Resource]:
    """Its resources; of EVERY_COMPONENT, those of the overlay production with each component."""
    return [resource for resource in yaml.safe_load_all(built_text(overlay)) if resource]


@cache
def built_text(overlay: str) -> str:
    if overlay != EVERY_COMPONENT:
        return build(KUBERNETES / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as folder:
        return build(with_components(Path(folder), COMPONENTS))


def with_components(folder: Path, components: list[str]) -> Path:
    """A folder with the overlay of a user's own that README.md tells to write."""
    above = os.path.relpath(KUBERNETES, folder.resolve())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{above}/overlays/production"],
        # The overlay has this one already.
        "components": [f"{above}/components/{name}" for name in components if name != "prober"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


def build(folder: Path) -> str:
    command = kustomize()
    assert command is not None
    made = subprocess.run(
        [*command, "--load-restrictor", "LoadRestrictionsNone", folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "deprecated" not in made.stderr, made.stderr
    return made.stdout


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] in kinds]


def named(resources: list[Resource], kind: str, name: str) -> Resource:
    return next(resource for resource in of_kind(resources, kind) if resource["metadata"]["name"] == name)


def workloads(resources: list[Resource]) -> list[Resource]:
    return of_kind(resources, "Deployment", "DaemonSet", "StatefulSet")


def pod(workload: Resource) -> Resource:
    return workload["spec"]["template"]["spec"]


def containers(resources: list[Resource]) -> Iterator[Resource]:
    for workload in workloads(resources):
        yield from pod(workload)["containers"]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads "=" as the text that it is, as YAML 1.2 does: matchers of Alertmanager are among the definitions."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


@cache
def custom_schemas(folder: Path) -> dict[tuple[str, str], Resource]:
    """The schema of each custom resource, by apiVersion and kind, with fields refused that it does not know."""
    schemas = {}
    for path in sorted((folder / "crds").glob("*.yaml")):
        definition = yaml.load(path.read_text(), Loader=_Loader)["spec"]
        for version in definition["versions"]:
            schema = json.loads(json.dumps(version["schema"]["openAPIV3Schema"]))
            _refuse_unknown_fields(schema)
            schema["properties"]["metadata"] = {"type": "object"}
            schemas[f"{definition['group']}/{version['name']}", definition["names"]["kind"]] = schema
    return schemas


def _refuse_unknown_fields(schema: Any) -> None:
    if isinstance(schema, list):
        for entry in schema:
            _refuse_unknown_fields(entry)
    if not isinstance(schema, dict):
        return
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for entry in schema.values():
        _refuse_unknown_fields(entry)
