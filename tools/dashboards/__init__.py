"""Grafana's dashboards of the chart: their panels, and what Grafana wants around them."""

from dashboards.control_plane import CONTROL_PLANE
from dashboards.grafana import Dashboard, Panel, Query, written
from dashboards.overview import OVERVIEW
from dashboards.serving import SERVING
from dashboards.training import TRAINING

DASHBOARDS = (OVERVIEW, TRAINING, SERVING, CONTROL_PLANE)

__all__ = ["DASHBOARDS", "Dashboard", "Panel", "Query", "written"]
