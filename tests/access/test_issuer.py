"""Tokens of an issuer that the tests start: which are taken, and what its outages and fresh keys change."""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import jwt
import pytest

from bloomery.access.v1 import Caller, IssueTokenRequest, WhoAmIRequest
from bloomery.common.v1 import ROLE_ADMIN, ROLE_ANNOTATOR, ROLE_UNSPECIFIED, ROLE_VIEWER
from bloomery_access import keys
from bloomery_access.settings import AccessSettings, OidcSettings
from bloomery_kit.auth import Role
from tests import databases
from tests.access.helpers import Access, refusal, serving, settings_for
from tests.access.issuer import AUDIENCE, Issuer, issuing

UNKNOWN = (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_UNKNOWN")
EXPIRED = (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_EXPIRED")
AWAY = (grpc.StatusCode.UNAVAILABLE, "ISSUER_UNAVAILABLE")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, issuer: Issuer) -> AccessSettings:
    oidc = OidcSettings(
        issuer=issuer.url, audience=AUDIENCE, groups_claim="groups", group_roles={"platform": "admin"}, leeway_seconds=5
    )
    return settings_for(tmp_path, databases.sqlite_url("access", tmp_path / "access.db"), oidc)


@pytest.fixture
async def access(settings: AccessSettings) -> AsyncIterator[Access]:
    async with serving(settings) as running:
        yield running


async def who(access: Access, token: str) -> Caller:
    async with access.bearer(token) as stub:
        return await stub.WhoAmI(WhoAmIRequest())


async def refused(access: Access, token: str) -> tuple[grpc.StatusCode, str]:
    async with access.bearer(token) as stub:
        return await refusal(stub.WhoAmI(WhoAmIRequest()))


@pytest.mark.parametrize("kind", ["RS256", "ES256"])
async def test_a_token_of_the_issuer_is_its_subject(access: Access, issuer: Issuer, kind: str) -> None:
    issuer.rotate(kind)
    await access.member("alice", Role.ANNOTATOR)
    caller = await who(access, issuer.token("alice"))
    assert (caller.subject, caller.role, caller.means) == ("alice", ROLE_ANNOTATOR, Caller.MEANS_OIDC)


async def test_somebody_without_a_role_is_known_and_may_nothing(access: Access, issuer: Issuer) -> None:
    caller = await who(access, issuer.token("stranger"))
    assert (caller.subject, caller.role, list(caller.grants)) == ("stranger", ROLE_UNSPECIFIED, [])


async def test_groups_have_roles_by_settings_and_as_members(access: Access, issuer: Issuer) -> None:
    await access.project("cells")
    await access.member("group:labelling", Role.ANNOTATOR, "cells")
    caller = await who(access, issuer.token("alice", groups=["labelling", 7]))
    assert [(grant.project, grant.role) for grant in caller.grants] == [("cells", ROLE_ANNOTATOR)]
    assert (await who(access, issuer.token("root", groups=["platform"]))).role == ROLE_ADMIN


async def test_a_token_of_ours_keeps_the_groups_of_its_maker(access: Access, issuer: Issuer) -> None:
    await access.project("cells")
    await access.member("group:labelling", Role.ANNOTATOR, "cells")
    async with access.bearer(issuer.token("alice", groups=["labelling"])) as alice:
        made = await alice.IssueToken(IssueTokenRequest(role=ROLE_VIEWER))
    caller = await who(access, made.secret)
    assert [(grant.project, grant.role) for grant in caller.grants] == [("cells", ROLE_VIEWER)]


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://another.example"},
        {"iss": None},
        {"exp": None},
        {"exp": "soon"},
        pytest.param({"nbf": int(time.time()) + 3600}, id="not yet"),
        {"sub": None},
        {"sub": ""},
        {"sub": "owner"},
        {"sub": "service"},
        {"sub": "group:platform"},
        {"sub": "a\nb"},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_what_is_not_for_us_is_refused(access: Access, issuer: Issuer, claims: dict[str, object]) -> None:
    assert await refused(access, _signed(issuer, claims)) == UNKNOWN


def _signed(issuer: Issuer, claims: dict[str, object]) -> str:
    """A token with claims that the library would not write."""
    key_id, key = next(iter(issuer.keys.items()))
    now = int(time.time())
    all_claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "alice", "exp": now + 60} | claims
    given = {name: value for name, value in all_claims.items() if value is not None}
    return jwt.PyJWS().encode(json.dumps(given).encode(), key, "RS256", headers={"kid": key_id})


async def test_an_expired_token_is_refused_once_clocks_cannot_be_the_reason(access: Access, issuer: Issuer) -> None:
    assert (await who(access, issuer.token("alice", exp=int(time.time()) - 2))).subject == "alice"
    assert await refused(access, issuer.token("alice", exp=int(time.time()) - 10)) == EXPIRED


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512"])
async def test_nobody_chooses_how_a_signature_is_looked_at(access: Access, issuer: Issuer, algorithm: str) -> None:
    key_id, key = next(iter(issuer.keys.items()))
    claims = jwt.decode(issuer.token("alice"), options={"verify_signature": False})
    if algorithm == "RS512":
        token = jwt.encode(claims, key, "RS512", headers={"kid": key_id})
    elif algorithm == "HS256":
        token = jwt.encode(claims, "a secret of thirty-two characters", "HS256", headers={"kid": key_id})
    else:
        token = jwt.encode(claims, "", "none", headers={"kid": key_id})
    assert await refused(access, token) == UNKNOWN


async def test_a_changed_token_is_refused(access: Access, issuer: Issuer) -> None:
    head, body, signature = issuer.token("alice").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "bob"}).encode()).decode().rstrip("=")
    assert await refused(access, f"{head}.{changed}.{signature}") == UNKNOWN


async def test_a_fresh_key_is_found_and_a_withdrawn_one_counts_no_more(
    access: Access, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_PAUSE_SECONDS", 0.0)
    former = issuer.token("alice")
    await who(access, former)
    issuer.rotate()
    assert (await who(access, issuer.token("alice"))).subject == "alice"
    access.app.authenticator._known.clear()
    assert await refused(access, former) == UNKNOWN


async def test_unknown_keys_do_not_make_us_hammer_the_issuer(access: Access, issuer: Issuer) -> None:
    await who(access, issuer.token("alice"))
    asked = issuer.asked
    stranger = Issuer()
    stranger.url = issuer.url
    for number in range(5):
        stranger.keys[f"foreign-{number}"] = next(iter(stranger.keys.values()))
        assert await refused(access, stranger.token("alice", key_id=f"foreign-{number}")) == UNKNOWN
    assert issuer.asked == asked


async def test_an_outage_of_the_issuer_keeps_nobody_out_whose_key_is_known(
    access: Access, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(keys, "_AGE_SECONDS", 0.0)
    await who(access, issuer.token("alice"))
    issuer.down = True
    assert (await who(access, issuer.token("bob"))).subject == "bob"
    issuer.rotate()
    assert await refused(access, issuer.token("carol")) == AWAY
    issuer.down = False
    assert (await who(access, issuer.token("carol"))).subject == "carol"


async def test_keys_of_somebody_else_are_not_taken(access: Access, issuer: Issuer) -> None:
    issuer.called = "https://another.example"
    assert await refused(access, issuer.token("alice")) == AWAY


async def test_a_key_that_nobody_here_can_use_keeps_out_nobody_with_another(issuer: Issuer) -> None:
    listed = issuer.answer("/keys")
    assert listed is not None
    good = listed["keys"]
    assert isinstance(good, list)
    strange = [
        {**good[0], "kid": "encrypting", "alg": "RSA-OAEP"},
        {"kty": "EC", "kid": "odd", "crv": "brainpoolP256r1"},
    ]
    answers = {".well-known/openid-configuration": issuer.answer("/.well-known/openid-configuration")}
    answers["keys"] = {
        "keys": [{name: value for name, value in one.items() if name != "use"} for one in strange] + good
    }
    found = keys.Keys(issuer.url, fetch=lambda url: json.dumps(answers[url.removeprefix(f"{issuer.url}/")]).encode())
    assert await found.get(good[0]["kid"]) is not None
    assert await found.get("odd") is None


async def test_an_email_counts_only_where_the_issuer_has_verified_it(settings: AccessSettings, issuer: Issuer) -> None:
    assert settings.oidc is not None
    by_email = settings.oidc.model_copy(update={"subject_claim": "email"})
    async with serving(settings.model_copy(update={"oidc": by_email})) as access:
        assert (await who(access, issuer.token("1", email="a@b.c", email_verified=True))).subject == "a@b.c"
        assert await refused(access, issuer.token("1", email="a@b.c", email_verified=False)) == UNKNOWN
        assert await refused(access, issuer.token("1", email="a@b.c")) == UNKNOWN


@pytest.mark.parametrize("url", ["http://login.example.com", "ftp://127.0.0.1", "login.example.com", ""])
def test_an_issuer_whose_keys_anybody_could_change_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        OidcSettings(issuer=url, audience=AUDIENCE)
