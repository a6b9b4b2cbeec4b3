"""Expressions that panels have in common. `NS` in them stands for the choice of namespaces."""

from dashboards.grafana import Query

RATE = "[$__rate_interval]"
FAULTS = 'grpc_code=~"UNKNOWN|INTERNAL|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED"'
"""Codes of calls that failed by a fault of ours, as the alerts count them."""


def rate(metric: str, *by: str, where: str = "") -> str:
    """Increases a second, added up by labels."""
    return f"sum by ({', '.join(by)}) (rate({metric}{{NS{', ' + where if where else ''}}}{RATE}))"


def quantiles(
    metric: str, *by: str, where: str = "", of: tuple[float, ...] = (0.5, 0.99), over: str = RATE
) -> tuple[Query, ...]:
    """Quantiles of a histogram, by labels."""
    name = " ".join(f"{{{{{label}}}}}" for label in by)
    counted = rate(f"{metric}_bucket", *by, "le", where=where).replace(RATE, over)
    return tuple(Query(f"histogram_quantile({one}, {counted})", f"{name} p{one * 100:g}".strip()) for one in of)


def ninety(metric: str, *, over: str = "[1h]") -> str:
    """What nine of ten observations do not exceed."""
    return quantiles(metric, of=(0.9,), over=over)[0].expression


def most(metric: str, *by: str, where: str = "") -> str:
    """A gauge that several replicas tell of the same thing."""
    return f"max by ({', '.join(by)}) ({metric}{{NS{', ' + where if where else ''}}})"
