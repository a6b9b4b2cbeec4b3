"""What people did: one entry for each call that may change something, written before its work begins.

An entry lies in the service's own database until the access service has taken it, so that neither's outage loses one.
"""

from bloomery_kit.audit._auditing import Auditing
from bloomery_kit.audit._delivery import Delivery
from bloomery_kit.audit._entries import Entry, Outcome, audit_table
from bloomery_kit.audit._layers import AuditLayers
from bloomery_kit.audit._log import AuditLog
from bloomery_kit.audit._summary import summary

__all__ = ["AuditLayers", "AuditLog", "Auditing", "Delivery", "Entry", "Outcome", "audit_table", "summary"]
