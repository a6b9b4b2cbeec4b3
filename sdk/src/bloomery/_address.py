"""Where the server is, and what opens it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloomery.errors import ServerNotFound

_ELSEWHERE = "where it runs with --data FOLDER, set BLOOMERY_DATA to that folder, else BLOOMERY_ENDPOINT"


@dataclass(frozen=True)
class Address:
    """A server: its `host:port`, the bearer token that it asks for, and whether it speaks TLS."""

    endpoint: str
    token: str = ""
    tls: bool = False


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The data folder of `bloomery up`, from the root: BLOOMERY_DATA, or `~/.local/share/bloomery`."""
    if folder := environment.get("BLOOMERY_DATA"):
        return Path(folder).expanduser().absolute()
    return Path.home() / ".local/share/bloomery"


def find_server(
    endpoint: str | None = None, token: str | None = None, environment: Mapping[str, str] = os.environ
) -> Address:
    """The server to talk to.

    The arguments come first, then BLOOMERY_ENDPOINT and BLOOMERY_TOKEN, then `server.json` in the data folder, whose
    token also serves where only the endpoint is given and is that server's.

    Raises:
        ServerNotFound: nothing says where a server is.
    """
    endpoint = endpoint or environment.get("BLOOMERY_ENDPOINT")
    token = token or environment.get("BLOOMERY_TOKEN")
    if endpoint and token:
        return _address(endpoint, token)
    folder = data_folder(environment)
    local = _read(folder / "server.json")
    if endpoint:
        named = _address(endpoint, "")
        return _address(endpoint, local.token if local and local.endpoint == named.endpoint else "")
    if local is None:
        hint = f"start one with `bloomery up`; {_ELSEWHERE}"
        raise ServerNotFound(f"no server runs here: there is no server.json in the data folder {folder}", hint=hint)
    return _address(local.endpoint, token or local.token)


def _address(endpoint: str, token: str) -> Address:
    scheme, _, rest = endpoint.rpartition("://")
    return Address(rest.rstrip("/"), token, tls=scheme == "https")


def _read(path: Path) -> Address | None:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ServerNotFound(f"{path} cannot be read: {error}") from None
    return Address(found["endpoint"], found["token"])
