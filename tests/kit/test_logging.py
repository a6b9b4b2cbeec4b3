import io
import json
import logging
from collections.abc import Iterator

import pytest

from bloomery_kit.context import request_id_var, traceparent_var
from bloomery_kit.logging import redact, setup_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    setup_logging("INFO", stream)
    yield stream
    root.handlers[:], root.level = handlers, level


def only(stream: io.StringIO) -> dict[str, object]:
    found: dict[str, object] = json.loads(stream.getvalue())
    return found


def test_a_record_is_one_json_line_with_its_extras(lines: io.StringIO) -> None:
    logging.getLogger("a.b").info("two %s", "words", extra={"seconds": 0.5, "path": ("x",), "none": None})
    record = only(lines)
    assert record | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "a.b",
        "message": "two words",
        "seconds": 0.5,
        "path": "('x',)",
        "none": None,
    }


def test_a_record_of_a_call_carries_its_ids(lines: io.StringIO) -> None:
    tokens = request_id_var.set("r1"), traceparent_var.set(f"00-{'a' * 32}-{'b' * 16}-01")
    logging.getLogger("x").info("m")
    request_id_var.reset(tokens[0])
    traceparent_var.reset(tokens[1])
    record = only(lines)
    assert (record["request_id"], record["trace_id"]) == ("r1", "a" * 32)


def test_exceptions_are_logged_redacted(lines: io.StringIO) -> None:
    try:
        raise ValueError("got authorization: Bearer abc.def")
    except ValueError:
        logging.getLogger("x").exception("failed")
    record = only(lines)
    assert "ValueError" in str(record["exception"])
    assert "abc.def" not in lines.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "GET http://s3/b/k?X-Amz-Credential=HUSH&X-Amz-Signature=HUSH&x=1",
        "http://gateway/blobs/k?method=GET&expires=1&sig=HUSH",
        "authorization: Bearer HUSH",
        '{"token": "HUSH", "a": 1}',
        "worker_secret=HUSH next",
        "postgresql+asyncpg://user:HUSH@host/db",
    ],
)
def test_secrets_are_redacted(lines: io.StringIO, text: str) -> None:
    assert "HUSH" not in redact(text)
    logging.getLogger("x").warning("%s", text, extra={"url": text})
    assert "HUSH" not in lines.getvalue()


@pytest.mark.parametrize("text", ["projects/p/assets/a", "http://host/blobs/k?method=GET", "token bucket is full"])
def test_harmless_text_stays(text: str) -> None:
    assert redact(text) == text
