"""What a migration found and did, for scripts and for people."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bloomery_server.migrate.rows import Content

STAYS = (
    "the token, the key of signed URLs, the ports and server.json: clients take those of the cluster",
    "jobs/ and cache/: jobs that are not over go on from their last checkpoint",
)
_GIB, _MIB, _KIB = 1 << 30, 1 << 20, 1 << 10


@dataclass(frozen=True)
class Obstacle:
    """Something that stands in the way, and what to do about it."""

    message: str
    hint: str = ""


@dataclass
class Report:
    """`state` is DRY_RUN, COMPLETE, or DIFFERENT where both sides are not the same."""

    source: str
    target: str
    state: str = "DRY_RUN"
    tables: dict[str, Content] = field(default_factory=dict)
    files: int = 0
    size_bytes: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(content.rows for content in self.tables.values())

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"stays": STAYS}


def lines(report: Report) -> Iterator[Sequence[str]]:
    """What it says as rows of cells: counts of what there is."""
    for name, content in report.tables.items():
        if content.rows:
            yield name, f"{content.rows:,}"
    yield "files", f"{report.files:,} ({size(report.size_bytes)})"


def size(count: int) -> str:
    """Bytes as people read them."""
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
