"""Programs that run beside the server: started again when they end, and ended with it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGTERM

from bloomery_kit.errors import Unavailable
from bloomery_kit.loops import Loops
from bloomery_kit.server import ServiceHost
from bloomery_server.folder import Identity
from bloomery_server.triton import LOOPBACK, triton_command

_LEASH = Path(__file__).with_name("leash.py")
_GRACE_SECONDS = 10.0
_AGAIN_SECONDS = 1.0
_LINE_BYTES = 2048
TRITON = "triton"
AGENT = "triton agent"
HEALTH = "bloomery.server.triton"
"""Under which it is told whether both run."""


class Program:
    """A command with a log file; `run` is the work of a loop, which starts it again.

    `trouble` is why it does not run, "" where it does or was not started yet; `tell` is told it, once as long as it is
    the same.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        tell: Callable[[str], None],
    ) -> None:
        self.name = name
        self.pid: int | None = None
        self.trouble = ""
        self._command = command
        self._environment = environment
        self._log = log
        self._tell = tell
        self._told = ""

    async def run(self) -> None:
        """Run it until it ends, which it should not: raise Unavailable then. Cancelled, it ends the program."""
        leashed = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *self._command]
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *leashed,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is the server's to answer: it ends its programs in order.
                start_new_session=True,
            )
        self.pid, self.trouble = process.pid, ""
        try:
            code = await process.wait()
        finally:
            self.pid = None
            await _end(process)
        self.trouble = f"{self.name} ended with {code}: {_last_line(self._log)} (in {self._log})"
        if self.trouble != self._told:
            self._told = self.trouble
            self._tell(self.trouble)
        raise Unavailable("PROGRAM_ENDED", self.trouble)


class TritonBeside:
    """A Triton server, and the agent that keeps the models of deployments loaded in it: wired as a service is."""

    def __init__(self, program: Path, root: Path, identity: Identity, tell: Callable[[str], None]) -> None:
        self._folder = root / "triton"
        repository = self._folder / "models"
        repository.mkdir(parents=True, exist_ok=True)
        target = f"{LOOPBACK}:{identity.triton_port}"
        triton = triton_command(program, repository, identity.triton_port)
        agent = (sys.executable, "-P", "-m", "bloomery_inference.agent")
        settings = {
            "BLOOMERY_INFERENCE_TARGET": f"{LOOPBACK}:{identity.port}",
            "BLOOMERY_TOKEN": identity.token,
            "BLOOMERY_TRITON_TARGET": target,
            "BLOOMERY_REPOSITORY": str(repository),
            "BLOOMERY_REPLICA_ID": "triton",
            "BLOOMERY_ENDPOINT": target,
            "BLOOMERY_BIND": LOOPBACK,
            "BLOOMERY_PORT": str(identity.agent_port),
        }
        self.programs = [
            Program(TRITON, triton, os.environ, self._folder / "triton.log", tell),
            Program(AGENT, agent, {**os.environ, **settings}, self._folder / "agent.log", tell),
        ]
        self.loops = Loops()
        for each in self.programs:
            self.loops.add(each.name, each.run, _AGAIN_SECONDS)

    def register(self, host: ServiceHost) -> None:
        """Let a server tell the health of both."""
        host.watch(HEALTH, self._ready)

    async def start(self) -> None:
        """Begin to run them."""
        self.loops.start()

    async def close(self) -> None:
        """End both."""
        await self.loops.close()

    async def _ready(self) -> None:
        self.loops.check_ready()
        if troubles := [each.trouble for each in self.programs if each.trouble]:
            raise Unavailable("PROGRAM_ENDED", "; ".join(troubles))


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LINE_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "without a word")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(SIGTERM)
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
