"""The data folder: one server at a time, and an identity that outlives it."""

import json
import socket
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bloomery_server.folder import SERVER_FILE, AddressInUseError, DataFolder, FolderInUseError
from bloomery_server.up import up


def command() -> typer.Typer:
    made = typer.Typer()
    made.command()(up)
    return made


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


def test_ports_are_none_that_an_outgoing_connection_takes_while_the_server_is_away(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    identity = folder.identity(port=0)
    folder.close()
    ports = {identity.port, identity.worker_port, identity.http_port, identity.metrics_port, identity.triton_port}
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        given = one.getsockname()[1]
    assert max(ports) < given


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


def test_a_port_that_was_asked_for_and_is_taken_is_told(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressInUseError, match=f"port {port} is taken"):
            folder.identity(port=port)
    folder.close()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["--port", "99999"], {}, 2, "65535"),
        (["--port", "0"], {}, 2, "65535"),
        ([], {"BLOOMERY_WEIGHTS": "nowhere"}, 4, "BLOOMERY_WEIGHTS names nowhere, which is no folder"),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    told = CliRunner().invoke(command(), ["--data", str(tmp_path / "data"), *arguments], env=environment)
    assert told.exit_code == code
    assert said in told.output
    assert not (tmp_path / "data").exists()


def test_a_server_on_a_taken_port_says_so_on_two_lines(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        bloomery = Path(sys.executable).parent / "bloomery"
        command = [str(bloomery), "up", "--data", str(tmp_path / "data"), "--port", str(port)]
        told = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert told.returncode == 5
    assert told.stderr == f"port {port} is taken\nhint: stop what listens there, or choose another --port\n"


@pytest.mark.parametrize(
    ("file", "said"), [("identity.json", "identity.json is damaged"), ("trainer.db", "the database is damaged")]
)
def test_a_damaged_folder_is_told_on_two_lines(tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / file).write_bytes(b"what no server wrote" * 1000)
    bloomery = Path(sys.executable).parent / "bloomery"
    told = subprocess.run([str(bloomery), "up", "--data", str(tmp_path)], capture_output=True, text=True, timeout=30)
    first, hint, *rest = told.stderr.splitlines()
    assert told.returncode == 1
    assert said in first
    assert hint.startswith("hint: ")
    assert not rest


def test_room_is_kept_in_our_own_databases_whatever_else_ends_so(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    ours, no_file, of_others = (tmp_path / name for name in ("annotation.db", "dataset.db", "copy.db"))
    no_file.mkdir()
    for file in (ours, of_others):
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode = wal")
            database.execute("CREATE TABLE kept (id)")
    with closing(sqlite3.connect(ours)) as opened, closing(sqlite3.connect(of_others)) as other:
        for database in (opened, other):
            database.execute("SELECT * FROM kept").fetchall()
        folder.keep_room([no_file, ours])
        kept, untouched = (Path(f"{file}-wal").stat().st_size for file in (ours, of_others))
    folder.close()
    assert kept > 8 << 20
    assert untouched == 0


def test_a_folder_that_cannot_be_made_names_no_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = CliRunner().invoke(command(), ["--data", str(tmp_path / "file/data")])
    assert (told.exit_code, "server.log" in told.stderr) == (1, False)
