"""uv, which makes every environment here: the machine's own where its version fits, otherwise one from PyPI.

Standard library only and importable by any Python that the project supports: nothing else is installed yet.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

from real_parts.cache import cached

UV_VERSION = "0.13.8"


def ensure_uv() -> Path:
    """Return an executable uv of the minor release that the lock was written with.

    Raises:
        SystemExit: when it can neither be found nor installed, with what to do.
    """
    if (found := shutil.which("uv")) and fits(Path(found)):
        return Path(found)
    return cached(f"uv-{UV_VERSION}", bootstrap) / "bin/uv"


def install_packages(target: Path, *arguments: str, python: Path = Path(sys.executable)) -> None:
    """Install packages for `python` into the folder `target`; `arguments` are those of `uv pip install`."""
    command = [ensure_uv(), "pip", "install", "--quiet", "--python", python, "--target", target]
    subprocess.run([*map(str, command), *arguments], check=True)


def fits(uv: Path) -> bool:
    """Tell whether `uv` runs and has the minor version that the lock was written with."""
    answer = subprocess.run([uv, "--version"], capture_output=True, text=True)
    match = re.match(r"uv (\d+\.\d+)\.", answer.stdout)
    return match is not None and UV_VERSION.startswith(f"{match[1]}.")


def bootstrap(folder: Path) -> None:
    """Install uv into `folder` with pip, the interpreter's own or that of a throw-away environment."""
    pip = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        environment = folder / "pip"
        made = subprocess.run([sys.executable, "-m", "venv", environment], capture_output=True, text=True)
        if made.returncode != 0:
            sys.exit(f"{sys.executable} cannot install uv, having neither pip nor venv: add python3-venv or uv")
        pip = [str(environment / "bin/python"), "-m", "pip"]
    options = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--target", str(folder)]
    command = [*pip, "install", *options, f"uv=={UV_VERSION}"]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"uv {UV_VERSION} could not be installed by pip: install it yourself and put it on the PATH")


if __name__ == "__main__":
    print(ensure_uv())
