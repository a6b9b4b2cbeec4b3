"""An agent that ends without a word at one step: `dying_agent.py STEP`."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bloomery_inference.agent import staging
from bloomery_inference.agent.__main__ import serve
from bloomery_inference.agent.model import Report
from bloomery_inference.agent.replica import Replica
from bloomery_inference.agent.settings import AgentSettings
from bloomery_inference.runtime import _triton
from bloomery_inference.serving.model import LoadState
from bloomery_kit.logging import setup_logging
from bloomery_kit.settings import load_settings


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(owner: Any, name: str) -> None:
    """Die as soon as a call has returned."""
    real: Callable[..., Any] = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        answer = real(*given, **named)
        die()
        return answer

    async def wait(*given: Any, **named: Any) -> Any:
        answer = await real(*given, **named)
        die()
        return answer

    setattr(owner, name, wait if asyncio.iscoroutinefunction(real) else call)


def before_ready_is_told() -> None:
    real = Replica.report

    def report(self: Replica) -> Report:
        told = real(self)
        if any(model.state is LoadState.READY for model in told.models):
            die()
        return told

    Replica.report = report  # type: ignore[method-assign]


STEPS: dict[str, Callable[[], None]] = {
    "within a download": lambda: setattr(staging, "_sync", die),
    "after the rename": lambda: after(staging, "_publish"),
    "with files in the repository": lambda: after(_triton, "_place"),
    "after the sample": lambda: after(_triton.TritonRuntime, "infer"),
    "before the report": before_ready_is_told,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]]()
    setup_logging()
    asyncio.run(serve(load_settings(AgentSettings)))
