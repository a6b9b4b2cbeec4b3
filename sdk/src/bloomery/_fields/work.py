"""What the handles of work and what it makes show: recipes, jobs, models."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

from google.protobuf.struct_pb2 import Value

from bloomery import errors
from bloomery._fields.base import Fields, task_name
from bloomery._reproduction import differences
from bloomery._results import Difference, moment
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training


class RecipeFields(Fields[training.Recipe]):
    """A way to make a model."""

    @property
    def description(self) -> str:
        """What it does and when to choose it."""
        return self.proto.description

    @property
    def task(self) -> str:
        """The kind of dataset that it takes: `detect`, `segment` or `classify`."""
        return task_name(self.proto.task)

    @property
    def parameters(self) -> Sequence[training.Parameter]:
        """Its parameters with defaults and limits, in the order in which people should read them."""
        return self.proto.parameters


class JobFields(Fields[training.Job]):
    """A piece of work."""

    @property
    def state(self) -> str:
        """PENDING, QUEUED, PREPARING, RUNNING, PAUSING, PAUSED, CANCELLING, SUCCEEDED, FAILED or CANCELLED."""
        return training.JobState.Name(self.proto.state).removeprefix("JOB_STATE_")

    @property
    def kind(self) -> str:
        """TRAIN, EVALUATE, OPTIMIZE, PREDICT or IMPORT."""
        return training.JobKind.Name(self.proto.kind).removeprefix("JOB_KIND_")

    @property
    def reason(self) -> training.Reason:
        """Why it is where it is, with a hint."""
        return self.proto.reason

    @property
    def progress(self) -> training.Progress:
        """How far it is."""
        return self.proto.progress

    @property
    def metrics(self) -> Mapping[str, float]:
        """The result's own measurements once there is one, before that the newest of each."""
        return self.proto.result.metrics or self.proto.progress.metrics

    @property
    def energy(self) -> float | None:
        """Joules that the machine took for its last attempt; None where it is not finished or could not be read."""
        details = self.proto.result.details.fields
        return details["energy_joules"].number_value if "energy_joules" in details else None

    @property
    def data(self) -> Mapping[str, Mapping[str, int]]:
        """What a finished training made of its dataset version; empty where it does not say.

        `images` of each split there are, how many of them were `used` to train and validate, and what was `left_out` of
        them, by reason.
        """
        details = self.proto.result.details.fields
        # Asking for what is not there would put it there.
        found = details["data"].struct_value.fields if "data" in details else {}
        return {name: _counts(one.struct_value.fields) for name, one in found.items()}

    @property
    def predicted(self) -> Mapping[str, int]:
        """What became of the images of a finished prediction job; empty for another, and for one of before it said so.

        How many were "predicted", and how many could not be, by reason, such as "NOT_AN_IMAGE".
        """
        details = self.proto.result.details.fields
        if "predicted" not in details:
            return {}
        return {"predicted": int(details["predicted"].number_value), **_counts(details["failed"].struct_value.fields)}

    @property
    def create_time(self) -> datetime:
        """When it was created, UTC."""
        return moment(self.proto.create_time)

    @property
    def end_time(self) -> datetime | None:
        """When it was over, UTC; None before."""
        return moment(self.proto.end_time) if self.proto.HasField("end_time") else None

    @property
    def is_terminal(self) -> bool:
        """Whether it is over, one way or another."""
        return self.state in {"SUCCEEDED", "FAILED", "CANCELLED"}

    def differences(self, other: "JobFields") -> Sequence[Difference]:
        """What `other` does not have in common with it, such as parameters.

        Once both have succeeded also dataset, base weights, device, versions of recipe and libraries, measurements.
        """
        return differences(self.proto, other.proto)

    def check(self) -> Self:
        """Return the handle of a job that has not failed.

        Raises:
            JobFailed: it ended FAILED or CANCELLED.
        """
        if self.state not in {"FAILED", "CANCELLED"}:
            return self
        message = f"job {self.id} was cancelled" if self.state == "CANCELLED" else f"job {self.id} failed"
        why = f": {self.reason.message}" if self.reason.message else ""
        hint = self.reason.hint or f"read its log: `bloomery jobs logs {self.id}`"
        raise errors.JobFailed(message + why, resource=self.name, reason=self.reason.code or self.state, hint=hint)


class JobGroupFields(Fields[training.JobGroup]):
    """Jobs of a project that belong together."""

    @property
    def states(self) -> Mapping[str, int]:
        """How many of its jobs are in each state, such as `RUNNING`."""
        return self.proto.state_counts

    @property
    def fraction(self) -> float:
        """Mean of the parts of its jobs that are done, 0 to 1."""
        return self.proto.fraction

    @property
    def create_time(self) -> datetime:
        """When its first job was created, UTC."""
        return moment(self.proto.create_time)

    def check(self) -> Self:
        """Return the handle of a group none of whose jobs has failed.

        Raises:
            JobFailed: some ended FAILED or CANCELLED.
        """
        bad = [f"{self.states[state]} {state}" for state in ("FAILED", "CANCELLED") if state in self.states]
        if not bad:
            return self
        message = f"of {self.proto.job_count} jobs in the group {self.id}: {', '.join(bad)}"
        raise errors.JobFailed(message, resource=self.name, hint=f"`bloomery groups show {self.id}` says which")


class ModelFields(Fields[inference.Model]):
    """A named line of model versions."""

    @property
    def display_name(self) -> str:
        """What people see."""
        return self.proto.display_name

    @property
    def latest_version(self) -> int:
        """Number of the newest active version; 0 where there is none."""
        return self.proto.latest_version


class ModelVersionFields(Fields[inference.ModelVersion]):
    """A trained model with the proof of where it came from."""

    @property
    def version(self) -> int:
        """Number within the model."""
        return self.proto.version

    @property
    def task(self) -> str:
        """`detect`, `segment` or `classify`."""
        return task_name(self.proto.task)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes in the order of their indices."""
        return self.proto.classes

    @property
    def metrics(self) -> Mapping[str, float]:
        """Measurements by name, such as `test/map50`."""
        return self.proto.metrics

    @property
    def create_time(self) -> datetime:
        """When it was recorded, UTC."""
        return moment(self.proto.create_time)

    @property
    def note(self) -> str:
        """What people say of it."""
        return self.proto.note

    @property
    def active(self) -> bool:
        """Whether it is offered; one of a server that does not tell is."""
        return self.proto.state != inference.ModelVersion.STATE_INACTIVE

    @property
    def aliases(self) -> Sequence[str]:
        """Ids of the aliases that name it, such as `champion`."""
        return self.proto.aliases

    @property
    def lineage(self) -> inference.Lineage:
        """Job, recipe, dataset version, base weights and licence."""
        return self.proto.lineage


class ModelAliasFields(Fields[inference.ModelAlias]):
    """A name for one version of a model, which may be moved to another one."""

    @property
    def model_version(self) -> str:
        """The full name of the version that it names, with its number."""
        return self.proto.model_version

    @property
    def update_time(self) -> datetime:
        """When it was put there, UTC."""
        return moment(self.proto.update_time)

    @property
    def updater(self) -> str:
        """Who put it there."""
        return self.proto.updater

    @property
    def reason(self) -> str:
        """Why, as they said."""
        return self.proto.reason

    @property
    def figures(self) -> Sequence[inference.ConditionFigure]:
        """What was measured for the conditions under which it was put there, all of them met."""
        return self.proto.figures


class ModelVariantFields(Fields[inference.ModelVariant]):
    """A form of a model version for one runtime, precision and device."""

    @property
    def state(self) -> str:
        """PENDING, READY or FAILED."""
        return inference.ModelVariant.State.Name(self.proto.state).removeprefix("STATE_")

    @property
    def parity(self) -> inference.Parity:
        """Proof that it gives the original's answers."""
        return self.proto.parity

    @property
    def latency(self) -> inference.Latency:
        """How fast it is."""
        return self.proto.latency


def _counts(fields: Mapping[str, Value]) -> dict[str, int]:
    """Those of the values that are counts: a recipe of somebody else may mean anything by them."""
    numbers = {key: fields[key].number_value for key in sorted(fields) if fields[key].HasField("number_value")}
    return {key: int(number) for key, number in numbers.items() if number.is_integer()}
