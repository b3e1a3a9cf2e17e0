"""What this plugin offers."""

from drystone import StackComponent, hookimpl
from drystone_s3.artifact_store import S3ArtifactStore


@hookimpl
def drystone_components() -> list[type[StackComponent]]:
    """The artifact store in a bucket."""
    return [S3ArtifactStore]
