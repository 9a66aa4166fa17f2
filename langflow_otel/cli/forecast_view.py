"""Forecasts as tables: what comes, and how far the models were off in the past."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import heading, in_bytes, in_money, in_percent, printable
from langflow_otel.insights._forecasts.daily import Series, day_of, typical
from langflow_otel.insights._forecasts.forecast import NAIVE, SEASONAL_NAIVE, BackTest, Crossing, Forecast

SHOWN_DAYS = (1, 7, 14, 30, 60, 90, 180, 365)
"""Days ahead of which a forecast is shown; of the others --json has it."""


def show(forecasts: Sequence[Forecast], console: Console) -> None:
    """Print them."""
    for forecast in forecasts:
        _show_one(forecast, console)


def _show_one(forecast: Forecast, console: Console) -> None:
    series = forecast.series
    of = "a day" if series.is_sum else "level of a day"
    heading(
        console, printable(series.name), f"{of}, from {len(series.values)} days until {day_of(series.end_s - 1)} (UTC)"
    )
    console.print(_days(forecast))
    if series.is_sum:
        total = in_unit(series, forecast.total)
        console.print(Text(f"In all of the {len(forecast.days)} days: {total}."), soft_wrap=True)
    if forecast.crossing is not None:
        console.print(Text(crossing_line(series, forecast.crossing, len(forecast.days)), "bold"), soft_wrap=True)
    console.print(Text(back_test_line(forecast), "dim"), soft_wrap=True)


def _days(forecast: Forecast) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("day", no_wrap=True)
    for title in ("forecast", "95 % interval from", "to"):
        table.add_column(title, justify="right", no_wrap=True)
    series, count = forecast.series, len(forecast.days)
    table.add_row("median so far", in_unit(series, typical(series.values)), "", "", style="dim")
    for ahead in sorted({each for each in SHOWN_DAYS if each <= count} | {count}):
        day = forecast.days[ahead - 1]
        table.add_row(day_of(day.start_s), *(in_unit(series, each) for each in (day.value, day.low, day.high)))
    return table


def in_unit(series: Series, value: float) -> str:
    """With the series' unit."""
    if series.unit == "bytes":
        return in_bytes(value)
    if series.unit.startswith("share"):
        return in_percent(100 * value)
    if series.name.startswith("cost"):
        return f"{in_money(value)} {printable(series.unit)}".rstrip()
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def crossing_line(series: Series, crossing: Crossing, days: int) -> str:
    """When a limit is reached."""
    limit = in_unit(series, crossing.limit)
    if crossing.is_over:
        return f"The limit of {limit} is reached already."
    if crossing.expected_s is None and crossing.earliest_s is None:
        return f"The limit of {limit} is not reached within {days} days, not even by the upper bound."
    earliest = "" if crossing.earliest_s is None else f"as early as {day_of(crossing.earliest_s)}"
    if crossing.expected_s is None:
        return f"The limit of {limit} is not expected to be reached within {days} days, but may be {earliest}."
    latest = "no later bound" if crossing.latest_s is None else f"{day_of(crossing.latest_s)} at the latest"
    if crossing.latest_s is None:
        latest = f"or not within {days} days"
    return f"The limit of {limit} is expected to be reached on {day_of(crossing.expected_s)}; {earliest}, {latest}."


def back_test_line(forecast: Forecast) -> str:
    """How far the models were off."""
    series, chosen = forecast.series, forecast.back_test
    others = [
        f"{name}: {in_unit(series, forecast.back_tests[name].mean_error)}"
        for name in (NAIVE, SEASONAL_NAIVE)
        if name in forecast.back_tests and name != forecast.model
    ]
    return (
        f"Model: {forecast.model}. Tried from {forecast.origins} days in the past, {forecast.tried_days} days ahead, "
        f"it was off by {in_unit(series, chosen.mean_error)} on average ({', '.join(others)}); {_coverage(chosen)}."
    )


def _coverage(test: BackTest) -> str:
    wider = "" if test.widening <= 1 else f", so that they are {test.widening:.1f} times as wide here"
    return f"its own 95 % intervals held {test.coverage:.0%} of what came{wider}"
