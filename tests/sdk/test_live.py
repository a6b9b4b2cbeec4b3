"""What is shown while something goes on."""

import io
import os
import signal
import threading

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bloomery import Client, Event, Step
from bloomery._names import size
from bloomery.cli import _live
from bloomery.cli._history import History, sparkline
from bloomery.cli._live import follow, picture, plain_line
from bloomery.cli._output import duration
from bloomery.cli._progress import steps
from bloomery.training import v1 as training
from tests.sdk import world
from tests.sdk.fake import Fake, Hang


def rendered(what: object) -> str:
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(what)
    return out.getvalue()


def test_the_picture_has_state_epoch_eta_bar_and_curves(fake: Fake, client: Client) -> None:
    world.settle(fake)
    history = History()
    load = training.SystemReported(cpus=1.5, memory_bytes=3 << 29, gpu_memory_bytes=1 << 30, gpu_utilization=0.5)
    rate = training.MetricsReported(values={"lr": 0.00125})
    more = (world.event(2, system=load), world.event(3, metrics=rate))
    for one in (world.event(1, preflight=world.PREFLIGHT), *more, *world.EVENTS[:5]):
        history.apply(Event(one))
    running = training.Job(name=world.JOB.name, state=training.JOB_STATE_RUNNING)
    running.progress.MergeFrom(
        training.Progress(
            phase="training", epoch=1, epochs=2, step=3, steps=9, fraction=0.4, eta_seconds=90, device="cpu"
        )
    )
    fake.answer("GetJob", running)
    text = rendered(picture(client.job("j1"), history, 30.0))
    assert "j1  RUNNING  training on cpu" in text
    assert "40%" in text
    assert "epoch 1/2  step 3/9  ETA 1m00s" in text
    assert "train/box_loss  1    █▁" in text
    assert "val/map50       0.8  ▁█" in text
    assert "lr 0.00125  1.5 cores  1.5 GiB  GPU 50% 1 GiB" in text
    assert "the base weights are missing" in text
    assert "batch 16 takes 1.5 of 24.0 GiB, at most 200 fit; 0.9 s a step, about 9s an epoch at the moment" in text


def test_a_preflight_is_a_line(fake: Fake, client: Client) -> None:
    world.settle(fake)
    found = training.PreflightReported(batch=1, peak_memory_bytes=1 << 30, memory_limit_bytes=2 << 30)
    line = plain_line(Event(world.event(1, preflight=found)), client.job("j1"))
    assert line == "preflight: batch 1 takes 1.0 of 2.0 GiB; 0 s a step, about 0s an epoch at the moment"


def test_on_a_terminal_the_view_is_drawn_over_itself(
    fake: Fake, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settle(fake)
    out = io.StringIO()
    monkeypatch.setattr(_live, "Console", lambda **kwargs: Console(file=out, force_terminal=True, width=100))
    follow(client.job("j1"))
    assert "\x1b[" in out.getvalue()
    assert "SUCCEEDED" in out.getvalue()


def test_an_interrupt_detaches_and_says_how_to_go_on(
    fake: Fake, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    world.settle(fake)
    running = training.Job(name=world.JOB.name, state=training.JOB_STATE_RUNNING, last_sequence=9)
    fake.script("WatchJob", lambda request: [training.WatchJobResponse(snapshot=running), Hang()])
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(typer.Exit) as caught:
        follow(client.job("j1"))
    assert caught.value.exit_code == 130
    assert "bloomery jobs watch j1" in capsys.readouterr().err
    assert "CancelJob" not in fake.calls


def test_without_a_terminal_progress_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with steps() as tell:
        for done in range(101):
            tell(Step("uploading", done, 100))
        tell(Step("importing"))
    told = capsys.readouterr().err.splitlines()
    assert told == [*(f"uploading {n}/100" for n in range(0, 101, 10)), "importing"]


def test_on_a_terminal_each_phase_has_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with steps() as tell:
        tell(Step("uploading", 1, 2))
        tell(Step("uploading", 2, 2))
        tell(Step("importing", 0, 0))
    told = capsys.readouterr().err
    assert "uploading" in told
    assert "2/2" in told
    assert "importing" in told


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.integers(1, 40))
def test_a_sparkline_fits_and_spans_its_range(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    if len(values) <= width and len(set(values)) > 1:
        assert line[values.index(max(values))] == "█"
        assert line[values.index(min(values))] == "▁"


def test_quantities_are_written_for_people() -> None:
    assert [duration(s) for s in (0.4, 59, 60, 3599, 3600, 90061)] == [
        "0s",
        "59s",
        "1m00s",
        "59m59s",
        "1h00m",
        "25h01m",
    ]
    assert [size(n) for n in (0, 1023, 1024, 10 * 2**20, 2**40)] == ["0 B", "1023 B", "1 KiB", "10 MiB", "1 TiB"]
