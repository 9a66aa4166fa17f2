"""kube-score's findings on each overlay, and on one with all components, are those that kube_score.yaml justifies."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from overlays import EVERY_COMPONENT, KUBERNETES, OVERLAYS, built_text, kustomize, tools

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(kustomize() is None or tools() is None, reason="no kube-score: run .ci/deploy-tools"),
]

ACCEPTED_GRADE = 10
"""Of kube-score: 5 is a warning, 1 is critical."""

Finding = tuple[str, str, str]
"""The check's id, what it says, and the kind and name of what it is about."""


@cache
def findings(overlay: str) -> set[Finding]:
    folder = tools()
    assert folder is not None
    scored = subprocess.run(
        [folder / "bin" / "kube-score", "score", "--output-format", "json", "-"],
        input=built_text(overlay),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    objects = json.loads(scored.stdout)
    assert len(objects) > 5, scored.stderr
    return {
        (check["check"]["id"], comment["summary"], f"{found['type_meta']['kind']}/{found['object_meta']['name']}")
        for found in objects
        for check in found["checks"]
        if not check["skipped"] and check["grade"] < ACCEPTED_GRADE
        for comment in check["comments"]
    }


def justified() -> Iterator[tuple[Finding, str]]:
    entries: list[dict[str, Any]] = yaml.safe_load((KUBERNETES / "kube_score.yaml").read_text())
    for entry in entries:
        for about in entry["objects"]:
            yield (entry["check"], entry["finding"], about), entry["reason"]


@pytest.mark.parametrize("overlay", [*OVERLAYS, EVERY_COMPONENT])
def test_each_finding_is_justified(overlay: str) -> None:
    assert findings(overlay) - {finding for finding, _ in justified()} == set()


def test_each_justification_has_a_finding_and_a_reason() -> None:
    found = set().union(*(findings(overlay) for overlay in (*OVERLAYS, EVERY_COMPONENT)))
    listed = [finding for finding, _ in justified()]

    assert set(listed) - found == set(), "these findings are gone: take them out"
    assert len(listed) == len(set(listed))
    assert all(len(reason.split()) > 5 for _, reason in justified())
