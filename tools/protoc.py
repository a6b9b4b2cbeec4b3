"""protoc with the include path that Bloomery's contracts need."""

import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc as grpc_protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"


def include_path(protos: Path) -> list[str]:
    """Return the options that find our own contracts, Google's API annotations and protobuf's well-known types."""
    google_api = distribution("googleapis-common-protos").locate_file("")
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    return [f"-I{folder}" for folder in (protos, well_known, google_api)]


def proto_files(protos: Path = PROTOS) -> list[str]:
    """Return every contract, relative to `protos`, in a stable order."""
    return sorted(str(path.relative_to(protos)) for path in protos.glob("bloomery/**/*.proto"))


def protoc(*arguments: str, protos: Path = PROTOS) -> None:
    """Run protoc, or leave the process with its messages.

    Raises:
        SystemExit: when a contract does not compile; protoc has said why on stderr.
    """
    if status := grpc_protoc.main(["protoc", *include_path(protos), *arguments]):
        sys.exit(status)


def protoc_descriptors(protos: Path = PROTOS) -> FileDescriptorSet:
    """Return the contracts below `protos` with their imports, options and comments."""
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        write_image(image, protos=protos)
        return FileDescriptorSet.FromString(image.read_bytes())


def write_image(target: Path, *, protos: Path = PROTOS) -> None:
    """Write the contracts below `protos` as a descriptor set, which is also one of buf's inputs."""
    protoc(
        f"--descriptor_set_out={target}",
        "--include_imports",
        "--include_source_info",
        *proto_files(protos),
        protos=protos,
    )
