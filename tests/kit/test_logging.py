import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


_FULL_FOR_A_WHILE = """
import logging, resource, signal
from bloomery_kit.logging import setup_logging

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
setup_logging()
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (150, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    for number in range(3):
        logging.getLogger("x").info("line %d", number)
"""


def test_a_line_that_a_full_disk_has_cut_ends_before_the_next_one(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", _FULL_FOR_A_WHILE], stderr=log, check=True)
    first, cut, *after = (tmp_path / "log").read_text().splitlines()
    assert json.loads(first)["message"] == "line 0"
    assert 0 < len(cut) < len(first)
    assert [json.loads(line)["message"] for line in after if line] == ["line 0", "line 1", "line 2"]
