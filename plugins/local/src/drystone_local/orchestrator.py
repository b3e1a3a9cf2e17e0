"""Runs steps on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor

import attrs

from drystone import Orchestrator, RunContext, StepNeeds
from drystone.errors import StackError
from drystone_local.machines import this_machine

AUTO, PROCESS, INLINE = "auto", "process", "inline"

MANY = 32
"""Workers per core that make sense at most, be they as idle as they may."""


def _check_isolation(instance: LocalOrchestrator, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in (AUTO, PROCESS, INLINE):
        raise StackError(f"LocalOrchestrator(isolation={value!r}): it is one of 'auto', 'process' and 'inline'.")


def _check_workers(instance: LocalOrchestrator, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise StackError(
            f"LocalOrchestrator(workers={value!r}): it is a whole number from 1 on, or None for as many as the machine "
            "has cores."
        )


@attrs.frozen(kw_only=True)
class LocalOrchestrator(Orchestrator):
    """Runs steps on this machine: in the driver's own process, or in worker processes beside it.

    Attributes:
        workers: How many steps run at once, in as many processes; by default 4, or one per core where there are more.
        isolation: `auto` takes a worker for a step that runs beside others or has a timeout or resources, and the
            driver's process for any other. `process` takes a worker for each. `inline` takes the driver's process for
            each, where nothing can be timed, limited or run beside another.
    """

    workers: int | None = attrs.field(default=None, validator=_check_workers)
    isolation: str = attrs.field(default=AUTO, validator=_check_isolation)

    @property
    def capabilities(self) -> frozenset[str]:
        """Everything, unless all is inline: then nothing."""
        if self.isolation == INLINE:
            return frozenset()
        return frozenset({"parallel", "timeout", "resources", "cancel", "isolation"})

    def check(self) -> Iterator[str]:
        """Whether there can be workers, and this many of them."""
        if self.isolation == INLINE:
            return
        cpus = this_machine().cpus
        if self.workers is not None and self.workers > MANY * cpus:
            yield (
                f"workers={self.workers} are more than this machine can serve, which has {cpus} cores: each is a "
                f"process. Take at most {MANY * cpus}."
            )
        if not (sys.executable and os.access(sys.executable, os.X_OK)):
            yield (
                f"No worker can be started: sys.executable is {sys.executable!r}, which cannot be executed. Run under "
                "another Python, or with isolation='inline'."
            )

    def runs_inline(self, needs: StepNeeds) -> bool:
        """Whether the driver runs this step itself."""
        if self.isolation == AUTO:
            return (needs.alone or not needs.importable) and needs.timeout is None and needs.resources is None
        return self.isolation == INLINE

    def executor(self, run: RunContext) -> Executor:
        """A pool of worker processes; the first is started with the first step."""
        from drystone_local.pools import Pool  # noqa: PLC0415 - many commands, and many runs, need none

        machine = this_machine()
        return Pool(run, self.workers or max(4, machine.cpus), machine)
