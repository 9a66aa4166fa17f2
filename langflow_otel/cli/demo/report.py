"""What the demo shows of its runs. All of it is read back: from the trace file, and from the scrape endpoint."""

from __future__ import annotations

import importlib.util
import io
import shlex
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from langflow_otel import _semconv as semconv
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.console import FAILED, give_up, heading, make_console
from langflow_otel.cli.metrics_view import Figures, metrics_view
from langflow_otel.cli.stats_view import stats_view
from langflow_otel.cli.tracing import metric_destinations, trace_destinations
from langflow_otel.cli.tree_view import tree_view
from langflow_otel.insights.components import shares_in_trees
from langflow_otel.insights.trace import TraceSpan, build_trees, from_file, without_scope

_PICTURE_WIDTH = 110
NEXT_STEPS = (
    ("send it to a collector", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 langflow-otel demo"),
    ("watch it in Prometheus", "langflow-otel demo --serve"),
    ("trace your own server", "the variable above, and: langflow run"),
    ("scrape your own server", "OTEL_METRICS_EXPORTER=prometheus langflow run"),
    ("see inside your own node", "from langflow_otel import traced, then @traced above any method"),
)


@dataclass(frozen=True)
class Report:
    """The demo's traces, one tree for each run, and its metrics.

    Attributes:
        spans: How many the runs have in the file, LangFlow's own among them.
        url: Where the metrics were read.
        is_live: They can still be read there.
    """

    roots: list[TraceSpan]
    spans: int
    settings: Settings
    figures: Figures
    url: str
    is_live: bool

    @classmethod
    def read(cls, settings: Settings, session: str, figures: Figures, url: str, *, is_live: bool) -> Report:
        """The runs of this demo; the file may hold older ones, and a server may write there as well."""
        path = settings.trace_file
        if path is None:
            raise ValueError("the demo has no trace file")
        try:
            every_span = list(from_file(path))
        except (OSError, ValueError) as exc:
            give_up(f"the trace file cannot be read back: {exc}", FAILED)
        roots = [
            root
            for root in build_trees(without_scope(every_span, semconv.LANGFLOW_SCOPE))
            if str(root.attributes.get(semconv.SESSION_ID, "")).startswith(session)
        ]
        if not roots:
            give_up(f"no run was recorded in {path}; is OTEL_TRACES_SAMPLER set?", FAILED)
        traces = {root.trace_id for root in roots}
        spans = sum(span.trace_id in traces for span in every_span)
        return cls(roots, spans, settings, figures, url, is_live)

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
        """Both trees, the components, the metrics, where all that is, and what to do next."""
        for title, root in (("A good run", self.good_run), ("The failed run", self.failed_run)):
            if root is not None:
                heading(console, title, f"trace {root.trace_id}")
                console.print(tree_view(root, console))
        heading(console, "Components", f"all {len(self.roots)} runs")
        console.print(stats_view(shares_in_trees(self.roots), console))
        heading(console, "Metrics", "as Prometheus reads them")
        console.print(metrics_view(self.figures, console))
        _list(console, self._about_metrics())
        heading(console, "Traces", f"{len(self.roots)} of them, {self.spans} spans, OTLP JSON lines")
        _list(console, trace_destinations(self.settings))
        if not self.is_live:
            heading(console, "Next")
            console.print(_pairs(NEXT_STEPS, console.width), soft_wrap=True)
            heading(console, "Find out", "one component is slow in some of these runs, on purpose: which, and why?")
            console.print(_pairs(_questions(self.settings.trace_file), console.width), soft_wrap=True)

    def _about_metrics(self) -> list[str]:
        if self.is_live:
            return metric_destinations(self.settings, self.url)
        return [
            *metric_destinations(self.settings, None),
            f"read from {self.url}, which closed with the demo",
            "the same page, live: langflow-otel demo --serve",
        ]

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


def _questions(trace_file: Path | None) -> tuple[tuple[str, str], ...]:
    """The commands that find it, as they can be typed here."""
    program, pip = _programs()
    path = shlex.quote(str(trace_file))
    commands = (
        ("all runs, in the browser", f"{program} report {path} --open"),
        ("why the slowest was slow", f"{program} why slowest {path}"),
    )
    if all(importlib.util.find_spec(name) for name in ("duckdb", "jinja2", "pyarrow")):
        return commands
    return (("first, what these need", f"{pip} install 'langflow-otel[insights]'"), *commands)


def _programs() -> tuple[str, str]:
    """This command and the pip beside it: with their folder, if they are not on the path."""
    called = Path(sys.argv[0])
    on_path = shutil.which("langflow-otel")
    if called.name != "langflow-otel" or (on_path and Path(on_path).absolute() == called.absolute()):
        return "langflow-otel", "pip"
    pip = called.with_name("pip")
    return shlex.quote(str(called)), shlex.quote(str(pip)) if pip.exists() else "pip"


def _list(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _pairs(rows: tuple[tuple[str, str], ...], width: int) -> Text:
    left_width = max(len(left) for left, _ in rows)
    in_two_columns = left_width + max(len(right) for _, right in rows) + 4 <= width
    gap = "  " if in_two_columns else "\n    "
    return Text("\n").join(
        Text(f"  {left:<{left_width if in_two_columns else 0}}{gap}").append(right, "cyan") for left, right in rows
    )
