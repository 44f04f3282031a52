"""Building blocks of the dashboards: rows, graphs, single figures and variables, in one form for all.

A query is a pair of an expression and a legend. Names of series come from labels; units are those of Grafana.
"""

from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common, dashboard

# The data source is a variable, so that one set of dashboards serves several Prometheus servers.
SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Of 24 columns.
FIGURE_COLUMNS = 4
FIGURE_HEIGHT = 4
GRAPH_HEIGHT = 8
TAG = "orderworks"

Query = tuple[str, str]


@dataclass
class Board:
    """A dashboard before it is built: `rows` are titles with their panels, `variables` names with their queries."""

    uid: str
    title: str
    about: str
    rows: list[tuple[str, list]]
    variables: list[tuple[str, str]] = field(default_factory=list)


def target(number: int, query: Query, instant: bool, exemplars: bool = False):
    expression, legend = query
    built = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
    built = built.datasource(SOURCE)
    if exemplars:
        built = built.exemplar(True)
    return built.instant() if instant else built.range()


def thresholds(red: float | None, low_is_bad: bool = False):
    """Green, and red from `red` on; with `low_is_bad` red below it."""
    good, bad = "green", "red"
    steps = [dashboard.Threshold(value=None, color=bad if low_is_bad else good)]
    if red is not None:
        steps.append(dashboard.Threshold(value=red, color=good if low_is_bad else bad))
    return dashboards.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def figure(
    title: str, expression: str, unit: str = "short", red: float | None = None, about: str = "", low_is_bad=False
):
    """A single number of now, red from a value on."""
    panel = stat.Panel().title(title).description(about).datasource(SOURCE).unit(unit)
    panel = panel.height(FIGURE_HEIGHT).span(FIGURE_COLUMNS).thresholds(thresholds(red, low_is_bad))
    panel = panel.color_mode(common.BigValueColorMode.VALUE if red is None else common.BigValueColorMode.BACKGROUND)
    panel = panel.graph_mode(common.BigValueGraphMode.NONE)
    panel = panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.with_target(target(0, (expression, ""), instant=True))


def graph(
    title: str,
    *queries: Query,
    unit: str = "short",
    stack: bool = False,
    about: str = "",
    columns: int = 12,
    exemplars: bool = False,
):
    """Series over time, from zero; with `exemplars`, those of the first query, as the others' are the same."""
    panel = timeseries.Panel().title(title).description(about).datasource(SOURCE).unit(unit).min(0)
    panel = panel.height(GRAPH_HEIGHT).span(columns).fill_opacity(30 if stack else 5).line_width(1)
    panel = panel.show_points(common.VisibilityMode.NEVER)
    panel = panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    legend = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(common.LegendPlacement.BOTTOM).show_legend(True))
    if stack:
        panel = panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    for number, query in enumerate(queries):
        panel = panel.with_target(target(number, query, instant=False, exemplars=exemplars and number == 0))
    return panel


def rate(metric: str, *labels: str) -> str:
    return f"rate({metric}{{{', '.join(label for label in labels if label)}}}[$__rate_interval])"


def total(metric: str, *labels: str, by: str = "") -> str:
    """The rate of a counter over all processes, by labels."""
    of = f" by ({by})" if by else ""
    return f"sum{of} ({rate(metric, *labels)})"


def per_minute(metric: str, *labels: str, by: str = "") -> str:
    return "60 * " + total(metric, *labels, by=by)


def quantiles(metric: str, labels: str = "", by: str = "") -> list[Query]:
    """The median and the 95th and 99th percentile of a histogram, by a label."""
    of, legend = (f", {by}", f"{{{{{by}}}}} ") if by else ("", "")
    inner = total(metric + "_bucket", labels, by=f"le{of}")
    return [(f"histogram_quantile({q}, {inner})", f"{legend}p{int(q * 100)}") for q in (0.5, 0.95, 0.99)]


def source_variable():
    return dashboards.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def variable(name: str, query: str):
    """Values of a label, several at once; all of them match everything, also series without that label."""
    built = dashboards.QueryVariable(name).query(query).datasource(SOURCE).multi(True).include_all(True).all_value(".*")
    built = built.current(dashboard.VariableOption(text=["All"], value=["$__all"]))
    return built.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)


def build(board: Board):
    built = dashboards.Dashboard(board.title).uid(board.uid).description(board.about).tags([TAG]).readonly()
    built = built.time("now-1h", "now").refresh("30s").timezone("browser")
    built = built.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    links = dashboards.DashboardLink("Orderworks").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    built = built.link(links.as_dropdown(False).include_vars(True).keep_time(True))
    built = built.with_variable(source_variable())
    for name, query in board.variables:
        built = built.with_variable(variable(name, query))
    number = 0
    for title, panels in board.rows:
        number += 1
        built = built.with_row(dashboards.Row(title).id(number))
        for panel in panels:
            number += 1
            built = built.with_panel(panel.id(number))
    return built.build()
