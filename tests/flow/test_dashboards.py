"""What dashboards and alerts ask for is there: a real Prometheus has measured a server at work, Triton and MinIO."""

import asyncio
import json
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bloomery import ModelVersion
from real_parts.minio import MinioServer
from real_parts.prometheus import PrometheusServer, run_prometheus
from real_parts.triton import TritonServer
from tests import measuring
from tests.flow.conftest import Server, connect
from tests.parts.test_real_parts import infer, write_model

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
# What has nothing to show here, and why.
SILENT = {
    "Certificates": "nothing speaks TLS on loopback",
    "Exchanged credentials": "none changes",
    "Audit log on its way": "all services are one process",
    "Calls that were not let in": "all were",
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
    with run_prometheus(tmp_path_factory.mktemp("prometheus"), scraped, measuring.ALERTS) as prometheus:
        _await(prometheus, "count(up == 1) == 3")
        _work(server, trained, examples_dir / "blood-cells", prometheus)
        _ask(triton, prometheus)
        _await(prometheus, "minio_cluster_capacity_usable_total_bytes")
        yield prometheus
    # Other tests look at what is left in there.
    shutil.rmtree(triton.repository / "measured")


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


def test_every_panel_shows_something(measured: PrometheusServer) -> None:
    assert measuring.silent_panels(measured, but=SILENT, numbers=True) == {}


def test_every_alert_asks_for_what_is_measured(measured: PrometheusServer) -> None:
    assert measuring.unseen_metrics(measured) - UNSEEN == set()


def test_every_rule_can_be_evaluated(measured: PrometheusServer) -> None:
    groups = measured.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(list(measuring.rules()))
    assert [rule for rule in found if rule["health"] != "ok"] == []


def test_every_metric_is_read_by_a_dashboard_or_an_alert(measured: PrometheusServer, server: Server) -> None:
    del measured
    port = json.loads((server.folder / "identity.json").read_text())["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    told = set(re.findall(r"^# TYPE ((?:bloomery|grpc)_\w+) \w+$", text, re.MULTILINE))
    told = {name for name in told if not name.endswith("_created")}
    read = measuring.metrics_in(*(rule["expr"] for rule in measuring.rules()), *measuring.shown())
    unread = {name for name in told if not {name, f"{name}_bucket", f"{name}_count", f"{name}_sum"} & read}
    assert unread == NOT_OF_A_RELEASE, "show it in tools/dashboards, or measure it not"
