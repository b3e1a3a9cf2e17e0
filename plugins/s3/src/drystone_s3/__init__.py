"""Artifacts in an S3 bucket, and workspaces that a team shares through one."""

from typing import TYPE_CHECKING, Any

from drystone_s3.artifact_store import S3ArtifactStore as S3ArtifactStore

if TYPE_CHECKING:
    from drystone_s3.workspaces import S3Workspace as S3Workspace

__all__ = ["S3ArtifactStore", "S3Workspace"]


def __getattr__(name: str) -> Any:
    if name != "S3Workspace":
        raise AttributeError(f"module 'drystone_s3' has no attribute {name!r}")
    from drystone_s3.workspaces import S3Workspace  # noqa: PLC0415 - workers need artifacts alone, and import less

    return S3Workspace
