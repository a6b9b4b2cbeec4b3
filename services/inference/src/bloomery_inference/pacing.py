"""How many predictions may be in the works, so that none takes much longer than it would alone."""

_SLOWER = 1.5
"""Times what a prediction takes alone, beyond which too many are in the works."""
_LESS = 0.9
_RECENT = 0.2
"""Share of the newest measurement in what is remembered."""
_REFUSED = 0.05
"""Share of the newest request in the part of them that is refused: a second's worth is remembered."""
_CROWD = 0.5
"""Part of the requests that is refused, beyond which there is always another one for a place that becomes free."""
_MODELS = 1000


class Pace:
    """A limit that is felt out, between `running` and `most`: it grows by steps and falls by a part.

    What one takes alone is measured, for each model, whenever nothing else is in the works; under a load that never
    ends it stays as it was, so that the limit cannot creep up with the times that it causes. Source of the rule:
    additive increase, multiplicative decrease (Chiu and Jain, 1989).

    As many again as run may wait behind them, so that no place stays empty; each then takes twice its time (Little's
    law). In a crowd the next request is there anyway: only as many are let in as run.
    """

    def __init__(self, running: int, most: int) -> None:
        self._running = running
        self._most = most
        self._limit = float(most)
        self._alone: dict[str, float] = {}
        self._latest = 1.0
        self._refused = 0.0

    @property
    def limit(self) -> int:
        """How many may be in the works now."""
        least = self._running if self._refused > _CROWD else min(2 * self._running, self._most)
        return max(least, int(self._limit))

    @property
    def seconds(self) -> float:
        """About how long until a place is free."""
        return min(max(self._latest, 0.05), 5.0)

    def refused(self) -> None:
        """Learn that one was refused."""
        self._refused += (1 - self._refused) * _REFUSED

    def took(self, model: str, seconds: float, together: int) -> None:
        """Learn how long a prediction took, with its waiting, and how many were in the works meanwhile, with it."""
        self._refused -= self._refused * _REFUSED
        self._latest += (seconds - self._latest) * _RECENT
        alone = self._alone.get(model)
        if together <= 1:
            if len(self._alone) >= _MODELS:
                self._alone.clear()
            self._alone[model] = seconds if alone is None else alone + (seconds - alone) * _RECENT
        elif alone is not None and seconds > _SLOWER * alone:
            self._limit = max(float(self._running), self._limit * _LESS)
            return
        if together >= self._limit - 1:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)
