"""What the chart brings for Prometheus and Grafana: where metrics are, rules and dashboards, each by its toggle."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards import DASHBOARDS, Dashboard, written
from dashboards.__main__ import path_of

from render_chart import CHART, render, variants

pytestmark = pytest.mark.usefixtures("helm")
ON = ("--set", "publicEndpoint=https://bloomery.example")
# What Grafana knows of units and the panels here, by the names in its own code.
UNITS = {"none", "s", "bytes", "Bps", "reqps", "cps", "ops", "percentunit"}
Object = dict[str, Any]


def of_kind(objects: list[Object], kind: str) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind and "monitoring" in str(each["metadata"]["labels"])]
    return found


@pytest.mark.parametrize("variant", variants(), ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_every_pod_with_metrics_says_where_they_are(variant: Path) -> None:
    for each in render("--values", str(variant)):
        if each["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        template = each["spec"]["template"]
        ports = {port["containerPort"]: port["name"] for one in template["spec"]["containers"] for port in one["ports"]}
        told = template["metadata"].get("annotations", {})
        if "metrics" in ports.values() or "s3" in ports.values():
            assert told["prometheus.io/scrape"] == "true"
            assert ports[int(told["prometheus.io/port"])] in ("metrics", "s3")
        else:
            assert "prometheus.io/scrape" not in told


def test_nothing_of_the_operator_is_there_unless_asked_for() -> None:
    kinds = {each["kind"] for each in render(*ON)}
    assert not kinds & {"PodMonitor", "PrometheusRule"}


def test_a_pod_monitor_names_ports_that_there_are() -> None:
    objects = render(*ON, "--set", "monitoring.podMonitor.enabled=true,monitoring.podMonitor.labels.release=prometheus")
    monitor = of_kind(objects, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    there = {
        port["name"]
        for each in objects
        if each["kind"] in {"Deployment", "StatefulSet"}
        for container in each["spec"]["template"]["spec"]["containers"]
        for port in container["ports"]
    }
    assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= there


@pytest.mark.parametrize("kind", ["PrometheusRule", "ConfigMap"])
def test_promtool_takes_the_rules_that_the_chart_brings(kind: str, promtool: Path, tmp_path: Path) -> None:
    docs = "https://docs.example/bloomery/"
    rules = of_kind(render(*ON, "--set", f"monitoring.rules.kind={kind},monitoring.docs={docs}"), kind)
    texts = rules["data"] if kind == "ConfigMap" else {"all.yaml": yaml.safe_dump(rules["spec"])}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    answer = subprocess.run([promtool, "check", "rules", *tmp_path.iterdir()], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    there = sum(path.read_text().count("- alert:") for path in (CHART / "files/alerts").iterdir())
    assert "".join(texts.values()).count(f"runbook_url: {docs}runbooks.md#") == there


def test_dashboards_are_where_grafana_looks_for_them() -> None:
    found = of_kind(render(*ON, "--set", "monitoring.dashboards.enabled=true"), "ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {json.loads(text)["title"] for text in found["data"].values()} == {each.title for each in DASHBOARDS}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
def test_dashboards_are_what_their_declaration_says(dashboard: Dashboard) -> None:
    assert path_of(dashboard).read_text() == written(dashboard), "run `make chart`, and commit what it wrote"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
def test_panels_say_what_they_show_in_which_unit(dashboard: Dashboard) -> None:
    titles = [panel.title for panel in dashboard.panels]
    assert len(set(titles)) == len(titles)
    for panel in dashboard.panels:
        assert panel.unit in UNITS
        assert panel.description.endswith(".")
        for query in panel.queries:
            # A counter says nothing but by its increase, and a choice of namespaces holds for all that is asked.
            for counter in re.findall(r"\w+_total\b(?=[{\[])", query.expression):
                assert re.search(rf"(rate|increase)\({counter}", query.expression), query.expression
            assert "NS" in query.expression
    places = [panel["gridPos"] for panel in json.loads(written(dashboard))["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie over each other"
    assert max(x for x, _ in cells) < 24
