"""Run a command that ends with the process that started it, however that ends: `leash.py PARENT COMMAND...`.

A program of its own: a function between fork and exec is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for the signal, then become the command."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(parent):
        sys.exit("the process that wanted this command is gone already")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
