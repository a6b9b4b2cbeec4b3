"""A job as it goes: a picture that moves on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from bloomery.cli._history import WARNING, History, headline, needs, sparkline
from bloomery.cli._output import duration

if TYPE_CHECKING:
    from bloomery import Event, Job


def follow_new(job: "Job") -> None:
    """Say the id of a job that was just created, and follow it."""
    Console(stderr=True, highlight=False).print(f"job {job.id}", soft_wrap=True)
    follow(job)


def follow(job: "Job") -> None:
    """Show a job until it is over. An interrupt detaches: the job goes on, and the command exits with 130."""
    console = Console(stderr=True, highlight=False)
    try:
        with (_moving if console.is_terminal else _lines)(job, console) as tell:
            for event in job.watch():
                tell(event)
    except KeyboardInterrupt:
        console.print(
            f"detached: {job.id} goes on. `bloomery jobs watch {job.id}` looks again, "
            f"`bloomery jobs cancel {job.id}` stops it",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None


@contextmanager
def _lines(job: "Job", console: Console) -> Iterator[Callable[["Event"], None]]:
    """A line for each state, phase, epoch and warning, and for the preflight."""
    phase = ""

    def tell(event: "Event") -> None:
        nonlocal phase
        if event.kind == "progress" and event.proto.progress.phase == phase:
            return
        if event.kind == "progress":
            phase = event.proto.progress.phase
        if line := plain_line(event, job):
            console.print(line, markup=False, soft_wrap=True)

    yield tell


def plain_line(event: "Event", job: "Job") -> str:
    """An event on one line; empty for those that are not worth one."""
    match event.kind:
        case "state_changed":
            reason = event.proto.state_changed.reason
            why = "; ".join(filter(None, (reason.message, reason.hint)))
            return " ".join(filter(None, (event.state, reason.code, why)))
        case "progress":
            return f"phase {event.proto.progress.phase}"
        case "metrics" if event.proto.metrics.epoch_end:
            of = f"/{job.progress.epochs}" if job.progress.epochs else ""
            left = f"ETA {eta(job)}" if eta(job) else ""
            measured = headline(sorted(event.metrics.items()))
            return "  ".join(filter(None, (f"epoch {event.proto.metrics.epoch}{of}", measured, left)))
        case "preflight":
            return f"preflight: {needs(event.proto.preflight)}"
        case "log" if event.proto.log.level >= WARNING:
            return f"log: {event.proto.log.message}"
        case _:
            return ""


def eta(job: "Job", age: float = 0.0) -> str:
    """Time to go, `age` seconds after the last word about it; empty where nobody knows or it is over."""
    if job.is_terminal or not job.progress.HasField("eta_seconds"):
        return ""
    return duration(max(0.0, job.progress.eta_seconds - age))


@contextmanager
def _moving(job: "Job", console: Console) -> Iterator[Callable[["Event"], None]]:
    """State, bar, ETA, and a curve for each loss and score, drawn over itself."""
    from rich.live import Live

    history, seen_at = History(), time.monotonic()
    view = lambda: picture(job, history, time.monotonic() - seen_at)  # noqa: E731
    with Live(console=console, get_renderable=view, refresh_per_second=4) as live:

        def tell(event: "Event") -> None:
            nonlocal seen_at
            if event.kind == "progress":
                seen_at = time.monotonic()
            history.apply(event)

        yield tell
        live.refresh()


def picture(job: "Job", history: History, age: float) -> RenderableType:
    """The whole view; `age` is seconds since the last word about progress, by which the ETA has shrunk."""
    progress = job.progress
    curves = Table.grid(padding=(0, 2))
    for name in history.charted():
        series = history.series[name]
        curves.add_row(f"[dim]{escape(name)}[/]", f"{series[-1]:.4g}", f"[cyan]{sparkline(series)}[/]")
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(100, 100 * progress.fraction, width=40), f"{progress.fraction:4.0%}", _where(job, age))
    warnings = [f"[yellow]{escape(line)}[/]" for line in history.warnings]
    going = "  ".join(filter(None, (history.rate(), history.load)))
    known = [f"[dim]{escape(line)}[/]" for line in (history.preflight, going) if line]
    return Group(_title(job), bar, *known, curves, *warnings)


def _title(job: "Job") -> str:
    progress = job.progress
    color = {"SUCCEEDED": "green", "FAILED": "red", "CANCELLED": "yellow"}.get(job.state, "cyan")
    device = f"on {progress.device}" if progress.device else ""
    advice = job.reason.hint if job.reason.code.startswith("UNSCHEDULABLE") else ""
    words = (progress.phase, device, "; ".join(filter(None, (job.reason.message, advice))))
    return f"[bold]{escape(job.id)}[/]  [{color}]{job.state}[/]  " + escape(" ".join(filter(None, words)))


def _where(job: "Job", age: float) -> str:
    progress = job.progress
    epoch = f"epoch {progress.epoch}/{progress.epochs}" if progress.epochs else ""
    step = f"step {progress.step}/{progress.steps}" if progress.steps and not job.is_terminal else ""
    left = f"ETA {eta(job, age)}" if eta(job) else ""
    return "  ".join(filter(None, (epoch, step, left)))
