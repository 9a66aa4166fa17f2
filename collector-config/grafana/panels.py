"""What the dashboards share: queries, panels, variables, links."""

from __future__ import annotations

from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import common, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG: Final = "langflow"
Panel: TypeAlias = timeseries.Panel | stat.Panel | table.Panel

_RANGES: Final = (
    # Title, from, window of the rollups, refresh.
    ("Live", "now-15m", "1m", "10s"),
    ("7 days", "now-7d", "5m", "1m"),
    ("30 days", "now-30d", "1h", "5m"),
)


def query(expr: str, legend: str = "__auto") -> Dataquery:
    return Dataquery().expr(expr).legend_format(legend).datasource(PROMETHEUS).range()


def with_exemplars(expr: str, legend: str) -> Dataquery:
    """Its exemplars are dots that lead to traces. Only what asks a histogram itself has some, no recorded series."""
    return query(expr, legend).exemplar(exemplar=True)


def graph(title: str, unit: str, about: str, *queries: Dataquery, width: int = 12) -> timeseries.Panel:
    """Lines over time.

    Args:
        title: What it shows, in the reader's words.
        unit: Grafana's name of the unit.
        about: The text behind the panel's (i): how it is computed, what to make of it.
        queries: What it asks.
        width: Of 24.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .min(0)
        .datasource(PROMETHEUS)
        .span(width)
        .height(8)
        .line_width(1)
        .fill_opacity(8)
        .show_points(VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for ref, each in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(each.ref_id(ref))
    return panel


def share(title: str, about: str, *queries: Dataquery, width: int = 12) -> timeseries.Panel:
    """Areas that fill 100 %."""
    stacked = common.StackingConfig().mode(StackingMode.PERCENT).group("A")
    return graph(title, "percentunit", about, *queries, width=width).stacking(stacked).fill_opacity(60)


def number(title: str, unit: str, about: str, expr: str, limits: tuple[float, float] | None = None) -> stat.Panel:
    """One figure with its line.

    Args:
        title: What it is.
        unit: Grafana's name of the unit.
        about: The text behind the panel's (i).
        expr: One value.
        limits: From the first it is yellow, from the second red.
    """
    steps = [Threshold(color="green")]
    if limits:
        steps += [Threshold(value=limits[0], color="yellow"), Threshold(value=limits[1], color="red")]
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .datasource(PROMETHEUS)
        .span(4)
        .height(4)
        .no_value("-")
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(query(expr).ref_id("A"))
    )


def grid(title: str, about: str, columns: dict[str, tuple[str, str]], row: str, width: int = 24) -> table.Panel:
    """A table with one row for each value of a label.

    Args:
        title: What it shows.
        about: The text behind the panel's (i).
        columns: Name of the column: its unit and what it asks now.
        row: The label.
        width: Of 24.
    """
    panel = table.Panel().title(title).description(about).datasource(PROMETHEUS).span(width).height(8)
    renamed = {}
    for ref, (name, (unit, expr)) in zip("ABCDEFGH", columns.items(), strict=False):
        panel.with_target(query(expr, name).ref_id(ref).instant().format(PromQueryFormat.TABLE))
        panel.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit)])
        renamed[f"Value #{ref}"] = name
    return panel.with_transformation(
        DataTransformerConfig(id_val="joinByField", options={"byField": row, "mode": "outer"})
    ).with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True} | {f"Time {n}": True for n in range(1, len(columns) + 1)},
                "renameByName": renamed,
            },
        )
    )


def variable(name: str, label: str, values_of: str, *, several: bool = True, all_value: str = ".+") -> QueryVariable:
    """A choice in the dashboard's head; where several may be chosen, all are at first."""
    made = (
        QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(f"label_values({values_of})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    if several:
        everything = VariableOption(text="All", value="$__all", selected=True)
        made.multi(multi=True).include_all(include_all=True).all_value(all_value).current(everything)
    return made


def dashboard(uid: str, title: str, about: str, *variables: QueryVariable) -> Dashboard:
    """An empty dashboard with the deployment, the range and links to the others in its head."""
    window = CustomVariable("window").label("Rollup").values("1m,5m,1h").current(VariableOption(text="1m", value="1m"))
    made = (
        Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Store").type("prometheus"))
        .with_variable(variable("job", "Deployment", "job:langflow_replicas:sum, job", all_value="langflow.*"))
        .with_variable(window)
    )
    for each in variables:
        made.with_variable(each)
    kept = "".join(f"&${{{name}:queryparam}}" for name in ("datasource", "job", *(v.build().name for v in variables)))
    for text, start, rollup, refresh in _RANGES:
        url = f"/d/{uid}?from={start}&to=now&refresh={refresh}&var-window={rollup}{kept}"
        made.link(DashboardLink(text).type(DashboardLinkType.LINK).icon("dashboard").url(url))
    others = DashboardLink("LangFlow").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return made.link(others.as_dropdown(as_dropdown=True).include_vars(include_vars=True).keep_time(keep_time=True))
