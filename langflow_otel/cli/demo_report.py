"""What the demo shows of its runs. All of it is read back from the trace file."""

from __future__ import annotations

import io
import statistics
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from langflow_otel.cli.console import FAILED, give_up, make_console
from langflow_otel.cli.stats_view import stats_view
from langflow_otel.cli.tracing import destinations
from langflow_otel.cli.tree_view import tree_view
from langflow_otel.insights.components import component_stats
from langflow_otel.insights.trace import TraceSpan, build_trees, from_file, without_scope
from langflow_otel.recording import semconv
from langflow_otel.settings import Settings

_PICTURE_WIDTH = 110
NEXT_STEPS = (
    ("send it to a collector", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 langflow-otel demo"),
    ("trace your own server", "the same variable, and: opentelemetry-instrument langflow run"),
    ("see inside your own node", "from langflow_otel import traced, then @traced above any method"),
)


@dataclass(frozen=True)
class Report:
    """The demo's traces: one tree for each run."""

    roots: list[TraceSpan]
    settings: Settings

    @classmethod
    def read(cls, settings: Settings, session: str) -> Report:
        """The runs of this demo; the file may hold older ones, and a server may write there as well."""
        path = settings.trace_file
        if path is None:
            raise ValueError("the demo has no trace file")
        try:
            spans = without_scope(from_file(path), semconv.LANGFLOW_SCOPE)
        except (OSError, ValueError) as exc:
            give_up(f"the trace file cannot be read back: {exc}", FAILED)
        roots = [
            root for root in build_trees(spans) if str(root.attributes.get(semconv.SESSION_ID, "")).startswith(session)
        ]
        if not roots:
            give_up(f"no run was recorded in {path}; is OTEL_TRACES_SAMPLER set?", FAILED)
        return cls(roots, settings)

    @property
    def good_run(self) -> TraceSpan | None:
        """The one of median duration."""
        good = [root for root in self.roots if root.status == "ok"]
        if not good:
            return None
        middle_s = statistics.median_low(root.duration_s for root in good)
        return next(root for root in good if root.duration_s == middle_s)

    @property
    def failed_run(self) -> TraceSpan | None:
        return next((root for root in self.roots if root.status == "error"), None)

    def show(self, console: Console) -> None:
        """Both trees, the components, the trace file, and what to do next."""
        for title, root in (("A good run", self.good_run), ("The failed run", self.failed_run)):
            if root is not None:
                _heading(console, title, f"trace {root.trace_id}")
                console.print(tree_view(root, console))
        _heading(console, "Components", f"all {len(self.roots)} runs")
        console.print(stats_view(component_stats(self.roots), console))
        self._show_destinations(console)
        _heading(console, "Next")
        console.print(_pairs(NEXT_STEPS), soft_wrap=True)

    def _show_destinations(self, console: Console) -> None:
        spans = sum(1 for root in self.roots for _ in root.walk())
        _heading(console, "Traces", f"{len(self.roots)} of them, {spans} spans, OTLP JSON lines")
        for line in destinations(self.settings):
            console.print(Text(f"  {line}"), soft_wrap=True)

    def save_picture(self, path: Path) -> None:
        """The good run's tree as an SVG."""
        console = Console(
            record=True, file=io.StringIO(), width=_PICTURE_WIDTH, force_terminal=True, color_system="truecolor"
        )
        if self.good_run is not None:
            console.print(tree_view(self.good_run, console))
        try:
            path.write_text(console.export_svg(title="langflow-otel demo"), encoding="utf-8")
        except OSError as exc:
            give_up(f"{path} cannot be written: {exc.strerror}")
        make_console().print(f"picture saved: {path}", markup=False, soft_wrap=True)


def _heading(console: Console, title: str, detail: str = "") -> None:
    console.print()
    console.print(Text().append(title, "bold").append(f"  {detail}" if detail else "", "dim"), soft_wrap=True)


def _pairs(rows: tuple[tuple[str, str], ...]) -> Text:
    width = max(len(left) for left, _ in rows)
    return Text("\n").join(Text(f"  {left:<{width}}  ").append(right, "cyan") for left, right in rows)
