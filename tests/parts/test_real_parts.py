"""The servers that other tests rely on do what those tests rely on."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import numpy as np
import onnx
import pytest
import tritonclient.grpc.aio as triton_grpc
from minio import Minio
from onnx import TensorProto, helper

from real_parts.minio import MinioServer
from real_parts.postgres import PostgresServer
from real_parts.process import ServerFailedError, running
from real_parts.triton import TritonServer

CONFIG = """
name: "triple"
backend: "onnxruntime"
max_batch_size: 8
input [{name: "images" data_type: TYPE_FP32 dims: [3, 4]}]
output [{name: "tripled" data_type: TYPE_FP32 dims: [3, 4]}]
dynamic_batching {}
instance_group [{kind: KIND_CPU count: 1}]
"""

TOOLS = Path(__file__).resolve().parents[2] / "tools"
OWNER = """
import os, sys, time
from pathlib import Path
from real_parts.process import running

server = f"import os, time; open({str(Path('pid').absolute())!r}, 'w').write(str(os.getpid())); time.sleep(60)"
with running([sys.executable, "-c", server], log=Path("log"), ready=lambda: True, environment=os.environ):
    time.sleep(60)
"""


def write_model(repository: Path, name: str) -> None:
    """Write a model directory that multiplies its input by three."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["images", "three"], ["tripled"])],
        "triple",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 4])],
        [helper.make_tensor_value_info("tripled", TensorProto.FLOAT, ["n", 3, 4])],
        [helper.make_tensor("three", TensorProto.FLOAT, [1], [3.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    onnx.save(model, folder / "1/model.onnx")
    (folder / "config.pbtxt").write_text(CONFIG.replace("triple", name, 1))


async def infer(server: TritonServer, name: str, values: np.ndarray) -> np.ndarray:
    async with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        await client.load_model(name)
        tensor = triton_grpc.InferInput("images", values.shape, "FP32")
        tensor.set_data_from_numpy(values)
        answer = await client.infer(name, [tensor])
        result: np.ndarray = answer.as_numpy("tripled")
        return result


async def test_each_postgres_url_is_an_empty_database(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        await connection.execute("CREATE TABLE thing (id int); INSERT INTO thing VALUES (7)")
        assert await connection.fetchval("SELECT id FROM thing") == 7
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 1
    finally:
        await connection.close()


def test_postgres_answers_from_a_test_without_a_loop(postgres_url: str, postgres_server: PostgresServer) -> None:
    assert f"127.0.0.1:{postgres_server.port}/test_" in postgres_url


def test_minio_keeps_an_object(minio: MinioServer, bucket: str) -> None:
    client = Minio(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)
    client.put_object(bucket, "a/b", io.BytesIO(b"bytes"), 5)
    response = client.get_object(bucket, "a/b")
    try:
        assert response.read() == b"bytes"
    finally:
        response.close()
        response.release_conn()


async def test_triton_loads_an_onnx_directory_and_infers(triton: TritonServer) -> None:
    write_model(triton.repository, "triple")
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(await infer(triton, "triple", values), values * 3)


async def test_triton_says_why_a_model_does_not_load(triton: TritonServer) -> None:
    write_model(triton.repository, "broken")
    (triton.repository / "broken/1/model.onnx").write_bytes(b"not a model")
    async with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        with pytest.raises(Exception, match="Protobuf parsing failed"):
            await client.load_model("broken")


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no licence to run'); raise SystemExit(3)"]
    with (
        pytest.raises(ServerFailedError, match=r"ended with 3:\nno licence to run"),
        running(command, log=tmp_path / "log", ready=lambda: False, environment=os.environ),
    ):
        pytest.fail("the block must not run")


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "owner.py").write_text(OWNER)
    owner = subprocess.Popen([sys.executable, "owner.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(TOOLS)})
    server = int(wait_for_text(tmp_path / "pid", seconds=10))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert gone_within(server, seconds=5)


def wait_for_text(file: Path, *, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if file.exists() and (text := file.read_text()):
            return text
        time.sleep(0.02)
    pytest.fail(f"{file} has no text")


def gone_within(pid: int, *, seconds: float) -> bool:
    """Tell whether a process ends in time; one that nobody has reaped yet counts as gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if " Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False
