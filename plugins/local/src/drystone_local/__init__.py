"""The local stack: steps run in the driver's process, artifacts are kept in a directory of this machine."""

from drystone_local.artifact_store import LocalArtifactStore as LocalArtifactStore
from drystone_local.orchestrator import LocalOrchestrator as LocalOrchestrator

__all__ = ["LocalArtifactStore", "LocalOrchestrator"]
