#!/usr/bin/env bash
# grpc.aio: a write that meets the end of a stream takes the server's status away.
#
# Versions: grpcio 1.81.2, Python 3.11.
# Input:    200 streams whose client writes while the server ends them with FAILED_PRECONDITION.
# Expected: 200 times FAILED_PRECONDITION, "not now".
# Seen:     about nine of ten end as INTERNAL, "Internal error from Core": the write fails before the status has been
#           read, and sets a status of its own, which is then that of the call (grpc/aio/_call.py, `_write`).
# Why care: who streams to a server that refuses, or that ends well, is told of a bug of the server, and cannot tell
#           whether a repeat may help.
# Instead:  let no write be under way when the server may refuse: wait for its initial metadata, sent once it has
#           accepted, and take this text for a stream that broke.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile grpcio==1.81.2
venv/bin/python - <<'PYTHON'
import asyncio
from collections import Counter

import grpc


async def refuse(requests, context):
    await requests.__anext__()
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")
    yield b""


async def status(channel):
    call = channel.stream_stream("/s/m")()
    try:
        while True:
            await call.write(b"x" * 100_000)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return (await call.code()).name, await call.details()


async def main():
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("s", {"m": grpc.stream_stream_rpc_method_handler(refuse)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        seen = Counter([await status(channel) for _ in range(200)])
    await server.stop(None)
    print(seen)
    if not seen["INTERNAL", "Internal error from Core"]:
        raise SystemExit("this is not what the header says")


asyncio.run(main())
PYTHON
