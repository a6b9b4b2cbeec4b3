"""The clock, and times on the wire."""

from collections.abc import Callable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def to_timestamp(time: datetime) -> Timestamp:
    """An aware time as a Timestamp."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def from_timestamp(timestamp: Timestamp) -> datetime:
    """A Timestamp as an aware time in UTC."""
    return timestamp.ToDatetime(tzinfo=UTC)
