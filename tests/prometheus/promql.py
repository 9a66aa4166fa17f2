"""What the dashboards and the rules ask, taken apart by a parser of PromQL."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from promql_parser import BinaryExpr, Call, NumberLiteral, ParenExpr, VectorSelector

CONFIG = Path(__file__).parent.parent.parent / "collector-config"
RULES = CONFIG / "prometheus" / "rules"
DASHBOARDS = CONFIG / "grafana" / "dashboards"
WINDOWS = ("1m", "5m", "1h")
SETS = ("and", "or", "unless")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")


@dataclass(frozen=True)
class PanelQuery:
    """One query of one panel; as often as there are rollup windows where it depends on them."""

    dashboard: str
    panel: str
    expr: str
    instant: bool

    @property
    def name(self) -> str:
        return f"{self.dashboard} / {self.panel}"


@functools.cache
def rules() -> list[dict[str, Any]]:
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recordings() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "record" in rule]


def dashboards() -> Iterator[dict[str, Any]]:
    for path in sorted(DASHBOARDS.glob("*.json")):
        yield json.loads(path.read_text())


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each panel with its dashboard's uid, those in collapsed rows too."""
    for dashboard in dashboards():
        for panel in dashboard["panels"]:
            if panel["type"] == "row":
                yield from ((dashboard["uid"], inner) for inner in panel["panels"])
            else:
                yield dashboard["uid"], panel


@functools.cache
def panel_queries() -> list[PanelQuery]:
    """What panels ask Prometheus; the other data sources have no ``expr``."""
    found = []
    for uid, panel in panels():
        for target in panel["targets"]:
            expr = target.get("expr", "")
            for window in WINDOWS if "$window" in expr else ("",) if expr else ():
                is_instant = target.get("instant", False) or panel["type"] == "stat"
                found.append(PanelQuery(uid, panel["title"], chosen(expr, window), is_instant))
    return found


@functools.cache
def annotation_queries() -> list[PanelQuery]:
    return [
        PanelQuery(dashboard["uid"], annotation["name"], chosen(annotation["expr"]), instant=False)
        for dashboard in dashboards()
        for annotation in dashboard["annotations"]["list"]
        if "expr" in annotation
    ]


def chosen(expr: str, window: str = "1m") -> str:
    """The query as Grafana sends it, with all deployments, flows, versions, models and pods."""
    values = {
        "$__rate_interval": "20s",
        "$__rate_interval_ms": "20000",
        "$window": window,
        "$job": "langflow.*",
        "$flow": ".+",
        "$version": ".*",
        "$model": ".*",
        "$namespace": ".*",
        "$pod": ".*",
    }
    return re.sub(r"\$\w+", lambda found: values.get(found[0], found[0]), expr)


@functools.cache
def metrics_in(expr: str) -> frozenset[str]:
    """Names of the metrics, without a histogram's suffix; a pattern of names as it stands."""
    return frozenset(name for selector in _selectors(expr) for name in _names(selector))


def _selectors(expr: str) -> list[VectorSelector]:
    found: list[VectorSelector] = []

    def visit(node: Any) -> None:
        if isinstance(node, VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def _names(selector: VectorSelector) -> Iterator[str]:
    if selector.name:
        yield selector.name
    yield from (matcher.value for matcher in selector.matchers.matchers if matcher.name == "__name__")


def operands(expr: str) -> list[str]:
    """What an alert compares: the sides of its comparisons and of ``and``, ``or``; without numbers.

    A healthy system's alerts find nothing. What they compare must be there all the same, else they are blind.
    """
    return [text for text in _operands(promql_parser.parse(expr)) if _selectors(text)]


def _operands(node: Any) -> Iterator[str]:
    if isinstance(node, ParenExpr):
        yield from _operands(node.expr)
    elif isinstance(node, BinaryExpr) and str(node.op) in SETS + COMPARISONS:
        yield from _operands(node.lhs)
        yield from _operands(node.rhs)
    elif isinstance(node, Call) and node.func.name == "absent":
        yield str(node.args[0])
    elif not isinstance(node, NumberLiteral):
        yield str(node)
