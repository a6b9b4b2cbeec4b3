"""Tokens, members and the caller, as the client shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bloomery import _names as names
from bloomery._results import moment
from bloomery.access import v1 as access
from bloomery.common import v1 as common

RoleName = Literal["viewer", "annotator", "trainer", "admin"]
INSTALLATION = "-"
"""In the place of a project: all of them, those to come too."""


def role_value(role: str) -> common.Role.ValueType:
    """The contract's role of this name.

    Raises:
        ValueError: there is no such role.
    """
    if role not in ("viewer", "annotator", "trainer", "admin"):
        raise ValueError(f"role must be viewer, annotator, trainer or admin, not {role!r}")
    return common.Role.Value(f"ROLE_{role.upper()}")


def role_name(role: common.Role.ValueType) -> str:
    """`viewer` to `admin`; empty for none."""
    return common.Role.Name(role).removeprefix("ROLE_").lower() if role else ""


@dataclass(frozen=True)
class Account:
    """Somebody whose credentials hold, and what they may do."""

    proto: access.Caller

    @property
    def subject(self) -> str:
        """Who it is."""
        return self.proto.subject

    @property
    def means(self) -> str:
        """How that is known: `owner`, `token` or `oidc`."""
        return access.Caller.Means.Name(self.proto.means).removeprefix("MEANS_").lower()

    @property
    def role(self) -> str:
        """The role in the whole installation, empty for none."""
        return role_name(self.proto.role)

    @property
    def roles(self) -> Mapping[str, str]:
        """Roles in projects, by their ids, where they are more than `role`."""
        return {grant.project: role_name(grant.role) for grant in self.proto.grants}

    @property
    def groups(self) -> Sequence[str]:
        """The groups that the issuer told."""
        return self.proto.groups

    @property
    def expire_time(self) -> datetime | None:
        """From when on the credentials are refused, UTC; None where they do not end by themselves."""
        return moment(self.proto.expire_time) if self.proto.HasField("expire_time") else None


@dataclass(frozen=True)
class Token:
    """A token, without what its bearer sends: that is told once, by `create_token`."""

    proto: access.Token

    @property
    def id(self) -> str:
        """By which it is revoked."""
        return names.id_of(self.proto.name)

    @property
    def display_name(self) -> str:
        """What it is for."""
        return self.proto.display_name

    @property
    def subject(self) -> str:
        """As whom its bearer acts."""
        return self.proto.subject

    @property
    def role(self) -> str:
        """The most that its bearer may do anywhere."""
        return role_name(self.proto.role)

    @property
    def projects(self) -> Sequence[str] | None:
        """Ids of the projects where it may be used; None for everywhere."""
        return [*map(names.id_of, self.proto.projects)] if self.proto.limited else None

    @property
    def create_time(self) -> datetime:
        """When it was made, UTC."""
        return moment(self.proto.create_time)

    @property
    def expire_time(self) -> datetime:
        """From when on it is refused, UTC."""
        return moment(self.proto.expire_time)

    @property
    def last_use_time(self) -> datetime | None:
        """When it was last used, UTC, to within ten minutes; None where it never was."""
        return moment(self.proto.last_use_time) if self.proto.HasField("last_use_time") else None

    @property
    def revoke_time(self) -> datetime | None:
        """Since when it is refused because it was revoked, UTC; None where it was not."""
        return moment(self.proto.revoke_time) if self.proto.HasField("revoke_time") else None


@dataclass(frozen=True)
class IssuedToken(Token):
    """A token that was just made."""

    secret: str
    """What its bearer sends; nobody can tell it again."""

    def __repr__(self) -> str:
        return f"<IssuedToken {self.proto.name}>"


@dataclass(frozen=True)
class Member:
    """A subject's role in a project, or in the whole installation."""

    proto: access.Member

    @property
    def subject(self) -> str:
        """Who it is; `group:` and a name for all in a group."""
        return self.proto.subject

    @property
    def role(self) -> str:
        """`viewer`, `annotator`, `trainer` or `admin`."""
        return role_name(self.proto.role)

    @property
    def creator(self) -> str:
        """Who made it so last."""
        return self.proto.creator

    @property
    def create_time(self) -> datetime:
        """When, UTC."""
        return moment(self.proto.create_time)
