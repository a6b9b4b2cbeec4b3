"""A Prometheus on the machine of the tests that measures the pods of a release, by the configuration of the docs."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from real_parts.prometheus import PrometheusServer, run_prometheus
from tests import measuring
from tests.cluster.conftest import Cluster

DOCS = measuring.ROOT / "docs/observability.md"
Target = dict[str, Any]


def targets(cluster: Cluster) -> list[Target]:
    """What Kubernetes tells Prometheus of pods: a target for each port of each container that runs."""
    found = []
    for pod in json.loads(cluster.kubectl("get", "pods", "-o", "json"))["items"]:
        about = {
            "__meta_kubernetes_namespace": pod["metadata"]["namespace"],
            "__meta_kubernetes_pod_name": pod["metadata"]["name"],
        }
        for kind in ("label", "annotation"):
            for name, value in pod["metadata"].get(f"{kind}s", {}).items():
                about[f"__meta_kubernetes_pod_{kind}_{re.sub('[^a-zA-Z0-9_]', '_', name)}"] = value
        if pod["status"]["phase"] != "Running":
            continue
        for port in (port for each in pod["spec"]["containers"] for port in each.get("ports", ())):
            address = f"{pod['status']['podIP']}:{port['containerPort']}"
            named = {"__meta_kubernetes_pod_container_port_name": port["name"]}
            found.append({"targets": [address], "labels": about | named})
    return found


def documented() -> dict[str, Any]:
    """The scrape configuration of the docs."""
    (block,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", DOCS.read_text(), re.DOTALL)
    (configuration,) = yaml.safe_load(block)["scrape_configs"]
    found: dict[str, Any] = configuration
    return found


def can_reach(target: Target) -> bool:
    """Whether this machine gets to a pod."""
    host, port = target["targets"][0].split(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True


@contextmanager
def measured(cluster: Cluster, folder: Path) -> Iterator[PrometheusServer]:
    """Measure what is there now."""
    file = folder / "targets.json"
    file.write_text(json.dumps(targets(cluster)))
    configuration = documented()
    # Debian's Prometheus is built without Kubernetes: what that would tell of the pods is in a file instead.
    assert configuration.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    configuration["file_sd_configs"] = [{"files": [str(file)]}]
    with run_prometheus(folder, [configuration], measuring.ALERTS, every="2s") as prometheus:
        deadline = time.monotonic() + 120
        while not prometheus.query("up"):
            assert time.monotonic() < deadline
            time.sleep(1)
        yield prometheus
