"""The service as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from bloomery_annotation.app import SERVICE


def test_the_process_serves_and_leaves_on_a_signal(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/annotation.db",
        "OBJECT_STORE__KIND": "folder",
        "OBJECT_STORE__ROOT": str(tmp_path / "blobs"),
        "OBJECT_STORE__BASE_URL": "http://127.0.0.1:1",
        "OBJECT_STORE__SIGNING_KEY": "k" * 32,
        "TOKEN": "secret",
        "BIND": "127.0.0.1",
        "PORT": str(port),
    }
    environment = {**os.environ, **{f"BLOOMERY_{name}": value for name, value in settings.items()}}
    process = subprocess.Popen([sys.executable, "-m", "bloomery_annotation"], env=environment)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                health_pb2.HealthCheckRequest.SerializeToString,
                health_pb2.HealthCheckResponse.FromString,
            )
            answer = check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
