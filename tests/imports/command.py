"""The command line as a process that sends small parts: `python -m tests.imports.command import FOLDER`."""

import signal

from bloomery._command import main
from tests.imports.parts import small_parts

if __name__ == "__main__":
    # A shell lets what it starts in the background ignore it, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with small_parts():
        main()
