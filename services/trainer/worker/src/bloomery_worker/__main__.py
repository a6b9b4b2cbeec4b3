"""`python -P -m bloomery_worker`: the supervisor of one attempt. Launchers start it; `settings` says what they set."""

import asyncio
import logging
import sys
from contextlib import suppress
from typing import NoReturn

from bloomery_worker.failures import classify
from bloomery_worker.settings import MissingSettingError, WorkerSettings, read_settings
from bloomery_worker.supervisor import supervise
from bloomery_worker.termination import ExitCode, LastWords, write_last_words


def main() -> int:
    """Runs the attempt and returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It logs every request, with the signature in its URL.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = read_settings()
    except MissingSettingError as problem:
        sys.stderr.write(f"{problem}\n")
        return ExitCode.USER_ERROR
    words = _run(settings)
    # On a full disk the exit code has to do, and what the service was told.
    with suppress(OSError):
        write_last_words(settings.termination_file, words)
    return words.exit_code


def _run(settings: WorkerSettings) -> LastWords:
    try:
        return asyncio.run(supervise(settings))
    except Exception as problem:
        logging.getLogger(__name__).exception("the supervisor failed")
        return LastWords(ExitCode.RETRIABLE, finished=False, reason=classify(problem))


def _leave(code: int) -> NoReturn:
    # The log may have no room left for its last lines, which must not change the exit code.
    with suppress(OSError):
        sys.stderr.close()
    sys.exit(code)


if __name__ == "__main__":
    _leave(main())
