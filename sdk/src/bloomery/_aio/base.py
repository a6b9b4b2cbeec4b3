"""What all asynchronous handles share."""

from typing import Generic, TypeVar

from bloomery._fields import Fields, Named
from bloomery._session import Session

M = TypeVar("M", bound=Named)


class AsyncHandle(Fields[M], Generic[M]):
    """A resource with the connection to do something about it."""

    def __init__(self, session: Session, proto: M) -> None:
        self._session = session
        self._proto = proto

    @property
    def proto(self) -> M:
        """The message as it was last read."""
        return self._proto
