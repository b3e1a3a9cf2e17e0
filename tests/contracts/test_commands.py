"""What launches commands keeps the contract of orchestrators."""

import pytest

from drystone.testing import OrchestratorContract
from drystone.testing.commands import CommandOrchestrator


class TestCommandOrchestrator(OrchestratorContract):
    patience = 60.0

    @pytest.fixture
    def orchestrator(self):
        return CommandOrchestrator()
