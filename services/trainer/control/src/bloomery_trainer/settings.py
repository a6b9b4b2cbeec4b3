"""Settings of the trainer: every interval, grace and limit, in seconds and bytes."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from bloomery_kit.settings import ServiceSettings

_GIB = 1 << 30


class Policy(BaseModel):
    """When the reconciler acts; all times in seconds."""

    model_config = ConfigDict(frozen=True)
    reconcile_interval: float = 2.0
    idle_interval: float = Field(default=2.0, description="the same while no job is open, for those that others accept")
    lease_term: float = 15.0
    lease_renew: float = 5.0
    launch_grace: float = Field(default=600.0, description="from launch to the worker's first call")
    suspect_after: float = Field(default=60.0, description="silence after which a worker is suspect")
    lost_after: float = Field(default=360.0, description="silence after which a worker counts as lost")
    stall_grace: float = Field(default=120.0, description="how long a reported stall may last")
    cancel_grace: float = Field(default=60.0, description="for the checkpoint of a cancelled job")
    pause_grace: float = Field(default=300.0, description="for the checkpoint of a paused job")
    exit_grace: float = Field(default=30.0, description="from a worker's last word to its end")
    stop_grace: float = Field(
        default=45.0, description="from asking a process to end to ending it; a worker takes up to 30"
    )
    queue_timeout: float = Field(
        default=0.0, description="time without being launched, counted while a replica leads; 0 for no limit"
    )
    refusal_grace: float = Field(
        default=300.0,
        description="how long a cluster may refuse to start a worker, as while its image cannot be pulled",
    )
    retries: int = 2
    infra_retries: int = 10
    retry_delay: float = 10.0
    retry_delay_max: float = 360.0


class Machine(BaseModel):
    """What the process launcher may hand out; what is not given is counted."""

    model_config = ConfigDict(frozen=True)
    cpus: float | None = None
    memory_bytes: int | None = None
    gpus: int | None = None


class ProcessLauncherSettings(BaseModel):
    """Workers as processes of the trainer's own machine. `kind` is what tells launchers apart."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["process"] = "process"
    jobs_dir: Path
    cache_dir: Path
    worker_python: Path = Path(sys.prefix).parent / ".venv-worker/bin/python"
    machine: Machine = Machine()


class KubernetesLauncherSettings(BaseModel):
    """Workers as Jobs of a Kubernetes cluster; `docs/kubernetes.md` explains them.

    `installation` tells this one's Jobs from those of others in the namespace. Times are in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["kubernetes"]
    namespace: str
    image: str
    installation: str = Field(default="bloomery", pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
    kubeconfig: Path | None = Field(default=None, description="the pod's own account without one")
    command: tuple[str, ...] = Field(default=(), description="in place of the image's own")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = "default"
    user_id: int = Field(default=10001, ge=1)
    cpus: float = Field(default=1.0, gt=0, description="cores of a job that asks for none")
    max_cpus: float | None = Field(default=None, gt=0, description="cores that a job gets at most")
    memory_bytes: int = Field(default=2 * _GIB, ge=1, description="memory of a job that asks for none")
    shm_bytes: int = Field(default=_GIB, ge=1, description="shared memory of data loaders, a part of the job's memory")
    gpu_resource: str = "nvidia.com/gpu"
    runtime_class: str | None = Field(default=None, description="of jobs with GPUs")
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Mapping[str, str | int], ...] = ()
    priority_classes: Mapping[int, str] = Field(
        default={}, description="by the smallest priority of a job for which it counts"
    )
    queue: str | None = Field(default=None, description="Kueue's LocalQueue, which lets jobs in")
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    environment_secret: str | None = Field(default=None, description="a Secret whose entries are variables of workers")
    authority_config_map: str | None = Field(
        default=None, description="a ConfigMap whose `ca.crt` workers trust as the trainer's authority"
    )
    store_authority_config_map: str | None = Field(
        default=None, description="a ConfigMap whose `ca.crt` workers trust for signed URLs"
    )
    cache_claim: str | None = Field(default=None, description="a volume that keeps blobs from one worker to the next")
    termination_grace: float = Field(default=120.0, ge=20, description="for a worker's last checkpoint")
    deadline_margin: float = Field(default=600.0, ge=0, description="over a job's deadline, which the trainer keeps")
    ttl: float = Field(default=86400.0, ge=0, description="after which the cluster forgets what nobody has removed")
    unreachable_after: float = Field(
        default=300.0, description="silence of a node, after a worker's grace, that ends the wait for the worker's end"
    )
    look_interval: float = Field(default=1.0, ge=0, description="between two looks at everything, at least")
    request_timeout: float = Field(default=10.0, gt=0)
    watch_seconds: float = Field(default=30.0, ge=1, description="life of a watch")


def _kind(given: object) -> str:
    """Which launcher is meant; that of processes where nobody says."""
    found = given.get("kind", "process") if isinstance(given, Mapping) else getattr(given, "kind", "process")
    return str(found)


LauncherSettings = Annotated[
    Annotated[ProcessLauncherSettings, Tag("process")] | Annotated[KubernetesLauncherSettings, Tag("kubernetes")],
    Discriminator(_kind),
]


class TrainerSettings(ServiceSettings):
    """What the trainer needs beside the common settings."""

    worker_bind: str = "127.0.0.1"
    worker_port: int = Field(default=50061, ge=0, le=65535)
    annotation_target: str
    dataset_target: str
    launcher: LauncherSettings
    worker_target: str | None = Field(
        default=None, validate_default=True, description="host:port that workers dial; the worker port on loopback"
    )
    catalogue: Path | None = Field(
        default=None,
        validate_default=True,
        description="recipes as a worker's image tells them; the launcher's own environment by default",
    )
    policy: Policy = Policy()
    report_interval: float = Field(default=2.0, gt=0)
    max_pending_per_project: int = 1000
    max_running_per_project: int = Field(default=0, description="0 for no limit")
    min_free_bytes: int = Field(default=_GIB, description="space below which nothing new is taken")
    max_input_bytes: int = Field(default=5 * _GIB, ge=1, description="largest file that a job may be given")
    input_retention: float = Field(default=2 * 86400.0, description="life of such a file after its last use")
    signed_seconds: float = Field(default=3600.0, description="life of a signed request")
    watch_poll: float | None = Field(
        default=None, description="how soon other replicas' commits are seen: 0.2, on SQLite never, as there are none"
    )
    watch_heartbeat: float = 15.0
    watch_age: float = Field(default=720.0, description="about how long a watch lives")
    event_retention: float = Field(default=90 * 86400.0, description="life of a finished job's measurements and logs")

    @field_validator("worker_target", "catalogue")
    @classmethod
    def _required_on_a_cluster(cls, given: str | Path | None, others: ValidationInfo) -> str | Path | None:
        if given is None and isinstance(others.data.get("launcher"), KubernetesLauncherSettings):
            raise ValueError("is required where workers run on Kubernetes: they have neither this host nor its files")
        return given
