"""Makes the PrometheusRules of the Prometheus operator from the rule files in ../prometheus/rules.

    python prometheus_rule.py --grafana https://grafana.example.com --runbook https://wiki.example.com/RUNBOOK.html

writes base/monitoring/prometheus_rules.yaml, with these addresses in the alerts; without them, those of the files.
Needs PyYAML.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

try:
    import yaml
except ModuleNotFoundError:
    raise SystemExit("prometheus_rule.py needs PyYAML: pip install pyyaml") from None

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules"
MADE = HERE / "base" / "monitoring" / "prometheus_rules.yaml"
HEADER = "# Made by prometheus_rule.py from the files in collector-config/prometheus/rules: change those.\n"


class _Dumper(yaml.SafeDumper):
    """Writes an expression of several lines as such."""


def _as_block(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _as_block)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--grafana", type=_address, help="address of Grafana")
    arguments.add_argument("--runbook", type=_address, help="address of the runbook")
    given = arguments.parse_args()
    MADE.write_text(prometheus_rules(given.grafana, given.runbook))


def _address(given: str) -> str:
    """The address without a slash at its end; one that no browser opens is refused."""
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"{given!r} is no address: it begins with https:// or http://")
    return given.rstrip("/")


def prometheus_rules(grafana: str | None = None, runbook: str | None = None) -> str:
    """One PrometheusRule for each rule file, as YAML."""
    made = [_prometheus_rule(path, grafana, runbook) for path in sorted(RULES.glob("*.yml"))]
    return HEADER + yaml.dump_all(made, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def _prometheus_rule(path: Path, grafana: str | None, runbook: str | None) -> dict[str, Any]:
    groups = yaml.safe_load(path.read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        annotations = rule.get("annotations", {})
        if grafana and "dashboard_url" in annotations:
            annotations["dashboard_url"] = grafana + annotations["dashboard_url"][len(_origin(annotations)) :]
        if runbook and "runbook_url" in annotations:
            annotations["runbook_url"] = f"{runbook}#{annotations['runbook_url'].partition('#')[2]}"
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": f"langflow-{path.stem}",
            "namespace": "langflow",
            "labels": {"app.kubernetes.io/part-of": "langflow"},
        },
        "spec": {"groups": groups},
    }


def _origin(annotations: dict[str, str]) -> str:
    scheme, _, rest = annotations["dashboard_url"].partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


if __name__ == "__main__":
    main()
