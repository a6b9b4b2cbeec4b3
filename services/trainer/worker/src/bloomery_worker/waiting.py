"""How much of an epoch the model waits for images that are loaded and changed."""

import time


class Waiting:
    """Counts between `begin`, and `arrived` and `used` for each batch of one epoch."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._began = self._since = time.monotonic()

    def begin(self) -> None:
        """An epoch begins, and with it the wait for its first batch."""
        self._waited = 0.0
        self._began = self._since = time.monotonic()

    def arrived(self) -> None:
        """A batch is there."""
        self._waited += time.monotonic() - self._since

    def used(self) -> None:
        """The batch has been learnt from."""
        self._since = time.monotonic()

    @property
    def share(self) -> float:
        """Of the time from the beginning to the last batch, 0 to 1."""
        return self._waited / max(self._since - self._began, 1e-9)
