"""A stack that needs nothing but this process."""

from __future__ import annotations

import uuid
from typing import Any

from drystone.components import StackComponent
from drystone.stacks import Stack
from drystone.testing.inline import InlineOrchestrator
from drystone.testing.memory import MemoryArtifactStore


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
