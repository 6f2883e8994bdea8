"""What the dashboards have in common: panels, variables, links, and the dashboard around them.

A panel has one query or several, and a legend for each. Thresholds are those of the alerts in ../prometheus.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

COLLECTOR: Final = 'job=~"$job", instance=~"$instance"'
"""The chosen collectors, or resolver hosts."""

WIDTH: Final = 8
"""Three panels in a line; there are 24 columns."""

Panel = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel
Row = Callable[[], Iterator[Panel]]
"""Yields the panels of a row; its docstring is the title of the row."""

_DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="$datasource")
_TAG: Final = "dnsvigil"
_URL: Final = "http://127.0.0.1:9953"


def queries(*pairs: tuple[str, str]) -> Iterator[prometheus.Dataquery]:
    """Yield the queries of a panel from pairs of expression and legend."""
    for letter, (expression, legend) in zip("ABCDEFGH", pairs, strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
        yield query.datasource(_DATASOURCE).range()


def graph(
    title: str,
    meaning: str,
    unit: str,
    *pairs: tuple[str, str],
    limit: float | None = None,
    stacked: bool = False,
    runbook: str | None = None,
) -> timeseries.Panel:
    """Return a graph over time; ``limit`` is drawn as a line, ``unit`` is one of Grafana's."""
    panel = timeseries.Panel().title(title).description(meaning).datasource(_DATASOURCE).unit(unit).min(0)
    panel = panel.span(WIDTH).height(8).targets(list(queries(*pairs))).fill_opacity(30 if stacked else 5)
    panel = panel.show_points(kinds.VisibilityMode.NEVER).links(_runbook(runbook))
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    panel = panel.tooltip(tooltip)
    legend = common.VizLegendOptions().show_legend(True).display_mode(kinds.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(kinds.LegendPlacement.BOTTOM))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    if limit is not None:
        panel = panel.thresholds(steps(("transparent", None), ("red", limit)))
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphTresholdsStyleMode.LINE))
    return panel


def dashed(panel: timeseries.Panel, letter: str = "B") -> timeseries.Panel:
    """Draw the series of one query as limits: red and dashed."""
    style = [
        models.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 8]}),
        models.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
        models.DynamicConfigValue(id_val="custom.stacking", value={"mode": "none"}),
        models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": "red"}),
    ]
    return panel.override_by_query(letter, style)


def number(
    title: str,
    meaning: str,
    unit: str,
    expression: str,
    legend: str,
    *colours: tuple[str, float | None],
    runbook: str | None = None,
) -> stat.Panel:
    """Return the newest values as numbers, in colours from their thresholds."""
    panel = stat.Panel().title(title).description(meaning).datasource(_DATASOURCE).unit(unit).span(WIDTH).height(5)
    panel = panel.targets(list(queries((expression, legend)))).thresholds(steps(*colours)).links(_runbook(runbook))
    panel = panel.graph_mode(kinds.BigValueGraphMode.NONE).color_mode(kinds.BigValueColorMode.BACKGROUND)
    return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value("No data")


def listing(
    title: str,
    meaning: str,
    expression: str,
    *,
    value: str = "",
    unit: str = "none",
    width: int = 2 * WIDTH,
    runbook: str | None = None,
    **links: str,
) -> table.Panel:
    """Return a table of the newest series, a column for each label.

    ``value`` is the name of the column with the values, which are left out without one. ``links`` has, by the name of
    a label, what our look-up takes for it.
    """
    query = prometheus.Dataquery().ref_id("A").instant().format(PromQueryFormat.TABLE).datasource(_DATASOURCE)
    hidden = {"Time": True, "__name__": True, "job": True} | ({} if value else {"Value": True})
    options = {"excludeByName": hidden, "renameByName": {"Value": value}}
    panel = table.Panel().title(title).description(meaning).datasource(_DATASOURCE).span(width).height(8)
    panel = panel.show_header(True).with_target(query.expr(expression)).links(_runbook(runbook)).unit(unit)
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=options))
    if value:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(value).desc(True)])
    for label, what in links.items():
        link = {"title": "Look up", "url": f"${{collector}}/lookup?q={what}", "targetBlank": True}
        panel = panel.override_by_name(label, [models.DynamicConfigValue(id_val="links", value=[link])])
    return panel


def heat_map(title: str, meaning: str, unit: str, expression: str) -> heatmap.Panel:
    """Return the buckets of a histogram over time; the expression has the label ``le``."""
    query = prometheus.Dataquery().ref_id("A").expr(expression).legend_format("{{le}}").datasource(_DATASOURCE).range()
    panel = heatmap.Panel().title(title).description(meaning).datasource(_DATASOURCE).span(WIDTH).height(8)
    colours = heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    even = common.ScaleDistributionConfig().type(kinds.ScaleDistribution.LINEAR)
    panel = panel.calculate(False).color(colours).y_axis(heatmap.YAxisConfig().unit(unit)).scale_distribution(even)
    return panel.with_target(query.format(PromQueryFormat.HEATMAP))


def steps(*pairs: tuple[str, float | None]) -> dashboard.ThresholdsConfig:
    """Return thresholds from pairs of colour and the value from which it holds; None for the lowest."""
    colours = [models.Threshold(color=colour, value=value) for colour, value in pairs]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(colours)


def texts(**values: str) -> list[models.ValueMapping]:
    """Return what to show in the place of 0 and 1."""
    options = {{"zero": "0", "one": "1"}[name]: models.ValueMappingResult(text=text) for name, text in values.items()}
    return [models.ValueMap(options=options)]


def variable(name: str, label: str, query: str, *, several: bool = True) -> QueryVariable:
    """Return a variable whose values Prometheus knows."""
    found = QueryVariable(name).label(label).datasource(_DATASOURCE).query(query)
    found = found.sort(models.VariableSort.ALPHABETICAL_ASC).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    if several:
        everything = models.VariableOption(selected=True, text="All", value="$__all")
        found = found.multi(True).include_all(True).all_value(".*").current(everything)
    return found


def board(
    uid: str,
    title: str,
    description: str,
    rows: Iterable[Row],
    *variables: QueryVariable,
    build: str = "dnsvigil_build_info",
) -> models.Dashboard:
    """Return a dashboard with these rows.

    Its variables are the data source, job and instance of the metric ``build``, those that are given, and where links
    lead: the runbooks as Prometheus has them, and the collector's pages.
    """
    made = dashboard.Dashboard(f"dnsvigil: {title}").uid(f"dnsvigil-{uid}").tags(["dns", _TAG]).description(description)
    made = made.readonly().refresh("30s").time("now-3h", "now").timezone("browser")
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    made = made.with_variable(variable("job", "Job", f"label_values({build}, job)", several=False))
    made = made.with_variable(variable("instance", "Instance", f'label_values({build}{{job=~"$job"}}, instance)'))
    for each in variables:
        made = made.with_variable(each)
    runbooks = variable("runbooks", "Runbooks", "label_values(url:dnsvigil_runbooks:info, url)", several=False)
    made = made.with_variable(runbooks.hide(models.VariableHide.HIDE_VARIABLE))
    pages = dashboard.TextBoxVariable("collector").label("Pages of the collector")
    pages = pages.description("Where your browser finds the collector, without a final slash.").default_value(_URL)
    made = made.with_variable(pages.current(models.VariableOption(text=_URL, value=_URL)))
    for link in _links():
        made = made.link(link)
    for name, colour, expression in _ANNOTATIONS:
        note = dashboard.AnnotationQuery().name(name).datasource(_DATASOURCE).enable(True).icon_color(colour)
        made = made.annotation(note.expr(expression))
    ids = itertools.count(1)
    for row in rows:
        made = made.with_row(dashboard.Row(str(row.__doc__)).id(next(ids)))
        for panel in row():
            made = made.with_panel(panel.id(next(ids)))
    return made.build()


_FINDINGS: Final = 'sum by (job, instance, detector, severity) (dnsvigil_findings{severity!="info"}'
_ANNOTATIONS: Final = (
    ("Alerts", "red", 'ALERTS{alertname=~"Dnsvigil.+", alertstate="firing", severity=~"critical|warning"}'),
    # Also where the first finding of a detector has no series before it.
    ("New findings", "orange", f"{_FINDINGS}) > ({_FINDINGS} offset 1m) or 0 * {_FINDINGS}))"),
)


def _links() -> Iterator[dashboard.DashboardLink]:
    others = dashboard.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([_TAG])
    yield others.as_dropdown(True).keep_time(True)
    pages = {"Now": "${collector}/", "Findings": "${collector}/findings", "Flows": "${collector}/flows"}
    for title, url in (pages | {"Runbooks": "${runbooks}/"}).items():
        link = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).icon("external link")
        yield link.url(url).target_blank(True)


def _runbook(name: str | None) -> list[Any]:
    if name is None:
        return []
    link = dashboard.DashboardLink(f"Runbook {name}").type(models.DashboardLinkType.LINK)
    return [link.url(f"${{runbooks}}/{name}").target_blank(True)]
