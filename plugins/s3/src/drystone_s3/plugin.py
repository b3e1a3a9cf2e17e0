"""What this plugin offers."""

from collections.abc import Callable

from drystone import FilesystemLedger, StackComponent, hookimpl
from drystone_s3.artifact_store import S3ArtifactStore


@hookimpl
def drystone_components() -> list[type[StackComponent]]:
    """The artifact store in a bucket."""
    return [S3ArtifactStore]


@hookimpl
def drystone_ledgers() -> dict[str, Callable[[str], FilesystemLedger]]:
    """Ledgers in buckets."""
    from drystone_s3.workspaces import opened_ledger

    return {"s3": opened_ledger, "s3a": opened_ledger}
