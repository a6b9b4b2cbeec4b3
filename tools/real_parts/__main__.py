"""Install every real part that the tests use: `python -m real_parts`."""

import time

from real_parts.helm import ensure_helm
from real_parts.minio import ensure_minio
from real_parts.postgres import ensure_postgres
from real_parts.prometheus import ensure_prometheus
from real_parts.triton import ensure_triton


def main() -> None:
    """Install what is missing, one after the other, and say where each is."""
    parts = (
        ("Helm", ensure_helm),
        ("Prometheus", ensure_prometheus),
        ("PostgreSQL", ensure_postgres),
        ("Triton", ensure_triton),
        ("MinIO", ensure_minio),
    )
    for name, ensure in parts:
        started = time.monotonic()
        print(f"{name}: ", end="", flush=True)
        print(f"{ensure()} ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
