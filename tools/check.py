"""Run every check that needs no running program; `make check` and CI call this.

All checks run, two at a time, and each that fails prints what it found: one run shows everything there is to mend.
"""

import io
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from protoc import PROTOS, ROOT, write_image
from real_parts.uv import ensure_uv

BIN = Path(sys.executable).parent
# What each of these scripts imports is in an environment of its own.
SCRIPTS = "tests/vision/exports/makers/"
# Only the environment with torch can say what types these have.
WORKER_FOLDERS = (
    "services/trainer/worker/",
    "services/trainer/recipes/",
    "tests/worker/",
    "benchmarks/harness/seen.py",
    "benchmarks/harness/treated.py",
)


@dataclass(frozen=True)
class Check:
    """A command that succeeds where all is well."""

    name: str
    command: Sequence[str]
    folder: Path = ROOT


@dataclass(frozen=True)
class Outcome:
    """What became of a check: how long it took, in seconds, and what it printed where it failed."""

    check: Check
    passed: bool
    seconds: float
    output: str


def main() -> int:
    """Run the checks, report each as it ends, and return the exit status."""
    passed = True
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(max_workers=2) as pool:
        pending = [pool.submit(run, check) for check in checks(Path(scratch))]
        for future in as_completed(pending):
            outcome = future.result()
            passed &= outcome.passed
            report(outcome)
    return 0 if passed else 1


def run(check: Check) -> Outcome:
    """Run one check."""
    started = time.monotonic()
    answer = subprocess.run(
        check.command, cwd=check.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return Outcome(check, answer.returncode == 0, time.monotonic() - started, answer.stdout)


def report(outcome: Outcome) -> None:
    """Print one line, and the output of a check that failed."""
    verdict = "ok    " if outcome.passed else "FAILED"
    print(f"{verdict} {outcome.check.name} ({outcome.seconds:.1f} s)", flush=True)
    if not outcome.passed:
        print(outcome.output, flush=True)


def checks(scratch: Path) -> Iterator[Check]:
    """Yield the checks, the slowest first."""
    ours, worker = python_files()
    torch_view = ["--python-executable", ".venv-worker/bin/python", "--cache-dir", ".mypy_cache/worker"]
    yield Check("types, worker", [f"{BIN}/mypy", "--no-error-summary", *torch_view, *worker])
    yield Check("types", [f"{BIN}/mypy", "--no-error-summary", *ours])
    yield Check("format", [f"{BIN}/ruff", "format", "--check", "--quiet", "."])
    yield Check("lint", [f"{BIN}/ruff", "check", "--quiet", "--output-format", "concise", "."])
    yield Check("lock", [str(ensure_uv()), "lock", "--check", "--quiet"])
    yield Check("generated stubs", [sys.executable, "tools/generate_protos.py", "--check"])
    yield from contract_checks(scratch)


def python_files() -> tuple[list[str], list[str]]:
    """Return the files that people wrote, committed or not, and whose types are known: the worker's and all others."""
    listing = git("ls-files", "--cached", "--others", "--exclude-standard", "*.py").decode().splitlines()
    written = [
        name for name in listing if (ROOT / name).exists() and not name.startswith(SCRIPTS) and not generated(name)
    ]
    worker = [name for name in written if name.startswith(WORKER_FOLDERS)]
    return [name for name in written if name not in worker], worker


def generated(name: str) -> bool:
    """Tell whether `make protos` writes the file."""
    return name.startswith("sdk/src/bloomery/") and Path(name).parent.name == "v1"


def contract_checks(scratch: Path) -> Iterator[Check]:
    """Yield what buf says about the contracts."""
    image = scratch / "image.binpb"
    write_image(image)
    on_image = [str(image), "--config", f"{PROTOS}/buf.yaml"]
    yield Check("contracts, format", [f"{BIN}/buf", "format", "--diff", "--exit-code", "."], folder=PROTOS)
    yield Check("contracts, lint", [f"{BIN}/buf", "lint", *on_image])
    if baseline := baseline_image(scratch):
        yield Check("contracts, compatible", [f"{BIN}/buf", "breaking", *on_image, "--against", str(baseline)])


def baseline_image(scratch: Path) -> Path | None:
    """Return the contracts of the main branch as an image, or None while that has none."""
    for branch in ("main", "origin/main"):
        if git("rev-parse", "--verify", "--quiet", f"{branch}:protos", check=False):
            image = scratch / "baseline.binpb"
            with zipfile.ZipFile(io.BytesIO(git("archive", "--format=zip", branch, "protos"))) as archive:
                archive.extractall(scratch)
            write_image(image, protos=scratch / "protos")
            return image
    print("contracts, compatible: there is no main branch to compare with")
    return None


def git(*arguments: str, check: bool = True) -> bytes:
    """Return what git prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=check, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    sys.exit(main())
