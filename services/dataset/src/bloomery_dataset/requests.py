"""Creates that a client may repeat."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from bloomery_kit.database import Transaction
from bloomery_kit.idempotency import once

V = TypeVar("V")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Repeatable(Generic[V, M]):
    """A request that is answered once for each `request_id` in `scope`; `answer` makes the answer from a value."""

    scope: str
    request_id: str
    request: Message
    answer: Callable[[V], M]

    async def run(self, tx: Transaction, make: Callable[[], Awaitable[V]]) -> M:
        """The first answer, or that of what `make` makes now."""

        async def first() -> M:
            return self.answer(await make())

        return await once(tx, self.scope, self.request_id, self.request, first)
