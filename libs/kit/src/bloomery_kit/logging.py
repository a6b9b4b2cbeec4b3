"""JSON logs: one line a record, with the call's ids, without secrets."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import IO

from bloomery_kit.context import request_id, trace_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    # Query fields that make a signed URL work.
    (re.compile(r"([?&](?:x-amz-[a-z-]+|sig|signature|token)=)[^&\s\"']+", re.IGNORECASE), r"\1***"),
    (re.compile(r"\b(bearer\s+)[^\s\"',}]+", re.IGNORECASE), r"\1***"),
    (
        re.compile(r"(\w*(?:password|secret|token|signing_key)[\"']?\s*[=:]\s*[\"']?)[^\s\"',&}]+", re.IGNORECASE),
        r"\1***",
    ),
    (re.compile(r"(\w+://[^\s:/@]+:)[^\s@/]+(@)"), r"\1***\2"),
)
_HINT = re.compile(r"[?&]|bearer|password|secret|token|signing_key|://", re.IGNORECASE)
"""What all of them have somewhere: most texts have nothing of it, and each call writes some."""


def redact(text: str) -> str:
    """The text without bearer tokens, passwords, and what makes a signed URL work."""
    if not _HINT.search(text):
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, ids of the call, and the record's own extras."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one redacted line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        ids = {"request_id": request_id(), "trace_id": trace_id()}
        fields |= {name: value for name, value in ids.items() if value}
        fields |= {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)


class _Lines(logging.StreamHandler[IO[str]]):
    """Writes a line a record. One that was cut, as on a full disk, ends before the next one begins."""

    _cut = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; what cannot be written is lost, as there is nowhere else to tell."""
        try:
            line = self.format(record)
            self.stream.write(f"\n{line}\n" if self._cut else f"{line}\n")
            self.flush()
            self._cut = False
        except OSError:
            self._cut = True
        except Exception:  # noqa: BLE001 - as every handler of the library: a record must not end the program
            self.handleError(record)


def setup_logging(level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Send every record of the process as JSON to `stream` (stderr by default)."""
    handler = _Lines(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # It describes the database at every readiness check.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float) or value is None else redact(str(value))
