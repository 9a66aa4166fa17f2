"""What the dashboards share: queries, panels, variables, links, annotations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Final, TypeAlias
from urllib.parse import quote

from grafana_foundation_sdk.builders import common, heatmap, stat, table, tempo, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    ConstantVariable,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    AxisPlacement,
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    HeatmapCellLayout,
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
    DashboardRangeMapOptions,
    DataTransformerConfig,
    DynamicConfigValue,
    RangeMap,
    Threshold,
    ThresholdsMode,
    ValueMappingResult,
    VariableHide,
    VariableModel,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType
from queries import JOB

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
TEMPO: Final = DataSourceRef(type_val="tempo", uid="${traces}")
JAEGER: Final = DataSourceRef(type_val="jaeger", uid="${jaeger}")
TAG: Final = "langflow"
RUNBOOK: Final = "http://localhost:9090/user/RUNBOOK.html"
"""As the alerts have it."""
Panel: TypeAlias = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel
Limits: TypeAlias = tuple[float, float]

IN_JAEGER: Final = "Of the time range; a click opens the trace. Needs a data source of the type Jaeger."
PER_MINUTE: Final = "suffix: /min"

_RANGES: Final = (("Live", "now-15m", "10s"), ("7 days", "now-7d", "1m"), ("30 days", "now-30d", "5m"))
"""Title, from, refresh."""

_ROLLUPS: Final = " or ".join(
    (
        'label_replace(vector(1), "window", "1m", "", "") and on () (vector($__range_s) <= 6 * 3600)',
        'label_replace(vector(1), "window", "5m", "", "") and on () (vector($__range_s) > 6 * 3600)'
        " and on () (vector($__range_s) <= 3 * 86400)",
        'label_replace(vector(1), "window", "1h", "", "") and on () (vector($__range_s) > 3 * 86400)',
    )
)
"""One series, whose label is the rollup that fits the range: over a minute up to 6 h, over 5 min up to 3 days."""


def query(expr: str, legend: str = "__auto") -> Dataquery:
    return Dataquery().expr(expr).legend_format(legend).datasource(PROMETHEUS).range()


def link(title: str, url: str) -> DashboardLink:
    return DashboardLink(title).type(DashboardLinkType.LINK).url(url)


def to_flow(name: str = "${__field.labels.flow}") -> DashboardLink:
    """To the dashboard of the flow that was clicked on, with the store, the deployment and the time range."""
    kept = "".join(f"&${{{each}:queryparam}}" for each in ("datasource", "traces", "job", "namespace"))
    return link("Dashboard of this flow", f"/d/langflow-flow?var-flow={name}{kept}&${{__url_time_range}}")


def to_traces(title: str, traceql: str) -> DashboardLink:
    """To Explore, with what a query of Tempo's language finds in the time range."""
    pane = {
        "datasource": "${traces}",
        "queries": [{"refId": "A", "queryType": "traceql", "query": traceql, "tableType": "spans", "limit": 20}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    panes = quote(json.dumps({"a": pane}), safe="${}_:")
    return link(title, f"/explore?schemaVersion=1&panes={panes}")


def graph(
    title: str,
    unit: str,
    about: str,
    *queries: Dataquery,
    width: int = 12,
    limit: float | None = None,
    above: float | None = None,
    links: Sequence[DashboardLink] = (),
) -> timeseries.Panel:
    """Lines over time.

    Args:
        title: What it shows, in the reader's words.
        unit: Grafana's name of the unit.
        about: The text behind the panel's (i): what it shows, and what to do when it is red.
        queries: What it asks.
        width: Of 24.
        limit: From there on it is red: a dashed line.
        above: The largest bucket of a quantile's histogram: what is above is shown as "> 300", for example.
        links: Where a click on a line leads.
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
    if limit is not None:
        panel.thresholds(_steps((Threshold(color="green"), Threshold(value=limit, color="red"))))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if above is not None:
        panel.mappings([_above(above)])
    if links:
        panel.data_links(list(links))
    for ref, each in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(each.ref_id(ref))
    return panel


def share(title: str, about: str, *queries: Dataquery, width: int = 12) -> timeseries.Panel:
    """Areas that fill 100 %."""
    stacked = common.StackingConfig().mode(StackingMode.PERCENT).group("A")
    return graph(title, "percentunit", about, *queries, width=width).stacking(stacked).fill_opacity(60)


def durations(title: str, about: str, expr: str, width: int = 12, *, exemplars: bool = False) -> heatmap.Panel:
    """How many runs took how long, over time: the darker, the more.

    Args:
        title: What it shows.
        about: The text behind the panel's (i).
        expr: Rates of a histogram's buckets, by ``le``.
        width: Of 24.
        exemplars: Single runs are dots that lead to their traces. Only what asks a histogram itself has some, no
            recorded series.
    """
    asked = query(expr, "{{le}}").format(PromQueryFormat.HEATMAP).exemplar(exemplar=exemplars)
    return (
        heatmap.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .span(width)
        .height(8)
        .calculate(calculate=False)
        .cell_gap(1)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .reverse(reverse=False)
            .fill("dark-orange")
        )
        .y_axis(heatmap.YAxisConfig().unit("s").axis_placement(AxisPlacement.LEFT).reverse(reverse=False))
        .cell_values(heatmap.CellValues().unit("suffix: runs/s"))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.AUTO))
        .exemplars_color("rgba(64, 64, 255, 0.8)")
        .with_target(asked.ref_id("A"))
    )


def number(
    title: str,
    unit: str,
    about: str,
    expr: str,
    limits: Limits | None = None,
    *,
    low_is_bad: bool = False,
    above: float | None = None,
    width: int = 3,
    empty: str = "-",
) -> stat.Panel:
    """One figure with its line.

    Args:
        title: What it is.
        unit: Grafana's name of the unit.
        about: The text behind the panel's (i): what it shows, and what to do when it is red.
        expr: One value.
        limits: From the first it is yellow, from the second red.
        low_is_bad: Below the second it is red, below the first yellow.
        above: The largest bucket of a quantile's histogram, see :func:`graph`.
        width: Of 24.
        empty: What is there without a value.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .datasource(PROMETHEUS)
        .span(width)
        .height(4)
        .no_value(empty)
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(_steps(_colors(limits, low_is_bad=low_is_bad)))
        .with_target(query(expr).ref_id("A"))
    )
    return panel if above is None else panel.mappings([_above(above)])


def _colors(limits: Limits | None, *, low_is_bad: bool = False) -> list[Threshold]:
    if limits is None:
        return [Threshold(color="green")]
    first, second = limits
    if low_is_bad:
        return [Threshold(color="red"), Threshold(value=second, color="yellow"), Threshold(value=first, color="green")]
    return [Threshold(color="green"), Threshold(value=first, color="yellow"), Threshold(value=second, color="red")]


def _steps(steps: Sequence[Threshold]) -> ThresholdsConfig:
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(list(steps))


OVERSPENT: Final = RangeMap(
    DashboardRangeMapOptions(from_val=None, to=-1, result=ValueMappingResult(text="< -100 %", index=0))
)
"""Of a budget. How much more is hard to read: one in four runs that fails is -2,400 % of 1 %."""


def _above(largest: float) -> RangeMap:
    """A quantile in the last bucket has no value: Prometheus answers with the largest bound."""
    return RangeMap(
        DashboardRangeMapOptions(from_val=largest, to=None, result=ValueMappingResult(text=f"> {largest:g} s", index=0))
    )


class Column:
    """One column of a table.

    Args:
        unit: Grafana's name of the unit.
        expr: What it asks now.
        limits: From the first the cell is yellow, from the second red; see :func:`number`.
        low_is_bad: Below them.
        above: The largest bucket of a quantile's histogram.
        mapping: Words in the place of some values.
    """

    def __init__(
        self,
        unit: str,
        expr: str,
        limits: Limits | None = None,
        *,
        low_is_bad: bool = False,
        above: float | None = None,
        mapping: RangeMap | None = None,
    ) -> None:
        self.expr = expr
        self.properties = [DynamicConfigValue(id_val="unit", value=unit)]
        worded = mapping if above is None else _above(above)
        if worded is not None:
            self.properties.append(DynamicConfigValue(id_val="mappings", value=[worded.to_json()]))
        if limits is not None:
            steps = _steps(_colors(limits, low_is_bad=low_is_bad)).build().to_json()
            self.properties.append(DynamicConfigValue(id_val="thresholds", value=steps))
            self.properties.append(
                DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
            )


def grid(
    title: str,
    about: str,
    columns: dict[str, Column],
    row: str,
    width: int = 24,
    height: int = 8,
    sort: str = "",
    row_link: DashboardLink | None = None,
) -> table.Panel:
    """A table with one row for each value of a label.

    Args:
        title: What it shows.
        about: The text behind the panel's (i).
        columns: By their names.
        row: The label.
        width: Of 24.
        height: Rows of the dashboard's grid.
        sort: The column whose largest values come first.
        row_link: Where a click on the label's value leads.
    """
    panel = table.Panel().title(title).description(about).datasource(PROMETHEUS).span(width).height(height)
    renamed = {}
    for ref, (name, column) in zip(ascii_uppercase, columns.items(), strict=False):
        panel.with_target(query(column.expr, name).ref_id(ref).instant().format(PromQueryFormat.TABLE))
        panel.override_by_name(name, column.properties)
        renamed[f"Value #{ref}"] = name
    if row_link is not None:
        panel.override_by_name(row, [DynamicConfigValue(id_val="links", value=[row_link.build().to_json()])])
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=True)])
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


def firing(title: str, about: str, where: str, width: int = 12) -> table.Panel:
    """The alerts that fire, the longest first: each leads to its section of the runbook, its flow to its dashboard.

    A list of Grafana's own (``alertlist``) has no data links. Needs :func:`runbook_variable`.
    """
    since = f'time() - ALERTS_FOR_STATE{{alertname!="Watchdog"{where}}}'
    expr = f'({since}) and ignoring (alertstate) ALERTS{{alertstate="firing",alertname!="Watchdog"{where}}}'
    shown = ("alertname", "severity", "flow", "component_type", "instance", "Value")
    names = {"alertname": "alert", "component_type": "component", "Value": "for"}
    runbook_link = [link("What to do", "${runbook}#${__value.raw}").target_blank(target_blank=True).build().to_json()]
    flow_link = [to_flow("${__value.raw}").build().to_json()]
    return (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .span(width)
        .height(8)
        .no_value("No alert fires.")
        .with_target(query(expr).ref_id("A").instant().format(PromQueryFormat.TABLE))
        .override_by_name("for", [DynamicConfigValue(id_val="unit", value="s")])
        .override_by_name("alert", [DynamicConfigValue(id_val="links", value=runbook_link)])
        .override_by_name("flow", [DynamicConfigValue(id_val="links", value=flow_link)])
        .sort_by([common.TableSortByFieldState().display_name("for").desc(desc=True)])
        .with_transformation(
            DataTransformerConfig(
                id_val="filterFieldsByName", options={"include": {"pattern": f"^({'|'.join(shown)})$"}}
            )
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"indexByName": {name: n for n, name in enumerate(shown)}, "renameByName": names},
            )
        )
    )


def found_traces(title: str, about: str, traceql: str, width: int = 12) -> table.Panel:
    """Spans that Tempo finds, the newest first; each leads to its trace."""
    asked = tempo.Dataquery().query_type("traceql").query(traceql).limit(20).table_type(SearchTableType.SPANS)
    return (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(TEMPO)
        .span(width)
        .height(8)
        .no_value("None in this time range, or no Tempo.")
        .with_target(asked.ref_id("A").datasource(TEMPO))
    )


class _JaegerSearch(Builder[variants.Dataquery], variants.Dataquery):
    """A search by the tags of spans. The SDK has no Jaeger."""

    def __init__(self, tags: str) -> None:
        self._tags = tags

    def build(self) -> variants.Dataquery:
        return self

    def to_json(self) -> dict[str, object]:
        search = {"queryType": "search", "service": "langflow", "tags": self._tags, "limit": 20}
        return {"refId": "A", "datasource": JAEGER.to_json(), **search}


def found_in_jaeger(title: str, about: str, tags: str) -> table.Panel:
    """Traces that Jaeger finds; each leads to itself."""
    return (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(JAEGER)
        .span(24)
        .height(8)
        .no_value("None in this time range, or no Jaeger.")
        .with_target(_JaegerSearch(tags))
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


def jaeger_variable() -> DatasourceVariable:
    return DatasourceVariable("jaeger").label("Jaeger").type("jaeger").hide(VariableHide.HIDE_VARIABLE)


def runbook_variable() -> ConstantVariable:
    return ConstantVariable("runbook").label("Runbook").value(RUNBOOK)


class _Window(Builder[VariableModel]):
    """``$window``, by the time range: nobody has to choose it. The SDK's builder has no regular expression."""

    def build(self) -> VariableModel:
        made = (
            QueryVariable("window")
            .label("Rollup")
            .description("Over which time the recorded series are rates: by the time range.")
            .datasource(PROMETHEUS)
            .query(f"query_result({_ROLLUPS})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .hide(VariableHide.HIDE_VARIABLE)
            .current(VariableOption(text="1m", value="1m"))
            .build()
        )
        made.regex = '/window="([^"]+)"/'
        return made


def dashboard(
    uid: str, title: str, about: str, *variables: QueryVariable, rollups: bool = True, traces: bool = True
) -> Dashboard:
    """An empty dashboard with the deployment, the range and links to the others in its head.

    Args:
        uid: Alerts and links find it by that: it never changes.
        title: In lists.
        about: Under the title.
        variables: Its own, beside the deployment.
        rollups: Its panels ask recorded series by ``$window``.
        traces: Its panels ask Tempo, by ``$traces``.
    """
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
    )
    namespaces = 'job:langflow_replicas:sum{job=~"$job"}, namespace'
    made.with_variable(variable("namespace", "Namespace", namespaces, all_value=".*"))
    if rollups:
        made.with_variable(_Window())
    if traces:
        made.with_variable(DatasourceVariable("traces").label("Traces").type("tempo"))
    for each in variables:
        made.with_variable(each)
    own = (*(("traces",) if traces else ()), *(each.build().name for each in variables))
    kept = "".join(f"&${{{name}:queryparam}}" for name in ("datasource", "job", "namespace", *own))
    for text, start, refresh in _RANGES:
        made.link(link(text, f"/d/{uid}?from={start}&to=now&refresh={refresh}{kept}").icon("dashboard"))
    others = DashboardLink("LangFlow").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    made.link(others.as_dropdown(as_dropdown=True).include_vars(include_vars=True).keep_time(keep_time=True))
    for each in _annotations():
        made.annotation(each)
    return made


def _annotations() -> Sequence[AnnotationQuery]:
    return (
        annotation(
            "Alerts",
            "red",
            f'ALERTS{{alertstate="firing",alertname!="Watchdog",{JOB}}}',
            "{{alertname}}",
            "{{severity}} {{flow}} {{instance}}",
        ),
        annotation(
            "Starts",
            "blue",
            f"max by (job, instance) (langflow_otel_start_time_seconds{{{JOB}}}) * 1000",
            "LangFlow has started",
            "{{job}} {{instance}}",
        ).use_value_for_time(use_value_for_time=True),
        annotation(
            "Releases",
            "purple",
            _appeared("target_info", f'{JOB},service_version!=""', "job, service_version"),
            "Version {{service_version}}",
            "{{job}}: the first process with this service.version",
        ),
    )


def annotation(name: str, color: str, expr: str, title: str, text: str) -> AnnotationQuery:
    """Marks on all graphs at the times at which a query finds something."""
    return (
        AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(enable=True)
        .icon_color(color)
        .expr(expr)
        .title_format(title)
        .text_format(text)
        .step("60s")
    )


def versions_of_flows(where: str) -> AnnotationQuery:
    """A mark where a flow's version runs that was not there 5 min before."""
    series = "langflow_flow_duration_seconds_count"
    return annotation(
        "Flow versions",
        "green",
        _appeared(series, f'{where},flow_version!=""', "job, flow, flow_version"),
        "{{flow}}: version {{flow_version}}",
        "The first runs of this version",
    )


def _appeared(series: str, where: str, by: str) -> str:
    now = f"group by ({by}) ({series}{{{where}}})"
    return f"{now} unless group by ({by}) (last_over_time({series}{{{where}}}[1h] offset 1m))"
