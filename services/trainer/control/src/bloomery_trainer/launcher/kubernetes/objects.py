"""What of Kubernetes' objects the launcher reads; whatever else is in them is never kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Object(BaseModel):
    """Names as Kubernetes writes them."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class Metadata(Object):
    """Who an object is. `deletion_timestamp` says that it is on its way out."""

    name: str = ""
    uid: str = ""
    labels: Mapping[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Condition(Object):
    """One thing that holds of an object, or does not; `status` is True, False or Unknown."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class JobSpec(Object):
    """What was asked for."""

    suspend: bool = False


class JobStatus(Object):
    """What the job controller says."""

    conditions: Sequence[Condition] = ()
    start_time: datetime | None = None


class Job(Object):
    """A Job: one attempt."""

    metadata: Metadata
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, where it holds."""
        return next((each for each in self.status.conditions if (each.type, each.status) == (kind, "True")), None)


class Waiting(Object):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Terminated(Object):
    """How a container ended; `message` is what it left in its termination file."""

    exit_code: int
    reason: str = ""
    message: str = ""


class ContainerState(Object):
    """One of the three, or none."""

    waiting: Waiting | None = None
    running: Mapping[str, object] | None = None
    terminated: Terminated | None = None


class ContainerStatus(Object):
    """What the kubelet says of a container."""

    name: str = ""
    state: ContainerState = ContainerState()


class PodStatus(Object):
    """What scheduler and kubelet say."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: Sequence[Condition] = ()
    container_statuses: Sequence[ContainerStatus] = ()


class ContainerResources(Object):
    """What it may use, by resource."""

    limits: Mapping[str, str] = {}


class Container(Object):
    """What was asked for."""

    resources: ContainerResources = ContainerResources()


class PodSpec(Object):
    """What was asked for."""

    containers: Sequence[Container] = ()


class Pod(Object):
    """A pod: one worker."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more, as its kubelet says."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def state(self) -> ContainerState:
        """That of its only container."""
        return self.status.container_statuses[0].state if self.status.container_statuses else ContainerState()

    @property
    def memory(self) -> str:
        """What its container may use, as Kubernetes writes it; empty where it is not bounded."""
        return self.spec.containers[0].resources.limits.get("memory", "") if self.spec.containers else ""

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, whether it holds or not."""
        return next((each for each in self.status.conditions if each.type == kind), None)


class Involved(Object):
    """Whom an event is about."""

    uid: str = ""


class Event(Object):
    """What some part of the cluster has noticed."""

    metadata: Metadata
    involved_object: Involved = Involved()
    reason: str = ""
    message: str = ""
    last_timestamp: datetime | None = None


Kind = TypeVar("Kind", bound=Object)


class ListMetadata(Object):
    """The version that a list shows, and where its next page begins."""

    resource_version: str = ""
    continue_: str = Field(default="", alias="continue")


class Listing(Object, Generic[Kind]):
    """A page of a list."""

    metadata: ListMetadata
    items: Sequence[Kind] = ()
