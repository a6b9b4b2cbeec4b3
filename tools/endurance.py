"""Keep servers away from long trainings for minutes, and let clients leave again and again; write down what came of it.

`make soak` runs it. `--length 0.05` makes everything shorter, to see that it works.
"""

import argparse
import asyncio
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from bloomery.training.v1 import JobEvent
from harness.measure import Table, resident_bytes
from soaking import ROOT, add_write, place, write_down
from tests.faults.faults import Blow, Fault, Target
from tests.faults.restless import STAY_SECONDS, RestlessWatcher, follow_all
from tests.faults.rounds import Absence, Outcome, Watcher, play, wrong
from tests.faults.sites import Laptop, Site, running_replicas

IMAGES = ROOT / "examples" / "blood-cells"
TRIAL_EPOCHS = 10
RESTLESS_CLIENTS = 10
# The part of a training after which something happens to it.
UNDER_WAY = 0.05
# Trainings against absences: enough for a machine that becomes faster, or slower, meanwhile.
LONGER, SHORTER = 1.6, 0.6
INTERVALS = 5


@dataclass(frozen=True)
class Scenario:
    """Who is away for how many seconds, and how long the training is for that: below 1 it ends meanwhile."""

    title: str
    target: Target
    seconds: float
    training: float

    @property
    def ends_meanwhile(self) -> bool:
        """Whether the model is published while it is away."""
        return self.training < 1


SERVER = Scenario("`bloomery up`", Target.SERVER, 600, LONGER)
STORE = Scenario("object store", Target.STORE, 300, SHORTER)
# Longer than the silence after which a worker counts as lost.
DATABASE = Scenario("database", Target.DATABASE, 420, LONGER)
WATCHED_SECONDS = 600.0


@dataclass(frozen=True)
class Endured:
    """What became of a scenario."""

    scenario: Scenario
    outcome: Outcome
    problems: Sequence[str]


@dataclass(frozen=True)
class Watched:
    """What became of the restless clients; `memory` is the server's before, at equal intervals, and after."""

    clients: Sequence[RestlessWatcher]
    events: int
    memory: Sequence[int]
    seconds: float
    problems: Sequence[str]

    def __str__(self) -> str:
        breaks = [client.breaks for client in self.clients]
        return (
            f"clients that left {breaks} times in {self.seconds:.0f} s, {self.memory} bytes: {self.problems or 'right'}"
        )


class Trials:
    """Runs the scenarios, each `length` times as long as written."""

    def __init__(self, place: Path, length: float) -> None:
        self._place, self._length = place, length

    def server(self) -> list[Endured]:
        """`bloomery up` away."""
        with Laptop(self._folder("laptop")).running(IMAGES) as site:
            return [self._endure(site, SERVER, seconds_of_an_epoch(site))]

    def parts(self) -> list[Endured]:
        """What two replicas of the trainer share away, one after the other."""
        with running_replicas(self._folder("replicas"), IMAGES) as site:
            pace = seconds_of_an_epoch(site)
            endured = [self._endure(site, scenario, pace) for scenario in (STORE, DATABASE)]
            damaged = site.damaged()
        return [replace(one, problems=[*one.problems, *damaged]) for one in endured]

    def watched(self, crowd: int) -> Watched:
        """So many clients that come and go."""
        with Laptop(self._folder(f"watched-by-{crowd}")).running(IMAGES) as site:
            seconds = WATCHED_SECONDS * self._length
            epochs = epochs_of(seconds * LONGER, seconds_of_an_epoch(site))
            watcher = Watcher(site.train("watched", epochs))
            thread = watcher.begin()
            while thread.is_alive() and not watcher.reached(UNDER_WAY):
                time.sleep(0.1)
            clients = [RestlessWatcher(site.endpoint, site.token, watcher.job.name) for _ in range(crowd)]
            coming_and_going = threading.Thread(target=lambda: asyncio.run(follow_all(clients)), daemon=True)
            coming_and_going.start()
            memory, lasted = measured(site, thread, seconds)
            coming_and_going.join(60)
            problems = [*wrong(site, watcher, thread, "watched", epochs=epochs), *incomplete(clients, watcher)]
        watched = Watched(clients, len(watcher.seen), memory, lasted, [*problems, *too_short(lasted, seconds)])
        say(f"{watched}")
        return watched

    def _endure(self, site: Site, scenario: Scenario, pace: float) -> Endured:
        seconds = scenario.seconds * self._length
        fault = Fault(scenario.target, Blow.KILL, fraction=UNDER_WAY, delay=0.0, absence=seconds)
        epochs = epochs_of(seconds * scenario.training, pace)
        outcome = play(site, fault, scenario.target.name.lower(), epochs=epochs)
        endured = Endured(scenario, outcome, [*outcome.problems, *not_endured(scenario, outcome)])
        say(f"{scenario.title}, {epochs} epochs in {outcome.seconds:.0f} s: {endured.problems or 'right'}")
        return endured

    def _folder(self, name: str) -> Path:
        folder = self._place / name
        folder.mkdir()
        return folder


def say(text: str) -> None:
    """Tell what goes on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def seconds_of_an_epoch(site: Site) -> float:
    """How long an epoch takes here, by a training of a few."""
    watcher = Watcher(site.train("pace", TRIAL_EPOCHS))
    watcher.begin().join()
    ends = epoch_ends(watcher.seen)
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def epochs_of(seconds: float, pace: float) -> int:
    """How many epochs take so long."""
    return max(3, round(seconds / pace))


def measured(site: Laptop, job: threading.Thread, seconds: float) -> tuple[list[int], float]:
    """The server's memory at equal intervals until the job is over, and how long it took."""
    (server,) = site.servers
    began, memory = time.monotonic(), [resident_bytes(server.pid)]
    for interval in range(1, INTERVALS + 1):
        job.join(max(0.0, began + seconds * interval / INTERVALS - time.monotonic()))
        memory.append(resident_bytes(server.pid))
    # As long again for a machine that became slower.
    job.join(seconds)
    return [*memory, resident_bytes(server.pid)], time.monotonic() - began


def incomplete(clients: Sequence[RestlessWatcher], watcher: Watcher) -> list[str]:
    """Which of the clients missed or repeated events."""
    wanted = Counter(event.sequence for _, event in watcher.seen)
    return [f"client {number} missed or repeated events" for number, one in enumerate(clients) if one.seen != wanted]


def too_short(lasted: float, seconds: float) -> list[str]:
    """The training was to take longer."""
    return [] if lasted >= seconds else [f"the training was over after {lasted:.0f} s"]


def moment(event: JobEvent) -> float:
    """When it happened."""
    return event.time.ToNanoseconds() / 1e9


def epoch_ends(seen: Iterable[tuple[float, JobEvent]]) -> list[float]:
    """When epochs were complete."""
    return [moment(event) for _, event in seen if event.HasField("metrics") and event.metrics.epoch_end]


def meanwhile(outcome: Outcome, absence: Absence) -> list[tuple[float, JobEvent]]:
    """What happened during the absence, whenever it was received."""
    return [(at, event) for at, event in outcome.seen if absence.began < moment(event) < absence.over]


def longest_pause(scenario: Scenario, outcome: Outcome, absence: Absence) -> float:
    """The most seconds of the absence without the end of an epoch, while it was trained."""
    ends = epoch_ends(meanwhile(outcome, absence))
    return max(b - a for a, b in pairwise([absence.began, *ends, *([] if scenario.ends_meanwhile else [absence.over])]))


def not_endured(scenario: Scenario, outcome: Outcome) -> list[str]:
    """Whether the absence was as it was meant to be, and training went on in it."""
    absence = outcome.absence
    if absence is None:
        return ["the training was over before the absence"]
    ends = epoch_ends(outcome.seen)
    evaluated = [moment(event) for _, event in outcome.seen if event.progress.phase == "evaluating"]
    claims = {
        "no epoch was trained meanwhile": any(absence.began < end < absence.over for end in ends),
        "training paused": longest_pause(scenario, outcome, absence) < scenario.seconds / 4,
    }
    if scenario.ends_meanwhile:
        claims["training was not over before the return"] = bool(evaluated) and evaluated[0] < absence.over
        claims["the result came before the return"] = outcome.seen[-1][0] > absence.over
    else:
        claims["training was over before the return"] = ends[-1] > absence.over
    return [problem for problem, holds in claims.items() if not holds]


def absences(endured: Sequence[Endured]) -> Table:
    """One row for each scenario."""
    return Table(
        "Absences of minutes",
        (
            "away",
            "for",
            "epochs",
            "longest pause",
            "checkpoints",
            "events",
            "right",
            "attempts",
            "repeated epochs",
            "first event",
            "caught up",
            "over",
        ),
        [_absence_row(one) for one in endured],
    )


def _absence_row(endured: Endured) -> Sequence[str]:
    scenario, outcome, absence = endured.scenario, endured.outcome, endured.outcome.absence
    if absence is None:
        return (scenario.title, *["-"] * 5, "no", *["-"] * 5)
    lost = meanwhile(outcome, absence)
    first = next(at for at, _ in outcome.seen if at > absence.over)
    return (
        scenario.title,
        f"{absence.over - absence.began:.0f} s",
        str(len(epoch_ends(lost))),
        f"{longest_pause(scenario, outcome, absence):.1f} s",
        str(sum(event.HasField("checkpoint") for _, event in lost)),
        str(len(lost)),
        "no" if endured.problems else "yes",
        str(outcome.attempts),
        str(outcome.repeated),
        f"{first - absence.over:.1f} s",
        f"{max(0.0, lost[-1][0] - absence.over):.1f} s",
        f"{outcome.seen[-1][0] - absence.over:.1f} s",
    )


def comings_and_goings(watched: Sequence[Watched]) -> Table:
    """One row for each number of clients that left again and again."""
    return Table(
        f"Clients that each leave the watch of a job every {STAY_SECONDS:.0f} s",
        ("clients", "for", "returns", "events", "right", "server's memory before, at equal intervals, after"),
        [_crowd_row(one) for one in watched],
    )


def _crowd_row(watched: Watched) -> Sequence[str]:
    memory = [f"{value / (1 << 20):.0f}" for value in watched.memory]
    return (
        str(len(watched.clients)),
        f"{watched.seconds:.0f} s",
        str(sum(client.breaks for client in watched.clients)),
        str(watched.events),
        "no" if watched.problems else "yes",
        f"{', '.join(memory)} MiB",
    )


def main() -> int:
    """Run everything at once, print and, where that is wanted, write; 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=float, default=1.0, help="factor for the length of everything (1)")
    add_write(parser)
    given = parser.parse_args()
    if given.write and given.length < 1:
        parser.error("what is shorter is not worth writing down")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with place() as folder, ThreadPoolExecutor() as pool:
        trials = Trials(Path(folder), given.length)
        server, parts = pool.submit(trials.server), pool.submit(trials.parts)
        # Without clients, to tell what is theirs of the memory and what the training's.
        crowds = [pool.submit(trials.watched, crowd) for crowd in (RESTLESS_CLIENTS, 0)]
        endured = [*server.result(), *parts.result()]
        watched = [crowd.result() for crowd in crowds]
    write_down("endurance", [absences(endured), comings_and_goings(watched)], write=given.write)
    return 1 if any(one.problems for one in endured) or any(one.problems for one in watched) else 0


if __name__ == "__main__":
    sys.exit(main())
