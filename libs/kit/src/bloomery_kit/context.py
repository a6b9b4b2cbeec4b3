"""What every part of one call may ask about it, without passing it along."""

from contextvars import ContextVar

from bloomery_kit.auth import Principal, Role
from bloomery_kit.errors import Unauthenticated

request_id_var: ContextVar[str] = ContextVar("bloomery_request_id", default="")
traceparent_var: ContextVar[str] = ContextVar("bloomery_traceparent", default="")
principal_var: ContextVar[Principal | None] = ContextVar("bloomery_principal", default=None)
token_var: ContextVar[str] = ContextVar("bloomery_token", default="")


def request_id() -> str:
    """The id of the current call, "" outside of one."""
    return request_id_var.get()


def trace_id() -> str:
    """The W3C trace id (32 hex digits) of the current call, "" outside of one."""
    parts = traceparent_var.get().split("-")
    return parts[1] if len(parts) == 4 else ""


def current_principal() -> Principal:
    """The authenticated caller. Raise Unauthenticated where there is none, as in public and worker methods."""
    principal = principal_var.get()
    if principal is None:
        raise Unauthenticated
    return principal


def visible_projects() -> frozenset[str] | None:
    """The ids of the projects that the caller may see; None for all, as for a service's own work."""
    principal = principal_var.get()
    if principal is None or principal.may(Role.VIEWER):
        return None
    return frozenset(principal.roles)


def bearer_token() -> str:
    """The raw bearer token of the current call. Raise Unauthenticated where it has none."""
    token = token_var.get()
    if not token:
        raise Unauthenticated
    return token
