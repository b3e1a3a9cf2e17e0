"""What this plugin offers."""

from collections.abc import Callable

from drystone import FilesystemLedger, FsspecArtifactStore, Stack, StackComponent, hookimpl
from drystone_local.artifact_store import LocalArtifactStore
from drystone_local.orchestrator import LocalOrchestrator
from drystone_local.secret_files import secret_in_file


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
    return {"file": lambda url: FilesystemLedger(FsspecArtifactStore(url=url))}


@hookimpl
def drystone_secret_resolvers() -> dict[str, Callable[[str], str]]:
    """Secrets in files: `Secret("file:/run/secrets/key")`."""
    return {"file": secret_in_file}
