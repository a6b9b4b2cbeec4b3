"""The data folder: one server at a time, and an identity that outlives it."""

import json
import socket
import stat
from pathlib import Path

import pytest

from bloomery_server.folder import SERVER_FILE, DataFolder, FolderInUseError


def test_a_second_server_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = DataFolder.open(tmp_path / "data")
    with pytest.raises(FolderInUseError):
        DataFolder.open(tmp_path / "data")
    first.close()
    DataFolder.open(tmp_path / "data").close()


def test_secrets_and_ports_stay_the_same_between_starts(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    first = folder.identity(port=0)
    folder.close()
    folder = DataFolder.open(tmp_path)
    assert folder.identity(port=0) == first
    folder.close()
    assert len({first.port, first.worker_port, first.http_port, first.metrics_port}) == 4


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    first = folder.identity(port=0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.http_port))
        second = folder.identity(port=0)
    folder.close()
    assert second.http_port != first.http_port
    assert second.port == first.port
    assert second.token == first.token


def test_clients_find_the_server_only_while_it_runs_and_only_this_user_can_read_the_token(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    identity = folder.identity(port=0)
    folder.announce(identity)
    about = json.loads((tmp_path / SERVER_FILE).read_text())
    assert about["endpoint"] == f"127.0.0.1:{identity.port}"
    assert about["token"] == identity.token
    for name in (SERVER_FILE, "identity.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    folder.close()
    assert not (tmp_path / SERVER_FILE).exists()
