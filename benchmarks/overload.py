"""Five times more predictions than the server can do: how late are those let in, how soon are others refused."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bloomery.inference.v1 import PredictionServiceStub, PredictRequest
from harness.data import blood_cells, sample, weights
from harness.measure import Options, Table, milliseconds, options, percentile, report, say
from harness.server import Server, running_server, scratch
from harness.trained import make_model

TIMES = 5
IMAGES = 20
WARM_SECONDS = 10.0


@dataclass
class Figures:
    """Seconds of single predictions: one after the other, let in under overload, and refused; and how long it was."""

    alone: list[float] = field(default_factory=list)
    let_in: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    length: float = 0.0
    capacity: float = 0.0


class Asking:
    """A channel that repeats nothing."""

    def __init__(self, server: Server, model: str, images: Sequence[bytes]) -> None:
        self._channel = grpc.aio.insecure_channel(server.endpoint, options=[("grpc.max_send_message_length", -1)])
        self._stub = PredictionServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {server.token}"),)
        self._requests = itertools.cycle([PredictRequest(model_version=model, image=image) for image in images])

    async def ask(self) -> tuple[float, bool]:
        """Seconds until the answer, and whether it was one; any other error than a refusal is raised."""
        started = time.perf_counter()
        try:
            await self._stub.Predict(next(self._requests), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return time.perf_counter() - started, False
        return time.perf_counter() - started, True

    async def close(self) -> None:
        """Give the connection back."""
        await self._channel.close()


async def alone(asking: Asking, count: int) -> list[float]:
    """One after the other."""
    return [(await asking.ask())[0] for _ in range(count)]


async def flood(asking: Asking, rate: float, seconds: float) -> tuple[list[float], list[float]]:
    """So many a second, whatever becomes of those before: seconds of those that were let in, and of the refused."""
    tasks: list[asyncio.Task[tuple[float, bool]]] = []
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        while len(tasks) < (now - start) * rate:
            tasks.append(asyncio.create_task(asking.ask()))
        await asyncio.sleep(0.5 / rate)
    answers = await asyncio.gather(*tasks)
    return [took for took, good in answers if good], [took for took, good in answers if not good]


async def measure_round(server: Server, model: str, images: Sequence[bytes], seconds: float, figures: Figures) -> None:
    """One after the other, then too many."""
    asking = Asking(server, model, images)
    await alone(asking, len(images))
    before = await alone(asking, 5 * len(images))
    rate = TIMES / statistics.median(before)
    await flood(asking, rate, WARM_SECONDS)
    let_in, refused = await flood(asking, rate, seconds)
    await asking.close()
    figures.alone += before
    figures.let_in += let_in
    figures.refused += refused
    figures.length += seconds
    figures.capacity = max(figures.capacity, rate / TIMES)


def measure(place: Path, chosen: Options) -> Figures:
    """Some rounds on one server."""
    folder = sample(place / "images", IMAGES)
    images = [path.read_bytes() for path in sorted((folder / "JPEGImages").iterdir())]
    found = weights()
    settings = {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}
    figures = Figures()
    with running_server(place, settings) as server:
        with server.client() as client:
            model = make_model(client, blood_cells() if not chosen.quick else folder, place, chosen).version.name
        for number in range(chosen.rounds):
            say(f"round {number + 1} of {chosen.rounds}")
            asyncio.run(measure_round(server, model, images, 3.0 if chosen.quick else 20.0, figures))
    return figures


def table(figures: Figures) -> Table:
    """Those alone, those let in, those refused."""

    def row(name: str, seconds: Sequence[float], rate: float) -> tuple[str, ...]:
        found = seconds or [0.0]
        return (
            name,
            f"{rate:.1f}",
            milliseconds(statistics.median(found)),
            milliseconds(percentile(found, 99)),
        )

    rows = [
        row("one after the other", figures.alone, figures.capacity),
        row(f"let in, of {TIMES} times as many", figures.let_in, len(figures.let_in) / figures.length),
        row(f"refused, of {TIMES} times as many", figures.refused, len(figures.refused) / figures.length),
    ]
    late = percentile(figures.let_in, 99) / percentile(figures.alone, 99)
    note = (
        f"Under overload the 99th percentile of those let in is {late:.2f} times that of one after the other; limit 2."
    )
    return Table("single predictions, YOLOv8n at 320 px", ("what", "a second", "p50", "p99"), rows, note)


def main() -> None:
    """Measure and report."""
    chosen = options("Overload", rounds=3)
    with scratch() as place:
        figures = measure(place, chosen)
    report("overload", [table(figures)], chosen)


if __name__ == "__main__":
    main()
