"""Releases of the chart, from images alone, on the cluster of KUBECONFIG, and clients of them on this machine."""

import base64
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from real_parts.helm import ensure_helm
from tests.cluster.conftest import Cluster, image, node_address

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/bloomery"
PATIENCE = "15m"
"""Of a command of Helm. On a machine that does nothing else it takes two minutes."""
SERVICES = ("access", "annotation", "dataset", "trainer", "inference")
IMAGES = {
    "control": "control",
    "worker": "worker",
    "minio": "minio",
    "triton": "triton-cpu",
    "postgres": "test-postgres",
    "proxy": "test-proxy",
}
"""By their names in the chart's values. PostgreSQL and nginx are stand-ins, as official images need a registry."""


def needs_images(cluster: Cluster, *names: str) -> None:
    """Fail where nodes neither have an image nor can pull it, and say how to build it."""
    confined = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    containers = [
        {
            "name": name,
            "image": image(name),
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "exit 0"],
            "securityContext": confined,
        }
        for name in names
    ]
    pod = {"metadata": {"name": "images"}, "spec": {"restartPolicy": "Never", "containers": containers}}
    cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "Pod"} | pod)
    status: Any = None
    for _ in range(600):
        status = json.loads(cluster.kubectl("get", "pod", "images", "-o", "json"))["status"]
        states = {each["name"]: each["state"] for each in status.get("containerStatuses", ())}
        lacks = [name for name, state in states.items() if "Image" in state.get("waiting", {}).get("reason", "")]
        if lacks:
            missing = ", ".join(image(name) for name in lacks)
            pytest.fail(f'the cluster lacks {missing}: make images IMAGES="{" ".join(lacks)}"', pytrace=False)
        if states and all("terminated" in state for state in states.values()):
            return
        time.sleep(1)
    pytest.fail(f"no pod ran: {json.dumps(status)}", pytrace=False)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, as Helm merges files of values."""
    both = dict(values)
    for name, change in changes.items():
        both[name] = merged(both.get(name, {}), change) if isinstance(change, Mapping) else change
    return both


@dataclass(frozen=True)
class Installation:
    """A release in a namespace of its own, which clients on this machine reach through a port of a node."""

    cluster: Cluster
    name: str
    endpoint: str
    values: Mapping[str, Any]
    scratch: Path

    def helm(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Helm, whatever comes of it."""
        command = [ensure_helm() / "helm", verb, self.name, *arguments, "--namespace", self.cluster.namespace]
        environment = os.environ | {"KUBECONFIG": self.cluster.kubeconfig}
        return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)

    def put(self, verb: str, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Install or upgrade to the values of the release with `changes`, whatever comes of it."""
        file = self.scratch / "values.yaml"
        file.write_text(yaml.safe_dump(merged(self.values, changes)))
        return self.helm(verb, str(CHART), "--values", str(file), "--timeout", PATIENCE, "--wait", *arguments)

    def succeeds(self, done: subprocess.CompletedProcess[str]) -> str:
        """What a command printed. Fails with what there is in the namespace where it failed."""
        if done.returncode != 0:
            there = self.cluster.kubectl("get", "pods,events")
            pytest.fail(f"{done.args}\n{done.stdout}\n{done.stderr}\n{there}", pytrace=False)
        return done.stdout

    def secret(self, name: str) -> dict[str, str]:
        """What a Secret of the release holds."""
        data = json.loads(self.cluster.kubectl("get", "secret", f"{self.name}-{name}", "-o", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def environment(self) -> dict[str, str]:
        """What the release's notes tell people to set."""
        authority = self.scratch / "bloomery-ca.crt"
        authority.write_text(self.secret("tls")["ca.crt"])
        ours = {"BLOOMERY_ENDPOINT": self.endpoint, "BLOOMERY_TOKEN": self.token(), "SSL_CERT_FILE": str(authority)}
        clean = {key: value for key, value in os.environ.items() if not key.startswith("BLOOMERY_")}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return clean | ours | {"PATH": path, "BLOOMERY_DATA": str(self.scratch / "no-server")}

    def token(self) -> str:
        """The owner's."""
        named = self.values.get("credentials", {}).get("existingSecret")
        return self.secret("credentials" if named is None else named.removeprefix(f"{self.name}-"))["token"]

    def runs(self, line: str, *, folder: Path) -> str:
        """What a line that somebody types prints. Fails with all of it where it fails."""
        done = subprocess.run(
            line, shell=True, cwd=folder, env=self.environment(), capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def revision(self) -> dict[str, Any]:
        """The last revision, as Helm tells of it."""
        (last,) = json.loads(self.succeeds(self.helm("history", "--max", "1", "--output", "json")))
        found: dict[str, Any] = last
        return found

    def lose_one_of_each(self, *components: str) -> None:
        """Delete a pod of each component."""
        for component in components:
            pods = self.cluster.kubectl("get", "pods", "-o", "name", "-l", f"app.kubernetes.io/component={component}")
            self.cluster.kubectl("delete", "--wait=false", pods.split()[0])

    def settles(self) -> None:
        """Wait until everything runs as it should."""
        for each in self.cluster.kubectl("get", "deployments,statefulsets", "-o", "name").split():
            self.cluster.kubectl("rollout", "status", each, f"--timeout={PATIENCE}")


def planned(cluster: Cluster, scratch: Path, changes: Mapping[str, Any] | None = None) -> Installation:
    """A release that is not installed yet."""
    port = random.randint(30100, 32700)
    values: dict[str, Any] = {
        "publicEndpoint": f"https://{node_address(cluster)}:{port}",
        "images": {key: image(name) for key, name in IMAGES.items()},
        "proxy": {"service": {"type": "NodePort", "nodePort": port}},
        # Not every class of a cluster for tests gives folders that others than root may write to.
        "database": {"storage": {"ephemeral": True}},
        "objectStore": {"storage": {"ephemeral": True}},
        # So two releases fit a node of two cores, each with a job, even while pods are replaced. What asks for less
        # gets next to nothing of a busy one.
        "services": {name: {"resources": {"requests": {"cpu": "30m"}}} for name in SERVICES},
        "workers": {"launcher": {"max_cpus": 0.2}},
    }
    values = merged(values, changes or {})
    return Installation(cluster, "bloomery", values["publicEndpoint"], values, scratch)


def readme_commands() -> list[str]:
    """What the README lets people type who have a server."""
    (block,) = re.findall(r"and in another terminal:\n\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines: list[str] = block.splitlines()
    return lines
