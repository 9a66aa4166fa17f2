"""The collector accepts each shipped configuration without a word, and no address or secret is fixed in any."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from collector_process import COLLECTOR, CONFIGS

pytestmark = pytest.mark.slow

FILES = sorted(CONFIGS.glob("*.yaml"))
NAMES = [each.name for each in FILES]


def test_they_are_all_here():
    assert {
        "agent.yaml",
        "gateway.yaml",
        "gateway-loadbalancer.yaml",
        "kafka.yaml",
        "logs.yaml",
        "secure.yaml",
        "standalone.yaml",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_collector_accepts_it_and_complains_of_nothing(name, tmp_path):
    checked = subprocess.run(
        [str(COLLECTOR), "validate", "--config", str(CONFIGS / name)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_addresses_and_paths_come_from_the_environment(name):
    lines = (line for line in (CONFIGS / name).read_text().splitlines() if not line.strip().startswith("#"))
    left = re.sub(r"\$\{env:\w+:-[^}]*\}\S*", "", "\n".join(lines))

    assert not re.findall(r"\$\{|localhost|127\.0\.0\.1|https?://|(?::|port: )\d{4,5}\b|: \.?/", left)


@pytest.mark.parametrize("name", NAMES)
def test_its_first_lines_say_how_to_start_it(name):
    head = (CONFIGS / name).read_text().partition("\n\n")[0].splitlines()

    assert 3 <= len(head) <= 16
    assert all(line.startswith("#") for line in head)
    assert any(f"otelcol-contrib --config {name}" in line for line in head)


# Said once, in agent.yaml.
COMMON = set(re.findall(r"\b(?:COLLECTOR|GATEWAY)_\w+", (CONFIGS / "agent.yaml").read_text().partition("\n\n")[0]))


@pytest.mark.parametrize("name", NAMES)
def test_each_of_its_variables_is_explained(name):
    text = (CONFIGS / name).read_text()
    head = text.partition("\n\n")[0]

    used = set(re.findall(r"\$\{env:(\w+)", text))
    assert used - {variable for variable in used if variable in head} <= COMMON
