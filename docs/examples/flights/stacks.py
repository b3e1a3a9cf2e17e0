"""Where the pipelines run: on this machine. A team adds its shared stacks here."""

from drystone import Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator

dev = Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())
default = dev
