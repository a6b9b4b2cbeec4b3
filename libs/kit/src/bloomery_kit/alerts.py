"""What somebody who runs the service should look at, whoever called: a record in the log and a count to alert on."""

import logging

from prometheus_client import Counter

from bloomery_kit.metrics import REGISTRY

ALERTS = Counter("bloomery_alerts_total", "What an operator should look at, by event.", ("event",), registry=REGISTRY)
_log = logging.getLogger("bloomery.alerts")


def alert(event: str, message: str, **facts: object) -> None:
    """Tell of an `event`, named in lower snake case and listed in docs/operations.md, with its facts."""
    ALERTS.labels(event).inc()
    _log.error(message, extra={"event": event, **facts})
