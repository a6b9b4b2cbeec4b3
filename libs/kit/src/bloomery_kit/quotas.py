"""What a project may take, as the access service says it: asked once in a while, and kept through its outages."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

import grpc

from bloomery.access.v1 import GetQuotaRequest, QuotaLimits, QuotaServiceStub
from bloomery_kit.errors import ResourceExhausted, Unavailable

_FRESH_SECONDS = 2.0
_ASKING_SECONDS = 5.0
_PATIENCE_SECONDS = 1.0
"""How long somebody waits for news of limits that were told before: while access hangs, other work goes on."""
_REMEMBERED = 10_000


@dataclass(frozen=True)
class Limits:
    """What a project may take at most; None where there is no limit. Of 0 nothing more may come."""

    bytes: int | None = None
    images: int | None = None
    running_jobs: int | None = None
    gpus: int | None = None


@dataclass(frozen=True)
class _Known:
    limits: Limits
    until: float


class Quotas:
    """The limits of projects, each at most some seconds old while the access service answers; none without one."""

    def __init__(self, access: grpc.aio.Channel | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stub = QuotaServiceStub(access) if access is not None else None
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Limits]] = {}

    async def of(self, project: str) -> Limits:
        """The limits of the project of this id. Raise Unavailable QUOTA_UNKNOWN where they were never told."""
        if self._stub is None:
            return Limits()
        known = self._known.get(project)
        if known is not None and self._clock() < known.until:
            return known.limits
        asking = self._asking.get(project)
        if asking is None:
            # In a context of its own: whoever asks first is not whose call it is.
            asking = asyncio.create_task(self._ask(project), context=Context())
            asking.add_done_callback(_seen)
            self._asking[project] = asking
        if known is None:
            return await asyncio.shield(asking)
        await asyncio.wait({asking}, timeout=_PATIENCE_SECONDS)
        return asking.result() if asking.done() else known.limits

    async def _ask(self, project: str) -> Limits:
        assert self._stub is not None
        known = self._known.get(project)
        try:
            request = GetQuotaRequest(name=f"projects/{project}/quota")
            limits = _limits((await self._stub.GetQuota(request, timeout=_ASKING_SECONDS)).limits)
        except grpc.aio.AioRpcError as error:
            if known is None:
                message = f"what projects/{project} may take cannot be told now, as the service access does not answer"
                raise Unavailable("QUOTA_UNKNOWN", message) from error
            limits = known.limits
        finally:
            del self._asking[project]
        self._known[project] = _Known(limits, self._clock() + _FRESH_SECONDS)
        self._known.move_to_end(project)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return limits


UNLIMITED = Quotas(None)


def exceeded(project: str, what: str, *, limit: int, used: int, more: int) -> ResourceExhausted:
    """The refusal of `more` of `what` (such as "bytes") in a project that has `used` and may have `limit`."""
    message = (
        f"{project} may have {limit} {what} and has {used}: {more} more do not fit; delete what is not needed, or ask "
        "an admin of the installation for more (bloomery quota set)"
    )
    return ResourceExhausted("QUOTA_EXCEEDED", message)


def _limits(message: QuotaLimits) -> Limits:
    return Limits(**{field.name: value for field, value in message.ListFields()})


def _seen(asking: "asyncio.Task[Limits]") -> None:
    """Whoever waited has the error."""
    if not asking.cancelled():
        asking.exception()
