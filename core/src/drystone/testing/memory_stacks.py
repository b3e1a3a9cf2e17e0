"""A stack that needs nothing but this process."""

from __future__ import annotations

import uuid
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import attrs

from drystone.components import StackComponent
from drystone.kinds import Orchestrator, RunContext, StepNeeds
from drystone.stacks import Stack
from drystone.testing.memory import MemoryArtifactStore


@attrs.frozen(kw_only=True)
class InlineOrchestrator(Orchestrator):
    """Runs each step in the driver's own process, one after the other."""

    @property
    def capabilities(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def runs_inline(self, needs: StepNeeds) -> bool:
        """Every step."""
        return True

    def executor(self, run: RunContext) -> Executor:
        """One thread; nothing is ever given to it."""
        return ThreadPoolExecutor(1)


def memory_stack(name: str = "memory", **components: StackComponent) -> Stack:
    """A stack that runs every step in this process and keeps artifacts in memory, apart from those of any other.

    Args:
        name: What it is called.
        **components: By kind, in place of these two or beside them, as
            `memory_stack(artifact_store=faulty(store, fail={"upload": [1]}))`.
    """
    chosen: dict[str, Any] = {
        "orchestrator": InlineOrchestrator(),
        "artifact_store": MemoryArtifactStore(shelf=uuid.uuid4().hex),
    }
    return Stack(name, **chosen | components)


def forget(stack: Stack) -> None:
    """Remove what a stack keeps in memory."""
    if isinstance(stack.artifact_store, MemoryArtifactStore):
        stack.artifact_store.clear()
