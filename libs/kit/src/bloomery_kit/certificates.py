"""Until when certificates hold, so that somebody is told before they end."""

from cryptography import x509
from prometheus_client import Gauge

from bloomery_kit.metrics import REGISTRY

EXPIRES = Gauge(
    "bloomery_certificate_expiry_timestamp_seconds",
    "Unix time until which this server's own certificate holds, and the last of the authorities that it trusts.",
    ("kind",),
    registry=REGISTRY,
)


def note_own(chain: bytes) -> None:
    """Note the certificate of this server, PEM with what signed it. Raise ValueError where it is none."""
    EXPIRES.labels("own").set(min(_ends(chain)))


def note_authorities(bundle: bytes) -> None:
    """Note authorities, PEM: while one is exchanged, the newer one counts. Raise ValueError where they are none."""
    EXPIRES.labels("authority").set(max(_ends(bundle)))


def _ends(pem: bytes) -> list[float]:
    return [one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(pem)]
