"""A dashboard as Grafana keeps it (schema 39)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NAMESPACE = 'namespace=~"$namespace"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _STAT_WIDTH, _STAT_HEIGHT, _ALL = 8, 8, 4, 4, 24
Object = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """An expression, in which `NS` stands for the choice of namespaces, and the name of what it yields."""

    expression: str
    legend: str = ""

    @property
    def text(self) -> str:
        """As Grafana asks Prometheus."""
        return self.expression.replace("NS", NAMESPACE)


@dataclass(frozen=True)
class Panel:
    """One picture: `unit` is one of Grafana's names of units; `bad_above` colours what is higher."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    is_stat: bool = False
    bad_above: float | None = None
    bad_below: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A page."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> Sequence[Panel]:
        """All of them."""
        return [panel for row in self.rows for panel in row.panels]


def document(dashboard: Dashboard) -> Object:
    """Return a dashboard as Grafana keeps it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["bloomery"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [_link()],
        "templating": {"list": _variables()},
        "panels": _laid_out(dashboard),
    }


def _link() -> Object:
    return {"title": "Bloomery", "type": "dashboards", "tags": ["bloomery"], "asDropdown": True, "keepTime": True}


def _variables() -> list[Object]:
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    namespace = {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(bloomery_build_info, namespace)", "refId": "namespace"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Also what has no such label, as where no cluster is.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }
    return [source, namespace]


def _laid_out(dashboard: Dashboard) -> list[Object]:
    placed: list[Object] = []
    x = y = height = 0
    for row in dashboard.rows:
        y += height
        placed.append({"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": []})
        placed[-1]["gridPos"] = {"x": 0, "y": y, "w": _ALL, "h": 1}
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            width, tall = (_STAT_WIDTH, _STAT_HEIGHT) if panel.is_stat else (_WIDTH, _HEIGHT)
            if x + width > _ALL:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": width, "h": tall}
            placed.append({"id": len(placed) + 1, "gridPos": place, **_drawn(panel)})
            x, height = x + width, max(height, tall)
    return placed


def _drawn(panel: Panel) -> Object:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query.text,
            "legendFormat": query.legend or "__auto",
            "instant": panel.is_stat,
            "range": not panel.is_stat,
        }
        for number, query in enumerate(panel.queries)
    ]
    custom = {} if panel.is_stat else {"custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}}
    return {
        "type": "stat" if panel.is_stat else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": _thresholds(panel), **custom},
            "overrides": [],
        },
        "options": _options(panel),
    }


def _thresholds(panel: Panel) -> Object:
    first, then = ("red", "green") if panel.bad_below is not None else ("green", "red")
    limit = panel.bad_below if panel.bad_below is not None else panel.bad_above
    steps: list[Object] = [{"color": first, "value": None}]
    if limit is not None:
        steps.append({"color": then, "value": limit})
    return {"mode": "absolute", "steps": steps}


def _options(panel: Panel) -> Object:
    if panel.is_stat:
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduced, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
    legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def written(dashboard: Dashboard) -> str:
    """Return what the chart keeps of a dashboard."""
    return json.dumps(document(dashboard), indent=1) + "\n"
