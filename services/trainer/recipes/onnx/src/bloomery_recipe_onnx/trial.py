"""Runs a model that a stranger has made, within limits: `python -m bloomery_recipe_onnx.trial FILE SPEC`.

A process of its own: a graph may ask for more memory than there is, never end, or bring its runtime down.
"""

import json
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from bloomery_recipe_onnx.foreign import InputForm
from bloomery_worker.evaluate import Check
from bloomery_worker.failures import ConfigError, DataError

SECONDS = 300.0
MOST_OUTPUT = 256 << 20
"""Bytes of all outputs for one image."""
_LOOK_SECONDS = 0.2
_LONGEST = 400


def check_runs(path: Path, form: InputForm, *, memory: int, threads: int, check: Check) -> None:
    """Runs the model once in a process of its own, and calls `check` meanwhile, which may raise to end it.

    Raises:
        ConfigError: it cannot be loaded or run.
        DataError: it takes more than `memory` bytes, or too long, or its answer is too large.
    """
    sides = (3, *form.size) if form.layout == "nchw" else (*form.size, 3)
    spec = {"name": form.name, "type": form.data_type, "shape": [form.batch or 1, *sides]}
    order = {**spec, "memory": memory, "threads": threads, "most": MOST_OUTPUT}
    command = [sys.executable, "-P", "-m", "bloomery_recipe_onnx.trial", str(path), json.dumps(order)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            told = _told(process, check)
        finally:
            process.kill()
    if process.returncode:
        _raise(process.returncode, told.replace(str(path), "the model"), memory)


def _told(process: "subprocess.Popen[str]", check: Check) -> str:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        check()
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK_SECONDS)[0]
    hint = "import a smaller model, or one for smaller images"
    raise DataError(f"the model takes more than {SECONDS:.0f} seconds for one image", hint=hint)


def _raise(code: int, told: str, memory: int) -> None:
    line = next((line.strip() for line in reversed(told.splitlines()) if line.strip()), "")[:_LONGEST]
    if code == _TOO_LARGE or "bad_alloc" in told or "allocate memory" in told or "MemoryError" in told:
        hint = "import a smaller model, or one for smaller images; the job's `resources` say how much it may take"
        what = line if code == _TOO_LARGE else f"the model takes more than the {memory >> 20} MiB that the job has"
        raise DataError(what, hint=hint)
    if code < 0:
        raise ConfigError(f"ONNX Runtime was ended by signal {-code} when it ran the model", hint="export it again")
    raise ConfigError(f"ONNX Runtime does not run the model: {line}", hint="export it again for a newer opset")


_TOO_LARGE = 3


def main(path: str, order: str) -> int:
    """Loads and runs it; what goes wrong is the last line that is printed."""
    spec = json.loads(order)
    # Data, not addresses: files that are mapped and threads that wait take addresses only.
    resource.setrlimit(resource.RLIMIT_DATA, (spec["memory"], spec["memory"]))
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = spec["threads"]
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {spec["name"]: np.zeros(spec["shape"], spec["type"])})
    except Exception as problem:  # noqa: BLE001 - the runtime has many, and says all that is known
        print(f"{type(problem).__name__}: {problem}".replace("\n", " "))
        return 1
    size = sum(one.nbytes for one in outputs if isinstance(one, np.ndarray)) // spec["shape"][0]
    if size > spec["most"]:
        print(f"the model answers {size >> 20} MiB for one image, at most {spec['most'] >> 20} MiB are taken")
        return _TOO_LARGE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
