"""A release whose database, object store and credentials are somebody else's, which is removed and comes again."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from minio import Minio

from tests.cluster.conftest import Cluster, image, namespace, node_address
from tests.cluster.installing import IMAGES, ROOT, Installation, merged, needs_images, planned

pytestmark = pytest.mark.timeout(2400)

NEEDED = ("control", "minio", "test-postgres", "test-proxy")
OUTSIDE = Path(__file__).with_name("outside.yaml")


@dataclass(frozen=True)
class Outside:
    """A PostgreSQL and a MinIO beside the releases of a namespace."""

    cluster: Cluster
    store: str
    """Where everybody reaches the object store."""


def make_secret(cluster: Cluster, name: str, **values: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
    cluster.kubectl("apply", "-f", "-", given=secret)


def gone(cluster: Cluster) -> None:
    """Wait until nothing of a release runs."""
    cluster.kubectl(
        "wait",
        "pods",
        "-l",
        "app.kubernetes.io/name=bloomery,app.kubernetes.io/component!=check",
        "--for=delete",
        "--timeout=10m",
    )


def refused(release: Installation, token: str) -> bool:
    """Whether a token opens nothing."""
    environment = release.environment() | {"BLOOMERY_TOKEN": token}
    return subprocess.run(["bloomery", "project", "list"], env=environment, capture_output=True).returncode == 6


@pytest.fixture
def outside() -> Iterator[Outside]:
    with namespace("release") as cluster:
        needs_images(cluster, *NEEDED)
        parts = OUTSIDE.read_text().replace("POSTGRES\n", f"{image(IMAGES['postgres'])}\n")
        for part in yaml.safe_load_all(parts.replace("MINIO\n", f"{image(IMAGES['minio'])}\n")):
            cluster.kubectl("apply", "-f", "-", given=part)
        pods = ("pod/outside-postgres", "pod/outside-minio")
        cluster.kubectl("wait", *pods, "--for=condition=Ready", "--timeout=10m")
        port = cluster.kubectl("get", "service", "outside-minio", "-o", "jsonpath={.spec.ports[0].nodePort}")
        store = f"{node_address(cluster)}:{port}"
        Minio(store, "outside", "outside-password", secure=False).make_bucket("bloomery")
        yield Outside(cluster, f"http://{store}")


def test_a_release_on_what_others_run_is_removed_and_comes_again_with_its_data(
    outside: Outside, tmp_path: Path
) -> None:
    cluster = outside.cluster
    theirs: dict[str, Any] = {
        "database": {"mode": "external", "existingSecret": "outside"},
        "objectStore": {
            "mode": "external",
            "endpoint": "http://outside-minio:9000",
            "publicEndpoint": outside.store,
            "existingSecret": "outside",
        },
        "triton": {"mode": "none"},
        "check": {"recipe": ""},
    }
    release = planned(cluster, tmp_path, theirs)
    release.succeeds(release.put("install", "--atomic"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    release.succeeds(release.helm("test", "--logs", "--timeout", "15m"))
    release.runs("bloomery project create kept", folder=tmp_path)
    release.runs("bloomery import examples/blood-cells --project kept", folder=tmp_path)
    drawn = release.secret("credentials")
    assert not json.loads(cluster.kubectl("get", "statefulsets", "-o", "json"))["items"]

    release.succeeds(release.helm("uninstall", "--wait"))
    gone(cluster)
    release.succeeds(release.put("install", "--atomic"))
    assert release.secret("credentials") == drawn
    assert "kept" in release.runs("bloomery project list", folder=tmp_path)

    make_secret(cluster, "bloomery-owner", **drawn | {"token": "of-ones-own-that-is-long-enough-for-anybody"})
    named = {"credentials": {"existingSecret": "bloomery-owner"}}
    release.succeeds(release.put("upgrade", **named))
    renamed = replace(release, values=merged(release.values, named))
    assert "kept" in renamed.runs("bloomery project list", folder=tmp_path)
    assert refused(renamed, drawn["token"])
    back = renamed.runs("bloomery assets list --project kept -o json", folder=tmp_path)
    assert len(json.loads(back)) == 60
    release.succeeds(release.helm("uninstall", "--wait"))


def test_an_installation_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    broken = {"images": {"proxy": image("there-is-no-such-image")}, "triton": {"mode": "none"}}
    with namespace("release") as cluster:
        needs_images(cluster, *NEEDED)
        release = planned(cluster, tmp_path, broken)
        assert release.put("install", "--atomic", "--timeout", "60s").returncode != 0
        assert not json.loads(cluster.kubectl("get", "deployments,statefulsets,services", "-o", "json"))["items"]
