"""What every handle shows of its message."""

from typing import Generic, Protocol, TypeVar

from bloomery import _names as names
from bloomery.vision import v1 as vision


class Named(Protocol):
    @property
    def name(self) -> str: ...


M = TypeVar("M", bound=Named)


class Fields(Generic[M]):
    """A resource as it was when it was last read; `proto` is the whole message."""

    @property
    def proto(self) -> M:
        """The message of the contract."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The full name, such as `projects/p/jobs/j`."""
        return self.proto.name

    @property
    def id(self) -> str:
        """The last part of the name."""
        return names.id_of(self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and type(other) is type(self) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def task_name(task: vision.TaskType.ValueType) -> str:
    """`detect`, `segment` or `classify`."""
    return vision.TaskType.Name(task).removeprefix("TASK_TYPE_").lower()
