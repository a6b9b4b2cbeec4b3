"""The command line as a process that sends small parts: `python -m tests.imports.command import FOLDER`."""

from bloomery._command import main
from tests.imports.parts import small_parts

if __name__ == "__main__":
    with small_parts():
        main()
