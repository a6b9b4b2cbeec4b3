"""What every launcher does, by the one of a cluster."""

import pytest

from tests.cluster.conftest import Pods
from tests.trainer.launcher_suite import LauncherSuite


class TestPods(LauncherSuite):
    seconds = 120.0

    @pytest.fixture
    def seam(self, pods: Pods) -> Pods:
        return pods
