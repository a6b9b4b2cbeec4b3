"""The service's own values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from bloomery_kit.auth import Role

ALL = "-"
"""In the place of a project's id: the whole installation."""
GROUP = "group:"
"""How a subject begins that stands for all in a group."""
RESERVED = ("owner", "service")
"""Subjects that are nobody's to take."""


@dataclass(frozen=True)
class Token:
    """A token as it is kept: never itself, only the hash of its secret.

    `projects` are uids, None for everywhere; `lineage` holds the ids of the tokens with which it was made, each with a
    point behind it.
    """

    id: str
    digest: bytes
    display_name: str
    subject: str
    groups: tuple[str, ...]
    role: Role
    projects: tuple[str, ...] | None
    creator: str
    lineage: str
    create_time: datetime
    expire_time: datetime
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None

    @property
    def made_with(self) -> list[str]:
        """The ids of `lineage`."""
        return self.lineage.split(".")[:-1]

    @property
    def heirs(self) -> str:
        """What the lineage of each token that was made with this one, or with one of those, begins with."""
        return f"{self.lineage}{self.id}."


@dataclass(frozen=True)
class Member:
    """A subject's role in a project, by its id, or in all of them as `-`."""

    project: str
    subject: str
    role: Role
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class Roles:
    """What a subject may do: in the whole installation, and by project."""

    everywhere: Role
    projects: dict[str, Role]
    uids: dict[str, str]
    """The uids of those projects, by id."""

    @property
    def highest(self) -> Role:
        """The most that they may do anywhere."""
        return max(self.everywhere, *self.projects.values(), Role.UNSPECIFIED)


@dataclass(frozen=True)
class Identity:
    """Whose credentials somebody showed, before it is asked what they may do."""

    subject: str
    groups: tuple[str, ...]
    expire_time: datetime | None
    token: Token | None = None


@dataclass(frozen=True)
class AuditFilter:
    """Which entries of the audit log are meant; what is empty or None lets all through."""

    project: str
    start: datetime | None
    end: datetime | None
    subject: str
    method: str
    outcome: str

    def since(self, start: datetime) -> Self:
        """The same, not before a time."""
        return replace(self, start=max(start, self.start) if self.start else start)


@dataclass(frozen=True)
class ProjectQuota:
    """The limits that were set for a project, by name; -1 is none, whatever the default is."""

    limits: Mapping[str, int]
    update_time: datetime | None
