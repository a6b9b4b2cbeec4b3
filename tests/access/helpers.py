"""A running access service, and callers of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from bloomery.access.v1 import AccessServiceStub, IssueTokenRequest, RegisterProjectRequest, SetMemberRequest
from bloomery_access.app import AccessApp
from bloomery_access.settings import AccessSettings, OidcSettings
from bloomery_kit.auth import Role, service_token
from bloomery_kit.clients import channel
from bloomery_kit.errors import error_info
from bloomery_kit.server import ServerOptions, ServiceHost

if TYPE_CHECKING:
    from bloomery.access.v1.access_service_pb2_grpc import AccessServiceAsyncStub

OWNER = "the-owners-token"


@dataclass
class Access:
    """The service, with a stub of the owner's and one of the services'."""

    address: str
    app: AccessApp
    owner: "AccessServiceAsyncStub"
    service: "AccessServiceAsyncStub"

    @asynccontextmanager
    async def bearer(self, token: str) -> AsyncIterator["AccessServiceAsyncStub"]:
        """A stub that shows this token."""
        async with channel(self.address, token=token) as on:
            yield AccessServiceStub(on)

    async def project(self, project: str, uid: str = "", creator: str = "") -> None:
        """Make a project known."""
        await self.service.RegisterProject(
            RegisterProjectRequest(project=project, uid=uid or f"uid-{project}", creator=creator)
        )

    async def member(self, subject: str, role: Role, project: str = "-") -> None:
        """Give somebody a role."""
        request = SetMemberRequest(parent=f"projects/{project}", subject=subject, role=cast("Any", role.value))
        await self.owner.SetMember(request)

    async def token(self, subject: str = "", **wish: Any) -> str:
        """A fresh token."""
        return (await self.owner.IssueToken(IssueTokenRequest(subject=subject, **wish))).secret


def settings_for(folder: Path, database_url: str, oidc: OidcSettings | None = None) -> AccessSettings:
    """The service's settings."""
    store = {
        "kind": "folder",
        "root": folder,
        "base_url": "http://127.0.0.1:1",
        "signing_key": "a key of sixteen bytes",
    }
    return AccessSettings(
        database_url=database_url, object_store=cast("Any", store), token=cast("Any", OWNER), oidc=oidc
    )


@asynccontextmanager
async def serving(settings: AccessSettings) -> AsyncIterator[Access]:
    """The service as it runs in a process of its own."""
    app = await AccessApp.open(settings, draining=asyncio.Event())
    host = ServiceHost(ServerOptions(), authenticator=app.authenticator)
    app.register(host)
    await host.start()
    await app.start()
    address = f"127.0.0.1:{host.port}"
    async with channel(address, token=OWNER) as owner, channel(address, token=service_token(OWNER)) as service:
        yield Access(
            address,
            app,
            AccessServiceStub(owner),
            AccessServiceStub(service),
        )
    await host.stop()
    await app.close()


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """How a call was refused: its code, and the reason."""
    status = await refused(call)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return code, error_info(status).reason


async def refused(call: Awaitable[object]) -> status_pb2.Status:
    """The status with which a call was refused."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(cast("Any", error))
        assert status is not None
        return cast("status_pb2.Status", status)
    raise AssertionError("the call was not refused")
