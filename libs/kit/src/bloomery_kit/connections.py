"""How many connections to databases this process uses, and how many it may."""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from bloomery_kit.metrics import REGISTRY


class _Connections(Collector):
    """Counts those of all engines that are there, in the moment of a scrape."""

    def __init__(self) -> None:
        self.limits: WeakKeyDictionary[AsyncEngine, int] = WeakKeyDictionary()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See Collector."""
        limits = dict(self.limits)
        used = sum(engine.pool.checkedout() for engine in limits if isinstance(engine.pool, QueuePool))
        yield GaugeMetricFamily("bloomery_database_connections", "Connections in use.", used)
        limit = sum(limits.values())
        yield GaugeMetricFamily("bloomery_database_connections_limit", "Connections that may be used.", limit)


_CONNECTIONS = _Connections()
REGISTRY.register(_CONNECTIONS)


def measure_connections(engine: AsyncEngine, limit: int) -> AsyncEngine:
    """Count the connections of an engine, which may open `limit` of them, for as long as it is there."""
    _CONNECTIONS.limits[engine] = limit
    return engine
