"""The Job of an attempt, compared as a whole."""

from dataclasses import replace
from typing import Any

import pytest

from bloomery_trainer.launcher import JobFacts, Order
from bloomery_trainer.launcher.kubernetes.manifest import job_manifest
from bloomery_trainer.model import Kind, Resources
from bloomery_trainer.settings import KubernetesLauncherSettings

FACTS = JobFacts(
    "0123", "projects/cells", "projects/cells/jobs/first", Kind.TRAIN, "recipes/yolo-detect", 5, 0, Resources()
)
ORDER = Order(FACTS, 2, {"BLOOMERY_TRAINER_TARGET": "trainer:50061"}, {"BLOOMERY_ATTEMPT_TOKEN": "secret"})
LABELS = {
    "app.kubernetes.io/name": "bloomery-worker",
    "app.kubernetes.io/managed-by": "bloomery-trainer",
    "app.kubernetes.io/instance": "bloomery",
    "bloomery.dev/job": "0123",
    "bloomery.dev/attempt": "2",
    "bloomery.dev/kind": "train",
    "bloomery.dev/project": "cells",
    "bloomery.dev/recipe": "yolo-detect",
}
STAY = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def chosen(**values: Any) -> KubernetesLauncherSettings:
    return KubernetesLauncherSettings(kind="kubernetes", namespace="jobs", image="worker:1", **values)


def order(resources: Resources = FACTS.resources, **facts: Any) -> Order:
    return replace(ORDER, job=replace(FACTS, resources=resources, **facts))


def pod(manifest: Any) -> Any:
    return manifest["spec"]["template"]["spec"]


def variables(manifest: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod(manifest)["containers"][0]["env"] if "value" in entry}


def test_the_plainest_job() -> None:
    environment = {
        "HOME": "/tmp",
        "BLOOMERY_STOP_GRACE": "105",
        "NVIDIA_VISIBLE_DEVICES": "void",
        "BLOOMERY_WORK_DIR": "/work",
        "BLOOMERY_CACHE_DIR": "/cache",
        "BLOOMERY_TERMINATION_FILE": "/dev/termination-log",
        "BLOOMERY_CPUS": "1",
        "BLOOMERY_MEMORY_BYTES": "2147483648",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
        "BLOOMERY_TRAINER_TARGET": "trainer:50061",
        "BLOOMERY_ATTEMPT_TOKEN": "secret",
    }
    assert job_manifest(ORDER, chosen()) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "bl-0123-2",
            "namespace": "jobs",
            "labels": LABELS,
            "annotations": {"bloomery.dev/job-name": "projects/cells/jobs/first"},
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "ttlSecondsAfterFinished": 86400,
            "suspend": False,
            "template": {
                "metadata": {
                    "labels": LABELS,
                    "annotations": {**STAY, "bloomery.dev/job-name": "projects/cells/jobs/first"},
                },
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "default",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 120,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 10001,
                        "runAsGroup": 10001,
                        "fsGroup": 10001,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "worker",
                            "image": "worker:1",
                            "imagePullPolicy": "IfNotPresent",
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                            "env": [
                                *({"name": name, "value": value} for name, value in environment.items()),
                                {
                                    "name": "BLOOMERY_INCARNATION",
                                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}},
                                },
                            ],
                            "resources": {
                                "requests": {"cpu": "1", "memory": "2147483648"},
                                "limits": {"memory": "2147483648"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                            },
                            "volumeMounts": [
                                {"name": "work", "mountPath": "/work"},
                                {"name": "cache", "mountPath": "/cache"},
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "shm", "mountPath": "/dev/shm"},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "work", "emptyDir": {}},
                        {"name": "cache", "emptyDir": {}},
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1073741824"}},
                    ],
                },
            },
        },
    }


def test_all_that_can_be_set() -> None:
    settings = chosen(
        installation="blue",
        command=("sh", "-c", "true"),
        image_pull_policy="Always",
        image_pull_secrets=("registry",),
        service_account="worker",
        user_id=7,
        max_cpus=2,
        shm_bytes=5,
        gpu_resource="nvidia.com/mig-1g.5gb",
        runtime_class="nvidia",
        node_selector={"pool": "gpu"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        priority_classes={0: "low", 5: "middle", 10: "high"},
        queue="team",
        labels={"team": "a"},
        annotations={"cost": "b"},
        environment={"HTTPS_PROXY": "proxy"},
        environment_secret="proxies",
        authority_config_map="authority",
        store_authority_config_map="store",
        cache_claim="blobs",
        termination_grace=60,
        ttl=60,
        deadline_margin=30,
    )
    manifest: Any = job_manifest(order(Resources(8, 9, 2), deadline_seconds=100), settings)
    labels = {**LABELS, "team": "a", "app.kubernetes.io/instance": "blue"}
    template, spec = manifest["spec"]["template"], pod(manifest)
    assert manifest["metadata"]["labels"] == {**labels, "kueue.x-k8s.io/queue-name": "team"}
    assert template["metadata"]["labels"] == labels
    assert template["metadata"]["annotations"].items() >= {"cost": "b"}.items()
    assert (manifest["spec"]["suspend"], manifest["spec"]["ttlSecondsAfterFinished"]) == (True, 60)
    assert {name: spec[name] for name in spec if name not in ("containers", "volumes", "securityContext")} == {
        "activeDeadlineSeconds": 130,
        "runtimeClassName": "nvidia",
        "priorityClassName": "middle",
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
        "restartPolicy": "Never",
        "serviceAccountName": "worker",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
    }
    assert spec["securityContext"]["runAsUser"] == 7
    assert spec["volumes"][1:] == [
        {"name": "cache", "persistentVolumeClaim": {"claimName": "blobs"}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "5"}},
        {"name": "authority", "configMap": {"name": "authority"}},
        {"name": "store-authority", "configMap": {"name": "store"}},
    ]
    container = spec["containers"][0]
    assert (container["command"], container["imagePullPolicy"]) == (["sh", "-c", "true"], "Always")
    assert container["envFrom"] == [{"secretRef": {"name": "proxies"}}]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "9", "nvidia.com/mig-1g.5gb": "2"},
        "limits": {"memory": "9", "nvidia.com/mig-1g.5gb": "2"},
    }
    given = variables(manifest)
    assert "NVIDIA_VISIBLE_DEVICES" not in given
    assert (
        given.items()
        >= {
            "HTTPS_PROXY": "proxy",
            "BLOOMERY_STOP_GRACE": "45",
            "BLOOMERY_TRAINER_CA": "/etc/bloomery/authority/ca.crt",
            "SSL_CERT_FILE": "/etc/bloomery/store-authority/ca.crt",
            "CUDA_VISIBLE_DEVICES": "0,1",
            "BLOOMERY_CPUS": "2",
        }.items()
    )


def test_a_job_without_gpus_asks_for_no_runtime_of_theirs() -> None:
    assert "runtimeClassName" not in pod(job_manifest(ORDER, chosen(runtime_class="nvidia")))


def test_nobodys_variable_takes_the_place_of_a_workers_own() -> None:
    settings = chosen(environment={"BLOOMERY_ATTEMPT_TOKEN": "mine", "BLOOMERY_WORK_DIR": "/mine"})
    given = variables(job_manifest(ORDER, settings))
    assert (given["BLOOMERY_ATTEMPT_TOKEN"], given["BLOOMERY_WORK_DIR"]) == ("secret", "/work")


@pytest.mark.parametrize(("priority", "name"), [(-1, None), (0, "low"), (9, "low"), (10, "high"), (99, "high")])
def test_a_jobs_priority_chooses_its_class(priority: int, name: str | None) -> None:
    settings = chosen(priority_classes={0: "low", 10: "high"})
    assert pod(job_manifest(order(priority=priority), settings)).get("priorityClassName") == name


def test_an_order_is_always_made_into_the_same_job() -> None:
    assert job_manifest(ORDER, chosen()) == job_manifest(ORDER, chosen())
    assert job_manifest(replace(ORDER, attempt=3), chosen()) != job_manifest(ORDER, chosen())
