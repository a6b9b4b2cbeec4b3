"""A release whose database, object store and credentials are somebody else's, which is removed and comes again."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from tests.cluster.conftest import Cluster, image, namespace, node_address
from tests.cluster.release import IMAGES, ROOT, Release, merged, needs_images, planned

pytestmark = pytest.mark.timeout(2400)

KEY, SECRET = "somebody", "somebody-elses-secret"
NEEDED = ("control", "minio", "test-postgres", "test-proxy")
CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def part(name: str, port: int, user: int, *folders: str, kind: str, **container: Any) -> list[dict[str, Any]]:
    """A pod with folders that it writes to, and a Service of that kind before it."""
    volumes = [f"folder-{number}" for number in range(len(folders))]
    mounts = [{"name": volume, "mountPath": folder} for volume, folder in zip(volumes, folders, strict=True)]
    pod = {
        "securityContext": {"runAsUser": user, "fsGroup": user},
        "containers": [{"name": name, "securityContext": CONFINED, "volumeMounts": mounts} | container],
        "volumes": [{"name": volume, "emptyDir": {}} for volume in volumes],
    }
    labels = {"part": name}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": pod},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": kind, "selector": labels, "ports": [{"port": port}]},
        },
    ]


def variables(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


@dataclass(frozen=True)
class Elsewhere:
    """A PostgreSQL and a MinIO that are no part of any release."""

    database: str
    store: str
    """Where pods reach it."""
    public_store: str
    """Where everybody does."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with namespace("elsewhere") as cluster:
        database = part(
            "database",
            5432,
            999,
            "/var/lib/postgresql/data",
            "/var/run/postgresql",
            kind="ClusterIP",
            image=image(IMAGES["postgres"]),
            env=variables(
                POSTGRES_USER="owner",
                POSTGRES_PASSWORD="word",
                POSTGRES_DB="ours",
                PGDATA="/var/lib/postgresql/data/pgdata",
            ),
            args=["-c", "max_connections=200"],
            readinessProbe={
                "exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-U", "owner", "-d", "ours"]},
                "timeoutSeconds": 10,
            },
        )
        store = part(
            "store",
            9000,
            10001,
            "/data",
            kind="NodePort",
            image=image(IMAGES["minio"]),
            env=variables(MINIO_ROOT_USER=KEY, MINIO_ROOT_PASSWORD=SECRET),
            readinessProbe={"httpGet": {"path": "/minio/health/cluster", "port": 9000}},
        )
        cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": [*database, *store]})
        cluster.kubectl("wait", "pods", "--all", "--for=condition=Ready", "--timeout=10m")
        port = cluster.kubectl("get", "service", "store", "-o", "jsonpath={.spec.ports[0].nodePort}")
        public = f"{node_address(cluster)}:{port}"
        Minio(public, KEY, SECRET, secure=False).make_bucket("ours")
        yield Elsewhere(
            f"postgresql+asyncpg://owner:word@database.{cluster.namespace}.svc:5432/ours",
            f"http://store.{cluster.namespace}.svc:9000",
            f"http://{public}",
        )


def make_secret(cluster: Cluster, name: str, **values: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
    cluster.kubectl("apply", "-f", "-", given=secret)


def gone(cluster: Cluster) -> None:
    """Wait until nothing of a release runs."""
    cluster.kubectl("wait", "pods", "--all", "--for=delete", "--timeout=10m")


def refused(release: Release, token: str) -> bool:
    """Whether a token opens nothing."""
    environment = release.environment() | {"BLOOMERY_TOKEN": token}
    return subprocess.run(["bloomery", "project", "list"], env=environment, capture_output=True).returncode == 6


@pytest.fixture
def bare() -> Iterator[Cluster]:
    with namespace("release") as cluster:
        needs_images(cluster, *NEEDED)
        yield cluster


def test_a_release_on_what_others_run_is_removed_and_comes_again_with_its_data(
    elsewhere: Elsewhere, bare: Cluster, tmp_path: Path
) -> None:
    make_secret(bare, "their-database", url=elsewhere.database)
    store = {"object-store-access-key": KEY, "object-store-secret-key": SECRET}
    make_secret(bare, "their-store", **store)
    outside: dict[str, Any] = {
        "database": {"mode": "external", "existingSecret": "their-database"},
        "objectStore": {
            "mode": "external",
            "bucket": "ours",
            "endpoint": elsewhere.store,
            "publicEndpoint": elsewhere.public_store,
            "existingSecret": "their-store",
        },
        "triton": {"mode": "none"},
        "check": {"recipe": ""},
    }
    release = planned(bare, tmp_path, outside)
    release.succeeds(release.put("install", "--atomic"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    release.succeeds(release.helm("test", "--timeout", "15m"))
    release.runs("bloomery project create kept", folder=tmp_path)
    release.runs("bloomery import examples/blood-cells --project kept", folder=tmp_path)
    drawn = release.secret("credentials")
    there = json.loads(bare.kubectl("get", "statefulsets,deployments", "-o", "json"))["items"]
    assert not [each for each in there if each["metadata"]["name"].endswith(("postgres", "minio", "triton"))]

    release.succeeds(release.helm("uninstall", "--wait"))
    gone(bare)
    release.succeeds(release.put("install", "--atomic"))
    assert release.secret("credentials") == drawn
    assert "kept" in release.runs("bloomery project list", folder=tmp_path)

    make_secret(bare, "bloomery-owner", **drawn | {"token": "of-ones-own-that-is-long-enough-for-anybody"})
    named = {"credentials": {"existingSecret": "bloomery-owner"}}
    release.succeeds(release.put("upgrade", **named))
    renamed = replace(release, values=merged(release.values, named))
    assert "kept" in renamed.runs("bloomery project list", folder=tmp_path)
    assert refused(renamed, drawn["token"])
    back = renamed.runs("bloomery assets list --project kept -o json", folder=tmp_path)
    assert len(json.loads(back)) == 60
    release.succeeds(release.helm("uninstall", "--wait"))


def test_an_installation_that_fails_leaves_nothing_running(bare: Cluster, tmp_path: Path) -> None:
    broken = {"images": {"proxy": image("there-is-no-such-image")}, "triton": {"mode": "none"}}
    release = planned(bare, tmp_path, broken)
    assert release.put("install", "--atomic", "--timeout", "60s").returncode != 0
    assert not json.loads(bare.kubectl("get", "deployments,statefulsets,services", "-o", "json"))["items"]
