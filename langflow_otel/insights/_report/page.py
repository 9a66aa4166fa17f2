"""The report as one HTML file: style, scripts and data are in it, and it may load nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from langflow_otel.insights._report.build import Report

_HERE = Path(__file__).parent
_SCRIPTS = ("core", "charts", "tables", "overview", "runs", "content", "run", "flame", "components", "others", "app")
_CHARS = {"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(report: Report) -> str:
    """The page. Nothing of the telemetry is in its markup or its scripts: all of it is data, in JSON."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    template = environment.from_string(_file("template.html.j2"))
    style = _file("vendor/uPlot.min.css") + _file("report.css")
    scripts = [_file("vendor/uPlot.iife.min.js"), _own_script()]
    return template.render(
        title=report.title,
        policy=_policy(style, scripts),
        # These four are ours, or JSON without any sign that could end its element.
        style=Markup(style),  # noqa: S704
        scripts=[Markup(each) for each in scripts],  # noqa: S704
        data=Markup(as_json(report.data)),  # noqa: S704
        traces=[Markup(as_json(each)) for each in report.traces],  # noqa: S704
    )


def as_json(value: Any) -> str:
    """Compact JSON that may stand in a ``script`` element: no ``<`` is in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char, escaped in _CHARS.items():
        text = text.replace(char, escaped)
    # What is no whole character cannot be written as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").strip()


def _own_script() -> str:
    parts = "\n".join(_file(f"static/{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


def _policy(style: str, scripts: list[str]) -> str:
    """No network, no code but these scripts, no style but this one."""
    allowed = " ".join(_hash(each) for each in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
