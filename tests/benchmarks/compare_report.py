"""What :mod:`compare` found, as tables in Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

NONE, OURS, BY_HAND = "no telemetry", "langflow-otel", "bare SDK spans by hand"
PLOTTED = "5 x 10 ms"


def text(result: dict[str, Any]) -> str:
    flows = result["flows"]
    arms = [name for name in next(iter(flows.values())) if name != NONE]

    def rows(cell: Any) -> list[list[str]]:
        return [[name, *(cell(figures[name]) for figures in flows.values())] for name in arms]

    run_itself = ["the run itself", *(f"{figures[NONE]['seconds'] * 1e3:.1f}" for figures in flows.values())]
    late = [
        [name, *(_spread(figures[key], 1e3) for key in ("p99", "longest")), f"{figures['rate'][0]:.0f}"]
        for name, figures in result["delays"].items()
    ]
    return "\n\n".join(
        (
            f"{result['machine']}; {result['rounds']} rounds: median (quartiles).",
            "Milliseconds added to a run",
            _table(["", *flows], [run_itself, *rows(lambda found: _spread(found["added"], 1e3))]),
            "Milliseconds of the processor's time added to a run, with all that goes on beside it",
            _table(["", *flows], rows(lambda found: _spread(found["added_cpu"], 1e3))),
            "Runs per second, as a share of those without telemetry",
            _table(["", *flows], rows(lambda found: f"{found['throughput'][0]:.2f}")),
            f"Milliseconds that the event loop is late, without and with {OURS} and a collector that is so",
            _table(["", "P99", "longest", "runs per second"], late),
            f"Bytes sent for a run of {PLOTTED}",
            _table(["", "bytes"], [[name, f"{result['bytes'][name]:,.0f}"] for name in arms]),
        )
    )


def _spread(values: Iterable[float], factor: float) -> str:
    middle, low, high = (value * factor for value in values)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """Bars of medians, and lines from the first to the third quartile."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figures = {name: found for name, found in result["flows"][PLOTTED].items() if name != NONE}
    added = [[value * 1e3 for value in found["added"]] for found in figures.values()]
    quartiles = [[middle - low for middle, low, _ in added], [high - middle for middle, _, high in added]]
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    axes.barh(
        list(figures),
        [middle for middle, _, _ in added],
        xerr=quartiles,
        ecolor="#555555",
        color=["#2f6f4f" if name.startswith(OURS) else "#b4b4b4" for name in figures],
    )
    for row, (middle, _, high) in enumerate(added):
        axes.text(high + 0.6, row, f"{middle:.1f} ms", va="center")
    axes.set_xlim(min(low for _, low, _ in added) - 1, max(high for _, _, high in added) * 1.15)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds added to a run of five components of 10 ms: median and quartiles")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
