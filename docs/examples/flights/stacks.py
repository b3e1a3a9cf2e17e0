"""Where the pipelines run: on this machine, or, where a bucket is named, with everything that a team shares in it.

Where a registry is named as well, they may run in containers.
"""

import os

from drystone import Secret, Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator

dev = Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())
default = dev

if bucket := os.environ.get("FLIGHTS_BUCKET"):  # s3://flights; credentials as AWS's own tools find them
    from drystone_s3 import S3ArtifactStore, S3Workspace

    workspace = S3Workspace(f"{bucket}/workspace")
    team = Stack("team", orchestrator=LocalOrchestrator(), artifact_store=S3ArtifactStore(f"{bucket}/artifacts"))

    if registry := os.environ.get(
        "FLIGHTS_REGISTRY"
    ):  # localhost:5000/flights; credentials as `docker login` left them
        from drystone_docker import DockerOrchestrator
        from drystone_registry import ContainerRegistry

        staging = Stack(
            "staging",
            orchestrator=DockerOrchestrator(
                base_image=os.environ.get("FLIGHTS_BASE_IMAGE"), requirements="requirements.txt"
            ),
            artifact_store=S3ArtifactStore(  # containers have no environment of ours, as the steps of `team` do
                f"{bucket}/artifacts",
                endpoint_url=os.environ.get("AWS_ENDPOINT_URL"),
                key=Secret("env:AWS_ACCESS_KEY_ID"),
                secret=Secret("env:AWS_SECRET_ACCESS_KEY"),
            ),
            container_registry=ContainerRegistry(registry),
        )
