"""Tokens and members by the client and by the command line."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bloomery import AsyncClient, errors
from bloomery.cli import app
from bloomery_server.embedded import EmbeddedServer
from tests.server.conftest import embedded


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with embedded(tmp_path / "data") as running:
        yield running


def endpoint(server: EmbeddedServer) -> str:
    return f"127.0.0.1:{server._host.port}"


async def test_a_member_does_with_a_token_what_their_role_allows(server: EmbeddedServer) -> None:
    async with AsyncClient(endpoint(server), token=server._identity.token) as owner:
        for project in ("cells", "leaves"):
            await owner.create_project(project)
        await owner.set_member("alice", "annotator", project="cells")
        assert [(one.subject, one.role) async for one in owner.members("cells")] == [("alice", "annotator")]
        issued = await owner.create_token("a laptop", subject="alice", lifetime=timedelta(days=1))
        assert issued.secret not in repr(issued)
        async with AsyncClient(endpoint(server), token=issued.secret) as alice:
            account = await alice.whoami()
            assert (account.subject, account.role, account.roles) == ("alice", "", {"cells": "annotator"})
            assert [project.id async for project in alice.projects()] == ["cells"]
            assert (await (await alice.project()).create_label("cell")).id == "cell"
            with pytest.raises(errors.NotFound):
                await alice.project("leaves")
            with pytest.raises(errors.PermissionDenied, match="trainer in projects/cells"):
                await (await alice.project("cells")).update(display_name="mine")
            assert [one.id async for one in alice.tokens()] == [issued.id]
        assert (await owner.revoke_token(issued.id)).revoke_time is not None
        await owner.remove_member("alice", project="cells")
        assert [one async for one in owner.members("cells")] == []


def test_the_command_line_makes_a_token_and_tells_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    import threading

    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with embedded(tmp_path / "data"):
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(50)
        monkeypatch.setenv("BLOOMERY_DATA", str(tmp_path / "data"))

        def run(*words: str) -> str:
            result = CliRunner().invoke(app, list(words))
            assert result.exit_code == 0, result.output
            return result.stdout

        run("project", "create", "cells")
        run("members", "add", "alice", "--role", "viewer", "--project", "cells")
        assert "alice" in run("members", "list", "--project", "cells")
        secret = run("tokens", "create", "ci", "--subject", "alice", "--only", "cells").strip()
        assert secret.startswith("bly_")
        (listed,) = yaml.safe_load(run("tokens", "list", "-o", "yaml"))
        assert (listed["subject"], listed["projects"]) == ("alice", ["projects/cells"])
        assert secret not in str(listed)
        monkeypatch.setenv("BLOOMERY_TOKEN", secret)
        assert "viewer in cells" in run("whoami")
        assert "revoked" in run("tokens", "revoke", secret.split("_")[1])
    finally:
        done.set()
        thread.join()
