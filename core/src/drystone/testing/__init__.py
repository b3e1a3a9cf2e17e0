"""What plugin authors and users test with.

Contracts say what a correct implementation does, as tests to inherit: a plugin's own tests subclass the contract of
what it implements, in a class whose name starts with `Test`; pytest does the rest. Needs the extra
`drystone-core[testing]`.
"""

from drystone.testing.artifact_stores import ArtifactStoreContract as ArtifactStoreContract
from drystone.testing.materializers import MaterializerContract as MaterializerContract
from drystone.testing.memory import MemoryArtifactStore as MemoryArtifactStore
from drystone.testing.orchestrators import OrchestratorContract as OrchestratorContract

__all__ = ["ArtifactStoreContract", "MaterializerContract", "MemoryArtifactStore", "OrchestratorContract"]
