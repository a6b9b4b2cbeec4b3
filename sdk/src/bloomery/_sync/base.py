"""What all blocking handles share."""

from typing import Generic, TypeVar

from bloomery._fields import Fields, Named
from bloomery._sync.portal import Facade

M = TypeVar("M", bound=Named)


class Handle(Facade, Fields[M], Generic[M]):
    """A resource with the connection to do something about it."""

    @property
    def proto(self) -> M:
        """The message as it was last read."""
        proto: M = self._twin.proto
        return proto
