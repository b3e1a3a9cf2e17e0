"""What this plugin offers."""

from collections.abc import Callable

from drystone import FilesystemLedger, Stack, StackComponent, hookimpl
from drystone_local.artifact_store import LocalArtifactStore
from drystone_local.orchestrator import LocalOrchestrator


@hookimpl
def drystone_components() -> list[type[StackComponent]]:
    """The orchestrator and the artifact store of this machine."""
    return [LocalOrchestrator, LocalArtifactStore]


@hookimpl
def drystone_stacks() -> list[Stack]:
    """The stack that is used where no other was chosen."""
    return [Stack("default", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())]


@hookimpl
def drystone_ledgers() -> dict[str, Callable[[str], FilesystemLedger]]:
    """Ledgers in directories that machines share."""
    return {"file": FilesystemLedger}
