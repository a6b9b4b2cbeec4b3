"""What gRPC itself takes: bytes to a server in a process of its own, which does nothing, and bytes back."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from bloomery._sync.portal import Portal

_METHOD = "/bench.Echo/Answer"


@contextmanager
def running_echo(reply: int) -> Iterator[Callable[[bytes], bytes]]:
    """Calls that send bytes and return `reply` bytes, from blocking code as the client's are."""
    process = subprocess.Popen([sys.executable, __file__, str(reply)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    portal = Portal()
    try:
        port = int(process.stdout.readline())
        channel, call = portal.run(_opened(port))
        yield lambda data: portal.run(_asked(call, data))
        portal.run(channel.close())
    finally:
        portal.close()
        process.kill()
        process.wait()


async def _opened(port: int) -> tuple[grpc.aio.Channel, "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"]:
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)])
    return channel, channel.unary_unary(_METHOD)


async def _asked(call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]", data: bytes) -> bytes:
    answer: bytes = await call(data)
    return answer


async def _serve(reply: int) -> None:
    async def answer(_: bytes, __: object) -> bytes:
        return bytes(reply)

    _, service, name = _METHOD.split("/")
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
