"""Running a model of a deployment on one of its replicas."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from bloomery_inference.runtime import ModelFailed, NotLoaded, TritonClient
from bloomery_kit.errors import BloomeryError, Unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bloomery_inference.model import Variant
    from bloomery_inference.question import Models
    from bloomery_inference.runtime import Run, Tensors
    from bloomery_inference.serving.model import Replica

_CLIENTS = 64
"""Replicas to which connections are kept."""
_ASKED = 2


class Running(Protocol):
    """Models that run somewhere."""

    @property
    def replica(self) -> str:
        """The id of the one that ran them last."""
        ...

    @property
    def models(self) -> Models:
        """The models."""
        ...


class Clients:
    """Connections to replicas by their endpoint, each of which is given `patience` seconds for an answer."""

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._clients: OrderedDict[str, TritonClient] = OrderedDict()

    async def of(self, endpoint: str) -> TritonClient:
        """The connection to a replica."""
        client = self._clients.get(endpoint) or TritonClient(endpoint, patience=self._patience)
        self._clients[endpoint] = client
        self._clients.move_to_end(endpoint)
        if len(self._clients) > _CLIENTS:
            await self._clients.popitem(last=False)[1].close()
        return client

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()


class Here:
    """The models of this process."""

    def __init__(self, replica: Replica, models: Models) -> None:
        self.replica = replica.id
        self.models = models


class There:
    """The models of other processes: of some replicas the first one answers, and where it does not, the second."""

    def __init__(self, replicas: Sequence[Replica], clients: Clients) -> None:
        self._replicas = list(replicas[:_ASKED])
        self._clients = clients
        self.replica = self._replicas[0].id

    @property
    def models(self) -> Models:
        """See Running."""
        return self

    @asynccontextmanager
    async def use(self, variant: Variant) -> AsyncIterator[None]:  # noqa: ARG002 - a replica keeps what is planned
        """See Models."""
        yield

    def runner(self, variant: Variant, together: int) -> Run | None:  # noqa: ARG002 - they run elsewhere
        """See Models."""
        return None

    async def infer(self, variant: Variant, images: NDArray[np.uint8]) -> Tensors:
        """See Models. Raise Unavailable REPLICA_UNAVAILABLE, or what the model itself raises everywhere."""
        troubles: list[tuple[Replica, BloomeryError]] = []
        for replica in list(self._replicas):
            try:
                answer = await (await self._clients.of(replica.endpoint)).infer(variant.uid, images)
            except (Unavailable, NotLoaded, ModelFailed) as error:
                troubles.append((replica, error))
                # The other tiles of an image need not wait for it again.
                self._replicas.append(self._replicas.pop(0))
            else:
                self.replica = replica.id
                return answer
        raise _trouble(troubles)


def _trouble(troubles: Sequence[tuple[Replica, BloomeryError]]) -> BloomeryError:
    if all(isinstance(error, ModelFailed) for _, error in troubles):
        return troubles[-1][1]
    told = "; ".join(f"replica {replica.id}: {error.message}" for replica, error in troubles)
    return Unavailable("REPLICA_UNAVAILABLE", told)
