"""What dashboards and alerts ask for is there: a real Prometheus has measured a server at work, Triton and MinIO."""

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from dashboards import DASHBOARDS, Panel

from bloomery import ModelVersion
from real_parts.minio import MinioServer
from real_parts.prometheus import PrometheusServer, run_prometheus
from real_parts.triton import TritonServer
from tests.flow.conftest import Server, connect
from tests.parts.test_real_parts import infer, write_model

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
ALERTS = sorted((ROOT / "deploy/helm/bloomery/files/alerts").glob("*.yaml"))
# What has nothing to show here, and why.
SILENT = {
    "Certificates": "nothing speaks TLS on loopback",
    "Exchanged credentials": "none changes",
    "Requests to the cluster": "workers are processes of this machine",
    "Errors by method": "nothing fails by a fault of ours",
    "Reasons of failures": "no job fails",
    "Errors of background loops": "they meet none",
    "Waiting jobs by reason": "none waits for longer than a moment",
}
UNSEEN = {
    "bloomery_k8s_requests_total",
    "bloomery_training_waiting_jobs",
    "bloomery_certificate_expiry_timestamp_seconds",
    "bloomery_credential_reloads_total",
}
"""Metrics without a sample here, for the same reasons."""
NOT_OF_A_RELEASE = {
    "bloomery_http_requests_total",
    "bloomery_http_received_bytes_total",
    "bloomery_http_sent_bytes_total",
}
"""Those of the gateway, which serves the folder of `bloomery up`."""
_METRIC = re.compile(r"\b((?:bloomery|grpc|nv|minio|process)_[a-z0-9_]+)\b")
_LABELS = re.compile(r"\{[^}]*\}|\b(?:by|on) \([^)]*\)")


@pytest.fixture(scope="module")
def measured(
    server: Server,
    trained: ModelVersion,
    triton: TritonServer,
    minio: MinioServer,
    examples_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
    promtool: Path,
) -> Iterator[PrometheusServer]:
    """A Prometheus that has looked while predictions were answered and a model was deployed."""
    del promtool
    write_model(triton.repository, "measured")
    port = json.loads((server.folder / "identity.json").read_text())["metrics_port"]
    scraped = [
        {"job_name": "server", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]},
        {"job_name": "triton", "static_configs": [{"targets": [triton.metrics_url]}]},
        {
            "job_name": "minio",
            "metrics_path": "/minio/v2/metrics/cluster",
            "static_configs": [{"targets": [minio.endpoint]}],
        },
    ]
    with run_prometheus(tmp_path_factory.mktemp("prometheus"), scraped, ALERTS) as prometheus:
        _await(prometheus, "count(up == 1) == 3")
        _work(server, trained, examples_dir / "blood-cells", prometheus)
        _ask(triton, prometheus)
        _await(prometheus, "minio_cluster_capacity_usable_total_bytes")
        yield prometheus


def _await(prometheus: PrometheusServer, expression: str) -> None:
    deadline = time.monotonic() + 120
    while not prometheus.query(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.2)


def _work(server: Server, trained: ModelVersion, sample: Path, prometheus: PrometheusServer) -> None:
    """Import, build, evaluate, deploy and predict."""
    with connect(server) as client:
        project = client.create_project("measured")
        project.import_folder(sample)
        project.build_dataset("measured-v").wait()
        model = client.model_version(trained.name)
        model.evaluate(on="projects/trained/datasets/cells-v/versions/1", split="val").wait()
        client.deploy("measured", model).wait()
        image = next(iter(sample.rglob("*.jpg")))
        deadline = time.monotonic() + 120
        while not prometheus.query('rate(bloomery_predictions_total{code="OK"}[1m]) > 0'):
            assert time.monotonic() < deadline
            model.predict(image)
            time.sleep(0.5)


def _ask(triton: TritonServer, prometheus: PrometheusServer) -> None:
    """Let Triton answer."""
    values = np.ones((1, 3, 4), np.float32)
    deadline = time.monotonic() + 120
    while not prometheus.query("rate(nv_inference_count[1m]) > 0"):
        assert time.monotonic() < deadline
        asyncio.run(infer(triton, "measured", values))
        time.sleep(0.5)


def answered(prometheus: PrometheusServer, panel: Panel) -> list[str]:
    """The expressions of a panel that give no number."""
    silent = []
    for query in panel.queries:
        asked = query.text.replace("$namespace", ".*").replace("$__rate_interval", "2m")
        if not [sample for sample in prometheus.query(asked) if sample["value"][1] != "NaN"]:
            silent.append(asked)
    return silent


def test_every_panel_shows_something(measured: PrometheusServer) -> None:
    silent = {
        panel.title: expressions
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        if (expressions := answered(measured, panel))
    }
    assert {title: told for title, told in silent.items() if title not in SILENT} == {}


def metrics_in(*expressions: str) -> set[str]:
    """The names of metrics in expressions."""
    return {name for text in expressions for name in _METRIC.findall(_LABELS.sub("", text))}


def rules() -> Iterator[dict[str, str]]:
    for file in ALERTS:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def test_every_alert_asks_for_what_is_measured(measured: PrometheusServer) -> None:
    asked = metrics_in(*(rule["expr"] for rule in rules()))
    unseen = {name for name in asked if not measured.query(f"count({name})")}
    assert unseen - UNSEEN == set()


def test_every_rule_can_be_evaluated(measured: PrometheusServer) -> None:
    groups = measured.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(list(rules()))
    assert [rule for rule in found if rule["health"] != "ok"] == []


def test_every_metric_is_read_by_a_dashboard_or_an_alert(measured: PrometheusServer, server: Server) -> None:
    del measured
    port = json.loads((server.folder / "identity.json").read_text())["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    told = set(re.findall(r"^# TYPE ((?:bloomery|grpc)_\w+) \w+$", text, re.MULTILINE))
    told = {name for name in told if not name.endswith("_created")}
    shown = (query.text for dashboard in DASHBOARDS for panel in dashboard.panels for query in panel.queries)
    names = metrics_in(*(rule["expr"] for rule in rules()), *shown)
    unread = {name for name in told if not {name, f"{name}_bucket", f"{name}_count", f"{name}_sum"} & names}
    assert unread == NOT_OF_A_RELEASE
