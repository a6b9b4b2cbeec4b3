"""Tokens: what they let their bearers do, and how they end."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
import sqlalchemy as sa

from bloomery.access.v1 import (
    Caller,
    IssueTokenRequest,
    ListTokensRequest,
    RemoveMemberRequest,
    RevokeTokenRequest,
    SetMemberRequest,
    WhoAmIRequest,
)
from bloomery.common.v1 import ROLE_ADMIN, ROLE_ANNOTATOR, ROLE_TRAINER, ROLE_UNSPECIFIED, ROLE_VIEWER
from bloomery_access.issuing import Maker, Wish
from bloomery_access.store.tables import TOKENS
from bloomery_kit.auth import Role
from tests.access.helpers import Access, refusal, refused

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_FOUND = grpc.StatusCode.NOT_FOUND


async def who(access: Access, token: str) -> Caller:
    async with access.bearer(token) as stub:
        return await stub.WhoAmI(WhoAmIRequest())


async def test_a_token_acts_as_its_subject_as_far_as_both_go(access: Access) -> None:
    await access.project("cells")
    await access.project("leaves")
    await access.member("alice", Role.TRAINER, "cells")
    await access.member("alice", Role.VIEWER, "leaves")
    caller = await who(access, await access.token("alice", role=ROLE_ANNOTATOR))
    assert (caller.subject, caller.role, caller.means) == ("alice", ROLE_UNSPECIFIED, Caller.MEANS_TOKEN)
    assert [(grant.project, grant.role) for grant in caller.grants] == [
        ("cells", ROLE_ANNOTATOR),
        ("leaves", ROLE_VIEWER),
    ]
    caller = await who(access, await access.token("alice", projects=["projects/leaves"]))
    assert [(grant.project, grant.role) for grant in caller.grants] == [("leaves", ROLE_VIEWER)]


async def test_only_a_hash_of_the_secret_is_kept(access: Access) -> None:
    secret = (await access.token()).split("_", 2)[2]
    async with access.app._db.read() as tx:
        (row,) = await tx.execute(sa.select(TOKENS))
    assert secret not in str(row)
    assert len(row.digest) == 32


@pytest.mark.parametrize("change", ["secret", "id", "garbage", "jwt"])
async def test_what_is_no_token_is_refused_alike(access: Access, change: str) -> None:
    token = await access.token()
    wrong = {
        "secret": token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB"),
        "id": token.replace(token[4:20], "0" * 16),
        "garbage": "bly_1",
        "jwt": "a.b.c",
    }[change]
    async with access.bearer(wrong) as stub:
        assert await refusal(stub.WhoAmI(WhoAmIRequest())) == (UNAUTHENTICATED, "CREDENTIALS_UNKNOWN")


async def test_a_revoked_token_is_refused_with_what_was_made_with_it(access: Access) -> None:
    made = await access.owner.IssueToken(IssueTokenRequest(role=ROLE_TRAINER))
    async with access.bearer(made.secret) as stub:
        child = await stub.IssueToken(IssueTokenRequest())
    async with access.bearer(child.secret) as stub:
        grandchild = await stub.IssueToken(IssueTokenRequest(role=ROLE_VIEWER))
    other = await access.token()
    revoked = await access.owner.RevokeToken(RevokeTokenRequest(name=made.token.name))
    assert revoked.HasField("revoke_time")
    assert await access.owner.RevokeToken(RevokeTokenRequest(name=made.token.name)) == revoked
    for token in (made.secret, child.secret, grandchild.secret):
        access.app.authenticator._known.clear()
        async with access.bearer(token) as stub:
            assert await refusal(stub.WhoAmI(WhoAmIRequest())) == (UNAUTHENTICATED, "CREDENTIALS_REVOKED")
    assert (await who(access, other)).subject == "owner"


async def test_what_is_made_with_a_token_while_it_is_revoked_is_refused_too(access: Access) -> None:
    made = await access.owner.IssueToken(IssueTokenRequest(role=ROLE_TRAINER))
    servicer = access.app.servicer
    maker = Maker(*await servicer._authority.identify(made.secret))
    await access.owner.RevokeToken(RevokeTokenRequest(name=made.token.name))
    _, late = await servicer._issuing.issue(Wish("", "", Role.TRAINER, (), timedelta(days=1)), maker)
    async with access.bearer(late) as stub:
        assert await refusal(stub.WhoAmI(WhoAmIRequest())) == (UNAUTHENTICATED, "CREDENTIALS_REVOKED")


async def test_tokens_name_no_project_that_the_caller_may_not_see(access: Access) -> None:
    await access.project("cells")
    await access.project("secret")
    await access.member("alice", Role.TRAINER, "cells")
    await access.member("alice", Role.TRAINER, "secret")
    other = await access.owner.IssueToken(IssueTokenRequest(subject="alice", projects=["projects/secret"]))
    wide = await access.token("alice")
    await access.owner.RemoveMember(RemoveMemberRequest(parent="projects/secret", subject="alice"))
    async with access.bearer(wide) as stub:
        listed = (await stub.ListTokens(ListTokensRequest())).tokens
        assert len(listed) == 2
        assert {name for one in listed for name in one.projects} == set()
        assert not (await stub.RevokeToken(RevokeTokenRequest(name=other.token.name))).projects


async def test_with_a_token_for_some_projects_one_sees_and_revokes_what_was_made_with_it_alone(access: Access) -> None:
    await access.project("cells")
    await access.member("alice", Role.TRAINER)
    others = [
        await access.owner.IssueToken(IssueTokenRequest(subject="alice", projects=projects))
        for projects in ([], ["projects/cells"])
    ]
    async with access.bearer(others[0].secret) as alice:
        narrow = await alice.IssueToken(IssueTokenRequest(projects=["projects/cells"]))
    async with access.bearer(narrow.secret) as stub:
        child = await stub.IssueToken(IssueTokenRequest())
        listed = [one.name for one in (await stub.ListTokens(ListTokensRequest())).tokens]
        assert listed == [child.token.name, narrow.token.name]
        for other in others:
            revoking = stub.RevokeToken(RevokeTokenRequest(name=other.token.name))
            assert await refusal(revoking) == (NOT_FOUND, "NOT_FOUND")
        assert (await stub.RevokeToken(RevokeTokenRequest(name=child.token.name))).HasField("revoke_time")


async def test_an_expired_token_is_refused(access: Access) -> None:
    token = await access.token()
    async with access.app._db.write() as tx:
        await tx.execute(sa.update(TOKENS).values(expire_time=datetime.now(UTC) - timedelta(seconds=1)))
    async with access.bearer(token) as stub:
        assert await refusal(stub.WhoAmI(WhoAmIRequest())) == (UNAUTHENTICATED, "CREDENTIALS_EXPIRED")


async def test_a_token_may_no_more_than_its_maker(access: Access) -> None:
    await access.project("cells")
    await access.project("leaves")
    await access.member("alice", Role.TRAINER, "cells")
    token = await access.token("alice", lifetime_seconds=3600)
    async with access.bearer(token) as alice:
        assert await refusal(alice.IssueToken(IssueTokenRequest(role=ROLE_ADMIN))) == (DENIED, "PERMISSION_DENIED")
        assert await refusal(alice.IssueToken(IssueTokenRequest(subject="bob"))) == (DENIED, "PERMISSION_DENIED")
        foreign = IssueTokenRequest(projects=["projects/leaves"])
        assert await refusal(alice.IssueToken(foreign)) == (NOT_FOUND, "NOT_FOUND")
        made = await alice.IssueToken(IssueTokenRequest(role=ROLE_VIEWER, projects=["projects/cells"]))
        (parent,) = [one for one in (await alice.ListTokens(ListTokensRequest())).tokens if not one.limited]
        assert made.token.expire_time == parent.expire_time
    async with access.bearer(made.secret) as narrow:
        wider = await narrow.IssueToken(IssueTokenRequest())
        assert (wider.token.role, list(wider.token.projects)) == (ROLE_VIEWER, ["projects/cells"])


async def test_what_a_project_hides_is_answered_as_what_is_not_there(access: Access) -> None:
    await access.project("cells")
    await access.member("alice", Role.VIEWER, "cells")
    await access.project("secret")
    async with access.bearer(await access.token("alice")) as alice:
        hidden = await refused(alice.IssueToken(IssueTokenRequest(projects=["projects/secret"])))
        missing = await refused(alice.IssueToken(IssueTokenRequest(projects=["projects/absent"])))
    assert hidden.SerializeToString().replace(b"secret", b"absent") == missing.SerializeToString()


async def test_a_role_that_is_taken_away_is_taken_from_tokens_too(access: Access) -> None:
    token = await access.token("alice", role=ROLE_TRAINER)
    assert (await who(access, token)).role == ROLE_UNSPECIFIED
    await access.member("alice", Role.ADMIN)
    assert (await who(access, token)).role == ROLE_TRAINER
    await access.member("alice", Role.VIEWER)
    assert (await who(access, token)).role == ROLE_VIEWER


async def test_a_token_for_somebody_without_a_role_must_say_which(access: Access) -> None:
    code, reason = await refusal(access.owner.IssueToken(IssueTokenRequest(subject="nobody")))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ROLE")


@pytest.mark.parametrize("subject", ["service", "group:all"])
async def test_some_subjects_are_nobodys_to_take(access: Access, subject: str) -> None:
    code, _ = await refusal(access.owner.IssueToken(IssueTokenRequest(subject=subject, role=ROLE_VIEWER)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_everybody_lists_their_own_tokens_and_an_admin_all(access: Access) -> None:
    await access.member("alice", Role.VIEWER)
    token = await access.token("alice", display_name="laptop")
    await access.token()
    async with access.bearer(token) as alice:
        assert [one.display_name for one in (await alice.ListTokens(ListTokensRequest())).tokens] == ["laptop"]
        (other,) = [
            one.name for one in (await access.owner.ListTokens(ListTokensRequest())).tokens if one.subject == "owner"
        ]
        assert await refusal(alice.RevokeToken(RevokeTokenRequest(name=other))) == (NOT_FOUND, "NOT_FOUND")
    page = await access.owner.ListTokens(ListTokensRequest(page_size=1))
    assert [one.subject for one in page.tokens] == ["owner"]
    rest = await access.owner.ListTokens(ListTokensRequest(page_size=1, page_token=page.next_page_token))
    assert [one.subject for one in rest.tokens] == ["alice"]
    assert not rest.next_page_token
    assert len((await access.owner.ListTokens(ListTokensRequest(filter="subject:alice"))).tokens) == 1


async def test_the_last_use_of_a_token_is_told(access: Access) -> None:
    token = await access.token()
    (before,) = (await access.owner.ListTokens(ListTokensRequest())).tokens
    assert not before.HasField("last_use_time")
    await who(access, token)
    (after,) = (await access.owner.ListTokens(ListTokensRequest())).tokens
    assert after.HasField("last_use_time")


async def test_the_answer_to_bad_wishes_names_all_that_is_wrong(access: Access) -> None:
    wish = IssueTokenRequest(subject=" x", projects=["cells"], lifetime_seconds=1, role=ROLE_UNSPECIFIED)
    status = await refused(access.owner.IssueToken(wish))
    assert all(field in status.message for field in ("subject", "projects[0]", "lifetime_seconds"))


async def test_nobody_but_services_asks_whose_a_token_is(access: Access) -> None:
    from bloomery.access.v1 import AuthenticateRequest, ForgetProjectRequest, RegisterProjectRequest

    for call in (
        access.owner.Authenticate(AuthenticateRequest(token="x")),
        access.owner.RegisterProject(RegisterProjectRequest(project="p", uid="u")),
        access.owner.ForgetProject(ForgetProjectRequest(uid="u")),
    ):
        assert (await refusal(call))[0] is DENIED
    member = SetMemberRequest(parent="projects/-", subject="owner", role=ROLE_VIEWER)
    assert (await refusal(access.owner.SetMember(member)))[0] is grpc.StatusCode.INVALID_ARGUMENT
