"""Every rpc of every service against everybody who may come: found by the contracts, asked of a real server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import status_pb2
from grpc_status import rpc_status

from bloomery.access.v1 import (
    AccessServiceStub,
    IssueTokenRequest,
    RegisterProjectRequest,
    RevokeTokenRequest,
    SetMemberRequest,
)
from bloomery.annotation.v1 import AnnotationServiceStub, CreateProjectRequest
from bloomery_kit.auth import Role, service_token
from bloomery_kit.errors import error_info
from bloomery_kit.permissions import Rule, rule_of
from bloomery_server.embedded import EmbeddedServer
from tests.access.issuer import AUDIENCE, Issuer, issuing
from tests.server.conftest import embedded

PEOPLE = (Role.VIEWER, Role.ANNOTATOR, Role.TRAINER, Role.ADMIN)
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
GHOST, SECRET, ABSENT = "ghost", "secret", "absent"
"""A project that access alone knows, so that who is let in changes nothing; one of somebody else; none at all."""
AT_ONCE = 24
POOL: Any = descriptor_pool.Default()  # type: ignore[no-untyped-call]


@dataclass
class World:
    """A server, and what its callers show."""

    channel: grpc.aio.Channel
    methods: list[MethodDescriptor]
    owner: str
    refused: dict[str, str] = field(default_factory=dict)
    project: dict[Role, str] = field(default_factory=dict)
    everywhere: dict[Role, str] = field(default_factory=dict)
    nobody: str = ""

    async def ask(self, method: MethodDescriptor, token: str | None, project: str = GHOST) -> status_pb2.Status:
        """The status of a call that names something in a project, and is else empty."""
        request = message_factory.GetMessageClass(method.input_type)()
        rule = rule_of(method.full_name)
        if rule.resource:
            *path, last = rule.resource[0].split(".")
            inner: Any = request
            for part in path:
                inner = getattr(inner, part)
            setattr(inner, last, f"projects/{project}/x")
        return await self.call(method, request, token)

    async def call(self, method: MethodDescriptor, request: Any, token: str | None) -> status_pb2.Status:
        name = f"/{method.containing_service.full_name}/{method.name}"
        arity = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        answers = message_factory.GetMessageClass(method.output_type).FromString
        start = getattr(self.channel, arity)(name, type(request).SerializeToString, answers)
        metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        call = start([request] if method.client_streaming else request, metadata=metadata, timeout=30)
        try:
            if method.server_streaming:
                async for _ in call:
                    break
            else:
                await call
        except grpc.aio.AioRpcError as error:
            found = rpc_status.from_call(cast("Any", error))
            return cast("status_pb2.Status", found or status_pb2.Status(code=error.code().value[0]))
        finally:
            call.cancel()
        return status_pb2.Status()

    async def table(self, token: str | None, project: str = GHOST) -> dict[str, status_pb2.Status]:
        """What every method says to a caller."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(method: MethodDescriptor) -> tuple[str, status_pb2.Status]:
            async with turns:
                return method.full_name, await self.ask(method, token, project)

        return dict(await asyncio.gather(*map(one, self.methods)))


def rules(world: World) -> Iterator[tuple[str, Rule]]:
    for method in world.methods:
        yield method.full_name, rule_of(method.full_name)


@asynccontextmanager
async def made(server: EmbeddedServer, issuer: Issuer) -> AsyncIterator[World]:
    owner = server._identity.token
    mine = (("authorization", f"Bearer {owner}"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server._host.port}") as channel:
        access = AccessServiceStub(channel)
        await AnnotationServiceStub(channel).CreateProject(CreateProjectRequest(project_id=SECRET), metadata=mine)
        ghost = RegisterProjectRequest(project=GHOST, uid="uid-of-ghost")
        services = (("authorization", f"Bearer {service_token(owner)}"),)
        await access.RegisterProject(ghost, metadata=services)
        world = World(
            channel,
            [method for name in server._host._services for method in POOL.FindServiceByName(name).methods],
            owner,
        )

        async def token(subject: str) -> Any:
            wish = IssueTokenRequest(subject=subject, role=cast("Any", Role.ADMIN.value))
            return await access.IssueToken(wish, metadata=mine)

        for role in PEOPLE:
            for parent, known in ((f"projects/{GHOST}", world.project), ("projects/-", world.everywhere)):
                subject = f"{role.name.lower()} of {parent}"
                member = SetMemberRequest(parent=parent, subject=subject, role=cast("Any", role.value))
                await access.SetMember(member, metadata=mine)
                known[role] = (await token(subject)).secret
        world.nobody = issuer.token("somebody without a role")
        revoked = await token("admin of projects/-")
        await access.RevokeToken(RevokeTokenRequest(name=revoked.token.name), metadata=mine)
        stranger = Issuer()
        stranger.url = issuer.url
        world.refused = {
            "garbage": "garbage",
            "nothing": "",
            "no token of ours": "bly_0123456789abcdef_" + "A" * 43,
            "a revoked token": revoked.secret,
            "an expired JWT": issuer.token("admin of projects/-", exp=int(time.time()) - 600),
            "a JWT of somebody else": stranger.token("admin of projects/-"),
        }
        yield world


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    with issuing() as issuer, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOOMERY_OIDC__ISSUER", issuer.url)
        patch.setenv("BLOOMERY_OIDC__AUDIENCE", AUDIENCE)
        folder = tmp_path_factory.mktemp("every-rpc")
        async with embedded(folder / "data") as server, made(server, issuer) as everything:
            yield everything


def said(name: str, status: status_pb2.Status) -> str:
    return f"{name} said {CODES[status.code]} {error_info(status).reason}"


async def test_whoever_shows_nothing_that_holds_is_refused_everywhere(world: World) -> None:
    assert len(world.methods) > 90
    for token in (None, *world.refused.values()):
        for name, status in (await world.table(token)).items():
            assert CODES[status.code] == "UNAUTHENTICATED", said(name, status)
            assert GHOST not in status.message


async def test_the_owner_may_all_but_what_services_do(world: World) -> None:
    for name, status in (await world.table(world.owner)).items():
        is_service = rule_of(name).role is Role.SERVICE
        assert (CODES[status.code] == "PERMISSION_DENIED") is is_service, said(name, status)


@pytest.mark.parametrize("whole", [False, True], ids=["in the project", "in the whole installation"])
@pytest.mark.parametrize("role", PEOPLE)
async def test_a_role_lets_in_as_far_as_the_contract_says(world: World, role: Role, whole: bool) -> None:
    table = await world.table(world.everywhere[role] if whole else world.project[role])
    for name, rule in rules(world):
        status = table[name]
        refused = CODES[status.code] == "PERMISSION_DENIED"
        assert refused is not is_let_in(rule, role, whole=whole), said(name, status)
        assert CODES[status.code] != "UNAUTHENTICATED", said(name, status)
        assert not is_hidden(status), said(name, status)


async def test_somebody_without_a_role_is_told_of_nothing(world: World) -> None:
    table = await world.table(world.nobody)
    for name, rule in rules(world):
        status = table[name]
        if rule.role is Role.AUTHENTICATED:
            assert CODES[status.code] not in {"UNAUTHENTICATED", "NOT_FOUND"}, said(name, status)
        elif rule.resource and rule.role is not Role.SERVICE:
            assert is_hidden(status), said(name, status)
        else:
            assert CODES[status.code] == "PERMISSION_DENIED", said(name, status)


async def test_another_project_is_answered_as_one_that_is_not_there(world: World) -> None:
    admin = world.project[Role.ADMIN]
    secret, absent = await world.table(admin, SECRET), await world.table(admin, ABSENT)
    concerned = [name for name, rule in rules(world) if rule.resource and rule.role is not Role.SERVICE]
    assert len(concerned) > 70
    for name in concerned:
        assert is_hidden(secret[name]), name
        same = secret[name].SerializeToString().replace(SECRET.encode(), ABSENT.encode())
        assert same == absent[name].SerializeToString(), name


async def test_lists_over_all_projects_show_those_that_one_may_see(world: World) -> None:
    lists = [method for method in world.methods if rule_of(method.full_name).across]
    assert len(lists) >= 6
    for method in lists:
        request = cast("Any", message_factory.GetMessageClass(method.input_type)())
        request.parent = {
            "ListDatasetVersions": "projects/-/datasets/-",
            "ListModelVersions": "projects/-/models/-",
        }.get(method.name, "projects/-")
        assert (await world.call(method, request, world.project[Role.VIEWER])).code == 0, method.full_name
        assert CODES[(await world.call(method, request, world.nobody)).code] == "PERMISSION_DENIED"


def is_let_in(rule: Rule, role: Role, *, whole: bool) -> bool:
    """Whether somebody with a role in the project, or in the whole installation, may use a method."""
    if rule.role is Role.AUTHENTICATED:
        return True
    if rule.role is Role.SERVICE:
        return False
    return role >= rule.role and (whole or bool(rule.resource) or rule.role is Role.VIEWER)


def is_hidden(status: status_pb2.Status) -> bool:
    """Whether this is what is said of a project that one may not know of."""
    return (
        CODES[status.code] == "NOT_FOUND"
        and status.message.endswith("does not exist; list the projects")
        and (error_info(status).metadata.get("resource_type") == "project")
    )
