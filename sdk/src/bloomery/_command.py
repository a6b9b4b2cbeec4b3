"""Where the command `bloomery` begins and ends: nothing is imported before the collector is told."""

import gc

_COLLECT_AFTER = 20_000


def main() -> None:
    """Run the command line and exit."""
    # Commands make many objects and hardly any cycles: at the default of 700 collecting takes a tenth of their time.
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    from bloomery.cli import app

    try:
        app()
    finally:
        # The interpreter would look through all of them once more before it ends.
        gc.freeze()
