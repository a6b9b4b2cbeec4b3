import asyncio
import urllib.request

import pytest

from bloomery_kit.database import Database
from bloomery_kit.errors import NotFound
from bloomery_kit.metrics import REGISTRY, measure_loop_lag, serve_metrics
from bloomery_kit.objects import FolderObjectStore, ObjectStore
from real_parts.process import free_port


async def test_metrics_are_served_over_http() -> None:
    port = free_port()
    stop = serve_metrics(port, "127.0.0.1")
    try:
        with await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        stop()
    for name in ("grpc_server_started_total", "grpc_server_handling_seconds", "process_resident_memory_bytes"):
        assert name in text


async def test_a_blocked_loop_shows_as_lag() -> None:
    def total() -> float:
        return REGISTRY.get_sample_value("bloomery_event_loop_lag_seconds_sum") or 0.0

    before = total()
    ticks = iter([0.0, 3.5])
    await measure_loop_lag(0.001, clock=lambda: next(ticks))
    assert total() - before == pytest.approx(3.499)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"bloomery_{name}_seconds_count", labels) or 0.0


async def test_transactions_are_timed_by_kind_and_by_what_ended_them(db: Database) -> None:
    async def fail() -> None:
        async with db.write():
            raise NotFound("thing", "things/t")

    before = [
        count("database_transaction", kind="read", code="OK"),
        count("database_transaction", kind="write", code="NOT_FOUND"),
    ]
    await db.check_ready()
    with pytest.raises(NotFound):
        await fail()
    after = [
        count("database_transaction", kind="read", code="OK"),
        count("database_transaction", kind="write", code="NOT_FOUND"),
    ]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1]


async def test_calls_to_the_object_store_are_timed(store: ObjectStore) -> None:
    kind = "folder" if isinstance(store, FolderObjectStore) else "s3"
    before = count("object_store_call", store=kind, code="NOT_FOUND")
    with pytest.raises(NotFound):
        await store.get("nothing")
    assert count("object_store_call", store=kind, code="NOT_FOUND") == before + 1
