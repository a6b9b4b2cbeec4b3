"""What dashboards and alerts ask for, put to a Prometheus that has measured something."""

import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import yaml
from dashboards import DASHBOARDS, Panel

from real_parts.prometheus import PrometheusServer

ROOT = Path(__file__).resolve().parents[1]
ALERTS = sorted((ROOT / "deploy/helm/bloomery/files/alerts").glob("*.yaml"))
_METRIC = re.compile(r"\b((?:bloomery|grpc|nv|minio|process)_[a-z0-9_]+)\b")
_LABELS = re.compile(r"\{[^}]*\}|\b(?:by|on) \([^)]*\)")


def rules() -> Iterator[dict[str, str]]:
    """All rules that the chart brings."""
    for file in ALERTS:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def metrics_in(*expressions: str) -> set[str]:
    """The names of metrics in expressions."""
    return {name for text in expressions for name in _METRIC.findall(_LABELS.sub("", text))}


def shown() -> list[str]:
    """All expressions of all dashboards."""
    return [query.text for dashboard in DASHBOARDS for panel in dashboard.panels for query in panel.queries]


def silent_panels(prometheus: PrometheusServer, *, but: Collection[str], numbers: bool) -> dict[str, list[str]]:
    """Expressions that give nothing, or where `numbers` are wanted none, by the panel; `but` those of some."""
    found = {
        panel.title: _silent(prometheus, panel, numbers)
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        if panel.title not in but
    }
    return {title: expressions for title, expressions in found.items() if expressions}


def _silent(prometheus: PrometheusServer, panel: Panel, numbers: bool) -> list[str]:
    silent = []
    for query in panel.queries:
        asked = query.text.replace("$namespace", ".*").replace("$__rate_interval", "2m")
        values = [float(sample["value"][1]) for sample in prometheus.query(asked)]
        if not [value for value in values if not numbers or not math.isnan(value)]:
            silent.append(asked)
    return silent


def unseen_metrics(prometheus: PrometheusServer) -> set[str]:
    """Metrics that alerts ask for and that have no sample."""
    asked = metrics_in(*(rule["expr"] for rule in rules()))
    return {name for name in asked if not prometheus.query(f"count({name})")}
