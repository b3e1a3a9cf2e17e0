"""An orchestrator that needs nothing but this process."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

import attrs

from drystone.orchestrators import Orchestrator, RunContext, StepNeeds


@attrs.frozen(kw_only=True)
class InlineOrchestrator(Orchestrator):
    """Runs each step in the driver's own process and thread, one after the other; declares no capability.

    So a debugger, a breakpoint and whatever a test has patched are there when the step runs.
    """

    @property
    def capabilities(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def runs_inline(self, needs: StepNeeds) -> bool:
        """Every step."""
        return True

    def executor(self, run: RunContext) -> Executor:
        """One thread. A driver asks for it only if it has a reason not to run a step itself."""
        return ThreadPoolExecutor(1)
