"""The script that draws the dashboards for a person, in short: without a Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("promql_parser", reason="reads the dashboards: pip install 'langflow-otel[configs]'")
pytest.importorskip("matplotlib", reason="draws: pip install 'langflow-otel[configs]'")

from board_series import page
from pictures import draw
from promql import metrics_in, panel_queries
from test_queries import EXEMPT


class Answers:
    """The same to each query: two series with the labels that panels name."""

    started_s, at_s = 0.0, 60.0

    def now(self, promql: str) -> list[dict[str, Any]]:
        return [{**series, "value": series["values"][-1]} for series in self.lines(promql)]

    def lines(self, _: str) -> list[dict[str, Any]]:
        labels = ("flow", "component_type", "alertname", "severity", "instance")
        return [
            {
                "metric": {**dict.fromkeys(labels, name), "le": le},
                "values": [[at_s, str(at_s / 60)] for at_s in (0, 60)],
            }
            for name, le in (("a", "1"), ("b", "+Inf"))
        ]


@pytest.mark.parametrize("uid", ["langflow-overview", "langflow-flow"])
def test_a_dashboard_can_be_drawn(tmp_path: Path, uid: str) -> None:
    """Every kind of panel is on one of them."""
    made = draw(Answers(), uid, tmp_path)

    assert made == tmp_path / f"{uid}.png"
    assert made.stat().st_size > 20_000


def test_what_is_not_here_is_made_for_the_pictures() -> None:
    made = set(re.findall(r"^\w+", page(10), re.MULTILINE))
    prefixes = [part for part in EXEMPT if part.endswith("_")]
    asked = {name for query in panel_queries() for name in metrics_in(query.expr) if name.startswith(tuple(prefixes))}

    assert len(asked) > 10
    known = {re.sub(r"_(bucket|sum|count)$", "", name) for name in made} | made
    # Panels ask for the older name of it as well.
    missing = {name for name in asked if not any(re.fullmatch(name, each) for each in known)}
    assert missing == {"otelcol_process_memory_rss"}
