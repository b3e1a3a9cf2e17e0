"""Where the pipelines run: on this machine, or, where a bucket is named, with everything that a team shares in it."""

import os

from drystone import Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator

dev = Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())
default = dev

if bucket := os.environ.get("FLIGHTS_BUCKET"):  # s3://flights; credentials as AWS's own tools find them
    from drystone_s3 import S3ArtifactStore, S3Workspace

    workspace = S3Workspace(f"{bucket}/workspace")
    team = Stack("team", orchestrator=LocalOrchestrator(), artifact_store=S3ArtifactStore(f"{bucket}/artifacts"))
