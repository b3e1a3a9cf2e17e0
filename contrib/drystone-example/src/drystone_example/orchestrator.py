"""Runs steps in threads."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

import attrs

from drystone import Orchestrator, RunContext
from drystone.errors import StackError


def _check_workers(instance: ThreadPoolOrchestrator, attribute: attrs.Attribute[int], value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise StackError(f"ThreadPoolOrchestrator(workers={value!r}): it takes how many steps run at once, 1 or more.")


@attrs.frozen(kw_only=True)
class ThreadPoolOrchestrator(Orchestrator):
    """Runs steps in threads of the driver's process: right for steps that wait more than they compute.

    Attributes:
        workers: How many run at once.
    """

    workers: int = attrs.field(default=4, validator=_check_workers)

    def executor(self, run: RunContext) -> Executor:
        """A pool of threads, which the driver shuts down when the run is over."""
        return ThreadPoolExecutor(self.workers, thread_name_prefix=run.run)
