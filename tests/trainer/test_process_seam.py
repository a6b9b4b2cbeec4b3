"""What every launcher does, by the one of this machine."""

import pytest

from tests.trainer.launcher_suite import LauncherSuite
from tests.trainer.shell_workers import Bench


class TestProcesses(LauncherSuite):
    @pytest.fixture
    def seam(self, bench: Bench) -> Bench:
        return bench
