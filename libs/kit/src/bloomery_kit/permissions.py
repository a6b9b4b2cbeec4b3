"""What a method asks of its caller, and whether that is given: the one place where calls are let in."""

import re
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from bloomery.common.v1 import options_pb2
from bloomery_kit.auth import Principal, Role
from bloomery_kit.errors import FieldViolation, InvalidArgument, NotFound, PermissionDenied

ALL = "-"
"""What stands in a name for all projects."""
_POOL = descriptor_pool.Default()  # type: ignore[no-untyped-call]
_NO_PEOPLES = (Role.UNSPECIFIED, Role.PUBLIC, Role.WORKER, Role.SERVICE)
_PROJECT = re.compile(r"projects/([^/]+)(?:/.*)?", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """What a method declares: the role, paths of the fields that name the resource, and whether `-` is a filter.

    It mutates where people may change something by it: where it is one of theirs and does not declare NO_SIDE_EFFECTS.
    """

    role: Role
    resource: tuple[str, ...] = ()
    across: bool = False
    mutates: bool = False


@cache
def rule_of(method: str) -> Rule:
    """What `method` ("/package.Service/Method") declares; the role is UNSPECIFIED where it declares none."""
    try:
        descriptor = _POOL.FindMethodByName(method.strip("/").replace("/", "."))
    except KeyError:
        return Rule(Role.UNSPECIFIED)
    options = descriptor.GetOptions()
    role, path = Role(options.Extensions[options_pb2.required_role]), options.Extensions[options_pb2.resource]
    reads = options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    return Rule(
        role,
        tuple(path.split("|")) if path else (),
        options.Extensions[options_pb2.across_projects],
        not reads and role not in _NO_PEOPLES,
    )


def mutates(method: str) -> bool:
    """Whether people may change something by `method`: one of theirs that does not declare NO_SIDE_EFFECTS."""
    return rule_of(method).mutates


def resource_of(method: str, request: Message) -> str:
    """The name of the resource that a call concerns, "" where `method` declares no field for it."""
    values = (attrgetter(path)(request) for path in rule_of(method).resource)
    return next((value for value in values if value), "")


def admit(caller: Principal, rule: Rule, request: Any) -> None:
    """Let a person's request in, or raise.

    Raise NotFound for a project where the caller has no role, whether there is one or not; PermissionDenied where the
    role is too low; InvalidArgument where the name of the resource names no project.
    """
    if rule.role is Role.AUTHENTICATED or caller.may(rule.role):
        return
    if not rule.resource:
        if rule.role is not Role.VIEWER or caller.highest < Role.VIEWER:
            raise _denied(caller, rule.role, "")
        return
    for project in _projects_of(request, rule.resource):
        if project != ALL:
            check_project(caller, project, rule.role)
        elif not rule.across or caller.highest < rule.role:
            raise _denied(caller, rule.role, "")


def check_project(caller: Principal, project: str, role: Role) -> None:
    """Raise NotFound where the caller may not know of the project of this id, PermissionDenied where it needs more."""
    if caller.may(role):
        return
    given = caller.role_in(project)
    if given is Role.UNSPECIFIED:
        raise NotFound("project", f"projects/{project}", "list the projects")
    if given < role:
        raise _denied(caller, role, project)


def _projects_of(request: Any, paths: tuple[str, ...]) -> list[str]:
    """The project of each field that is set; at least one must be."""
    values = {path: attrgetter(path)(request) for path in paths}
    named = {path: value for path, value in values.items() if value} or {paths[0]: ""}
    found = {path: _PROJECT.fullmatch(value) for path, value in named.items()}
    wrong = [FieldViolation(path, "must begin with projects/{project}") for path, match in found.items() if not match]
    if wrong:
        raise InvalidArgument(wrong)
    return [match[1] for match in found.values() if match]


def _denied(caller: Principal, role: Role, project: str) -> PermissionDenied:
    needed = role.name.lower()
    if project:
        where, has = f"projects/{project}", caller.role_in(project).name.lower()
        whom = f"ask an admin of it (bloomery members list --project {project})"
    else:
        where, has = "the whole installation", caller.role.name.lower() if caller.role else "none"
        whom = "ask its owner, or an admin of it"
    message = f"this needs the role {needed} in {where}, and {caller.subject} has {has}; {whom}"
    return PermissionDenied(message, {"role": needed, "project": project})
