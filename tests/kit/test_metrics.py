import asyncio
import urllib.request

import pytest

from bloomery_kit.metrics import REGISTRY, measure_loop_lag, serve_metrics


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
    # The third question ends the measurement.
    with pytest.raises(RuntimeError, match="StopIteration"):
        await measure_loop_lag(0.001, clock=lambda: next(ticks))
    assert total() - before == pytest.approx(3.499)
