"""What the handles of deployments show."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from bloomery import errors
from bloomery._fields.base import Fields
from bloomery._results import moment
from bloomery.inference import v1 as inference


class DeploymentFields(Fields[inference.Deployment]):
    """A lasting name for the model version that answers predictions."""

    @property
    def state(self) -> str:
        """PENDING, READY, PROGRESSING, FAILED or PAUSED."""
        return inference.Deployment.State.Name(self.proto.state).removeprefix("STATE_")

    @property
    def reason(self) -> str:
        """Why it is so: the replica and the runtime's own words where it has FAILED."""
        return self.proto.reason

    @property
    def serving(self) -> str:
        """The full name of the version that answers; empty before the first one does."""
        return self.proto.serving.model_version

    @property
    def candidate(self) -> str:
        """The full name of the version that is being brought in, or answers a part; empty where there is none."""
        return self.proto.candidate.model_version

    @property
    def previous(self) -> str:
        """The full name of the version that served before, which `rollback` brings back; empty where there is none."""
        return self.proto.previous.model_version

    @property
    def traffic(self) -> int:
        """How many of 100 requests the candidate answers."""
        return self.proto.traffic_percent

    @property
    def labels(self) -> Mapping[str, str]:
        """Free key-value pairs."""
        return self.proto.labels

    @property
    def update_time(self) -> datetime:
        """When what is wanted last changed, UTC."""
        return moment(self.proto.update_time)

    @property
    def is_settled(self) -> bool:
        """Whether nothing happens by itself any more, unless a replica comes or goes."""
        return self.state in {"READY", "FAILED", "PAUSED"}

    def check(self) -> Self:
        """Return the handle of a deployment that has not failed.

        Raises:
            DeployFailed: what is wanted cannot be loaded.
        """
        if self.state != "FAILED":
            return self
        going_on = f"; {self.serving} goes on" if self.serving and self.candidate else ""
        hint = f"`bloomery deploy rollback {self.id}` gives it up" if self.candidate else "look at the replicas"
        raise errors.DeployFailed(f"deployment {self.id}: {self.reason}{going_on}", resource=self.name, hint=hint)
