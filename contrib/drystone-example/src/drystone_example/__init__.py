"""An example of a plugin: artifacts in one SQLite file, steps in threads."""

from drystone_example.artifact_store import SqliteArtifactStore as SqliteArtifactStore
from drystone_example.orchestrator import ThreadPoolOrchestrator as ThreadPoolOrchestrator

__all__ = ["SqliteArtifactStore", "ThreadPoolOrchestrator"]
