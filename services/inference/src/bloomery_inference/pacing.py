"""How many predictions may be in the works, so that none takes much longer than it would alone."""

_SLOWER = 1.5
"""Times what a prediction takes alone, beyond which too many are in the works."""
_LESS = 0.9
_RECENT = 0.2
"""Share of the newest measurement in what is remembered."""
_MODELS = 1000


class Pace:
    """A limit that is felt out, between `least` and `most`: it grows by steps and falls by a part.

    What one takes alone is measured, for each model, whenever nothing else is in the works; under a load that never
    ends it stays as it was, so that the limit cannot creep up with the times that it causes. Source of the rule:
    additive increase, multiplicative decrease (Chiu and Jain, 1989).
    """

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._limit = float(most)
        self._alone: dict[str, float] = {}
        self._latest = 1.0

    @property
    def limit(self) -> int:
        """How many may be in the works now."""
        return int(self._limit)

    @property
    def seconds(self) -> float:
        """About how long until a place is free."""
        return min(max(self._latest, 0.05), 5.0)

    def took(self, model: str, seconds: float, together: int) -> None:
        """Learn how long a prediction took, with its waiting, and how many were in the works meanwhile, with it."""
        self._latest += (seconds - self._latest) * _RECENT
        alone = self._alone.get(model)
        if together <= 1:
            if len(self._alone) >= _MODELS:
                self._alone.clear()
            self._alone[model] = seconds if alone is None else alone + (seconds - alone) * _RECENT
        elif alone is not None and seconds > _SLOWER * alone:
            self._limit = max(float(self._least), self._limit * _LESS)
            return
        if together >= self._limit - 1:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)
