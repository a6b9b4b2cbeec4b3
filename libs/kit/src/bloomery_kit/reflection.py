"""gRPC reflection with the comments of the contracts, which Python's generated modules leave out."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, SourceCodeInfo
from grpc_reflection.v1alpha import reflection


def serve(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Let a server describe its services, and itself."""
    pool: Any = _Descriptors(descriptor_pool.Default())  # type: ignore[no-untyped-call]
    reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), server, pool)


class _Descriptors:
    """A pool in which methods are found by their names too, as `grpcurl describe` asks for them."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileByName(self, name: str) -> "_File":  # noqa: N802 - the pool's name
        """The file of a name. Raise KeyError."""
        return _File(self._pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> "_File":  # noqa: N802 - the pool's name
        """The file that declares a symbol. Raise KeyError."""
        try:
            return _File(self._pool.FindFileContainingSymbol(symbol))
        except KeyError:
            return _File(self._pool.FindMethodByName(symbol).containing_service.file)


class _File:
    """A file of the pool, as far as reflection looks at it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.name: str = file.name

    @property
    def dependencies(self) -> list["_File"]:
        """The files that it imports."""
        return [_File(file) for file in self._file.dependencies]

    def CopyToProto(self, proto: FileDescriptorProto) -> None:  # noqa: N802 - the descriptor's name
        """Write what it declares, with its comments, into `proto`."""
        self._file.CopyToProto(proto)
        proto.source_code_info.CopyFrom(_comments(self.name))


@cache
def _comments(file: str) -> SourceCodeInfo:
    """The comments of a contract, which lie beside its stubs; none for contracts of others."""
    path = files("bloomery") / file.removeprefix("bloomery/").replace(".proto", ".comments.binpb")
    return SourceCodeInfo.FromString(path.read_bytes() if path.is_file() else b"")
