"""Writes the dashboards: ``python generate.py [FOLDER]``, by default the folder ``dashboards`` beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from flow import flow
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel
from models import models
from overview import overview
from resources import resources
from telemetry import telemetry


def write_dashboards(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for build in (overview, flow, models, resources, telemetry):
        made = build().build()
        _finish(made)
        text = JSONEncoder(sort_keys=True, indent=1).encode(made)
        (folder / f"{made.uid}.json").write_text(f"{text}\n", encoding="utf-8")


def _finish(made: Dashboard) -> None:
    """What the SDK leaves open."""
    for number, panel in enumerate(made.panels or [], start=1):
        panel.id_val = number
    made.panels = _folded(made)
    # The SDK's default would hide links and annotations in a menu.
    annotations = (made.annotations.list_val if made.annotations else None) or []
    panels = [panel for panel in made.panels if isinstance(panel, Panel) and panel.field_config]
    links = [link for panel in panels for link in panel.field_config.defaults.links or []]
    for each in (*(made.links or []), *annotations, *links):
        each.placement = None


def _folded(made: Dashboard) -> list[Panel | RowPanel]:
    """A collapsed row holds the panels that follow it."""
    kept: list[Panel | RowPanel] = []
    collapsed: RowPanel | None = None
    for panel in made.panels or []:
        if isinstance(panel, RowPanel):
            collapsed = panel if panel.collapsed else None
        elif collapsed is not None:
            collapsed.panels.append(panel)
            continue
        kept.append(panel)
    return kept


if __name__ == "__main__":
    write_dashboards(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
