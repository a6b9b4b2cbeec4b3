"""What the owner's token signs for workers, while it is exchanged under them."""

from pathlib import Path

import grpc
import pytest

from bloomery_kit.rotating import look_at_all
from tests.trainer.bench import TOKEN, World
from tests.trainer.hand import by_hand, log

BOTH = f"new-token\n{TOKEN}"


async def test_a_worker_that_repeats_its_start_keeps_its_secret(world: World, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with by_hand(world, token=None, token_file=file) as hand:
        _, worker = await hand.running()
        file.write_text(BOTH)
        await look_at_all()
        again = await hand.worker()
        assert again.start.secret == worker.start.secret
        file.write_text("new-token")
        await look_at_all()
        await worker.report(log("the secret holds, whatever becomes of the token"))


async def test_an_attempt_that_was_written_under_the_former_token_is_launched_with_it(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with by_hand(world, token=None, token_file=file) as hand:
        hand.launcher.crash = "before"
        await hand.trainer.create()
        with pytest.raises(KeyboardInterrupt):
            await hand.run_pass()
        file.write_text(BOTH)
        await look_at_all()
        hand.launcher.crash = "never"
        await hand.settle()
        await (await hand.worker()).report(log("begun"))


async def test_a_token_whose_owner_is_forgotten_begins_nothing(world: World, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with by_hand(world, token=None, token_file=file) as hand:
        await hand.queued()
        file.write_text("new-token")
        await look_at_all()
        with pytest.raises(grpc.aio.AioRpcError, match="exchanged since this attempt was launched"):
            await hand.worker()
