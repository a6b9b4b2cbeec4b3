"""Settings of the trainer: every interval, grace and limit, in seconds and bytes."""

import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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


class TrainerSettings(ServiceSettings):
    """What the trainer needs beside the common settings."""

    worker_bind: str = "127.0.0.1"
    worker_port: int = Field(default=50061, ge=0, le=65535)
    worker_target: str | None = Field(
        default=None, description="host:port that workers dial; the worker port on loopback"
    )
    annotation_target: str
    dataset_target: str
    neighbour_ca: Path | None = None
    launcher: ProcessLauncherSettings
    catalogue: Path | None = Field(
        default=None, description="recipes as a worker's image tells them; the launcher's own environment by default"
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
