"""Predict through a Triton server, beside its bare client with the same steps, on the same model and images."""

from pathlib import Path

from bloomery import Deployment
from harness.beside_triton import PARALLEL, Figures, Limits, bare, compare, table
from harness.measure import Options, options, report
from harness.replicas import images, make_versions, replicas
from harness.server import running_server, scratch
from real_parts.triton import triton_program


def measure(place: Path, chosen: Options) -> Figures:
    """One Triton server for both."""
    settings = {"BLOOMERY_RUNNING_PREDICTIONS": str(PARALLEL)}
    with running_server(place, settings) as server, server.client() as client:
        (version,) = make_versions(client, place, 1)
        seen = images(place)
        with replicas(server, triton_program(place), place, 1) as (target,):
            deployment: Deployment = client.deploy("door", version.name, runtime="triton").wait()
            return compare(deployment.predict, bare(target, deployment.proto.serving.uid), seen, chosen)


def main() -> None:
    """Measure and report."""
    chosen = options("Predict through Triton", rounds=5)
    with scratch() as place:
        figures = measure(place, chosen)
    report("triton", [table(figures, Limits(one=1.25, many=0.95))], chosen)


if __name__ == "__main__":
    main()
