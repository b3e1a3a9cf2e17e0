"""Steps in threads: what every orchestrator does, and what this one refuses."""

from __future__ import annotations

import pytest

from drystone.errors import StackError
from drystone.testing import OrchestratorContract
from drystone_example import ThreadPoolOrchestrator


class TestThreadPoolOrchestrator(OrchestratorContract):
    """Inherits every test; the fixture says how the orchestrator is made."""

    @pytest.fixture
    def orchestrator(self) -> ThreadPoolOrchestrator:
        """With fewer workers than some pipelines have steps."""
        return ThreadPoolOrchestrator(workers=3)


@pytest.mark.parametrize("workers", [0, -1, "four"])
def test_no_workers_are_refused(workers: int) -> None:
    """When the stack is defined, not when it runs."""
    with pytest.raises(StackError, match=r"it takes how many steps run at once, 1 or more\.$"):
        ThreadPoolOrchestrator(workers=workers)
