"""Writes the dashboards: ``python generate.py [FOLDER]``, by default the folder ``dashboards`` beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from flow import flow
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from overview import overview
from resources import resources
from telemetry import telemetry


def write_dashboards(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for build in (overview, flow, resources, telemetry):
        made = build().build()
        for number, panel in enumerate(made.panels or [], start=1):
            panel.id_val = number
        text = JSONEncoder(sort_keys=True, indent=1).encode(made)
        (folder / f"{made.uid}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write_dashboards(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
