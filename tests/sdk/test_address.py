"""The client finds its server by arguments, environment or data folder, in this order."""

import json
from pathlib import Path

import pytest

from bloomery._address import Address, data_folder, find_server
from bloomery.errors import ServerNotFound


@pytest.fixture
def folder(tmp_path: Path) -> dict[str, str]:
    """An environment whose data folder holds a running server's file."""
    (tmp_path / "server.json").write_text(json.dumps({"endpoint": "127.0.0.1:7000", "token": "local", "pid": 1}))
    return {"BLOOMERY_DATA": str(tmp_path)}


def test_the_data_folders_server_is_the_default(folder: dict[str, str]) -> None:
    assert find_server(environment=folder) == Address("127.0.0.1:7000", "local")


def test_the_environment_beats_the_data_folder(folder: dict[str, str]) -> None:
    environment = {**folder, "BLOOMERY_ENDPOINT": "far:9", "BLOOMERY_TOKEN": "theirs"}
    assert find_server(environment=environment) == Address("far:9", "theirs")


def test_arguments_beat_the_environment(folder: dict[str, str]) -> None:
    environment = {**folder, "BLOOMERY_ENDPOINT": "far:9", "BLOOMERY_TOKEN": "theirs"}
    assert find_server("near:1", "mine", environment) == Address("near:1", "mine")


def test_the_local_token_goes_only_to_the_local_server(folder: dict[str, str]) -> None:
    assert find_server(environment={**folder, "BLOOMERY_ENDPOINT": "127.0.0.1:7000"}).token == "local"
    assert find_server(environment={**folder, "BLOOMERY_ENDPOINT": "far:9"}).token == ""


def test_https_means_tls(folder: dict[str, str]) -> None:
    assert find_server("https://bloomery.example:443/", "t", folder) == Address("bloomery.example:443", "t", tls=True)
    assert find_server("http://bloomery.example:80", "t", folder) == Address("bloomery.example:80", "t", tls=False)


def test_without_a_server_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound) as caught:
        find_server(environment={"BLOOMERY_DATA": str(tmp_path)})
    assert "bloomery up" in caught.value.hint
    assert "BLOOMERY_DATA" in caught.value.hint
    assert str(tmp_path) in caught.value.message


def test_a_folder_that_is_named_from_here_is_told_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ServerNotFound, match=f"data folder {tmp_path}/my-data$"):
        find_server(environment={"BLOOMERY_DATA": "./my-data"})


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("{")
    with pytest.raises(ServerNotFound, match=r"server\.json cannot be read"):
        find_server(environment={"BLOOMERY_DATA": str(tmp_path)})


def test_the_default_data_folder_is_the_users() -> None:
    assert data_folder({}) == Path.home() / ".local/share/bloomery"
