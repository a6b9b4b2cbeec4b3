"""Run a command that is killed when the process that started it ends, however that ends.

Called as `python leash.py PARENT SIGNAL UID COMMAND...`; with UID 0 the user stays who it is. This is a program of its
own and not a `preexec_fn`, which warns in a process with threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop privileges, ask the kernel for the signal, become the command."""
    parent, signal, uid, *command = sys.argv[1:]
    # Changing the user clears the request, so this comes first.
    if int(uid):
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal))
    if os.getppid() != int(parent):
        sys.exit("the process that wanted this command is gone already")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
