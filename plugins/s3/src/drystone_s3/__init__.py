"""Artifacts in an S3 bucket, and workspaces that a team shares through one."""

from drystone_s3.artifact_store import S3ArtifactStore as S3ArtifactStore
from drystone_s3.workspaces import S3Workspace as S3Workspace

__all__ = ["S3ArtifactStore", "S3Workspace"]
