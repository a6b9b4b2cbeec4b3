"""Wiring of the access service, the same in a process of its own and in the embedded server."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Self

from bloomery.access.v1 import (
    add_AccessServiceServicer_to_server,
    add_AuditServiceServicer_to_server,
    add_QuotaServiceServicer_to_server,
)
from bloomery_access import audit_service, housekeeping, quota_service
from bloomery_access.audit_service import AuditServicer
from bloomery_access.authority import Authority
from bloomery_access.housekeeping import Housekeeper
from bloomery_access.issuer import Issuer
from bloomery_access.issuing import Issuing
from bloomery_access.keys import Keys
from bloomery_access.membership import Membership
from bloomery_access.quota_service import QuotaServicer
from bloomery_access.service import AccessServicer
from bloomery_access.settings import AccessSettings, OidcSettings
from bloomery_kit.audit import AuditLog, Delivery
from bloomery_kit.auth import OwnerToken, Role
from bloomery_kit.callers import KnownCallers
from bloomery_kit.credentials import database_passwords, owner_tokens
from bloomery_kit.database import Database
from bloomery_kit.loops import Loops, guarded
from bloomery_kit.migrations import check_schema, migrate
from bloomery_kit.server import ServiceHost

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "access"
SERVICE = "bloomery.access.v1.AccessService"
AUDIT_LOOP = "access audit"
_TIDY_SECONDS = 3600.0


class AccessApp:
    """The service's parts; `open`, `register`, `start`, `close` in this order.

    `authenticator` is who is let in where the service is a process of its own: it need not ask itself over the network.
    """

    def __init__(self, settings: AccessSettings, db: Database) -> None:
        self._db = db
        oidc = settings.oidc
        issuer = Issuer(oidc, Keys(oidc.issuer)) if oidc else None
        authority = Authority(db, issuer, _group_roles(oidc))
        self.servicer = AccessServicer(authority, Issuing(db), Membership(db))
        self.authenticator = KnownCallers(OwnerToken(owner_tokens(settings)), self.servicer)
        self.loops = Loops()
        self.loops.add(housekeeping.LOOP, Housekeeper(db, audit_days=settings.audit_days).tidy, _TIDY_SECONDS)
        self._audit = AuditLog(db)
        self._entries = AuditServicer(db)
        self._quotas = QuotaServicer(db, settings.default_quota)
        self._delivery = Delivery("access", self._audit, self._entries.record)
        self.loops.add(AUDIT_LOOP, self._delivery.run, self._delivery.pause)

    @classmethod
    async def open(cls, settings: AccessSettings, *, draining: asyncio.Event) -> Self:  # noqa: ARG003
        """Connect, and bring the schema up to date."""
        db = Database.connect(settings.database_url, SCHEMA, passwords=database_passwords(settings))
        await migrate(db, MIGRATIONS)
        return cls(settings, db)

    def register(self, host: ServiceHost) -> None:
        """Put the servicers on a server."""
        add = partial(host.add, ready=self._ready, audit=self._audit)
        add(add_AccessServiceServicer_to_server, self.servicer, SERVICE)
        add(add_AuditServiceServicer_to_server, self._entries, audit_service.SERVICE)
        add(add_QuotaServiceServicer_to_server, self._quotas, quota_service.SERVICE)

    async def start(self) -> None:
        """Begin the work in the background."""
        self.loops.start()

    async def close(self) -> None:
        """Stop, and close everything."""
        await self.loops.close()
        with guarded(AUDIT_LOOP):
            await self._audit.flush()
        await self._db.close()

    async def _ready(self) -> None:
        self.loops.check_ready()
        await check_schema(self._db, MIGRATIONS)


def _group_roles(oidc: OidcSettings | None) -> dict[str, Role]:
    return {group: Role[name.upper()] for group, name in oidc.group_roles.items()} if oidc else {}
