"""The Job of an attempt, as it is sent to the API server."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloomery_trainer.launcher import JobFacts, Order, environment
from bloomery_trainer.model import Resources
from bloomery_trainer.settings import KubernetesLauncherSettings

MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"
JOB = "bloomery.dev/job"
ATTEMPT = "bloomery.dev/attempt"
MANAGER = "bloomery-trainer"
CONTAINER = "worker"
QUEUE = "kueue.x-k8s.io/queue-name"
_WORK, _CACHE, _TERMINATION = "/work", "/cache", "/dev/termination-log"
_TO_EXIT = 15.0
"""Seconds of the grace that a worker leaves for its own end."""
_LABEL = 63
_STAY = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
_DISRUPTED = {"type": "DisruptionTarget", "status": "True"}

Json = Mapping[str, object]


def name_of(job_uid: str, attempt: int) -> str:
    """What a Job is called: the same however often it is created."""
    return f"bl-{job_uid}-{attempt}"


def selector(settings: KubernetesLauncherSettings) -> str:
    """Which Jobs and pods are this installation's."""
    return f"{MANAGED_BY}={MANAGER},{INSTANCE}={settings.installation}"


def job_manifest(order: Order, settings: KubernetesLauncherSettings) -> Json:
    """One attempt as one Job of one pod, which the cluster starts again only where it took the pod away itself."""
    labels = _labels(order, settings)
    annotations = {**settings.annotations, "bloomery.dev/job-name": order.job.name}
    queue = {QUEUE: settings.queue} if settings.queue else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(order.job.uid, order.attempt),
            "namespace": settings.namespace,
            "labels": {**labels, **queue},
            "annotations": annotations,
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [_DISRUPTED]}]},
            "ttlSecondsAfterFinished": math.ceil(settings.ttl),
            "suspend": settings.queue is not None,
            "template": {
                "metadata": {"labels": labels, "annotations": {**_STAY, **annotations}},
                "spec": _pod(order, settings),
            },
        },
    }


def _labels(order: Order, settings: KubernetesLauncherSettings) -> dict[str, str]:
    job = order.job
    return {
        **settings.labels,
        "app.kubernetes.io/name": "bloomery-worker",
        MANAGED_BY: MANAGER,
        INSTANCE: settings.installation,
        JOB: job.uid,
        ATTEMPT: str(order.attempt),
        "bloomery.dev/kind": job.kind.name.lower(),
        "bloomery.dev/project": _last(job.project),
        "bloomery.dev/recipe": _last(job.recipe),
    }


def _pod(order: Order, settings: KubernetesLauncherSettings) -> Json:
    job = order.job
    deadline = math.ceil(job.deadline_seconds + settings.deadline_margin)
    wanted: Json = {
        # From when the kubelet takes it, so that waiting for room counts for nothing.
        "activeDeadlineSeconds": deadline if job.deadline_seconds else None,
        "runtimeClassName": settings.runtime_class if job.resources.gpus else None,
        "priorityClassName": _priority_class(job, settings),
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [dict(each) for each in settings.tolerations],
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
    }
    return {
        **{name: value for name, value in wanted.items() if value},
        "restartPolicy": "Never",
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(settings.termination_grace),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user_id,
            "runAsGroup": settings.user_id,
            "fsGroup": settings.user_id,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(order, settings)],
        "volumes": [{"name": volume.name, **volume.source} for volume in _volumes(settings)],
    }


def _container(order: Order, settings: KubernetesLauncherSettings) -> Json:
    room = _room(order.job.resources, settings)
    secret = settings.environment_secret
    gpus = {settings.gpu_resource: str(room.gpus)} if room.gpus else {}
    memory = {"memory": str(room.memory_bytes)}
    wanted: Json = {
        "command": list(settings.command),
        "envFrom": [{"secretRef": {"name": secret}}] if secret else [],
    }
    return {
        **{name: value for name, value in wanted.items() if value},
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "terminationMessagePath": _TERMINATION,
        "terminationMessagePolicy": "File",
        "env": _environment(order, settings, room),
        # Of cores it may use more than it was promised, where nobody else does.
        "resources": {"requests": {"cpu": f"{room.cpus:g}", **memory, **gpus}, "limits": {**memory, **gpus}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": volume.name, **volume.mount} for volume in _volumes(settings)],
    }


def _room(asked: Resources, settings: KubernetesLauncherSettings) -> Resources:
    cpus = min(asked.cpus or settings.cpus, settings.max_cpus or math.inf)
    return Resources(cpus, asked.memory_bytes or settings.memory_bytes, asked.gpus)


def _environment(order: Order, settings: KubernetesLauncherSettings, room: Resources) -> list[Json]:
    ours = environment.of_machine(
        work_dir=Path(_WORK),
        cache_dir=Path(_CACHE),
        termination=Path(_TERMINATION),
        room=room,
        gpus=range(room.gpus),
    )
    trusted = {each.variable: f"{each.folder}/ca.crt" for each in _authorities(settings)}
    # Where its runtime is the default one, an image that asks for all GPUs would get them.
    hidden = {} if room.gpus else {"NVIDIA_VISIBLE_DEVICES": "void"}
    values = {
        "HOME": "/tmp",  # noqa: S108 - of the pod
        "BLOOMERY_STOP_GRACE": f"{settings.termination_grace - _TO_EXIT:g}",
        **settings.environment,
        **trusted,
        **hidden,
        **ours,
        **order.environment,
        **order.secrets,
    }
    pod_uid: Json = {"fieldRef": {"fieldPath": "metadata.uid"}}
    named: list[Json] = [{"name": name, "value": value} for name, value in values.items()]
    return [*named, {"name": environment.INCARNATION, "valueFrom": pod_uid}]


@dataclass(frozen=True)
class _Volume:
    name: str
    source: Json
    mount: Json


def _volumes(settings: KubernetesLauncherSettings) -> list[_Volume]:
    claim = settings.cache_claim
    cache: Json = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    shared: Json = {"emptyDir": {"medium": "Memory", "sizeLimit": str(settings.shm_bytes)}}
    found = [
        _Volume("work", {"emptyDir": {}}, {"mountPath": _WORK}),
        _Volume("cache", cache, {"mountPath": _CACHE}),
        _Volume("tmp", {"emptyDir": {}}, {"mountPath": "/tmp"}),  # noqa: S108 - of the pod
        _Volume("shm", shared, {"mountPath": "/dev/shm"}),  # noqa: S108 - of the pod
    ]
    for each in _authorities(settings):
        mount: Json = {"mountPath": each.folder, "readOnly": True}
        found.append(_Volume(each.volume, {"configMap": {"name": each.config_map}}, mount))
    return found


@dataclass(frozen=True)
class _Authority:
    config_map: str
    volume: str
    variable: str
    """Which names its certificate to the worker."""

    @property
    def folder(self) -> str:
        return f"/etc/bloomery/{self.volume}"


def _authorities(settings: KubernetesLauncherSettings) -> list[_Authority]:
    wanted = (
        (settings.authority_config_map, "authority", "BLOOMERY_TRAINER_CA"),
        (settings.store_authority_config_map, "store-authority", "SSL_CERT_FILE"),
    )
    return [_Authority(config_map, volume, variable) for config_map, volume, variable in wanted if config_map]


def _priority_class(job: JobFacts, settings: KubernetesLauncherSettings) -> str | None:
    fitting = [least for least in settings.priority_classes if least <= job.priority]
    return settings.priority_classes[max(fitting)] if fitting else None


def _last(resource: str) -> str:
    """The last part of a resource's name, as far as a label can hold it."""
    return resource.rpartition("/")[2][:_LABEL].rstrip("-_.")
