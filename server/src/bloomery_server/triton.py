"""How a Triton server is started for an agent beside it."""

from pathlib import Path

LOOPBACK = "127.0.0.1"


def triton_command(program: Path, repository: Path, port: int) -> list[str]:
    """How a Triton server is started that loads what an agent tells it to, and says no to nobody for one bad model."""
    return [
        str(program),
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=5",
        "--allow-http=false",
        "--allow-metrics=false",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={port}",
    ]
